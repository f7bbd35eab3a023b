//! `ringway secret new`, and reading secrets for the other commands.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ringway::engine::{OpenError, admin_token};

use super::exit::{Exit, Failure};

/// Writes a new secret; never over an existing file.
pub(crate) fn new(path: &Path) -> Result<(), Failure> {
    let mut random = [0; 32];
    read_random(&mut random)?;
    let mut text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::from(error).at(path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::from(error).at(path.display()))
}

/// Reads a secret's file; refuses one that others can read, and what is no secret.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    read_with_token(path).map(|(text, _)| text)
}

/// As `read`, with the token for admin endpoints that the secret gives.
pub(crate) fn read_with_token(path: &Path) -> Result<(String, String), Failure> {
    let bad =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Config, format!("secret {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| bad(&error))?;
    let facts = file.metadata().map_err(|error| bad(&error))?;
    if !facts.is_file() {
        return Err(bad(&"not a regular file"));
    }
    if facts.mode() & 0o077 != 0 {
        let mode = facts.mode() & 0o777;
        return Err(bad(&format!("others may read or write it (mode {mode:04o}); chmod 600 it")));
    }
    let mut text = String::new();
    (&file).take(4096).read_to_string(&mut text).map_err(|error| bad(&error))?;
    let token = admin_token(&text)
        .map_err(|error| bad(&if let OpenError::Secret { why } = error { why } else { error.to_string() }))?;
    Ok((text, token))
}

/// Fills with random bytes.
pub(super) fn read_random(out: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_too_short_is_refused_with_the_name_of_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("brief");
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(b"abc\n"))
            .expect("written");
        let failure = read(&path).expect_err("too short");
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.contains("brief") && failure.message.contains("characters"), "{failure:?}");
        assert!(!failure.message.contains("abc"), "{failure:?}");
    }
}
