//! The beginning of a landing: a fresh staging file, or the one that an earlier attempt left.
//!
//! What an earlier attempt checkpointed in this boot is believed as long as the file has not changed since; all else
//! that lies in it is hashed where it lies. So nothing is fetched twice, and nothing is believed that a power cut may
//! have taken back.

use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::digest::{VerifiedChunks, chunk_offset, sidecar_decode, sidecar_encode};
use crate::ids::SegmentId;
use crate::limits::{CHUNK_BYTES, IO_ALIGNMENT, LANDINGS_MAX};
use crate::uring::{Buffer, Core, Errno, File, OpenOptions, Priority, yield_now};

use super::bitmap::{Bits, map_decode};
use super::bytes::{read_all, write_file};
use super::fault::{DiskError, Doing, failed};
use super::hooks::Edge;
use super::landing::Step;
use super::locks::Locked;
use super::names::Stem;
use super::staged::Staging;
use super::staging::Landing;
use super::staging_error::BeginError;
use super::store::{Inner, Store, Want};

impl Store {
    /// Begins to stage a segment, or goes on from what is staged of this version.
    ///
    /// # Errors
    /// It is held, maybe only since this was asked, is being landed, or was superseded; the list is another segment's;
    /// the disk refuses something.
    pub async fn begin(&self, want: Want, chunks: VerifiedChunks) -> Result<Landing, BeginError> {
        if (chunks.root(), chunks.len()) != (want.root, want.len) {
            return Err(BeginError::OtherSegment {
                expected: want.root,
                found: chunks.root(),
                expected_len: want.len,
                found_len: chunks.len(),
            });
        }
        if self.is_held(want.id, want.root) || self.end_landing(&want).await? {
            return Err(BeginError::Held);
        }
        let known = self.0.inventory.table().at_path(&want.path).map(|(record, _)| record.id);
        if let Some(by) = known.filter(|known| *known > want.id) {
            return Err(BeginError::Superseded { by });
        }
        if self.0.claims.len() >= LANDINGS_MAX {
            return Err(BeginError::TooMany { limit: LANDINGS_MAX });
        }
        let claim = self.0.claims.try_lock(&want.id).ok_or(BeginError::Busy)?;
        let stem = want.stem();
        self.discard_others(stem).await?;
        let is_staged = self.0.staged.borrow().contains(&stem);
        if !is_staged {
            self.0.hooks.reach(Step::Staged, Edge::Before).await;
        }
        let (opened, claim) = match is_staged {
            true => (self.0.open_staged(&want).await.map_err(BeginError::from), claim),
            false => self.create_staged(&want, claim).await?,
        };
        let staging = Rc::new(Staging::new(Rc::clone(&self.0), want, chunks, opened?, claim));
        staging.take_room().await?;
        if is_staged {
            staging.is_resumed.set(true);
            if !broken::is(Broken::ProgressForgotten) {
                staging.resume().await?;
            }
        } else {
            staging.is_exact.set(staging.will_be_exact());
            self.0.hooks.reach(Step::Staged, Edge::After).await;
        }
        staging.progressed();
        self.0.landings.borrow_mut().insert(stem.id, Rc::downgrade(&staging));
        Ok(Landing(staging))
    }

    /// Makes the staging file. That goes on to its end with the claim, even if the caller gives up: whoever removes
    /// what is staged waits for it and finds the file.
    async fn create_staged(
        &self,
        want: &Want,
        claim: Locked<SegmentId>,
    ) -> Result<(Result<(File, bool), BeginError>, Locked<SegmentId>), BeginError> {
        let (inner, theirs) = (Rc::clone(&self.0), want.clone());
        let created = Core::current().spawn(Priority::Bulk, async move {
            let created = inner.create_staged(&theirs).await;
            // What could not be made may stand there all the same: then the next attempt removes it.
            inner.staged.borrow_mut().insert(theirs.stem());
            (created, claim)
        });
        let canceled = || failed(Doing::Create, &want.path)(Errno::CANCELED).into();
        created.await.ok_or_else(canceled)
    }

    /// The chunk list that was kept with a staged version, so that a restart need not ask for it again. `None` if
    /// there is none that is sound.
    pub async fn staged_chunks(&self, want: &Want) -> Option<VerifiedChunks> {
        self.0.read_list(want.stem()).await
    }

    /// Removes what is staged of a segment that the manifest has dropped, when a landing that has begun has ended.
    /// Nobody begins again before the claim is dropped.
    pub(super) async fn give_up(&self, id: SegmentId) -> Result<Locked<SegmentId>, DiskError> {
        let claim = self.0.claims.lock(id).await;
        let stems: Vec<Stem> = self.0.staged.borrow().range(Stem::all_of(id)).copied().collect();
        for stem in stems.into_iter().filter(|_| !broken::is(Broken::GoneStaysStaged)) {
            self.0.unlink_staged(stem).await?;
        }
        Ok(claim)
    }

    /// Removes what is staged of a segment that is not wanted any more; what is being landed stays.
    ///
    /// # Errors
    /// The disk refuses it.
    pub async fn discard_staged(&self, id: SegmentId) -> Result<(), DiskError> {
        let Some(_claim) = self.0.claims.try_lock(&id) else { return Ok(()) };
        let stems: Vec<Stem> = self.0.staged.borrow().range(Stem::all_of(id)).copied().collect();
        for stem in stems {
            self.0.unlink_staged(stem).await?;
        }
        Ok(())
    }

    /// Removes what is staged of the same segment and cannot be gone on from: another root, a failed fsync, or a file
    /// that has a second name, which may be a final one.
    async fn discard_others(&self, stem: Stem) -> Result<(), DiskError> {
        let staged: Vec<Stem> = self.0.staged.borrow().range(Stem::all_of(stem.id)).copied().collect();
        for other in staged {
            let mut is_useless = other != stem || self.0.distrusted.borrow().contains(&other);
            if !is_useless {
                let stat = self.0.folders.staging.stat_name(&other.to_string()).await;
                is_useless = stat.map_or(true, |stat| stat.links > 1);
            }
            if is_useless {
                self.0.unlink_staged(other).await?;
            }
        }
        Ok(())
    }
}

impl Inner {
    async fn open_staged(&self, want: &Want) -> Result<(File, bool), DiskError> {
        let name = want.stem().to_string();
        let options = OpenOptions { write: true, ..OpenOptions::default() };
        let opened = self.open_direct(&self.folders.staging, &name, want.len, options).await;
        opened.map_err(failed(Doing::Open, &want.path))
    }

    /// A fresh staging file; says whether it is past the page cache. A small one has its room then: it is written in
    /// one piece, and would be so by the ring's workers without.
    async fn create_staged(&self, want: &Want) -> Result<(File, bool), BeginError> {
        let (name, folder, len) = (want.stem().to_string(), &self.folders.staging, want.len);
        let room = if len <= CHUNK_BYTES as u64 { len.next_multiple_of(IO_ALIGNMENT as u64) } else { 0 };
        let refused = |errno: Errno| match errno.is_disk_full() {
            true => BeginError::DiskFull { needed: len },
            false => failed(Doing::Create, &want.path)(errno).into(),
        };
        if self.goes_direct(len) {
            match folder.create(&name, true, room).await {
                Err(Errno::INVALID) => self.note_direct_refused(),
                created => return created.map(|file| (file, true)).map_err(refused),
            }
        }
        folder.create(&name, false, 0).await.map(|file| (file, false)).map_err(refused)
    }

    /// Removes the data and the map of a staged version.
    pub(super) async fn unlink_staged(&self, stem: Stem) -> Result<(), DiskError> {
        for name in [stem.map(), stem.to_string()] {
            self.folders.staging.remove(&name).await.map_err(failed(Doing::Unlink, &name))?;
        }
        self.staged.borrow_mut().remove(&stem);
        self.distrusted.borrow_mut().remove(&stem);
        if self.inventory.table().known(stem.id).is_none() {
            self.unlink_list(stem).await?;
        }
        Ok(())
    }

    /// Makes a chunk list durable, but for its name.
    pub(super) async fn write_list(&self, stem: Stem, chunks: &VerifiedChunks) -> Result<(), DiskError> {
        write_file(&self.folders.digests, &stem.to_string(), &sidecar_encode(chunks)).await.map(drop)
    }

    /// The chunk list of a version if its sidecar is there and sound.
    pub(super) async fn read_list(&self, stem: Stem) -> Option<VerifiedChunks> {
        let name = stem.to_string();
        let file = self.folders.digests.open(&name, OpenOptions::default()).await.ok()?;
        let bytes = read_all(&file, &name).await.ok()?;
        sidecar_decode(&bytes, stem.root).ok()
    }

    /// Removes the chunk list of a version.
    pub(super) async fn unlink_list(&self, stem: Stem) -> Result<(), DiskError> {
        self.folders.digests.remove(&stem.to_string()).await.map_err(failed(Doing::Unlink, stem))
    }
}

impl Staging {
    /// Allocates what the file still lacks. A small one is written in one piece, and has or takes its room by itself.
    async fn take_room(&self) -> Result<(), BeginError> {
        let len = self.want.len;
        if len <= CHUNK_BYTES as u64 {
            return Ok(());
        }
        let room = len.next_multiple_of(IO_ALIGNMENT as u64);
        let before = self.file.stat().await.map_err(failed(Doing::Stat, &self.want.path))?.bytes;
        if before >= len {
            return Ok(());
        }
        match self.file.take_room(room, before).await {
            Ok(()) | Err(Errno::NOT_SUPPORTED) => Ok(()),
            Err(errno) if errno.is_disk_full() => Err(BeginError::DiskFull { needed: len }),
            Err(errno) => Err(failed(Doing::Allocate, &self.want.path)(errno).into()),
        }
    }

    /// Finds the chunks that an earlier attempt left.
    async fn resume(&self) -> Result<(), DiskError> {
        let stat = self.file.stat().await.map_err(failed(Doing::Stat, &self.want.path))?;
        let count = self.chunks.chunk_count();
        let believed = self.read_map(count).await.unwrap_or_else(|| Bits::none(count));
        let mut buffer = Buffer::heap(CHUNK_BYTES);
        for index in 0..count {
            let end = chunk_offset(index) + self.chunk_len(index);
            if believed.contains(index) && end <= stat.bytes {
                self.state.borrow_mut().written.insert(index);
                continue;
            }
            if end > stat.bytes {
                break;
            }
            let (result, back) = self.read(index, buffer).await;
            buffer = back;
            if result.is_ok() {
                self.hash_in_place(index, &buffer); // what cannot be read is fetched again
            }
            yield_now().await;
        }
        let mut state = self.state.borrow_mut();
        state.kept = (state.written == believed).then(|| believed.len());
        Ok(())
    }

    fn chunk_len(&self, index: u32) -> u64 {
        self.chunks.chunk_bytes(index).expect("the index is below the count") as u64
    }

    fn hash_in_place(&self, index: u32, buffer: &Buffer) {
        if self.chunks.check(self.store.options.kernel, index, buffer.filled()).is_ok() {
            self.state.borrow_mut().written.insert(index);
        }
    }

    async fn read_map(&self, count: u32) -> Option<Bits> {
        let name = self.want.stem().map();
        let options = OpenOptions { write: true, ..OpenOptions::default() };
        let file = self.store.folders.staging.open(&name, options).await.ok()?;
        let bytes = read_all(&file, &name).await.ok()?;
        let bits = map_decode(&bytes, &self.map_head().await.ok()?, count)?;
        self.set_map(file);
        Some(bits)
    }
}
