//! The budget of one limit: so many bytes a second, for kinds of work that each have a share of it. Pure.
//!
//! A kind that has something left of its own share goes first, live before catch-up before scrub; what nobody claims
//! goes to whoever waits, in the same order. So a share that is not used is lent, and is there again when it is. Within
//! a kind, who came first goes first. Never does more pass in any time than the limit allows in it and one burst.

use std::collections::VecDeque;

use crate::broken::{self, Broken};
use crate::config::{Work, WorkShares};
use crate::ids::Nanos;
use crate::limits::{CHUNK_BYTES, RATE_BURST_BYTES_MIN, RATE_BURST_TIME};

/// Levels are counted in billionths of bytes: what a limit of one byte a second gives in a nanosecond.
const BYTE: i128 = Nanos::SECOND.0 as i128;

/// A take that was not granted at once.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    bytes: u64,
    since: Nanos,
}

/// What has passed of one kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Passed {
    /// Bytes.
    pub bytes: u64,
    /// How often somebody had to wait.
    pub waits: u64,
    /// For how long, all waits together.
    pub waited: Nanos,
    /// For how long anybody waited.
    pub held_back: Nanos,
}

/// The budget.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes a second; none if there is no limit.
    rate: Option<u64>,
    shares: WorkShares,
    level: i128,
    /// Of each kind, what it may claim of the level.
    claims: [i128; 3],
    seen: Nanos,
    waiting: [VecDeque<Waiting>; 3],
    tickets: u64,
    passed: [Passed; 3],
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Option<u64>, shares: WorkShares) -> Self {
        let mut bucket = Self {
            rate: None,
            shares,
            level: 0,
            claims: [0; 3],
            seen: Nanos(0),
            waiting: Default::default(),
            tickets: 0,
            passed: Default::default(),
        };
        bucket.set(rate, shares);
        bucket
    }

    /// From now on there is another limit. What has passed before counts against it.
    pub(super) fn set(&mut self, rate: Option<u64>, shares: WorkShares) {
        let burst = rate.map_or(0, burst);
        let is_first = self.rate.is_none();
        for level in self.claims.iter_mut().chain([&mut self.level]) {
            *level = if is_first { burst } else { (*level).min(burst) };
        }
        (self.rate, self.shares) = (rate, shares);
    }

    /// The limit in force.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// The shares in force.
    pub(super) fn shares(&self) -> WorkShares {
        self.shares
    }

    /// What has passed while there was a limit.
    pub(super) fn passed(&self) -> [Passed; 3] {
        self.passed
    }

    /// Takes so many bytes, a chunk at most, or says when it is worth asking again. Whoever is refused has a place in
    /// the queue by its ticket from then on, until it takes or leaves.
    pub(super) fn take(
        &mut self,
        work: Work,
        bytes: u64,
        ticket: &mut Option<u64>,
        now: Nanos,
    ) -> Result<(), Nanos> {
        debug_assert!(bytes <= CHUNK_BYTES as u64, "{bytes} bytes at once");
        let Some(rate) = self.rate else {
            self.leave(work, ticket);
            return Ok(());
        };
        self.fill(rate, now);
        let queue = &self.waiting[work.place()];
        let ahead = queue.iter().position(|waiting| Some(waiting.ticket) == *ticket).unwrap_or(queue.len());
        let amount = i128::from(bytes) * BYTE;
        let is_enough = self.level >= amount || broken::is(Broken::RateIgnored);
        if ahead == 0 && is_enough && self.is_first(work) {
            self.grant(work, bytes, ticket, now);
            return Ok(());
        }
        let before: u64 = queue.iter().take(ahead).map(|waiting| waiting.bytes).sum();
        let lacking = i128::from(before) * BYTE + amount - self.level;
        if ticket.is_none() {
            self.tickets += 1;
            *ticket = Some(self.tickets);
            self.waiting[work.place()].push_back(Waiting { ticket: self.tickets, bytes, since: now });
            self.passed[work.place()].waits += 1;
        }
        // If there is enough, it is somebody else's turn, who takes about as much.
        let lacking = if lacking > 0 { lacking } else { amount };
        let wait = u64::try_from((lacking / i128::from(rate)) + 1).unwrap_or(u64::MAX);
        Err(now.plus(Nanos(wait)))
    }

    /// Gives up a place in the queue.
    pub(super) fn leave(&mut self, work: Work, ticket: &mut Option<u64>) {
        let Some(ticket) = ticket.take() else { return };
        self.waiting[work.place()].retain(|waiting| waiting.ticket != ticket);
    }

    fn fill(&mut self, rate: u64, now: Nanos) {
        let passed = now.since(self.seen);
        let come = i128::from(passed.0) * i128::from(rate);
        self.seen = self.seen.max(now);
        let most = burst(rate);
        self.level = (self.level + come).min(most);
        for work in Work::ALL {
            let claim = &mut self.claims[work.place()];
            *claim = (*claim + come * i128::from(self.shares.of(work)) / 100).min(most);
            if !self.waiting[work.place()].is_empty() {
                let held_back = &mut self.passed[work.place()].held_back;
                *held_back = held_back.plus(passed);
            }
        }
    }

    /// Nobody who waits for another kind of work goes before this one.
    fn is_first(&self, work: Work) -> bool {
        if broken::is(Broken::SharesIgnored) {
            // Who should go last goes first.
            return Work::ALL
                .into_iter()
                .all(|other| other <= work || self.waiting[other.place()].is_empty());
        }
        let rank = |work: Work| (self.claims[work.place()] <= 0, work);
        let is_waiting = |other: &Work| *other != work && !self.waiting[other.place()].is_empty();
        Work::ALL.into_iter().filter(is_waiting).all(|other| rank(work) < rank(other))
    }

    fn grant(&mut self, work: Work, bytes: u64, ticket: &mut Option<u64>, now: Nanos) {
        let amount = i128::from(bytes) * BYTE;
        self.level -= amount;
        let claim = &mut self.claims[work.place()];
        // What is borrowed is nobody's claim, and costs none later.
        if *claim > 0 {
            *claim -= amount;
        }
        let passed = &mut self.passed[work.place()];
        passed.bytes = passed.bytes.saturating_add(bytes);
        if ticket.take().is_some()
            && let Some(first) = self.waiting[work.place()].pop_front()
        {
            passed.waited = passed.waited.plus(now.since(first.since));
        }
    }
}

/// What passes at once after a rest, in billionths of bytes.
fn burst(rate: u64) -> i128 {
    (i128::from(rate) * i128::from(RATE_BURST_TIME.0)).max(i128::from(RATE_BURST_BYTES_MIN) * BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const RATE: u64 = 100 * MIB;
    /// What passes at once at that rate.
    const BURST: u64 = 5 * MIB;

    /// Takes of one kind of work, one behind the other, from a time to a time.
    struct Taker {
        work: Work,
        bytes: u64,
        from: Nanos,
        to: Nanos,
        again: Nanos,
        ticket: Option<u64>,
        /// When each was granted.
        granted: Vec<(Nanos, u64)>,
    }

    fn taker(work: Work, bytes: u64, seconds: std::ops::Range<u64>) -> Taker {
        let (from, to) = (Nanos::from_secs(seconds.start), Nanos::from_secs(seconds.end));
        Taker { work, bytes, from, to, again: from, ticket: None, granted: Vec::new() }
    }

    /// Lets all of them take as much as they are given, each asking when it was told to.
    fn run(bucket: &mut Bucket, takers: &mut [Taker]) {
        while let Some(next) =
            takers.iter_mut().filter(|taker| taker.again < taker.to).min_by_key(|taker| taker.again)
        {
            let now = next.again;
            match bucket.take(next.work, next.bytes, &mut next.ticket, now) {
                Ok(()) => next.granted.push((now, next.bytes)),
                Err(again) => {
                    assert!(again > now, "nobody spins");
                    next.again = again;
                    if again >= next.to {
                        bucket.leave(next.work, &mut next.ticket);
                    }
                }
            }
        }
    }

    fn bytes(takers: &[Taker], work: Work, seconds: std::ops::Range<u64>) -> u64 {
        let within = Nanos::from_secs(seconds.start)..Nanos::from_secs(seconds.end);
        let of = takers.iter().filter(|taker| taker.work == work).flat_map(|taker| &taker.granted);
        of.filter(|(at, _)| within.contains(at)).map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn p7_what_passes_in_any_time_is_bounded_and_nothing_is_left_over_while_somebody_waits() {
        for shares in [WorkShares::default(), WorkShares { live: 1, catch_up: 0, scrub: 0 }] {
            for sizes in [[MIB, MIB, MIB], [1, MIB, 70_001], [300_007, 12, MIB]] {
                let mut bucket = Bucket::new(Some(RATE), shares);
                let kinds = Work::ALL.into_iter().zip(sizes);
                let mut takers: Vec<_> = kinds
                    .flat_map(|(work, bytes)| [taker(work, bytes, 0..3), taker(work, bytes, 1..2)])
                    .collect();
                // A byte a time costs a while.
                takers.iter_mut().filter(|taker| taker.bytes < 100).for_each(|taker| taker.to = taker.from);
                run(&mut bucket, &mut takers);
                let mut all: Vec<_> = takers.iter().flat_map(|taker| taker.granted.clone()).collect();
                all.sort_unstable();
                let total: u64 = all.iter().map(|(_, bytes)| bytes).sum();
                assert!(total >= RATE * 3 - MIB, "{total} bytes in three seconds");
                for (place, (begun, _)) in all.iter().enumerate().step_by(7) {
                    let mut sum = 0;
                    for (at, bytes) in &all[place..] {
                        sum += bytes;
                        let most = u128::from(at.since(*begun).0) * u128::from(RATE) / 1_000_000_000;
                        assert!(
                            u128::from(sum) <= most + u128::from(BURST) + 1,
                            "{sum} bytes from {begun} to {at}"
                        );
                    }
                }
            }
        }
    }

    /// Who waits in which seconds, and how many per cent of the limit each has in the last of them.
    #[test]
    fn p7_each_kind_of_work_has_its_share_and_what_the_others_leave() {
        use Work::{CatchUp, Live, Scrub};
        type Row = (&'static [(Work, std::ops::Range<u64>)], std::ops::Range<u64>, [u64; 3]);
        let rows: [Row; 8] = [
            (&[(Live, 0..4), (CatchUp, 0..4), (Scrub, 0..4)], 1..4, [70, 25, 5]),
            (&[(Live, 0..4), (CatchUp, 0..4)], 1..4, [75, 25, 0]),
            (&[(CatchUp, 0..4)], 1..4, [0, 100, 0]),
            (&[(Scrub, 0..4)], 1..4, [0, 0, 100]),
            (&[(CatchUp, 0..4), (Scrub, 0..4)], 1..4, [0, 95, 5]),
            (&[(CatchUp, 0..8), (Live, 4..8)], 5..8, [75, 25, 0]),
            (&[(Live, 0..4), (CatchUp, 0..8), (Scrub, 0..8)], 5..8, [0, 95, 5]),
            (
                &[(Live, 0..4), (Live, 0..4), (CatchUp, 0..4), (CatchUp, 0..4), (CatchUp, 0..4)],
                1..4,
                [75, 25, 0],
            ),
        ];
        for (waiting, seconds, expected) in rows {
            let mut bucket = Bucket::new(Some(RATE), WorkShares::default());
            let mut takers: Vec<_> =
                waiting.iter().map(|(work, within)| taker(*work, MIB, within.clone())).collect();
            run(&mut bucket, &mut takers);
            let length = seconds.end - seconds.start;
            for (work, percent) in Work::ALL.into_iter().zip(expected) {
                let found = bytes(&takers, work, seconds.clone());
                let (least, most) = (RATE * length * percent / 100, RATE * length * percent / 100);
                let slack = 3 * MIB;
                let is_right = (least.saturating_sub(slack)..=most + slack).contains(&found);
                assert!(is_right, "{waiting:?} {work:?}: {found} bytes, {percent} per cent of {length} s");
            }
        }
    }

    #[test]
    fn p7_who_is_live_waits_for_one_chunk_of_the_others_and_no_more() {
        let mut bucket = Bucket::new(Some(RATE), WorkShares::default());
        let mut takers: Vec<_> = (0..50).map(|_| taker(Work::CatchUp, MIB, 0..3)).collect();
        // One chunk each 100 ms: far below its share.
        let mut at = Nanos::SECOND;
        while at < Nanos::from_secs(2) {
            takers.push(Taker { to: at.plus(Nanos::from_millis(40)), ..taker(Work::Live, MIB, 1..2) });
            let live = takers.last_mut().expect("one");
            (live.from, live.again) = (at, at);
            at = at.plus(Nanos::from_millis(100));
        }
        // Each takes once.
        let mut done = Vec::new();
        while let Some(place) = takers
            .iter()
            .enumerate()
            .filter(|(_, taker)| taker.again < taker.to)
            .min_by_key(|(_, taker)| taker.again)
            .map(|(place, _)| place)
        {
            let next = &mut takers[place];
            let now = next.again;
            match bucket.take(next.work, next.bytes, &mut next.ticket, now) {
                Ok(()) if next.work == Work::Live => {
                    done.push(now.since(next.from));
                    next.again = next.to;
                }
                Ok(()) => next.granted.push((now, next.bytes)),
                Err(again) => next.again = again,
            }
        }
        assert_eq!(done.len(), 10, "{done:?}");
        assert!(done.iter().all(|waited| *waited <= Nanos::from_millis(11)), "a chunk takes 10 ms: {done:?}");
    }

    #[test]
    fn p7_within_a_kind_of_work_who_came_first_goes_first_and_who_leaves_holds_up_nobody() {
        let mut bucket = Bucket::new(Some(MIB), WorkShares::default());
        let mut tickets: [Option<u64>; 5] = Default::default();
        let mut take = |bucket: &mut Bucket, place: usize, at: u64| {
            bucket.take(Work::CatchUp, MIB, &mut tickets[place], Nanos::from_secs(at)).is_ok()
        };
        assert!(take(&mut bucket, 0, 10) && take(&mut bucket, 1, 10), "the burst");
        assert!(!take(&mut bucket, 2, 10) && !take(&mut bucket, 3, 10) && !take(&mut bucket, 4, 10));
        assert!(
            !take(&mut bucket, 4, 12) && !take(&mut bucket, 3, 12),
            "there is enough, and they are not first"
        );
        assert!(take(&mut bucket, 2, 12));
        bucket.leave(Work::CatchUp, &mut tickets[3]);
        let mut take =
            |place: usize| bucket.take(Work::CatchUp, MIB, &mut tickets[place], Nanos::from_secs(12)).is_ok();
        assert!(take(4));
        let passed = bucket.passed()[Work::CatchUp.place()];
        assert_eq!((passed.bytes, passed.waits, passed.waited), (4 * MIB, 3, Nanos::from_secs(4)));
        assert_eq!(passed.held_back, Nanos::from_secs(2));
    }

    #[test]
    fn p7_a_limit_that_is_lifted_or_changed_holds_at_once() {
        let mut bucket = Bucket::new(Some(MIB), WorkShares::default());
        let (mut none, mut ticket) = (None, None);
        for _ in 0..2 {
            assert!(bucket.take(Work::Live, MIB, &mut none, Nanos(1)).is_ok());
        }
        assert_eq!(bucket.take(Work::Live, MIB, &mut ticket, Nanos(1)), Err(Nanos(1_000_000_002)));
        bucket.set(Some(10 * MIB), WorkShares::default());
        assert_eq!(bucket.take(Work::Live, MIB, &mut ticket, Nanos(1)), Err(Nanos(100_000_002)));
        bucket.set(None, WorkShares::default());
        assert_eq!(bucket.take(Work::Live, MIB, &mut ticket, Nanos(1)), Ok(()));
        assert!(bucket.waiting.iter().all(VecDeque::is_empty) && ticket.is_none());
    }
}
