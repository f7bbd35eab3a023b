//! The log of a group, its messages, elections and snapshots.

use crate::ids::Nanos;

use super::{ENTRY_BYTES_MAX, FRAME_BODY_BYTES_MAX, IO_ALIGNMENT};

/// Bytes of a file of a group's log.
pub const LOG_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one batch of a log: what goes out with one write and one flush. One entry may pass it.
pub const LOG_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A log that waits for room on its disk looks this often.
pub const LOG_ROOM_INTERVAL: Nanos = Nanos::from_millis(500);
/// Bytes of entries that wait to be written to a log; above it, appending waits.
pub const LOG_PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a log's latest entries that are kept in memory, those that wait to be written not counted.
pub const LOG_CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of entries read from a log at once; one entry may pass it.
pub const LOG_READ_BYTES_MAX: usize = 1024 * 1024;
/// Rest of a log after which it marks its last batch as durable.
pub const LOG_MARK_AFTER: Nanos = Nanos::from_secs(1);
/// Entries of one message to a follower.
pub const APPEND_ENTRIES_MAX: usize = 1024;
/// Messages with entries that are on their way to one follower at a time.
pub const APPENDS_IN_FLIGHT_MAX: usize = 16;
/// To the answer to a message with entries: a flush, beside bulk writes on a bad day.
pub const APPEND_TIMEOUT: Nanos = Nanos::from_secs(2);
/// To the answer to a piece of a snapshot.
pub const SNAPSHOT_PIECE_TIMEOUT: Nanos = Nanos::from_secs(15);
/// To the answer to a whole snapshot: until it is checked and taken in.
pub const SNAPSHOT_INSTALL_TIMEOUT: Nanos = Nanos::from_secs(120);
/// Calls of one stream that are served at a time.
pub const RAFT_CALLS_MAX: usize = 64;
/// Time between two signs of life of a leader.
pub const HEARTBEAT_DEFAULT: Nanos = Nanos::from_millis(100);
/// Shortest and longest time that a follower waits behind the end of its leader's lease before it stands for election.
/// The lease ends when the longest has passed without a sign of life, so that a new leader stands within twice the
/// longest and a round trip: below one second. Measured: a flush takes 0.31 ms at the 99th percentile, 1.0 ms beside
/// bulk writes behind the gate (D13).
pub const ELECTION_MIN_DEFAULT: Nanos = Nanos::from_millis(200);
/// See `ELECTION_MIN_DEFAULT`.
pub const ELECTION_MAX_DEFAULT: Nanos = Nanos::from_millis(400);
/// Bytes written to a log after which the state goes into a snapshot.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Entries after which the state goes into a snapshot, unless configured.
pub const SNAPSHOT_LOG_ENTRIES: u64 = 50_000;
/// Entries before a snapshot that stay in the log, so that a follower that is a little behind needs no snapshot.
pub const LOG_ENTRIES_KEPT: u64 = 4096;
/// Terms that a vote may be ahead of the one known: more than elections without a pause make in a hundred years, and so
/// little that no single word uses the terms up, after the last of which no leader can be elected.
pub const TERM_LEAP_MAX: u64 = 1 << 36;
/// Sealed files of one log that are mapped at a time.
pub const LOG_MAPPINGS_MAX: usize = 4;

const _: () = assert!(ENTRY_BYTES_MAX < LOG_BATCH_BYTES_MAX);
const _: () = assert!((LOG_BATCH_BYTES_MAX as u64) * 2 < LOG_FILE_BYTES && LOG_FILE_BYTES <= u32::MAX as u64);
const _: () = assert!(LOG_READ_BYTES_MAX + ENTRY_BYTES_MAX < FRAME_BODY_BYTES_MAX + IO_ALIGNMENT);
