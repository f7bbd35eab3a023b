//! A snapshot that comes from the leader in pieces. Pieces come in order; each is written where it belongs, and the
//! whole is checked when it is taken in.

use crate::limits::SNAPSHOT_PIECE_BYTES_MAX;
use crate::raft::types::Point;
use crate::uring::{Buffer, Dir, File, Gate, OpenOptions};

use super::error::SnapshotFault;
use super::write::discard;

/// What a file is named while it comes.
pub(in crate::raft) const INCOMING: &str = "snapshot.incoming";

/// A snapshot on its way in.
#[derive(Debug)]
pub struct Incoming {
    point: Point,
    bytes: u64,
    received: u64,
    file: File,
}

impl Incoming {
    /// Begins one of `bytes`; what an earlier one left is gone.
    pub(in crate::raft) async fn begin(dir: &Dir, point: Point, bytes: u64) -> Result<Self, SnapshotFault> {
        let failed = |doing| move |errno| SnapshotFault::Disk { doing, file: INCOMING.to_owned(), errno };
        discard(dir, INCOMING).await.map_err(failed("discard"))?;
        let options = OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
        let file = dir.open(INCOMING, options).await.map_err(failed("make"))?;
        Ok(Self { point, bytes, received: 0, file })
    }

    /// Whether it is of this entry and of so many bytes.
    pub(in crate::raft) fn is_of(&self, point: Point, bytes: u64) -> bool {
        (self.point, self.bytes) == (point, bytes)
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
        let fits = piece.len() <= SNAPSHOT_PIECE_BYTES_MAX && offset + piece.len() as u64 <= self.bytes;
        if offset != self.received || !fits {
            return Err(SnapshotFault::Order { due: self.received, found: offset });
        }
        let permit = match gate {
            Some(gate) => Some(gate.bulk(piece.len()).await),
            None => None,
        };
        let done = self.file.write_at(Buffer::from_bytes(piece), 0..piece.len(), offset).await.0;
        drop(permit);
        done.map_err(|errno| SnapshotFault::Disk { doing: "write", file: INCOMING.to_owned(), errno })?;
        self.received += piece.len() as u64;
        Ok(())
    }

    /// The file, when all of it has come.
    pub(in crate::raft) fn finish(self) -> Result<File, SnapshotFault> {
        if self.received != self.bytes {
            return Err(SnapshotFault::Order { due: self.bytes, found: self.received });
        }
        Ok(self.file)
    }
}
