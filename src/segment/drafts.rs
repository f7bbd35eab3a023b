//! Files that were digested and are kept until their segments have ids: drafts.
//!
//! Each has a second name in `pins/` where one can be made. All these names are known from the start on, as are those
//! of pins: nobody lists the folder again.

use std::collections::BTreeSet;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::Digest;
use crate::uring::{Errno, File, OpenOptions};

use super::fault::{DiskError, Doing};
use super::identity::Identity;
use super::look::{absent, look_at};
use super::names::{Stem, draft_names_of, is_draft, is_taken};
use super::path::RelativePath;
use super::scan::identity_of;
use super::store::{Inner, Store, Want};

/// A file that was digested and is kept until its segment has an id.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) identity: Identity,
    pub(super) chunks: VerifiedChunks,
    pub(super) file: File,
    /// Its second name in `pins/`; without one the open file alone keeps it.
    pub(super) name: Option<String>,
}

/// The drafts of one path and content.
#[derive(Default)]
pub(super) struct Drafts {
    /// One for each digest that somebody still answers for.
    pub(super) claimed: Vec<Draft>,
    /// One that nobody answers for and a pin may need: more of them would all be the same.
    pub(super) parked: Option<Draft>,
}

impl Draft {
    /// It is a checkpoint's file, which is ours and gets the segment's name.
    pub(super) fn is_taken(&self) -> bool {
        self.name.as_deref().is_some_and(is_taken)
    }
}

impl Drafts {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.claimed.iter().chain(&self.parked).filter_map(|draft| draft.name.as_ref())
    }
}

impl Store {
    /// Lets go of a digested file that was not registered after all; of one that was digested twice, once.
    pub async fn drop_draft(&self, path: &RelativePath, root: Digest) {
        if let Some(draft) = self.0.take_draft(path, root) {
            self.unlink_draft(draft.name.as_deref()).await;
        }
    }

    /// Keeps a digested file that may still be registered, or is and is not pinned yet, for that pin. One of a path and
    /// content is enough: with every attempt to register it there would be one more.
    pub async fn park_draft(&self, path: &RelativePath, root: Digest) {
        let one_more = {
            let mut drafts = self.0.drafts.borrow_mut();
            let Some(of_file) = drafts.get_mut(&(path.clone(), root)) else { return };
            of_file.claimed.pop().and_then(|draft| of_file.parked.replace(draft))
        };
        self.unlink_draft(one_more.and_then(|draft| draft.name).as_deref()).await;
    }

    /// Lets go of all drafts that nobody has claimed: files digested by an earlier process and not registered. To be
    /// called when nothing waits to be registered any more. Says of how many.
    pub async fn sweep_drafts(&self) -> usize {
        let unclaimed = self.0.unclaimed();
        for name in &unclaimed {
            self.unlink_draft(Some(name)).await;
        }
        unclaimed.len()
    }

    /// Removes a draft's second name; a pin stays.
    pub(super) async fn unlink_draft(&self, name: Option<&str>) {
        let Some(name) = name.filter(|name| is_draft(name)) else { return };
        match self.0.folders.pins.remove(name).await {
            Ok(()) => drop(self.0.draft_names.borrow_mut().remove(name)),
            Err(errno) => tracing::warn!(%errno, name, "a draft pin is left behind"),
        }
    }
}

impl Inner {
    /// Drafts of an earlier process.
    fn unclaimed(&self) -> Vec<String> {
        let mine: BTreeSet<String> = self.drafts.borrow().values().flat_map(Drafts::names).cloned().collect();
        self.draft_names.borrow().difference(&mine).cloned().collect()
    }

    /// One draft of a file with this content, which has no other use from now on.
    pub(super) fn take_draft(&self, path: &RelativePath, root: Digest) -> Option<Draft> {
        let key = (path.clone(), root);
        self.take_draft_by(&key, |drafts| drafts.claimed.pop().or_else(|| drafts.parked.take()))
    }

    /// Takes a draft, and of those that have none left nothing stays.
    pub(super) fn take_draft_by(
        &self,
        key: &(RelativePath, Digest),
        take: impl FnOnce(&mut Drafts) -> Option<Draft>,
    ) -> Option<Draft> {
        let mut drafts = self.drafts.borrow_mut();
        let of_file = drafts.get_mut(key)?;
        let draft = take(of_file);
        if of_file.claimed.is_empty() && of_file.parked.is_none() {
            drafts.remove(key);
        }
        draft
    }

    /// The content of a segment among the drafts of an earlier process: the engine may have deleted or replaced the
    /// file since.
    pub(super) async fn find_draft(&self, want: &Want) -> Result<Option<Draft>, DiskError> {
        let names = self.draft_names.borrow().iter().filter(|name| !is_taken(name)).cloned().collect();
        self.find_among(names, want).await
    }

    /// The content of a segment among what an earlier process had taken for a checkpoint.
    pub(super) async fn find_taken(&self, want: &Want) -> Result<Option<Draft>, DiskError> {
        let names = self.unclaimed().into_iter().filter(|name| is_taken(name)).collect();
        self.find_among(names, want).await
    }

    async fn find_among(&self, names: Vec<String>, want: &Want) -> Result<Option<Draft>, DiskError> {
        let mut unread = None;
        for name in names {
            match self.open_draft(name, want).await {
                Ok(None) => {}
                // What waits for it would wait for ever.
                Err(error) if error.errno.is_unreadable() => {
                    tracing::warn!(%error, "a draft pin cannot be read")
                }
                Err(error) => unread = Some(error),
                found => return found,
            }
        }
        // One that cannot be read just now may be the one.
        unread.map_or(Ok(None), Err)
    }

    /// A file in `pins/`, if it has a segment's content.
    async fn open_draft(&self, name: String, want: &Want) -> Result<Option<Draft>, DiskError> {
        let options = OpenOptions::default();
        let opened = match self.open_direct(&self.folders.pins, &name, want.len, options).await {
            Ok(opened) => opened,
            Err(Errno::INVALID) => return Ok(None), // no regular file
            Err(errno) => return absent(errno, Doing::Open, &name),
        };
        let identity = identity_of(&opened.0, &name).await?;
        if identity.bytes != want.len {
            return Ok(None);
        }
        let tree = self.tree(&opened, &name, want.len).await?;
        let chunks = ChunkList::from(tree).verify(want.root).ok();
        Ok(chunks.map(|chunks| Draft { identity, chunks, file: opened.0, name: Some(name) }))
    }

    /// Whether the engine has asked for this file to be taken: it is kept as a draft, or pinned and not recorded yet.
    pub(super) async fn is_proposed(&self, found: &Identity) -> Result<bool, DiskError> {
        let names: Vec<String> = {
            let (drafts, table) = (self.draft_names.borrow(), self.inventory.table());
            let of_file = draft_names_of(found);
            let drafts = drafts.iter().filter(|name| name.starts_with(&of_file)).cloned();
            let unrecorded = table.loose_pins().filter(|stem| table.known(stem.id).is_none());
            drafts.chain(unrecorded.map(Stem::to_string)).collect()
        };
        for name in names {
            if look_at(&self.folders.pins, &name, &name).await?.as_ref() == Some(found) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The pin of a segment that an earlier process had made and not recorded: the only copy, if the engine has made
    /// something else of the name since.
    pub(super) async fn find_pin(&self, want: &Want) -> Result<Option<Draft>, DiskError> {
        let stem = want.stem();
        if !self.inventory.is_pinned(&stem) {
            return Ok(None);
        }
        self.open_draft(stem.to_string(), want).await
    }
}
