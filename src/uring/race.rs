//! The depth of bulk writes while nobody's flush waits behind them, found while they run: the fastest.
//!
//! Depths are rungs of a ladder, each twice the one below. Now and then the rung that holds runs against a neighbour,
//! in windows by turns, and gives way to one that is clearly faster by the clock: so a source that is the slow one,
//! whose rate no depth changes, moves nothing. Pure: time and bytes are arguments.

use crate::ids::Nanos;
use crate::limits::{
    BULK_ALONE_DEPTH_FIRST, BULK_ALONE_DEPTH_MAX, BULK_GAP, BULK_REST_BYTES, BULK_WINDOW_BYTES,
};

/// A rung that takes the place of another needs at most this many hundredths of its time.
const FASTER_PERCENT: u64 = 92;
/// Windows of each of the two.
const HEATS: u32 = 3;
/// Bytes before the first heat.
const REST_FIRST: u64 = 4 * BULK_WINDOW_BYTES;

/// The search.
#[derive(Clone, Debug)]
pub(crate) struct Race {
    depth: usize,
    heat: Option<Heat>,
    is_up_next: bool,
    /// Bytes before the next heat: more after each that the holder has won.
    rest: u64,
    bytes: u64,
    began: Option<Nanos>,
    /// When the last write ended that left none behind.
    idle_since: Option<Nanos>,
}

/// A rung against a neighbour.
#[derive(Clone, Copy, Debug)]
struct Heat {
    rival: usize,
    /// Windows that are over: the even ones are the holder's.
    windows: u32,
    holder_took: Nanos,
    rival_took: Nanos,
}

impl Race {
    pub(crate) fn new() -> Self {
        let depth = BULK_ALONE_DEPTH_FIRST;
        Self {
            depth,
            heat: None,
            is_up_next: true,
            rest: REST_FIRST,
            bytes: 0,
            began: None,
            idle_since: None,
        }
    }

    /// How many bulk writes may be with the device.
    pub(crate) fn depth(&self) -> usize {
        match self.heat {
            Some(heat) if heat.windows % 2 == 1 => heat.rival,
            _ => self.depth,
        }
    }

    /// A write begins.
    pub(crate) fn begin(&mut self, now: Nanos) {
        let idle = self.idle_since.take().map_or(Nanos(0), |since| now.since(since));
        if idle > BULK_GAP {
            self.interrupt();
        }
        self.began.get_or_insert(now);
    }

    /// A write of `bytes` has ended; `left` are with the device still.
    pub(crate) fn end(&mut self, now: Nanos, bytes: u64, left: usize) {
        self.bytes += bytes;
        self.idle_since = (left == 0).then_some(now);
        let whole = if self.heat.is_some() { BULK_WINDOW_BYTES } else { self.rest };
        if self.bytes >= whole {
            let began = self.began.replace(now).unwrap_or(now);
            self.bytes = 0;
            self.close(now.since(began));
        }
    }

    /// What was measured last is not a rate: nobody wrote for a while, or others did.
    pub(crate) fn interrupt(&mut self) {
        (self.bytes, self.began, self.idle_since) = (0, None, None);
    }

    fn close(&mut self, took: Nanos) {
        let Some(heat) = &mut self.heat else {
            let rival = self.neighbour();
            self.heat = Some(Heat { rival, windows: 0, holder_took: Nanos(0), rival_took: Nanos(0) });
            return;
        };
        let of = if heat.windows % 2 == 0 { &mut heat.holder_took } else { &mut heat.rival_took };
        *of = of.plus(took);
        heat.windows += 1;
        if heat.windows < 2 * HEATS {
            return;
        }
        let is_faster = u128::from(heat.rival_took.0) * 100
            <= u128::from(heat.holder_took.0) * u128::from(FASTER_PERCENT);
        if is_faster {
            // On in the same direction.
            (self.depth, self.rest) = (heat.rival, REST_FIRST);
        } else {
            self.is_up_next = !self.is_up_next;
            self.rest = BULK_REST_BYTES.min(2 * self.rest);
        }
        self.heat = None;
    }

    fn neighbour(&mut self) -> usize {
        if self.depth >= BULK_ALONE_DEPTH_MAX {
            self.is_up_next = false;
        } else if self.depth == 1 {
            self.is_up_next = true;
        }
        if self.is_up_next { self.depth * 2 } else { self.depth / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const RUNGS: [usize; 6] = [1, 2, 4, 8, 16, 32];

    /// `gib` of writes of 1 MiB, of which depth `RUNGS[n]` ends `rates[n]` a second, give or take `noise` hundredths;
    /// how many were at each depth.
    fn run(rates: [u64; 6], noise: u64, gib: u64) -> [u64; 6] {
        let (mut race, mut now, mut random) = (Race::new(), Nanos(0), 7_u64);
        let mut at = [0; 6];
        for _ in 0..gib * 1024 {
            let rung = RUNGS.iter().position(|depth| *depth == race.depth()).expect("on a rung");
            at[rung] += 1;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let percent = 100 - noise + (random >> 33) % (2 * noise + 1);
            race.begin(now);
            now = now.plus(Nanos(Nanos::SECOND.0 / rates[rung] * percent / 100));
            race.end(now, MIB, 1);
        }
        at
    }

    #[test]
    fn it_finds_the_rung_that_is_the_fastest_and_stays_there() {
        for (rates, best) in [
            ([500, 900, 1500, 2600, 4000, 6000], 5),
            ([500, 900, 1500, 2600, 4000, 4100], 4),
            ([2000, 1500, 1200, 1000, 900, 800], 0),
            ([800, 900, 1000, 1010, 1000, 990], 2),
        ] {
            let at = run(rates, 20, 60);
            let most = at.iter().max().expect("six");
            assert!(at[best] == *most && *most > 60 * 1024 / 2, "{rates:?}: {at:?}");
        }
    }

    #[test]
    fn a_rate_that_no_depth_changes_moves_nothing() {
        let at = run([1000; 6], 30, 100);
        assert!(at[2] > 90_000 && at[0] + at[4] + at[5] == 0, "{at:?}");
    }

    #[test]
    fn a_pause_is_no_rate() {
        let (mut race, mut now) = (Race::new(), Nanos(0));
        for write in 0..20 * 1024_u64 {
            race.begin(now);
            let rate = if race.depth() == BULK_ALONE_DEPTH_FIRST { 1000 } else { 500 };
            now = now.plus(Nanos(Nanos::SECOND.0 / rate));
            race.end(now, MIB, 0);
            // The holder's windows alone are interrupted: counted, its rivals would be faster.
            if write % 20 == 0 && race.depth() == BULK_ALONE_DEPTH_FIRST {
                now = now.plus(BULK_GAP).plus(Nanos(1));
            }
        }
        assert_eq!(race.depth, BULK_ALONE_DEPTH_FIRST);
    }
}
