//! Entries of a manifest that look like Arc's: a path of about 70 bytes, three labels, a flat digest.

use ringway::ids::{Digest, NodeId, UnixNanos};
use ringway::manifest::{Label, Registration, Tier};

fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
}

/// Segment `number`, of one of 50 measurements and one of 240 hours, in no order of paths.
pub fn registration(number: u64) -> Registration {
    let chance = mix(number);
    let (measurement, hour) = (chance % 50, chance / 50 % 240);
    let (day, hour) = (1 + hour / 24, hour % 24);
    let path = format!(
        "metrics/cpu_{measurement:02}/2026/10/{day:02}/{hour:02}/cpu_{measurement:02}_{number:016x}.parquet"
    );
    let mut root = [0; 32];
    root[..8].copy_from_slice(&chance.to_le_bytes());
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    Registration {
        path,
        bytes: 1 << 20,
        root: Digest(root),
        flat: Some(Digest(root)),
        origin: NodeId(1 + chance % 3),
        sealed_at: UnixNanos(1 + number),
        tier: Tier(0),
        labels: vec![
            label("database", "metrics".to_owned()),
            label("measurement", format!("cpu_{measurement:02}")),
            label("partition_time", format!("2026-10-{day:02}T{hour:02}")),
        ],
    }
}
