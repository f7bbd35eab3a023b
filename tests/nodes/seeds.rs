//! Seeds of a campaign: a test's own, or those that the environment names.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checks::Found;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs one of `parts` of the seeds 1 to `seeds`, FIRST_SEED to SEEDS, or SEED alone, and says of all of them which
/// failed. How many there were.
pub fn campaign(seeds: u64, (part, parts): (u64, u64), run: impl Fn(u64) -> Result<(), Found>) -> u64 {
    let range = number("FIRST_SEED").unwrap_or(1)..=number("SEEDS").unwrap_or(seeds);
    let range = number("SEED").map_or(range, |seed| seed..=seed);
    let mut failed = Vec::new();
    let mut count = 0;
    for seed in range.filter(|seed| seed % parts == part) {
        count += 1;
        let why = match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(Ok(())) => continue,
            Ok(Err(found)) => format!("{}: {}", found.checker, found.what),
            Err(_) => "a panic, printed above".to_owned(),
        };
        eprintln!("SEED={seed} fails: {why}");
        failed.push(seed);
    }
    eprintln!("{count} seeds");
    assert!(failed.is_empty(), "seeds {failed:?} fail; SEED=n replays one");
    count
}
