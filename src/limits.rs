//! Every bound of the library, with the relations between them asserted at compile time. The binary has its own.
//!
//! A queue, pool, retry, frame or loop takes its bound from here. Full means refuse or wait; nothing grows
//! and nothing is dropped.

mod fetch;
mod manifest;
mod raft;
mod transport;

use crate::ids::Nanos;

pub use fetch::*;
pub use manifest::*;
pub use raft::*;
pub use transport::*;

/// Bytes of a leaf of the digest tree (ARCHITECTURE.md, D7).
pub const LEAF_BYTES: usize = 64 * 1024;
/// Bytes of a chunk: the unit of fetching, resume, refetching and striping.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// Leaves of a whole chunk.
pub const CHUNK_LEAVES: usize = CHUNK_BYTES / LEAF_BYTES;
/// Bytes of the largest segment: 1 TiB, so that its chunk list (32 bytes a chunk) stays under 32 MiB.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 40;
/// Chunks of the largest segment.
pub const SEGMENT_CHUNKS_MAX: u64 = SEGMENT_BYTES_MAX / CHUNK_BYTES as u64;

/// Alignment of every registered buffer and of direct I/O when the file system does not ask for less.
pub const IO_ALIGNMENT: usize = 4096;
/// Buffers of a core's registered slab unless configured; each holds one chunk.
pub const SLAB_BUFFERS_DEFAULT: u16 = 32;
/// Fewest buffers with which a transfer can make progress: one in receipt, one in the write.
pub const SLAB_BUFFERS_MIN: u16 = 4;
/// Submission queue entries of a core's ring.
pub const RING_ENTRIES: u32 = 256;
/// Operations in flight on one core; more wait in the core's own queue.
pub const OPERATIONS_IN_FLIGHT_MAX: usize = 1024;
/// Tasks polled in one `turn()` before the ring is looked at again.
pub const TURN_POLLS_MAX: usize = 256;
/// Wakes of other threads that wait until a round's urgent tasks have run.
pub const OUTSIDE_WAKES_MAX: usize = 64;
/// Bulk tasks polled for each round of urgent ones.
pub const TURN_BULK_POLLS_MAX: usize = 16;
/// How long they take before the ring and the urgent ones have their turn again: less than the digest of one chunk, so
/// that its write does not wait for the next one's.
pub const ROUND_BULK_TIME_MAX: Nanos = Nanos(100_000);
/// How long a guest core works at a stretch by default, before other tasks of its host run: about as long as hashing a
/// chunk, so that the last poll of a slice can at most double it.
pub const GUEST_SLICE_DEFAULT: Nanos = Nanos::MILLISECOND;
/// Messages that wait in a mailbox between cores.
pub const MAILBOX_MESSAGES_MAX: usize = 1024;
/// Bulk writes with one device at a time, at most, where a log writes too.
pub const BULK_DEPTH_MAX: usize = 8;
/// Where their number begins when there was no urgent write for `BULK_ALONE_AFTER`: a queue that nobody's flush waits
/// behind. Pulls of 2 GiB took 2.83 s at depth 1, 2.60 at 2, 2.22 at 4, 2.30 at 8.
pub const BULK_ALONE_DEPTH_FIRST: usize = 4;
/// And how far it goes where that is faster: what 32 places of 1 MiB hold keeps 100 GB/s busy at 0.3 ms a write.
pub const BULK_ALONE_DEPTH_MAX: usize = 32;
/// So long without a write, and the time is not the device's.
pub const BULK_GAP: Nanos = Nanos::from_millis(10);
/// How long a device counts as shared with urgent writes after the last one.
pub const BULK_ALONE_AFTER: Nanos = Nanos::from_secs(2);
/// How long a bulk write that has a place waits for the urgent ones. A quarter of a millisecond is about one
/// fdatasync of a good disk, and half of what 1 MiB takes there: commits without a pause cost bulk a third of
/// its rate, not all.
pub const BULK_PATIENCE: Nanos = Nanos(250_000);
/// Bytes after which a depth of bulk writes has shown its rate.
pub const BULK_WINDOW_BYTES: u64 = 32 * CHUNK_BYTES as u64;
/// Bytes between two trials of another depth.
pub const BULK_REST_BYTES: u64 = 1024 * CHUNK_BYTES as u64;
/// How long a trial waits for its bytes.
pub const BULK_WINDOW_TIME_MAX: Nanos = Nanos::from_secs(2);

/// Operations that one store has in flight for one request: fdatasyncs of a batch, looks at files on open.
pub const STORE_OPERATIONS_MAX: usize = 64;
/// Segments that one store stages at a time: each holds a file open.
pub const LANDINGS_MAX: usize = 1024;
/// Attempts at a segment's final name while somebody else puts things there.
pub const RENAME_ATTEMPTS_MAX: usize = 8;
/// Folders without files that give way to one segment: more under its name are taken for somebody's.
pub const HOLLOW_FOLDERS_MAX: usize = 256;
/// Files in quarantine that one name was made for: the same file, set aside under several of its names.
pub const QUARANTINE_NAMES_MAX: u32 = 1024;
/// Pins that one file has before its segments have ids: one for each time that it was digested.
pub const DRAFTS_OF_FILE_MAX: u32 = 1024;
/// Attempts at a store's lock before another process is held to have it.
pub const STORE_LOCK_ATTEMPTS: usize = 20;
/// Dead records that an inventory may hold beside as many as live ones before it is written anew.
pub const INVENTORY_SLACK_RECORDS: usize = 4096;
/// Records that are written in one turn of the core when an inventory is written anew.
pub const INVENTORY_PAGE_RECORDS: usize = 1024;
/// Names that are looked at in one go when a store opens: what the core keeps of them in memory.
pub const LOOK_NAMES_MAX: usize = 4096;
/// So many at a time.
pub const LOOK_PAGES: usize = 2;
/// Bytes from which on a segment is read and written past the page cache: below, the padding and the second size
/// change cost more than the copy.
pub const SEGMENT_BYTES_DIRECT_MIN: u64 = LEAF_BYTES as u64;

/// Between two derivations of a shard's difference for no reason at all.
pub const DERIVE_INTERVAL: Nanos = Nanos::from_secs(300);
/// Entries of the manifest that are compared with the inventory in one turn: half a millisecond.
pub const DERIVE_PAGE_ENTRIES: usize = 2048;

/// To found a cluster: all first members have to answer, and group 0 to elect its leader.
pub const BOOTSTRAP_TIMEOUT: Nanos = Nanos::from_secs(60);

/// What is committed has so long to come to a node, twice that at most, before the node is not ready without it. Of
/// 116 registrations a second, on five nodes of two processors, ten were on their way at any time.
pub const READY_LAG: Nanos = Nanos::from_secs(5);

/// Proposals of one node that wait for their outcome.
pub const PROPOSALS_IN_FLIGHT_MAX: usize = 1024;
/// To the outcome of a proposal, unless the caller says otherwise.
pub const PROPOSE_TIMEOUT: Nanos = Nanos::from_secs(5);

/// Bytes of a checkpoint's copy between two looks whether its lease has ended: some 10 ms.
pub const CHECKPOINT_PIECE_BYTES: u64 = 16 * 1024 * 1024;

/// Changes that wait in the queue of one shard's registrar.
pub const QUEUE_CHANGES_MAX: usize = 65_536;
/// Bytes of them, as they stand in its file: some 50,000 registrations without labels.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one: path, labels and reason at their longest, and 512 for all that is of fixed size.
pub const QUEUE_CHANGE_BYTES_MAX: usize =
    PATH_BYTES_MAX + LABELS_MAX * (2 * LABEL_BYTES_MAX + 32) + REASON_BYTES_MAX + 512;
/// Bytes that a queue's file has room for beside what waits when it is written anew: 1024 changes that come one by one.
pub const QUEUE_ROOM_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of what goes into it with one write and one flush. One change may pass it.
pub const QUEUE_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Callers that wait for room in it; more are refused as if none waited.
pub const QUEUE_WAITERS_MAX: usize = 1024;
/// Refused changes that a queue tells of: the latest.
pub const REFUSALS_KEPT_MAX: usize = 1024;
/// Bytes of the text that says why.
pub const REFUSAL_BYTES_MAX: usize = 512;
/// Changes that a registrar proposes as one entry.
pub const REGISTRAR_BATCH_MAX: usize = 256;
/// Changes that it prepares ahead: each holds a file open.
pub const REGISTRAR_READY_MAX: usize = 2 * REGISTRAR_BATCH_MAX;
/// Bytes of them, as they stand in its queue.
pub const REGISTRAR_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Files that it digests at a time.
pub const REGISTRAR_DIGESTS_MAX: usize = STORE_OPERATIONS_MAX;
/// Rest after a disk has refused a registrar something; doubles, up to `BACKOFF_MAX`.
pub const REGISTRAR_BACKOFF_FIRST: Nanos = Nanos::from_millis(50);
/// A node that stops waits so long for its registrars; what is left waits in their queues for the next start.
pub const REGISTRAR_STOP_TIMEOUT: Nanos = Nanos::from_secs(2);

/// Nodes of a cluster.
pub const NODES_MAX: usize = 1000;
/// Bytes of a node's name, and of an address.
pub const NODE_TEXT_BYTES_MAX: usize = 255;
/// Incarnations remembered as retired; the oldest goes first.
pub const INCARNATIONS_RETIRED_MAX: usize = 16 * NODES_MAX;
/// Shards of a node.
pub const SHARDS_MAX: usize = 1024;
/// Cores that one node drives.
pub const CORES_MAX: usize = 256;
/// Of a shard's events, the latest that are told from memory, not from their files; and the most of one answer.
pub const EVENTS_MAX: usize = 4096;
/// Events that wait to be written. More are a gap.
pub const EVENTS_UNWRITTEN_MAX: usize = 64 * 1024;
/// Bytes of one event in a file.
pub const EVENT_BYTES_MAX: usize = PATH_BYTES_MAX + REASON_BYTES_MAX + 128;
/// Bytes after which another file of events is begun, and files of a shard: over 100,000 events with paths of 60 bytes.
pub const EVENT_FILE_BYTES: u64 = 1024 * 1024;
/// The oldest goes when there are more.
pub const EVENT_FILES_MAX: usize = 16;
/// Events are durable after this; before it a power cut may take them, and consumers are told of a gap.
pub const EVENTS_SYNC_INTERVAL: Nanos = Nanos::from_secs(1);
/// Scans of a directory before a cut of it is given up because it does not hold still.
pub const CUT_SCANS_MAX: usize = 8;
/// Attempts at a segment whose file is replaced or removed between being located and being opened.
pub const OPEN_ATTEMPTS_MAX: usize = 3;
/// Unavailable segments that a status names one by one.
pub const UNAVAILABLE_SHOWN_MAX: usize = 32;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(LEAF_BYTES));
const _: () = assert!(LEAF_BYTES.is_multiple_of(IO_ALIGNMENT));
const _: () = assert!(STORE_OPERATIONS_MAX < OPERATIONS_IN_FLIGHT_MAX);
const _: () = assert!(SLAB_BUFFERS_MIN <= SLAB_BUFFERS_DEFAULT);
const _: () = assert!(TURN_BULK_POLLS_MAX <= TURN_POLLS_MAX);
const _: () = assert!(QUEUE_CHANGE_BYTES_MAX < REGISTRAR_BATCH_BYTES_MAX);
const _: () = assert!((QUEUE_BATCH_BYTES_MAX + QUEUE_CHANGE_BYTES_MAX) * 2 < QUEUE_ROOM_BYTES as usize);
