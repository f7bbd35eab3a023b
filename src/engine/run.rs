//! Running `serve`, `pull`, `rejoin` and `doctor` on the calling thread, a pull with others beside it, until the work
//! is done or somebody says stop.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use crate::auth::{Secret, SecretSet};
use crate::config::NodeConfig;
use crate::ids::GroupId;

use super::adopt::{AdoptError, Adopted, adopt_root};
use super::boot::boot_id;
use super::doctor::{Check, DoctorError, Standing, examine};
use super::drive::{core, drive, until_done};
use super::fallback;
use super::point;
use super::pull::{self};
use super::pull_cores::PullCores;
use super::pull_parts::{PullError, PullOptions, PullProgress, PullReport};
use super::rejoin::{RejoinError, Rejoining, set_aside};
use super::scan::{DigestProgress, digest_directory};
use super::serve::{self, ServeError};
use super::stopped::RootError;

/// A directory to serve, and where.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The directory.
    pub dir: PathBuf,
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The file in which digests are kept between starts, outside the directory, where nobody else may write; none
    /// are kept without it.
    pub cache: Option<PathBuf>,
}

/// Digests a directory, then serves it until `stop` is set. `ready` hears the address, its port known.
///
/// # Errors
/// Why nothing is served.
pub fn serve(
    options: &ServeOptions,
    secret: &str,
    stop: &AtomicBool,
    tell: &(dyn Fn(DigestProgress) + Sync),
    ready: impl FnOnce(SocketAddr) + 'static,
) -> Result<(), ServeError> {
    let secrets = secrets(secret).map_err(|why| ServeError::Secret { why })?;
    // Before an hour of digesting, not behind it.
    let core = core().map_err(|error| ServeError::Ring { why: error.to_string() })?;
    fallback::tell(&core.probe(), 0, Some(point::CONGESTION));
    let Some(digested) = digest_directory(&options.dir, options.cache.as_deref(), stop, tell)? else {
        return Ok(());
    };
    drive(&core, serve::run(digested, options.listen, secrets, ready), stop).unwrap_or(Ok(()))
}

/// Pulls a served directory.
///
/// # Errors
/// Why it did not reach its end; what came is kept for the next pull.
pub fn pull(
    options: PullOptions,
    secret: &str,
    stop: &AtomicBool,
    tell: impl Fn(PullProgress) + 'static,
) -> Result<PullReport, PullError> {
    let secrets = secrets(secret).map_err(|why| PullError::Secret { why })?;
    let dest =
        |error: std::io::Error| PullError::Dest { why: format!("{}: {error}", options.dest.display()) };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&options.dest).map_err(dest)?;
    let absolute = fs::canonicalize(&options.dest).map_err(dest)?;
    let options = PullOptions { dest: absolute, ..options };
    let core = core().map_err(|error| PullError::Ring { why: error.to_string() })?;
    fallback::tell(&core.probe(), 0, Some(point::CONGESTION));
    let others = Rc::new(PullCores::new(options.cores, secrets.clone()));
    let pulling = pull::run(options, secrets, (boot_id(), Rc::clone(&others)), Rc::new(tell));
    let done = until_done(&core, pulling, stop);
    // Nobody writes any more when the store lets another pull in.
    others.end();
    core.shut_down();
    done.unwrap_or(Err(PullError::Interrupted))
}

/// Sets the named groups of a stopped node aside, or if none is named those that are damaged: its next start brings it
/// back to the cluster in another life, and its peers give it the groups again.
///
/// # Errors
/// `RejoinError`; nothing was set aside then, but for a disk that refuses in the midst of it.
pub fn rejoin(config: NodeConfig, groups: Vec<GroupId>) -> Result<Rejoining, RejoinError> {
    let core = core().map_err(RootError::ring)?;
    let never = AtomicBool::new(false);
    let done = drive(&core, async move { set_aside(&config, &groups).await }, &never);
    done.expect("nobody says stop, so it was driven to its end")
}

/// Makes a copied root, on which no node runs, that of the node that `config` names. Its segments count as soon as they
/// were read and digested again; only what was committed since comes from the peers. The node is no member before it
/// is added, or comes back in its new life if it was one.
///
/// # Errors
/// `AdoptError`; the root is refused as before then.
pub fn adopt(config: NodeConfig) -> Result<Adopted, AdoptError> {
    let core = core().map_err(RootError::ring)?;
    let never = AtomicBool::new(false);
    let done = drive(&core, async move { adopt_root(&config).await }, &never);
    done.expect("nobody says stop, so it was driven to its end")
}

/// Looks at what this host can do for a node: its kernel, its limits, the file system of `dir`, where a file of 64 MiB
/// is written and removed again, its processor and its network. Takes well under a second on a disk that is not slow.
///
/// # Errors
/// No file can be made in `dir`. That no ring can be made is a check that stands badly.
pub fn doctor(dir: &Path) -> Result<Vec<Check>, DoctorError> {
    let core = match core() {
        Ok(core) => core,
        Err(error) => return Ok(vec![Check::new("io_uring", Standing::Bad, error.to_string())]),
    };
    let failed = |error: std::io::Error| DoctorError { dir: dir.to_owned(), errno: error.into() };
    let dir = fs::canonicalize(dir).map_err(failed)?;
    let never = AtomicBool::new(false);
    drive(&core, examine(dir), &never).expect("nobody says stop, so it was driven to its end")
}

fn secrets(text: &str) -> Result<SecretSet, String> {
    let secret = Secret::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(SecretSet::new(secret, None))
}
