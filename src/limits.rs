//! Every bound of the library, with the relations between them asserted at compile time. The binary has its own.
//!
//! A queue, pool, retry, frame or loop takes its bound from here. Full means refuse or wait; nothing grows
//! and nothing is dropped.

use crate::ids::Nanos;

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

/// Bytes of a frame's body, the raw payload behind it not counted.
pub const FRAME_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the raw payload behind a frame: one chunk.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = CHUNK_BYTES;
/// Digests of one page of a chunk list on the wire.
pub const FRAME_DIGESTS_MAX: usize = 64 * 1024;
/// Bytes of the text in a frame that refuses.
pub const FRAME_TEXT_BYTES_MAX: usize = 256;
/// Bytes of the cursor of a page: an entry's place, and a path that it may stand on.
pub const CURSOR_BYTES_MAX: usize = PATH_BYTES_MAX + 64;
/// Exceptions of one announcement; a node that has more announces a lower watermark.
pub const ANNOUNCE_EXCEPTIONS_MAX: usize = 64;
/// Streams open at once on one connection, from each side.
pub const STREAMS_MAX: usize = 1024;
/// Connections that one node accepts in all.
pub const CONNECTIONS_MAX: usize = 512;
/// Connections accepted but not yet authenticated.
pub const CONNECTIONS_UNPROVEN_MAX: usize = 64;
/// Connections of one authenticated peer.
pub const CONNECTIONS_PEER_MAX: usize = 64;
/// Payload bytes that a stream may have in flight towards us.
pub const STREAM_CREDIT_BYTES: usize = 8 * CHUNK_BYTES;
/// Payload and body bytes that a stream for control may have in flight towards us.
pub const CONTROL_CREDIT_BYTES: i64 = CHUNK_BYTES as i64;
/// Bytes that a new stream may send before the first grant, and the least that a starved one is granted.
pub const STREAM_CREDIT_FIRST_BYTES: i64 = 64 * 1024;
/// What a frame costs of its stream's credit beside its bytes.
pub const FRAME_CHARGE_BYTES: usize = 128;
/// Bytes that one core grants to all its streams together, each stream's minimum not counted.
pub const RECEIVE_CREDIT_BYTES: i64 = 256 * CHUNK_BYTES as i64;
/// Received bytes that wait for their consumers on one core; beyond it a stream that gets more is reset.
pub const RECEIVE_QUEUED_BYTES_MAX: i64 = 2 * RECEIVE_CREDIT_BYTES;
/// The same of one peer over all of its connections: as much as all streams are granted together, so that none meets it
/// that keeps to its credit.
pub const RECEIVE_PEER_QUEUED_BYTES_MAX: i64 = RECEIVE_QUEUED_BYTES_MAX / 2;
/// What each peer may be granted, and may have waiting, on one core even when others have all that the core grants and
/// keeps: one stream's largest window.
pub const RECEIVE_PEER_FIRST_BYTES: i64 = STREAM_CREDIT_BYTES as i64;
/// What peers' first bytes may come to on top of the core's bounds: those of 64 peers.
pub const RECEIVE_FIRSTS_BYTES_MAX: i64 = 64 * RECEIVE_PEER_FIRST_BYTES;
/// Payloads up to this size take memory of their own and no registered buffer.
pub const PAYLOAD_SMALL_BYTES: usize = IO_ALIGNMENT;
/// Bytes read ahead on a connection, and the most that is sent in one piece of small frames.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Bytes read ahead where a payload is likely to follow, which would have to be moved to its buffer.
pub const READ_AHEAD_LEAN_BYTES: usize = 4096;
/// Bytes read ahead before a connection has proven itself.
pub const READ_AHEAD_UNPROVEN_BYTES: usize = 4096;
/// Bytes of bodies that wait to be sent on one connection; senders wait beyond it.
pub const OUTBOX_BYTES_MAX: usize = 4 * CHUNK_BYTES;
/// Streams opened by peers that wait to be taken.
pub const INCOMING_MAX: usize = 1024;
/// Connections that wait in the kernel to be accepted.
pub const ACCEPT_BACKLOG: u32 = 1024;
/// Peers whose last failed dial is remembered; the oldest is forgotten first.
pub const DIAL_FAILURES_MAX: usize = 1024;
/// First pause after a failed dial; doubles, with jitter.
pub const DIAL_BACKOFF_FIRST: Nanos = Nanos::from_millis(50);
/// Longest pause after failed dials: a healed partition is noticed within it.
pub const DIAL_BACKOFF_MAX: Nanos = Nanos::from_secs(2);
/// Between two lines about refused connections; all are counted.
pub const REFUSAL_TELL_AFTER: Nanos = Nanos::from_secs(1);
/// Pause after an accept that the system refused.
pub const ACCEPT_PAUSE: Nanos = Nanos::from_millis(50);
/// Silence after which a peer is asked for a sign of life.
pub const PING_AFTER: Nanos = Nanos::from_secs(5);
/// Silence after which a connection is cut.
pub const IDLE_TIMEOUT: Nanos = Nanos::from_secs(15);
/// A connection that we dialled and on which no stream has been open for so long is closed.
pub const UNUSED_TIMEOUT: Nanos = Nanos::from_secs(60);
/// Bytes a second below which a payload in receipt, or a frame being sent, counts as stalled.
pub const RATE_LEAST_BYTES: u64 = 64 * 1024;
/// Sends without copying that the kernel copied after all, after which a connection copies: its route has no use for
/// them (kernel-notes/send-zerocopy.md).
pub const ZERO_COPY_COPIED_MAX: u64 = 4;
/// Payloads from this size on are worth a send without copying.
pub const ZERO_COPY_BYTES_MIN: usize = 16 * 1024;
/// Payloads in memory that one connection may have read or being sent. More would wait for the same socket; and a peer
/// that reads nothing holds no more.
pub const CONNECTION_LOADS_MAX: usize = 4;
/// The same for all connections of one peer with one core.
pub const PEER_LOADS_MAX: usize = 16;
/// The same for all connections of one core. A peer that has none gets one on top: nobody's silence is others' wait.
pub const CORE_LOADS_MAX: usize = 64;
/// Fewest bytes that are sent out of the page cache by reference; measured in kernel-notes/sendfile.md.
pub const CACHED_BYTES_MIN: usize = 8 * 1024;
/// A file of so many bytes is not closed by the core that reads it (kernel-notes/cancellation.md).
pub const CLOSE_ASIDE_BYTES_MIN: u64 = 8 * CHUNK_BYTES as u64;
/// From accept to authenticated.
pub const HANDSHAKE_TIMEOUT: Nanos = Nanos::from_secs(5);
/// To connect.
pub const DIAL_TIMEOUT: Nanos = Nanos::from_secs(10);
/// To the first answer on a stream.
pub const ANSWER_TIMEOUT: Nanos = Nanos::from_secs(15);
/// Without progress on a transfer.
pub const PROGRESS_TIMEOUT: Nanos = Nanos::from_secs(15);

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
/// Bytes from which on a segment is read and written past the page cache: below, the padding and the second size
/// change cost more than the copy.
pub const SEGMENT_BYTES_DIRECT_MIN: u64 = LEAF_BYTES as u64;

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

/// Segments that one shard fetches at a time; bytes in flight are bounded by credit and by the slab.
pub const FETCHES_MAX: usize = 256;
/// Of them, those that are not live: what is registered now finds a place beside them.
pub const FETCHES_BEHIND_MAX: usize = FETCHES_MAX / 4 * 3;
/// Segments that wait in a shard's fetch queue; the rest stays in the difference, which is derived again.
pub const FETCH_QUEUE_MAX: usize = 1024;
/// Smaller segments are fetched though this node may hold their content: a link costs more than a place in a batch.
pub const LINK_BYTES_MIN: u64 = 32 * 1024;
/// Segments whose content a shard looks for on its own node at a time, and asks the other shards for in one go.
pub const LOOKS_MAX: usize = FETCHES_MAX;
/// Of those found, how many are digested and linked at a time: two chunks of memory each.
pub const LINKS_MAX: usize = 8;
/// So long a node's other shards have to say whether they hold some content. They answer without I/O.
pub const LOOK_TIMEOUT: Nanos = Nanos::from_millis(50);
/// How far the queue is filled by what is not live.
pub const FETCH_QUEUE_BEHIND_MAX: usize = FETCH_QUEUE_MAX / 5 * 4;
/// The least limit of bytes a second: a chunk. Below, chunks would come further apart than a peer waits for progress.
pub const RATE_BYTES_MIN: u64 = CHUNK_BYTES as u64;
/// The greatest: a terabyte a second.
pub const RATE_BYTES_MAX: u64 = 1 << 40;
/// What a limit lets pass at once after a rest, at the least: two chunks, so that one may be on its way to the disk.
pub const RATE_BURST_BYTES_MIN: u64 = 2 * CHUNK_BYTES as u64;
/// The same as a time, for limits that pass more than that in it: longer than a task waits for its turn.
pub const RATE_BURST_TIME: Nanos = Nanos::from_millis(50);
/// Segments that land together.
pub const LANDING_BATCH_MAX: usize = 128;
/// Ranges of one segment that are asked for at a time, the next ones when these have come.
pub const FETCH_RANGES_MAX: usize = 64;
/// Fewest bytes of a segment that is fetched from several nodes at once: below, the round trips cost more.
pub const SPREAD_BYTES_MIN: u64 = 2 * CHUNK_BYTES as u64;
/// An origin that applied an entry a moment later than we did has not pinned its file yet: it is asked again after so
/// long,
pub const ORIGIN_PAUSE: Nanos = Nanos::from_millis(20);
/// and so often.
pub const ORIGIN_ASKS_MAX: u32 = 5;
/// Nodes that one segment is fetched from at once.
pub const SPREAD_SOURCES_MAX: usize = 16;
/// For so long a node waits for a chunk that it was asked for and is itself still fetching, while no other chunk of the
/// segment comes. Well below `PROGRESS_TIMEOUT`, as whoever asked hears nothing meanwhile.
pub const PARTIAL_WAIT: Nanos = Nanos::from_secs(2);
/// And for so long at most, while others come; then whoever asked asks again, or another.
pub const PARTIAL_WAIT_MAX: Nanos = Nanos::from_secs(6);
/// For so long it waits then for its place among the segments that are served, which it gave back meanwhile.
pub const PLACE_WAIT: Nanos = Nanos::from_secs(2);
/// A chunk that has not passed the source's limits so long after it was its turn is refused as busy: whoever waits for
/// it must not take the source for silent.
pub const PACE_WAIT_MAX: Nanos = Nanos::from_secs(10);
/// A replica that has not begun yet to fetch what it is asked for is asked again after so long,
pub const SPREAD_PAUSE: Nanos = Nanos::from_millis(100);
/// and so often.
pub const SPREAD_ASKS_MAX: u32 = 20;
/// When a segment's source has given its part, the shares of the others are waited for until nothing has come for so
/// long, or they are so far behind what the source would have given.
pub const SPREAD_PATIENCE: Nanos = Nanos::from_secs(2);
/// Fewest missing chunks of a segment with which other cores are asked to help: two pieces for each of two. Pulls of
/// 128 files of 16 MiB by two cores took 1.55 s so, and 1.85 s by one (2 processors, source and target on them).
pub const LEND_CHUNKS_MIN: u32 = 4 * LEND_PIECE_CHUNKS_MIN;
/// Chunks of one piece of it: between two the core that brings them waits once for its writes.
pub const LEND_PIECE_CHUNKS_MAX: u32 = 64;
/// Towards the end no piece has fewer, if as many are left: each is a request of its own.
pub const LEND_PIECE_CHUNKS_MIN: u32 = 4;
/// Cores that are asked for one segment.
pub const LEND_CORES_MAX: u16 = 8;
/// Cores of a pull that was not told how many. Its source has one core, and takes a sixth of the target's CPU
/// (benches/results/profile.txt).
pub const PULL_CORES_DEFAULT: u16 = 4;
/// Bytes to fetch from which on a pull uses more than one: another thread, ring and slab take some 10 ms to make.
pub const PULL_CORES_BYTES_MIN: u64 = 64 * CHUNK_BYTES as u64;
/// Pieces that one core has at a time: one that it works on, one that it has asked for.
pub const LEND_PIECES_MAX: usize = 2;
/// Chunks of them.
pub const LEND_OUT_CHUNKS_MAX: u32 = 2 * LEND_PIECE_CHUNKS_MAX;
/// Words of one core to the owner that wait.
pub const LEND_NEWS_MAX: usize = 8;
/// A core that had no time is asked again after so long,
pub const LEND_PAUSE: Nanos = Nanos::from_millis(500);
/// and one that could not go on, as it did not reach the source or was refused there.
pub const LEND_FAILED_PAUSE: Nanos = Nanos::from_secs(10);
/// Large segments that are asked of one source at a time where other cores help: one that comes, one behind it.
pub const LEND_SEGMENTS_MAX: usize = 2;
/// Writes of one landing under way at a time.
pub const WRITES_MAX: usize = 4;
/// Answers that wait for one request of a stream. Few: taking one gives its credit back, so they add to what the
/// credit bounds, and all of it should fit the registered buffers.
pub const STREAM_QUEUE_MAX: usize = 2;
/// Attempts at one segment before it rests until the next derivation.
pub const FETCH_ATTEMPTS_MAX: u32 = 3;
/// First back-off between attempts; doubles, with jitter.
pub const BACKOFF_FIRST: Nanos = Nanos::from_millis(500);
/// Longest back-off.
pub const BACKOFF_MAX: Nanos = Nanos::from_secs(30);
/// A source whose chunks came damaged on so many occasions within `DAMAGE_WINDOW` is set aside.
pub const DAMAGE_OCCASIONS_MAX: usize = 3;
/// Rests of `BACKOFF_MAX` between occasions fit in it many times: who damages whatever it is asked for is found.
pub const DAMAGE_WINDOW: Nanos = Nanos::from_secs(600);
/// For so long it is: long beside what a damaged chunk costs, short beside the change of a card or a cable.
pub const SOURCE_ASIDE: Nanos = Nanos::from_secs(600);
/// A source that for so long says nothing but that it is busy ends a pull.
pub const SOURCE_BUSY_MAX: Nanos = Nanos::from_secs(300);
/// Segments that one core serves at a time; more are refused as too many. A peer that has none gets one on top.
pub const SERVES_MAX: usize = 64;
/// Of them, for one peer.
pub const PEER_SERVES_MAX: usize = SERVES_MAX / 2;

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
const _: () = assert!(ENTRY_BYTES_MAX < FRAME_BODY_BYTES_MAX);
const _: () = assert!(FRAME_DIGESTS_MAX * 32 < FRAME_BODY_BYTES_MAX);
const _: () = assert!(CURSOR_BYTES_MAX < FRAME_BODY_BYTES_MAX);
const _: () = assert!(FRAME_BODY_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(FRAME_PAYLOAD_BYTES_MAX <= FRAME_BODY_BYTES_MAX);
const _: () = assert!(SEGMENT_CHUNKS_MAX * 32 <= SNAPSHOT_ARCHIVE_BYTES_MAX as u64);
const _: () = assert!((ENTRIES_MAX as u64).checked_mul(SEGMENT_BYTES_MAX).is_some());
const _: () = assert!(ENTRIES_MAX * LABELS_MAX < u32::MAX as usize);
const _: () = assert!(SNAPSHOT_SLICE_BYTES + ENTRY_BYTES_MAX < SNAPSHOT_ARCHIVE_BYTES_MAX);
const _: () = assert!(TURN_BULK_POLLS_MAX <= TURN_POLLS_MAX);
const _: () = assert!(CONNECTIONS_UNPROVEN_MAX < CONNECTIONS_MAX);
const _: () = assert!(CONTROL_CREDIT_BYTES <= STREAM_CREDIT_BYTES as i64);
const _: () = assert!(STREAM_CREDIT_FIRST_BYTES <= CONTROL_CREDIT_BYTES);
const _: () = assert!(RECEIVE_PEER_FIRST_BYTES > (FRAME_BODY_BYTES_MAX + FRAME_PAYLOAD_BYTES_MAX) as i64);
const _: () = assert!(RECEIVE_PEER_FIRST_BYTES < RECEIVE_PEER_QUEUED_BYTES_MAX);
const _: () = assert!(READ_AHEAD_LEAN_BYTES <= READ_AHEAD_BYTES);
const _: () = assert!(PING_AFTER.0 * 2 < IDLE_TIMEOUT.0);
const _: () = assert!(CONNECTIONS_PEER_MAX < CONNECTIONS_MAX);
const _: () = assert!(CONNECTION_LOADS_MAX < PEER_LOADS_MAX && PEER_LOADS_MAX < CORE_LOADS_MAX);
const _: () = assert!(BACKOFF_MAX.0 * 2 < SOURCE_BUSY_MAX.0);
const _: () = assert!(PROPOSALS_IN_FLIGHT_MAX <= SESSION_OUTCOMES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX < LOG_BATCH_BYTES_MAX);
const _: () = assert!((LOG_BATCH_BYTES_MAX as u64) * 2 < LOG_FILE_BYTES && LOG_FILE_BYTES <= u32::MAX as u64);
const _: () = assert!(LOG_READ_BYTES_MAX + ENTRY_BYTES_MAX < FRAME_BODY_BYTES_MAX + IO_ALIGNMENT);
const _: () =
    assert!(REGISTRAR_BATCH_MAX <= BATCH_OPERATIONS_MAX && REGISTRAR_BATCH_MAX <= QUEUE_CHANGES_MAX);
const _: () = assert!(QUEUE_CHANGE_BYTES_MAX < REGISTRAR_BATCH_BYTES_MAX);
const _: () = assert!(2 * REGISTRAR_BATCH_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!((QUEUE_BATCH_BYTES_MAX + QUEUE_CHANGE_BYTES_MAX) * 2 < QUEUE_ROOM_BYTES as usize);
const _: () = assert!(PARTIAL_WAIT.0 <= PARTIAL_WAIT_MAX.0);
const _: () = assert!((PARTIAL_WAIT_MAX.0 + PLACE_WAIT.0) * 3 < PROGRESS_TIMEOUT.0 * 2);
const _: () = assert!(PARTIAL_WAIT_MAX.0 + PLACE_WAIT.0 < PACE_WAIT_MAX.0);
const _: () = assert!((PACE_WAIT_MAX.0 + PLACE_WAIT.0) * 6 <= PROGRESS_TIMEOUT.0 * 5);
const _: () = assert!(BACKOFF_MAX.0 * DAMAGE_OCCASIONS_MAX as u64 * 2 < DAMAGE_WINDOW.0);
const _: () = assert!(LEND_PIECE_CHUNKS_MIN <= LEND_PIECE_CHUNKS_MAX);
const _: () = assert!(
    (LEND_CORES_MAX as usize) < PEER_SERVES_MAX,
    "an owner's helpers do not take all that the source has for it"
);
