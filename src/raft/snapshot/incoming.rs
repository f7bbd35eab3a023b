//! A snapshot that comes from the leader in pieces. Pieces come in order; each is written where it belongs, and the
//! whole is checked when it is taken in.
//!
//! Each has a file of its own: what is checked under a name is what is renamed from it, whatever else comes meanwhile.

use std::rc::Rc;

use crate::ids::NodeId;
use crate::limits::SNAPSHOT_PIECE_BYTES_MAX;
use crate::raft::types::Point;
use crate::uring::{Buffer, Dir, File, Gate, OpenOptions};

use super::error::SnapshotFault;

/// What the one incoming file of earlier builds was named.
const EARLIER: &str = "snapshot.incoming";
const PREFIX: &str = "incoming-";

/// A file's name while it comes; no two of one opening of the group have the same number.
fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// Whether a file is what a snapshot on its way in has left: opening discards it.
pub(super) fn is_left_over(name: &[u8]) -> bool {
    name == EARLIER.as_bytes() || name.starts_with(PREFIX.as_bytes())
}

/// A snapshot on its way in.
#[derive(Debug)]
pub struct Incoming {
    from: NodeId,
    point: Point,
    bytes: u64,
    received: u64,
    file: File,
    name: Rc<str>,
}

impl Incoming {
    /// Begins one of `bytes` from a member, under a name that nothing else has had since the group was opened.
    pub(in crate::raft) async fn begin(
        dir: &Dir,
        number: u64,
        from: NodeId,
        (point, bytes): (Point, u64),
    ) -> Result<Self, SnapshotFault> {
        let name: Rc<str> = name(number).into();
        let options = OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
        let file = dir.open(&name, options).await;
        let file =
            file.map_err(|errno| SnapshotFault::Disk { doing: "make", file: (*name).into(), errno })?;
        file.close_aside();
        Ok(Self { from, point, bytes, received: 0, file, name })
    }

    /// The member that sends it.
    pub(in crate::raft) fn from(&self) -> NodeId {
        self.from
    }

    /// Lets go of what has come so far.
    pub(in crate::raft) async fn give_up(self, dir: &Dir) {
        give_up(dir, &self.name).await;
    }

    /// Whether it is from this member, of this entry and of so many bytes.
    pub(in crate::raft) fn is_of(&self, from: NodeId, point: Point, bytes: u64) -> bool {
        (self.from, self.point, self.bytes) == (from, point, bytes)
    }

    /// The entry that it is of.
    pub(in crate::raft) fn point(&self) -> Point {
        self.point
    }

    /// Where the next piece begins.
    pub(in crate::raft) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the piece at `offset` in.
    pub(in crate::raft) async fn piece(
        &mut self,
        gate: Option<&Gate>,
        offset: u64,
        piece: &[u8],
    ) -> Result<(), SnapshotFault> {
        let end = offset.checked_add(piece.len() as u64);
        let fits = piece.len() <= SNAPSHOT_PIECE_BYTES_MAX && end.is_some_and(|end| end <= self.bytes);
        if offset != self.received || !fits {
            return Err(SnapshotFault::Order { due: self.received, found: offset });
        }
        let permit = match gate {
            Some(gate) => Some(gate.bulk(piece.len()).await),
            None => None,
        };
        let done = self.file.write_at(Buffer::from_bytes(piece), 0..piece.len(), offset).await.0;
        drop(permit);
        done.map_err(|errno| SnapshotFault::Disk { doing: "write", file: (*self.name).into(), errno })?;
        self.received += piece.len() as u64;
        Ok(())
    }

    /// Whether all of it has come.
    pub(in crate::raft) fn check_whole(&self) -> Result<(), SnapshotFault> {
        if self.received != self.bytes {
            return Err(SnapshotFault::Order { due: self.bytes, found: self.received });
        }
        Ok(())
    }

    /// The file, and its name until it has its own.
    pub(in crate::raft) fn file(&self) -> (File, Rc<str>) {
        (self.file.clone(), Rc::clone(&self.name))
    }
}

/// Removes a file that came in and is not taken. One that stays goes when the group is opened next.
pub(in crate::raft) async fn give_up(dir: &Dir, name: &str) {
    if let Err(errno) = dir.remove(name).await {
        tracing::warn!(file = name, %errno, "what came of a snapshot stays until the next start");
    }
}
