//! What this room's tests share: a core on the kernel's ring, and a directory that goes away.

use std::future::Future;

use openraft_rt::AsyncRuntime;

use crate::uring::Dir;

use super::runtime::CoreRuntime;

pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for tests")
}

pub(super) async fn open(folder: &tempfile::TempDir) -> Dir {
    Dir::open_root(folder.path().to_str().expect("a plain path")).await.expect("it exists")
}

/// Runs a test on a core of its own.
pub(super) fn on_core<T>(test: impl Future<Output = T>) -> T {
    CoreRuntime::run(test)
}
