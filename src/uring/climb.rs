//! The depth of bulk writes to one device, found while they run: the smallest that holds the throughput.
//!
//! More depth is bandwidth only until the device is busy; after that it is a queue in front of the log's flush
//! (measured: fdatasync p99 beside a bulk writer of 1 MiB is 1 ms at depth 1 and 675 ms at depth 4, the bulk rate
//! the same). So the depth starts at one, tries its neighbours now and then, goes up only for a clear gain, and
//! down unless that costs. Pure: time and bytes are arguments.

use crate::ids::Nanos;
use crate::limits::{BULK_DEPTH_MAX, BULK_REST_BYTES, BULK_WINDOW_BYTES, BULK_WINDOW_TIME_MAX};

/// A step up has to bring this many hundredths of the rate before it.
const UP_PERCENT: u64 = 110;
/// A step down has to keep this many hundredths.
const DOWN_PERCENT: u64 = 95;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Up,
    Down,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The rate at the depth that holds.
    Base,
    /// The rate one step aside, to be compared with that before it, in bytes per second.
    Trial { way: Way, base: u64 },
    /// Nothing is tried.
    Rest,
}

/// The search. Rates are measured only while every place is taken: so a slow source does not look like a slow
/// device.
#[derive(Clone, Debug)]
pub(crate) struct Climb {
    depth: usize,
    phase: Phase,
    next: Way,
    bytes: u64,
    busy: Nanos,
    began: Option<Nanos>,
}

impl Climb {
    pub(crate) fn new() -> Self {
        Self { depth: 1, phase: Phase::Base, next: Way::Up, bytes: 0, busy: Nanos(0), began: None }
    }

    /// How many bulk writes may be with the device.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// For `busy` until `now` every place was taken, and a write of `bytes` has ended with that (none: 0).
    pub(crate) fn record(&mut self, now: Nanos, busy: Nanos, bytes: u64) {
        let began = *self.began.get_or_insert(now);
        self.bytes += bytes;
        self.busy = self.busy.plus(busy);
        let whole = if self.phase == Phase::Rest { BULK_REST_BYTES } else { BULK_WINDOW_BYTES };
        if self.bytes >= whole {
            self.close_window();
        } else if matches!(self.phase, Phase::Trial { .. }) && now.since(began) > BULK_WINDOW_TIME_MAX {
            // The places of the trial are hardly ever all taken: the depth does not matter now.
            self.give_trial_up();
        }
    }

    fn close_window(&mut self) {
        let nanos = u128::from(self.busy.0.max(1));
        let rate = u128::from(self.bytes) * u128::from(Nanos::SECOND.0) / nanos;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.restart();
        match self.phase {
            Phase::Rest => self.phase = Phase::Base,
            Phase::Base => self.begin_trial(rate),
            Phase::Trial { way, base } => {
                let percent = if way == Way::Up { UP_PERCENT } else { DOWN_PERCENT };
                if u128::from(rate) * 100 >= u128::from(base) * u128::from(percent) {
                    // On in the same direction.
                    (self.next, self.phase) = (way, Phase::Base);
                } else {
                    self.give_trial_up();
                }
            }
        }
    }

    fn begin_trial(&mut self, base: u64) {
        let way = match self.next {
            Way::Up if self.depth == BULK_DEPTH_MAX => Way::Down,
            Way::Down if self.depth == 1 => Way::Up,
            Way::Up | Way::Down => self.next,
        };
        self.step(way);
        self.phase = Phase::Trial { way, base };
    }

    fn give_trial_up(&mut self) {
        if let Phase::Trial { way, .. } = self.phase {
            let back = if way == Way::Up { Way::Down } else { Way::Up };
            self.step(back);
            self.next = back;
        }
        self.phase = Phase::Rest;
        self.restart();
    }

    fn step(&mut self, way: Way) {
        match way {
            Way::Up => self.depth += 1,
            Way::Down => self.depth -= 1,
        }
        assert!((1..=BULK_DEPTH_MAX).contains(&self.depth), "depth {}", self.depth);
    }

    fn restart(&mut self) {
        (self.bytes, self.busy, self.began) = (0, Nanos(0), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Writes of 1 MiB on a device of which depth `n` gives `rates[n - 1]` MiB a second; the depths it was at.
    fn climb(rates: [u64; BULK_DEPTH_MAX], mib: u64) -> (usize, Vec<u64>) {
        let (mut climb, mut now) = (Climb::new(), Nanos(0));
        let mut at = vec![0; BULK_DEPTH_MAX];
        for _ in 0..mib {
            let busy = Nanos(Nanos::SECOND.0 / rates[climb.depth() - 1]);
            now = now.plus(busy);
            at[climb.depth() - 1] += 1;
            climb.record(now, busy, MIB);
        }
        (climb.depth(), at)
    }

    #[test]
    fn a_device_that_one_write_keeps_busy_stays_at_depth_one() {
        let (_, at) = climb([2050; BULK_DEPTH_MAX], 100_000);
        assert!(at[0] > 90_000 && at[2..].iter().sum::<u64>() == 0, "{at:?}");
    }

    #[test]
    fn a_device_that_needs_four_writes_gets_four_and_no_more() {
        let (_, at) = climb([500, 1000, 1500, 2000, 2010, 2020, 2030, 2040], 100_000);
        assert!(at[3] > 85_000 && at[5..].iter().sum::<u64>() == 0, "{at:?}");
    }

    #[test]
    fn the_depth_never_leaves_its_bounds() {
        let (depth, _) = climb([100, 200, 300, 400, 500, 600, 700, 800], 50_000);
        assert!((BULK_DEPTH_MAX - 1..=BULK_DEPTH_MAX).contains(&depth), "{depth}");
    }

    #[test]
    fn a_trial_whose_places_are_never_all_taken_ends() {
        let mut climb = Climb::new();
        let mut now = Nanos(0);
        while climb.depth() == 1 {
            now = now.plus(Nanos::MILLISECOND);
            climb.record(now, Nanos::MILLISECOND, MIB);
        }
        climb.record(now, Nanos(0), 0);
        climb.record(now.plus(BULK_WINDOW_TIME_MAX).plus(Nanos(1)), Nanos(0), 0);
        assert_eq!(climb.depth(), 1);
    }
}
