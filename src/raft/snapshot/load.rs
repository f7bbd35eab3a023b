//! Taking a snapshot in: from its file into a state, every part checked; and finding the one to begin with.

use std::rc::Rc;

use crate::ids::GroupId;
use crate::limits::ENTRY_BYTES_MAX;
use crate::raft::log::record::{HEADER_BYTES, Kind, Record, record_bytes};
use crate::raft::machine::Machine;
use crate::uring::{Buffer, Dir, Errno, File, OpenOptions};

use super::error::SnapshotFault;
use super::format::{SnapshotHead, read_head, stamp};
use super::incoming::is_left_over;
use super::write::{NEW, SnapshotFile};

/// A state, and the snapshot that it came from.
#[derive(Debug)]
pub struct Loaded<M> {
    pub(in crate::raft) machine: M,
    pub(in crate::raft) file: SnapshotFile,
}

/// The index in a snapshot file's name; nothing for a name of something else.
pub(super) fn number(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name).ok()?;
    let digits = text.strip_prefix("snapshot-")?.strip_suffix(".ring")?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

/// Loads the latest snapshot in `dir`, if there is one, and discards what was left half done.
pub(in crate::raft) async fn latest<M: Machine>(
    dir: &Dir,
    group: GroupId,
) -> Result<Option<Loaded<M>>, SnapshotFault> {
    let names = dir.list().await;
    let names = names.map_err(|errno| SnapshotFault::Disk { doing: "list", file: String::new(), errno })?;
    let is_left = |name: &[u8]| name == NEW.as_bytes() || is_left_over(name);
    let left = names.iter().filter(|name| is_left(&name.bytes));
    for left in left.filter_map(|name| std::str::from_utf8(&name.bytes).ok()) {
        let failed = |errno| SnapshotFault::Disk { doing: "discard", file: left.to_owned(), errno };
        dir.remove(left).await.map_err(failed)?;
    }
    let latest = names.iter().filter(|name| number(&name.bytes).is_some()).max();
    let Some(name) = latest.and_then(|name| std::str::from_utf8(&name.bytes).ok()) else { return Ok(None) };
    let file = dir.open(name, OpenOptions::default()).await;
    let file = file.map_err(|errno| SnapshotFault::Disk { doing: "open", file: name.to_owned(), errno })?;
    file.close_aside();
    let loaded = load::<M>(file, group, name, None).await?;
    Ok(Some(loaded))
}

/// Reads a whole snapshot file into a state; `unsettled` is its name if that is not its own yet.
pub(in crate::raft) async fn load<M: Machine>(
    file: File,
    group: GroupId,
    name: &str,
    unsettled: Option<Rc<str>>,
) -> Result<Loaded<M>, SnapshotFault> {
    let stat = file.stat().await;
    let bytes =
        stat.map_err(|errno| SnapshotFault::Disk { doing: "look at", file: name.to_owned(), errno })?.bytes;
    let mut parts = Parts { file: &file, name, offset: 0, bytes };
    let first = parts.next().await?;
    let first = first.record(group).map_err(|what| parts.damaged(what))?;
    if first.kind != Kind::SnapshotHead {
        return Err(parts.damaged("it does not begin with a head"));
    }
    let head: SnapshotHead = read_head(&first).map_err(|error| parts.damaged(error.to_string()))?;
    let mut incoming = M::incoming();
    let mut count = 0;
    loop {
        let next = parts.next().await?;
        let record = next.record(group).map_err(|what| parts.damaged(what))?;
        let due = record.index.0 == count;
        if due && record.kind == Kind::SnapshotEnd {
            break;
        }
        if !due || record.kind != Kind::SnapshotPart {
            return Err(parts.damaged(format!("part {count} was due")));
        }
        let pushed = M::push_part(incoming, record.payload);
        incoming = pushed.map_err(|error| parts.damaged(error.to_string()))?;
        count += 1;
    }
    if parts.offset != bytes {
        return Err(parts.damaged("bytes follow its end"));
    }
    let machine = M::finish(incoming).map_err(|error| parts.damaged(error.to_string()))?;
    if machine.applied() != head.point.index {
        return Err(parts.damaged(format!("its state is of entry {}", machine.applied())));
    }
    Ok(Loaded { machine, file: SnapshotFile { head, file, bytes, unsettled } })
}

/// The records of a file, one after the other.
struct Parts<'a> {
    file: &'a File,
    name: &'a str,
    offset: u64,
    bytes: u64,
}

/// One record's bytes.
struct Bytes {
    buffer: Buffer,
    length: usize,
}

impl Bytes {
    fn record(&self, group: GroupId) -> Result<Record<'_>, String> {
        let record = Record::decode(&self.buffer.memory()[..self.length], stamp(group));
        record.map_err(|fault| crate::raft::log::Fault::Record(fault).to_string())
    }
}

impl Parts<'_> {
    async fn next(&mut self) -> Result<Bytes, SnapshotFault> {
        let head = self.read(HEADER_BYTES).await?;
        let length =
            head.buffer.memory().first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        let bytes = record_bytes(length);
        if length > ENTRY_BYTES_MAX || self.offset + bytes as u64 > self.bytes {
            return Err(self.damaged("a record is longer than the file"));
        }
        let whole = self.read(bytes).await?;
        self.offset += bytes as u64;
        Ok(whole)
    }

    async fn read(&self, bytes: usize) -> Result<Bytes, SnapshotFault> {
        let failed = |errno: Errno| SnapshotFault::Disk { doing: "read", file: self.name.to_owned(), errno };
        let (count, buffer) = self.file.read_at(Buffer::heap(bytes), 0..bytes, self.offset).await;
        if count.map_err(failed)? < bytes {
            return Err(self.damaged("it ends too early"));
        }
        Ok(Bytes { buffer, length: bytes })
    }

    fn damaged(&self, what: impl Into<String>) -> SnapshotFault {
        SnapshotFault::Damaged { file: self.name.to_owned(), offset: self.offset, what: what.into() }
    }
}
