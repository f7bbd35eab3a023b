//! A directory in which no file stands, under a name that a segment gets: it gives way.
//!
//! A path can be a file today and a folder tomorrow. What was removed of `a/b` leaves `a` behind, and no manifest knows
//! of folders; so a folder that holds nothing but folders is nobody's content. Anything else in it keeps it.

use crate::limits::HOLLOW_FOLDERS_MAX;
use crate::uring::{Dir, Errno};

use super::fault::{DiskError, Doing, failed};
use super::path::RelativePath;
use super::store::Inner;

impl Inner {
    /// Removes the directory under a segment's name, if no file stands in it, nor below.
    pub(super) async fn remove_hollow(&self, folder: &Dir, path: &RelativePath) -> Result<(), DiskError> {
        // Whatever becomes of it, no folder there is known to be durable any more.
        self.forget_durable(path.as_str());
        let folders = hollow(folder, path.name()).await.map_err(failed(Doing::Rename, path))?;
        for (above, name) in folders.into_iter().rev() {
            match above.remove_dir(&name).await {
                Ok(()) | Err(Errno::NOT_FOUND) => {}
                Err(errno) => return Err(failed(Doing::Rename, path)(errno)),
            }
        }
        Ok(())
    }
}

/// The directory and those below it, each behind the one that it stands in.
async fn hollow(folder: &Dir, name: &str) -> Result<Vec<(Dir, String)>, Errno> {
    let mut found = vec![(folder.clone(), name.to_owned())];
    let mut next = 0;
    while let Some((above, name)) = found.get(next).cloned() {
        let dir = above.open_dir(&name).await?;
        for name in dir.list().await? {
            let text = String::from_utf8(name.bytes)
                .ok()
                .filter(|_| name.is_dir && found.len() < HOLLOW_FOLDERS_MAX);
            found.push((dir.clone(), text.ok_or(Errno::IS_A_DIRECTORY)?));
        }
        next += 1;
    }
    Ok(found)
}
