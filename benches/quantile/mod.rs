//! What a share of many durations took at most.

use std::time::Duration;

/// Of durations in order, in milliseconds; 0 of none.
pub fn millis(sorted: &[Duration], share: f64) -> f64 {
    let place = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(place).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}
