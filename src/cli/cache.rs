//! Where `ringway serve` keeps digests between starts: only where nobody else can plant any.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file in which the digests of `dir` are kept; none if there is no place that can be trusted, which is said.
pub(crate) fn digests_of(dir: &Path, asked: Option<PathBuf>) -> Option<PathBuf> {
    let base = || user_cache(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
    let Some(folder) = asked.or_else(|| base().map(|base| below(&base, dir))) else {
        tracing::warn!(
            "no HOME and no XDG_CACHE_HOME: digests are not kept between starts; --cache says where"
        );
        return None;
    };
    match distrust(&folder) {
        None => Some(folder.join("digests")),
        Some(why) => {
            let path = folder.display();
            tracing::warn!(%path, why, "digests are made anew and not kept; --cache says where else");
            None
        }
    }
}

/// The user's cache directory; a relative one is none.
fn user_cache(cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    cache.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".cache")))
}

/// A directory for each served one.
fn below(base: &Path, dir: &Path) -> PathBuf {
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name: String = absolute.to_string_lossy().chars().map(|c| if c == '/' { '-' } else { c }).collect();
    base.join("ringway").join(name.trim_start_matches('-'))
}

/// Why digests that stand in the folder could be anybody's; one that is not there yet will be ours.
fn distrust(folder: &Path) -> Option<&'static str> {
    for path in [folder.to_owned(), folder.join("digests")] {
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Some("it cannot be looked at"),
            Ok(facts) if Some(facts.uid()) != user() => return Some("it belongs to another user"),
            Ok(facts) if facts.mode() & 0o022 != 0 => return Some("others may write there"),
            Ok(_) => {}
        }
    }
    None
}

/// The user that the process acts as.
fn user() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn without_a_home_there_is_no_cache_and_never_one_in_tmp() {
        let text = |text: &str| Some(OsString::from(text));
        assert_eq!(user_cache(None, None), None);
        assert_eq!(user_cache(text("relative"), None), None);
        assert_eq!(user_cache(text(""), text("/home/u")), Some(PathBuf::from("/home/u/.cache")));
        assert_eq!(user_cache(text("/c"), text("/home/u")), Some(PathBuf::from("/c")));
    }

    #[test]
    fn a_folder_where_others_can_plant_digests_is_not_trusted() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("cache");
        let kept = || digests_of(dir.path(), Some(folder.clone()));
        assert_eq!(kept(), Some(folder.join("digests")), "not there yet");
        fs::create_dir(&folder).expect("made");
        let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o700);
        assert!(kept().is_some());
        mode(0o1777);
        assert_eq!(kept(), None, "as /tmp is");
        mode(0o700);
        // Only root can give a folder away.
        if chown(&folder, Some(4321), None).is_ok() {
            assert_eq!(kept(), None, "another user's");
        }
    }
}
