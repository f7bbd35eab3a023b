//! An engine's files at their origin: digested, pinned by a second name, and never written, renamed or unlinked
//! (ARCHITECTURE.md, D16).
//!
//! A pin keeps what the engine deletes until the manifest has dropped it. Where no link can be made (another file
//! system, a refusing one) the file is held open instead, which a restart of ours ends; `Store::paths` shows it.

use std::fmt;

use futures_util::future::join;

use crate::broken::{self, Broken};
use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::{Digest, SegmentId};
use crate::limits::DRAFTS_OF_FILE_MAX;
use crate::uring::{Errno, File, FileKind, OpenOptions};

use super::drafts::Draft;
use super::fault::{DiskError, Doing, failed, from_disk};
use super::identity::Identity;
use super::look::Folders;
use super::names::{Stem, draft_name};
use super::path::RelativePath;
use super::record::{Change, Ownership, Record};
use super::scan::identity_of;
use super::store::{Inner, Store, Want};

/// A file that is kept: open, whether past the page cache, what it is, and its second name.
pub(super) type Kept = (File, bool, Identity, Option<String>);

/// What digesting a file gives: all that registering it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digested {
    /// Its length in bytes.
    pub len: u64,
    /// The root of its tree.
    pub root: Digest,
    /// Its chunk list.
    pub chunks: VerifiedChunks,
    /// Its flat SHA-256, made in the same pass.
    pub flat: Digest,
    /// The file as it was before, during and after.
    pub identity: Identity,
}

impl Store {
    /// Digests a file below the segments' root in one pass, and keeps it from now on: from the engine's delete, until
    /// `pin` or `drop_draft`. Each digest keeps it by itself, also of a file that has several names.
    ///
    /// # Errors
    /// There is no such regular file, it changed meanwhile, or the disk refuses something.
    pub async fn digest_file(&self, path: &RelativePath) -> Result<Digested, DigestError> {
        self.digest_kept(path, self.keep(path).await?).await
    }

    /// Digests what is kept and makes it a draft.
    pub(super) async fn digest_kept(
        &self,
        path: &RelativePath,
        (file, direct, identity, name): Kept,
    ) -> Result<Digested, DigestError> {
        let hashed = self.hash_kept((&file, direct), path, identity).await;
        let (chunks, flat) = match hashed {
            Ok(hashed) => hashed,
            Err(error) => {
                self.unlink_draft(name.as_deref()).await;
                return Err(error);
            }
        };
        let (len, root) = (chunks.len(), chunks.root());
        let draft = Draft { identity, chunks: chunks.clone(), file, name };
        self.0.drafts.borrow_mut().entry((path.clone(), root)).or_default().claimed.push(draft);
        Ok(Digested { len, root, chunks, flat, identity })
    }

    /// Pins the engine's file as the segment that it was registered as: from now on it is held, whatever the engine
    /// does with its name. A file that was not digested by this process is digested now.
    ///
    /// # Errors
    /// The file has another content than the segment, or changed since it was digested; a newer segment has the path;
    /// or the disk refuses something.
    pub async fn pin(&self, want: &Want) -> Result<(), PinError> {
        let _name = self.0.names.lock(want.path.clone()).await;
        if self.is_held(want.id, want.root) {
            return Ok(());
        }
        // An attempt that failed may have made the pin already.
        let made = self.0.find_pin(want).await;
        let draft = match made {
            Ok(Some(made)) => made,
            missing => match self.0.take_draft(&want.path, want.root) {
                Some(draft) => draft,
                None => {
                    missing?;
                    self.digest_again(want).await?
                }
            },
        };
        // What has no second name goes with its file handle: the next attempt has nothing else.
        let only = draft.name.is_none().then(|| draft.clone());
        let pinned = self.pin_draft(want, draft).await;
        let key = (want.path.clone(), want.root);
        match &pinned {
            Ok(()) => {
                let parked = self.0.take_draft_by(&key, |drafts| drafts.parked.take());
                self.unlink_draft(parked.and_then(|draft| draft.name).as_deref()).await;
            }
            Err(PinError::Changed { .. } | PinError::Superseded { .. }) => {}
            Err(_) => {
                let mut drafts = self.0.drafts.borrow_mut();
                only.and_then(|only| drafts.entry(key).or_default().parked.replace(only));
            }
        }
        pinned
    }

    async fn pin_draft(&self, want: &Want, draft: Draft) -> Result<(), PinError> {
        let found = identity_of(&draft.file, want.path.as_str()).await?;
        if found != draft.identity || draft.chunks.len() != want.len {
            self.unlink_draft(draft.name.as_deref()).await;
            return Err(PinError::Changed { expected: draft.identity, found });
        }
        if let Some(by) = self.id_at(&want.path).filter(|by| *by > want.id) {
            self.unlink_draft(draft.name.as_deref()).await;
            return Err(PinError::Superseded { by });
        }
        match self.0.older_in_place(want).await? {
            Some(older) if draft.name.is_some() => self.0.land_draft(want, draft, Some(&older)).await,
            None if draft.is_taken() && self.0.is_name_free(want).await? => {
                self.0.land_draft(want, draft, None).await
            }
            Some(_) | None => self.0.settle_pin(want, draft).await,
        }
    }

    async fn digest_again(&self, want: &Want) -> Result<Draft, PinError> {
        if let Some(taken) = self.0.find_taken(want).await? {
            return Ok(taken);
        }
        let digested = match self.digest_file(&want.path).await {
            Ok(digested) => digested,
            Err(error) => match self.0.find_draft(want).await? {
                Some(draft) => return Ok(draft),
                None => return Err(PinError::Digest(error)),
            },
        };
        let draft = self.0.take_draft(&want.path, digested.root).expect("digesting has just put it there");
        if digested.root == want.root {
            return Ok(draft);
        }
        self.unlink_draft(draft.name.as_deref()).await;
        let (expected, found) = (want.root, digested.root);
        self.0.find_draft(want).await?.ok_or(PinError::OtherContent { expected, found })
    }

    /// Opens the engine's file and gives it a second name, if it can have one.
    async fn keep(&self, path: &RelativePath) -> Result<Kept, DigestError> {
        let not_found = |errno| DiskError::from_open(path, errno);
        let folder = self.0.folder_of(path).await.map_err(not_found)?;
        let stat = folder.stat_name(path.name()).await.map_err(not_found)?;
        if stat.kind != FileKind::Regular {
            return Err(DigestError::NotRegular);
        }
        let identity = Identity::from(stat);
        let pins = &self.0.folders.pins;
        let mut linked = None;
        for number in 0..DRAFTS_OF_FILE_MAX {
            let name = draft_name(&identity, number);
            if !self.0.draft_names.borrow_mut().insert(name.clone()) {
                continue; // of another digest of the same file
            }
            match folder.link(path.name(), pins, &name).await {
                Ok(()) => linked = Some(name),
                Err(Errno::EXISTS) => continue,
                Err(errno) => {
                    self.0.draft_names.borrow_mut().remove(&name);
                    if errno == Errno::NOT_FOUND {
                        return Err(not_found(errno).into());
                    }
                    self.0.links_refused.set(true);
                }
            }
            break;
        }
        let (within, at) = linked.as_deref().map_or((&folder, path.name()), |name| (pins, name));
        let opened = self.0.open_direct(within, at, identity.bytes, OpenOptions::default()).await;
        match opened {
            Ok((file, direct)) => Ok((file, direct, identity, linked)),
            Err(errno) => {
                self.unlink_draft(linked.as_deref()).await;
                Err(not_found(errno).into())
            }
        }
    }

    async fn hash_kept(
        &self,
        (file, direct): (&File, bool),
        path: &RelativePath,
        expected: Identity,
    ) -> Result<(VerifiedChunks, Digest), DigestError> {
        let unchanged = async || match identity_of(file, path.as_str()).await? {
            found if found == expected => Ok(()),
            found => Err(DigestError::Changed { expected, found }),
        };
        unchanged().await?;
        let digesting = self.0.tree_and_flat((file.clone(), direct), path.as_str(), expected.bytes);
        let (tree, flat) = digesting.await?;
        unchanged().await?;
        // What is registered outlives a power cut here, though the engine may not have synced it.
        let (content, name) = join(file.sync_data(), self.0.folders.pins_sync.sync()).await;
        content.map_err(failed(Doing::SyncData, path))?;
        name.map_err(failed(Doing::SyncFolder, "pins"))?;
        let root = tree.root;
        let chunks = ChunkList::from(tree).verify(root).expect("a tree's list hashes to its root");
        Ok((chunks, flat))
    }
}

impl Inner {
    /// The record of an older version of ours, if its file is what stands under a segment's name: it has landed over
    /// what the engine had put there. Or its intent, where a full disk has refused the record.
    async fn older_in_place(&self, want: &Want) -> Result<Option<Record>, DiskError> {
        let ours: Vec<Record> = {
            let table = self.inventory.table();
            let recorded = table.at_path(&want.path).map(|(record, _)| record);
            let known = recorded.into_iter().chain(table.intents_at(&want.path));
            known.filter(|older| older.owner == Ownership::Ours && older.id < want.id).cloned().collect()
        };
        if ours.is_empty() || broken::is(Broken::NameLeft) {
            return Ok(None);
        }
        let found = self.look_at_path(&want.path, &Folders::default()).await?;
        Ok(ours.into_iter().find(|older| found == Some(older.identity)))
    }

    /// Gives a draft the segment's name, that an older version of ours has or nothing, durably: as what has landed it
    /// is ours from now on.
    async fn land_draft(&self, want: &Want, draft: Draft, older: Option<&Record>) -> Result<(), PinError> {
        let (stem, name) = (want.stem(), draft.name.as_deref().expect("the caller has looked"));
        let (is_taken, pin) = (draft.is_taken(), stem.to_string());
        if draft.chunks.chunk_count() > 1 {
            self.write_list(stem, &draft.chunks).await?;
        }
        // The engine may delete what stands under its name: the pin stays all the same. Until it is recorded, a restart
        // finds it by that. What a checkpoint took keeps the name that says so until it has the segment's.
        if !is_taken {
            self.name_pin(stem, name).await?;
        }
        self.unlink_staged(stem).await?;
        let folder = self.make_folder(want.path.folder()).await?;
        let kept = if is_taken { name } else { &pin };
        let linked = self.folders.pins.link(kept, &self.folders.staging, &pin).await;
        linked.map_err(failed(Doing::Link, &pin))?;
        self.staged.borrow_mut().insert(stem);
        let (id, root, len, path) = (want.id, want.root, want.len, want.path.clone());
        let record = Record { id, root, len, path, identity: draft.identity, owner: Ownership::Ours };
        self.inventory.append(vec![Change::Intend(record.clone())]).await?;
        self.give_name((stem, &draft.identity), &folder, &want.path).await?;
        self.sync_folder(want.path.folder()).await?;
        self.inventory.append(vec![Change::Put(record)]).await?;
        if is_taken {
            self.name_pin(stem, name).await?;
        }
        match older {
            Some(older) => Ok(self.drop_private(older.stem()).await?),
            None => Ok(()),
        }
    }

    /// Makes a draft's second name the segment's pin, durably.
    async fn name_pin(&self, stem: Stem, name: &str) -> Result<(), DiskError> {
        let (pins, to) = (&self.folders.pins, stem.to_string());
        if *name != to {
            // The name is free but for what an earlier start has left there.
            let renamed = match pins.rename_new(name, pins, &to).await {
                Err(Errno::EXISTS | Errno::INVALID) => pins.rename(name, pins, &to).await,
                done => done,
            };
            renamed.map_err(failed(Doing::Rename, name))?;
            self.draft_names.borrow_mut().remove(name);
        }
        self.inventory.set_pin(stem, true);
        self.folders.pins_sync.sync().await.map_err(failed(Doing::SyncFolder, "pins"))
    }

    /// Makes a draft the segment's pin and records it.
    async fn settle_pin(&self, want: &Want, draft: Draft) -> Result<(), PinError> {
        let stem = want.stem();
        match &draft.name {
            Some(name) => self.name_pin(stem, name).await?,
            None => drop(self.held_open.borrow_mut().insert(want.id, draft.file.clone())),
        }
        if draft.chunks.chunk_count() > 1 {
            self.write_list(stem, &draft.chunks).await?;
        }
        let (id, root, len, path) = (want.id, want.root, want.len, want.path.clone());
        let record = Record { id, root, len, path, identity: draft.identity, owner: Ownership::Engine };
        Ok(self.inventory.append(vec![Change::Put(record)]).await?)
    }
}

impl DiskError {
    fn from_open(path: &RelativePath, errno: Errno) -> Self {
        failed(Doing::Open, path)(errno)
    }
}

/// Why a file was not digested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DigestError {
    /// It is no regular file.
    NotRegular,
    /// It changed while it was being read: it is not sealed.
    Changed {
        /// Before.
        expected: Identity,
        /// After.
        found: Identity,
    },
    /// Under the name of a checkpoint's file stands what Ringway did not bring there.
    Occupied,
    /// The disk refused something; `NOT_FOUND` if there is no such file.
    Disk(DiskError),
}

/// Why a file was not pinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PinError {
    /// It could not be digested.
    Digest(DigestError),
    /// Its content is another segment's.
    OtherContent {
        /// The segment's root.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// A newer version stands under the path already.
    Superseded {
        /// The newer one.
        by: SegmentId,
    },
    /// It changed since it was digested.
    Changed {
        /// As it was digested.
        expected: Identity,
        /// As it is.
        found: Identity,
    },
    /// The disk refused something.
    Disk(DiskError),
}

from_disk!(DigestError, PinError);

impl PinError {
    /// There is no file of this name, and none that was kept.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Digest(DigestError::Disk(error)) if error.errno == Errno::NOT_FOUND)
    }
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular => f.write_str("not a regular file"),
            Self::Changed { expected, found } => {
                write!(f, "the file changed while it was read: it was {expected}, it is {found}")
            }
            Self::Occupied => f.write_str("what stands there is not Ringway's, and is not replaced"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(error) => error.fmt(f),
            Self::OtherContent { expected, found } => {
                write!(f, "the file has root {found}, the segment {expected}")
            }
            Self::Superseded { by } => write!(f, "segment {by} has taken the path since"),
            Self::Changed { expected, found } => {
                write!(f, "the file changed since it was digested: it was {expected}, it is {found}")
            }
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DigestError {}
impl std::error::Error for PinError {}
