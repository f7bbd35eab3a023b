//! Frames, streams, connections and what they hold in memory.

use crate::ids::Nanos;

use super::{CHUNK_BYTES, IO_ALIGNMENT, PATH_BYTES_MAX};

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
/// The same for all connections of one core. A peer that has none gets one on top, so that nobody's silence keeps
/// others from being served.
pub const CORE_LOADS_MAX: usize = 64;
/// Fewest bytes that are sent out of the page cache by reference; below, the calls cost more than the copies (measured
/// in kernel-notes/sendfile.md).
pub const CACHED_BYTES_MIN: usize = 8 * 1024;
/// Fewest bytes of a file whose last close is not left to the core that reads it (kernel-notes/cancellation.md).
pub const CLOSE_ASIDE_BYTES_MIN: u64 = 8 * CHUNK_BYTES as u64;
/// From accept to authenticated.
pub const HANDSHAKE_TIMEOUT: Nanos = Nanos::from_secs(5);
/// To connect.
pub const DIAL_TIMEOUT: Nanos = Nanos::from_secs(10);
/// To the first answer on a stream.
pub const ANSWER_TIMEOUT: Nanos = Nanos::from_secs(15);
/// Without progress on a transfer.
pub const PROGRESS_TIMEOUT: Nanos = Nanos::from_secs(15);

const _: () = assert!(FRAME_DIGESTS_MAX * 32 < FRAME_BODY_BYTES_MAX);
const _: () = assert!(CURSOR_BYTES_MAX < FRAME_BODY_BYTES_MAX);
const _: () = assert!(FRAME_BODY_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(FRAME_PAYLOAD_BYTES_MAX <= FRAME_BODY_BYTES_MAX);
const _: () = assert!(CONNECTIONS_UNPROVEN_MAX < CONNECTIONS_MAX);
const _: () = assert!(CONTROL_CREDIT_BYTES <= STREAM_CREDIT_BYTES as i64);
const _: () = assert!(STREAM_CREDIT_FIRST_BYTES <= CONTROL_CREDIT_BYTES);
const _: () = assert!(RECEIVE_PEER_FIRST_BYTES > (FRAME_BODY_BYTES_MAX + FRAME_PAYLOAD_BYTES_MAX) as i64);
const _: () = assert!(RECEIVE_PEER_FIRST_BYTES < RECEIVE_PEER_QUEUED_BYTES_MAX);
const _: () = assert!(READ_AHEAD_LEAN_BYTES <= READ_AHEAD_BYTES);
const _: () = assert!(PING_AFTER.0 * 2 < IDLE_TIMEOUT.0);
const _: () = assert!(CONNECTIONS_PEER_MAX < CONNECTIONS_MAX);
const _: () = assert!(CONNECTION_LOADS_MAX < PEER_LOADS_MAX && PEER_LOADS_MAX < CORE_LOADS_MAX);
