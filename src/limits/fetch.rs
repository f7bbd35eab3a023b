//! Fetching: places, queues, shares, sources, and the cores that help.

use crate::ids::Nanos;

use super::{CHUNK_BYTES, PROGRESS_TIMEOUT};

/// Segments that one shard fetches at a time; bytes in flight are bounded by credit and by the slab.
pub const FETCHES_MAX: usize = 256;
/// Of them, those that are not live: what is registered now finds a place beside them.
pub const FETCHES_BEHIND_MAX: usize = FETCHES_MAX / 4 * 3;
/// Segments that wait in a shard's fetch queue; the rest stays in the difference, which is derived again.
pub const FETCH_QUEUE_MAX: usize = 1024;
/// Smaller segments are fetched though this node may hold their content. A link of 16 or 32 KiB costs as much CPU as
/// fetching them over loopback (0.45 ms, both sides), of 64 KiB 0.14 ms more, of 1 MiB 2 ms less; what is linked is
/// written and stored once (medians of five, alternated, ext4, two processors).
pub const LINK_BYTES_MIN: u64 = 32 * 1024;
/// Segments whose content a shard looks for on its own node at a time, and asks the other shards for in one go.
pub const LOOKS_MAX: usize = FETCHES_MAX;
/// Of those found, how many are digested and linked at a time: two chunks of memory each.
pub const LINKS_MAX: usize = 8;
/// So long a node's other shards have to say whether they hold some content. They answer without I/O: of 586 rounds by
/// two cores with landings under way half took 0.16 ms at most, the slowest 11 ms.
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
/// Fewest bytes of a segment that is fetched from several nodes at once: below, another stream's round trips cost more
/// than they save.
pub const SPREAD_BYTES_MIN: u64 = 2 * CHUNK_BYTES as u64;
/// An origin that applied an entry a moment later than we did has not pinned its file yet: it is asked again after so
/// long,
pub const ORIGIN_PAUSE: Nanos = Nanos::from_millis(20);
/// and so often, before others are.
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

const _: () = assert!(BACKOFF_MAX.0 * 2 < SOURCE_BUSY_MAX.0);
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
