//! What a simulated world is like where nobody breaks it on purpose.

use ringway::ids::Nanos;

use super::rng::Chance;

/// The world's ways.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Buffers of each core's slab.
    pub slab_buffers: u16,
    /// Bytes of each of these buffers.
    pub buffer_bytes: usize,
    /// Of disks.
    pub disk: DiskOptions,
    /// Of the network.
    pub net: NetOptions,
    /// How long at most locks, ports and descriptors outlive a killed process (liburing issue 1627).
    pub linger: Nanos,
    /// Turns and events after which a run is held to be stuck.
    pub steps_max: u64,
    /// Virtual time after which `block_on` gives up.
    pub patience: Nanos,
}

/// A disk's ways.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Bytes of the file system.
    pub capacity: u64,
    /// O_DIRECT is supported.
    pub direct: bool,
    /// cachestat(2) is supported.
    pub cachestat: bool,
    /// FICLONE is supported.
    pub reflink: bool,
    /// renameat2(2) knows RENAME_NOREPLACE and RENAME_EXCHANGE.
    pub rename_flags: bool,
    /// Names that one file may have.
    pub links_max: u32,
    /// Operations that complete at once.
    pub inline: Chance,
    /// Reads and writes that move less than asked for.
    pub short: Chance,
    /// Names made durable by the file system of its own accord, at each change of names.
    pub commit: Chance,
    /// A rename between directories may be half durable: both names there, never none.
    pub torn_renames: bool,
    /// Time of an operation on names.
    pub name_time: (Nanos, Nanos),
    /// Time of a read or write, its bytes not counted.
    pub data_time: (Nanos, Nanos),
    /// Time of a sync.
    pub sync_time: (Nanos, Nanos),
    /// Bytes per microsecond.
    pub rate: u64,
}

/// The network's ways.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// One-way delay; drawn once for each pair of nodes.
    pub latency: (Nanos, Nanos),
    /// More delay, drawn for each segment.
    pub jitter: (Nanos, Nanos),
    /// Bytes per microsecond of one direction between two nodes.
    pub rate: u64,
    /// Bytes that one side may have under way; drawn for each connection.
    pub window: (usize, usize),
    /// Largest segment.
    pub segment_bytes_max: usize,
    /// A segment is lost and sent again, which TCP shows as delay.
    pub loss: Chance,
    /// One byte of a segment is changed past the checksums.
    pub corruption: Chance,
    /// Delay of a lost segment, and of the first attempt after a partition.
    pub retransmission: (Nanos, Nanos),
    /// From a zero-copy send's delivery to its notification.
    pub notice: (Nanos, Nanos),
    /// Zero-copy sends are offered.
    pub zero_copy: bool,
    /// A killed process's connection ends with a reset, as one with unread bytes always does; else in good order.
    pub kill_resets: Chance,
}

impl SimOptions {
    /// A world of cores with few small buffers, for tests that make many worlds.
    #[must_use]
    pub fn small() -> Self {
        Self { slab_buffers: 4, buffer_bytes: 64 * 1024, ..Self::default() }
    }
}

const fn micros(low: u64, high: u64) -> (Nanos, Nanos) {
    (Nanos(low * 1000), Nanos(high * 1000))
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            slab_buffers: 8,
            buffer_bytes: ringway::limits::CHUNK_BYTES,
            disk: DiskOptions::default(),
            net: NetOptions::default(),
            linger: Nanos::from_millis(3),
            steps_max: 50_000_000,
            patience: Nanos::from_secs(3600),
        }
    }
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            capacity: 1 << 40,
            direct: true,
            cachestat: true,
            reflink: false,
            rename_flags: true,
            links_max: 1000,
            inline: Chance::percent(15),
            short: Chance::percent(2),
            commit: Chance::percent(5),
            torn_renames: true,
            name_time: micros(5, 60),
            data_time: micros(15, 120),
            sync_time: micros(80, 900),
            rate: 2000,
        }
    }
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            latency: micros(40, 400),
            jitter: micros(0, 40),
            rate: 1200,
            window: (16 * 1024, 1024 * 1024),
            segment_bytes_max: 64 * 1024,
            loss: Chance(200),
            corruption: Chance::NEVER,
            retransmission: micros(1_000, 400_000),
            notice: micros(0, 2_000),
            zero_copy: true,
            kill_resets: Chance::percent(75),
        }
    }
}
