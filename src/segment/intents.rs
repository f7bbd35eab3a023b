//! Landings that ended between the rename and the record: finished when the store is opened.
//!
//! Before a staged file gets its final name the inventory holds an intent: the record as it will be. A file under
//! that name that is the intent's own was renamed there by us, and renamed only after its content was durable; so what
//! is left to do is the end of the recipe. An intent whose file does not stand there came to nothing.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use crate::ids::SegmentId;
use crate::limits::STORE_OPERATIONS_MAX;
use crate::uring::{Core, Priority};

use super::adopt::Hashed;
use super::fault::DiskError;
use super::look::Folders;
use super::path::RelativePath;
use super::quarantine::{Gone, Why};
use super::record::{Change, Record};
use super::store::{Inner, Store, Want};

impl Store {
    /// Segments whose landing has failed after it had announced its file: it may stand under its name without being
    /// held. Those that are not wanted any more are to be removed.
    #[must_use]
    pub fn unfinished(&self) -> Vec<SegmentId> {
        let mut ids: Vec<SegmentId> = self.0.inventory.table().intents().map(|intent| intent.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Records what an earlier attempt has landed durably and could not record, for want of room: says whether the
    /// segment is held by that. Nothing of it needs to be fetched again. Goes on to its end when the caller gives up.
    ///
    /// # Errors
    /// The disk refuses it still.
    pub async fn end_landing(&self, want: &Want) -> Result<bool, DiskError> {
        if !self.0.unrecorded.borrow().contains_key(&want.id) {
            return Ok(false);
        }
        // A removal waits for the claim, as it does for a landing.
        let Some(claim) = self.0.claims.try_lock(&want.id) else { return Ok(false) };
        let (store, wanted) = (self.clone(), want.clone());
        let ended = Core::current().spawn(Priority::Bulk, async move {
            let _claim = claim;
            store.0.record_landed(&wanted).await
        });
        ended.await.unwrap_or(Ok(()))?;
        Ok(self.is_held(want.id, want.root))
    }
}

impl Inner {
    /// Records a landing that has all but its record, if its file still stands there and nothing newer does.
    async fn record_landed(&self, want: &Want) -> Result<(), DiskError> {
        let _name = self.names.lock(want.path.clone()).await;
        let Some(record) = self.unrecorded.borrow().get(&want.id).cloned() else { return Ok(()) };
        let older = self.inventory.table().at_path(&want.path).map(|(older, _)| older.stem());
        let is_newest = older.is_none_or(|older| older.id < want.id);
        let is_wanted = (record.root, &record.path) == (want.root, &want.path);
        let found = self.look_at_path(&want.path, &Folders::default()).await?;
        if is_newest && is_wanted && found == Some(record.identity) {
            self.inventory.append(vec![Change::Put(record)]).await?;
            self.tidy_one(want.stem(), true, older).await;
        }
        self.unrecorded.borrow_mut().remove(&want.id);
        Ok(())
    }

    /// Ends the landings that the process before left unended. Where the disk refuses it they stay as they are.
    pub(super) async fn settle_intents(&self) -> Result<(), DiskError> {
        let intents: Vec<Record> = self.inventory.table().intents().cloned().collect();
        if intents.is_empty() {
            return Ok(());
        }
        let folders = Folders::default();
        let looks = stream::iter(intents.clone()).map(|intent| self.landed_by(intent, &folders));
        let found: Vec<_> = looks.buffered(STORE_OPERATIONS_MAX).collect().await;
        let mut landed: Vec<Record> = Vec::new();
        for record in found {
            landed.extend(record?);
        }
        if let Err(error) = self.end_landings(&intents, &landed).await {
            tracing::warn!(%error, "landings that were cut off could not be ended yet");
        }
        Ok(())
    }

    /// Makes durable what stands under the names of all intents, and what does not, before their word goes.
    async fn end_landings(&self, intents: &[Record], landed: &[Record]) -> Result<(), DiskError> {
        let folders: BTreeMap<&str, &RelativePath> =
            intents.iter().map(|intent| (intent.path.folder(), &intent.path)).collect();
        for path in folders.into_values() {
            self.keep_name(path).await?;
        }
        self.inventory.settle(landed).await
    }

    /// The record of what an intent has brought under its name; `None` if that is not what stands there.
    async fn landed_by(&self, intent: Record, folders: &Folders) -> Result<Option<Record>, DiskError> {
        let Some(found) = self.look_at_path(&intent.path, folders).await? else { return Ok(None) };
        if found == intent.identity {
            return Ok(Some(intent));
        }
        if (found.inode, found.bytes) != (intent.identity.inode, intent.identity.bytes) {
            return Ok(None);
        }
        // A power cut may take back a time, and a start may number devices anew: the content tells.
        let path = intent.path.clone();
        Ok(match self.hash_file(None, Some(&intent), &path).await? {
            Hashed::Recorded(identity) => Some(Record { identity, ..intent }),
            Hashed::Wanted(..) | Hashed::Neither(..) | Hashed::Gone => None,
        })
    }

    /// Removes what a landing that failed has left under a segment's name.
    pub(super) async fn take_unfinished(&self, id: SegmentId, why: Option<&Why>) -> Result<Gone, DiskError> {
        let of_id = |intent: &&Record| intent.id == id;
        let intents: Vec<Record> = self.inventory.table().intents().filter(of_id).cloned().collect();
        let mut gone = Gone::Unknown;
        for intent in intents {
            let _name = self.names.lock(intent.path.clone()).await;
            if !self.inventory.table().intents_at(&intent.path).contains(&intent) {
                continue; // it has landed while we waited for its name
            }
            match self.landed_by(intent.clone(), &Folders::default()).await? {
                Some(record) => gone = self.take_file(&record, why).await?,
                None => self.keep_name(&intent.path).await?,
            }
            self.forget(&intent).await?;
        }
        Ok(gone)
    }
}
