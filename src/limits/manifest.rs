//! The manifest: what an entry, a batch, a session and a snapshot may hold.

use super::{
    FRAME_BODY_BYTES_MAX, PROPOSALS_IN_FLIGHT_MAX, QUEUE_CHANGES_MAX, REGISTRAR_BATCH_BYTES_MAX,
    REGISTRAR_BATCH_MAX, SEGMENT_BYTES_MAX, SEGMENT_CHUNKS_MAX,
};

/// Bytes of a path in the manifest.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of one component of a path (Linux `NAME_MAX`).
pub const PATH_COMPONENT_BYTES_MAX: usize = 255;
/// Operations of one batch.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Bytes of one serialised log entry.
pub const ENTRY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Labels of one entry.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label's name, and of its value.
pub const LABEL_BYTES_MAX: usize = 256;
/// Bytes of a delete's reason.
pub const REASON_BYTES_MAX: usize = 256;
/// Entries of one page of the manifest unless asked for fewer.
pub const PAGE_ENTRIES_MAX: usize = 1000;
/// Entries of one manifest.
pub const ENTRIES_MAX: usize = 10_000_000;
/// Outcomes kept for a proposer's session: the width of its window of numbers.
pub const SESSION_OUTCOMES_MAX: usize = 1024;
/// Numbers of its session that a proposer reserves on its disk with one flush.
pub const SESSION_NUMBERS_RESERVED: u64 = 4096;
/// Sessions kept in a manifest; more are refused until old ones are retired.
pub const SESSIONS_MAX: usize = 4096;
/// Retired sessions that a manifest remembers, so that a late message does not open one again.
pub const SESSIONS_RETIRED_MAX: usize = 4096;
/// Bytes that one slice of a snapshot aims at: work of under a millisecond between two turns. One entry may pass it.
pub const SNAPSHOT_SLICE_BYTES: usize = 128 * 1024;
/// Bytes of a snapshot that are written before they are flushed: what the log's next flush may have to wait for.
pub const SNAPSHOT_SYNC_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of one rkyv archive of a snapshot (32-bit relative pointers end at 2 GiB).
pub const SNAPSHOT_ARCHIVE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one piece of a snapshot file on its way to a follower.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that one segment of a manifest takes in a snapshot: its path and its labels at their longest, and 1 KiB for
/// all that is of fixed size.
pub const SNAPSHOT_ENTRY_BYTES_MAX: usize = PATH_BYTES_MAX + LABELS_MAX * (2 * LABEL_BYTES_MAX + 32) + 1024;
/// Bytes that a session takes there, with a full window of outcomes.
pub const SNAPSHOT_SESSION_BYTES_MAX: usize = SESSION_OUTCOMES_MAX * 64 + 1024;
/// Bytes of the largest snapshot that there can be: of a manifest that has come to every bound of its own. 226 GB,
/// nearly all of it paths and labels; one that is announced as larger is none.
pub const SNAPSHOT_BYTES_MAX: u64 = (ENTRIES_MAX * SNAPSHOT_ENTRY_BYTES_MAX
    + SESSIONS_MAX * SNAPSHOT_SESSION_BYTES_MAX
    + SESSIONS_RETIRED_MAX * 64
    + 2 * ENTRY_BYTES_MAX) as u64;
/// Snapshot files of a group that stay: the latest.
pub const SNAPSHOT_FILES_KEPT: usize = 1;

const _: () = assert!(ENTRY_BYTES_MAX < FRAME_BODY_BYTES_MAX);
const _: () = assert!(SEGMENT_CHUNKS_MAX * 32 <= SNAPSHOT_ARCHIVE_BYTES_MAX as u64);
const _: () = assert!((ENTRIES_MAX as u64).checked_mul(SEGMENT_BYTES_MAX).is_some());
const _: () = assert!(ENTRIES_MAX * LABELS_MAX < u32::MAX as usize);
const _: () = assert!(SNAPSHOT_SLICE_BYTES + ENTRY_BYTES_MAX < SNAPSHOT_ARCHIVE_BYTES_MAX);
const _: () = assert!(PROPOSALS_IN_FLIGHT_MAX <= SESSION_OUTCOMES_MAX);
const _: () =
    assert!(REGISTRAR_BATCH_MAX <= BATCH_OPERATIONS_MAX && REGISTRAR_BATCH_MAX <= QUEUE_CHANGES_MAX);
const _: () = assert!(2 * REGISTRAR_BATCH_BYTES_MAX < ENTRY_BYTES_MAX);
