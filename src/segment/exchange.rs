//! Taking the place of the version before: the two files exchange their names, and what came out is looked at.
//!
//! The staged file takes part under a name of its own, which says which file is ours and which one is thought to come
//! out. So whatever a crash leaves under that name a start knows, and nothing that came out is ever taken for what we
//! have staged. What becomes of it is a table in ARCHITECTURE.md, under Landing.

use crate::uring::{Dir, Errno, FileKind};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::look_at;
use super::names::SwapName;
use super::naming::Tried;
use super::path::RelativePath;
use super::quarantine::Why;
use super::store::Inner;

impl Inner {
    /// Takes the place of the version before.
    pub(super) async fn name_instead(
        &self,
        swap: SwapName,
        folder: &Dir,
        path: &RelativePath,
    ) -> Result<Tried, DiskError> {
        let (staging, stem) = (&self.folders.staging, swap.stem());
        let (staged, name) = (stem.to_string(), swap.to_string());
        if self.rename_flags_refused.get() {
            let named = staging.rename(&staged, folder, path.name()).await;
            return self.tried(stem, path, named);
        }
        let moved = self.rename_to_free((staging, &staged), (staging, &name)).await;
        moved.map_err(failed(Doing::Rename, path))?;
        self.staged.borrow_mut().remove(&stem);
        let Err(errno) = staging.exchange(&name, folder, path.name()).await else {
            return self.look_at_exchanged(swap, folder, path).await;
        };
        self.take_back(swap).await?;
        if errno == Errno::INVALID {
            self.note_flags_refused();
            return Ok(Tried::Again(errno));
        }
        self.tried(stem, path, Err(errno))
    }

    /// Looks at what came out for the staged file: the version before goes, anything else is set aside.
    async fn look_at_exchanged(
        &self,
        swap: SwapName,
        folder: &Dir,
        path: &RelativePath,
    ) -> Result<Tried, DiskError> {
        let (staging, name) = (&self.folders.staging, swap.to_string());
        let aside = match look_at(staging, &name, &name).await {
            Ok(Some(out)) if swap.is_older(&out) => {
                if let Err(errno) = staging.unlink(&name).await {
                    tracing::warn!(%path, %errno, "the version before is left for the next start");
                }
                return Ok(Tried::Named);
            }
            Ok(_) => self.set_exchanged_aside(&name, path).await,
            Err(error) => Err(error),
        };
        let Err(error) = aside else { return Ok(Tried::Named) };
        // Both get their names back; who has come under the final name since is not replaced either.
        let back = staging.exchange(&name, folder, path.name()).await;
        let ended = self.take_back(swap).await;
        tracing::warn!(%path, ?back, ?ended, "what came under a final name could not be set aside");
        Err(error)
    }

    /// Ends an exchange that was refused or undone. Without our file its map is of no use.
    async fn take_back(&self, swap: SwapName) -> Result<(), DiskError> {
        let ended = self.end_exchange(swap).await;
        if self.staged.borrow().contains(&swap.stem()) {
            return ended;
        }
        ended.and(self.unlink_staged(swap.stem()).await)
    }

    /// Sets aside what came out from under a final name and is not what was thought to stand there. A directory is told
    /// as the kernel tells it.
    pub(super) async fn set_exchanged_aside(&self, from: &str, path: &RelativePath) -> Result<(), DiskError> {
        let staging = &self.folders.staging;
        let stat = staging.stat_name(from).await.map_err(failed(Doing::Stat, path))?;
        if stat.kind == FileKind::Directory {
            return Err(failed(Doing::Rename, path)(Errno::IS_A_DIRECTORY));
        }
        let found = Identity::from(stat);
        self.set_aside_from((staging, from), path.as_str(), &found, &Why::Unknown(found)).await
    }

    /// Ends an exchange that was refused, undone or cut off, by what stands under its name: our file is staged again,
    /// the version before goes, and anything else is set aside.
    pub(super) async fn end_exchange(&self, swap: SwapName) -> Result<(), DiskError> {
        let (staging, stem, name) = (&self.folders.staging, swap.stem(), swap.to_string());
        let stat = match staging.stat_name(&name).await {
            Ok(stat) => stat,
            Err(Errno::NOT_FOUND) => return Ok(()),
            Err(errno) => return Err(failed(Doing::Stat, &name)(errno)),
        };
        let found = Identity::from(stat);
        let is_file = stat.kind == FileKind::Regular;
        let mut is_useless = is_file && swap.is_older(&found);
        if is_file && swap.is_ours(&found) {
            match self.rename_to_free((staging, &name), (staging, &stem.to_string())).await {
                Ok(()) => {
                    self.staged.borrow_mut().insert(stem);
                    return Ok(());
                }
                Err(Errno::EXISTS) => is_useless = true, // a later attempt has begun anew
                Err(errno) => return Err(failed(Doing::Rename, &name)(errno)),
            }
        }
        if is_useless {
            return staging.unlink(&name).await.map_err(failed(Doing::Unlink, &name));
        }
        let whence = self.path_of(stem.id);
        self.set_aside_from((staging, &name), &whence, &found, &Why::Unknown(found)).await
    }
}
