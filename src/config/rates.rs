//! How many bytes a second may pass, in each direction, and how what is limited is divided among kinds of work.

use super::ConfigError;
use crate::limits::{RATE_BYTES_MAX, RATE_BYTES_MIN};

/// What bytes are moved for. In the order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Work {
    /// Segments that were registered just now, at a node that lacks nothing older.
    Live,
    /// Whatever else a node lacks.
    CatchUp,
    /// Reading again what stands here.
    Scrub,
}

impl Work {
    /// Every kind, each in its place.
    pub const ALL: [Self; 3] = [Self::Live, Self::CatchUp, Self::Scrub];

    /// Its place among all.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Live => 0,
            Self::CatchUp => 1,
            Self::Scrub => 2,
        }
    }

    /// In a word, for status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::CatchUp => "catch_up",
            Self::Scrub => "scrub",
        }
    }
}

/// Which way bytes pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// From other nodes.
    Receive,
    /// To other nodes, and what is read again here.
    Serve,
}

impl Direction {
    /// Both, each in its place.
    pub const ALL: [Self; 2] = [Self::Receive, Self::Serve];

    /// Its place among both.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Receive => 0,
            Self::Serve => 1,
        }
    }

    /// In a word, for status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Serve => "serve",
        }
    }
}

/// Limits of bytes per second of segments' content; none is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// What the node receives, all of its shards together.
    pub receive: Option<u64>,
    /// What the node serves.
    pub serve: Option<u64>,
    /// What each shard receives.
    pub shard_receive: Option<u64>,
    /// What each shard serves.
    pub shard_serve: Option<u64>,
    /// How each of them is divided.
    pub shares: WorkShares,
}

/// Per cent of a limit that each kind of work has for itself. What one does not use is lent to the others, and what is
/// left of a hundred to whoever is first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkShares {
    /// At least 1.
    pub live: u8,
    /// May be 0: what others leave.
    pub catch_up: u8,
    /// May be 0: what others leave.
    pub scrub: u8,
}

impl Default for WorkShares {
    fn default() -> Self {
        Self { live: 70, catch_up: 25, scrub: 5 }
    }
}

impl WorkShares {
    /// One kind's.
    #[must_use]
    pub fn of(self, work: Work) -> u8 {
        match work {
            Work::Live => self.live,
            Work::CatchUp => self.catch_up,
            Work::Scrub => self.scrub,
        }
    }
}

impl Rates {
    /// The node's limit.
    #[must_use]
    pub fn of_node(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Receive => self.receive,
            Direction::Serve => self.serve,
        }
    }

    /// Each shard's limit.
    #[must_use]
    pub fn of_shard(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Receive => self.shard_receive,
            Direction::Serve => self.shard_serve,
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rates = [
            ("receive_bytes_per_second", self.receive),
            ("serve_bytes_per_second", self.serve),
            ("shard_receive_bytes_per_second", self.shard_receive),
            ("shard_serve_bytes_per_second", self.shard_serve),
        ];
        for (name, rate) in rates {
            let given = rate.unwrap_or(RATE_BYTES_MIN);
            super::bounded(name, given, RATE_BYTES_MIN, RATE_BYTES_MAX)?;
        }
        let WorkShares { live, catch_up, scrub } = self.shares;
        super::bounded("live_share", live.into(), 1, 100)?;
        let sum = u64::from(live) + u64::from(catch_up) + u64::from(scrub);
        if sum > 100 { Err(ConfigError::SharesTooLarge { sum }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_a_limit_below_a_chunk_a_second_and_shares_over_a_hundred_are_refused_by_name() {
        assert_eq!(Rates::default().check(), Ok(()));
        let shares = |live, catch_up, scrub| WorkShares { live, catch_up, scrub };
        let of = |shares| Rates { shares, ..Rates::default() }.check();
        assert_eq!(of(shares(100, 0, 0)), Ok(()));
        assert_eq!(of(shares(1, 0, 99)), Ok(()));
        assert_eq!(of(shares(70, 25, 6)), Err(ConfigError::SharesTooLarge { sum: 101 }));
        assert_eq!(
            of(shares(255, 255, 255)).map_err(|error| error.to_string().contains("live_share")),
            Err(true)
        );
        assert!(matches!(of(shares(0, 50, 50)), Err(ConfigError::OutOfBounds { name: "live_share", .. })));
        let named = |change: fn(&mut Rates, Option<u64>), name: &str| {
            for (rate, is_good) in
                [(0, false), (RATE_BYTES_MIN - 1, false), (RATE_BYTES_MIN, true), (u64::MAX, false)]
            {
                let mut rates = Rates::default();
                change(&mut rates, Some(rate));
                match rates.check() {
                    Ok(()) => assert!(is_good, "{name} = {rate}"),
                    Err(error) => assert!(!is_good && error.to_string().starts_with(name), "{error}"),
                }
            }
        };
        named(|rates, rate| rates.receive = rate, "receive_bytes_per_second");
        named(|rates, rate| rates.serve = rate, "serve_bytes_per_second");
        named(|rates, rate| rates.shard_receive = rate, "shard_receive_bytes_per_second");
        named(|rates, rate| rates.shard_serve = rate, "shard_serve_bytes_per_second");
    }

    #[test]
    fn p7_each_kind_of_work_and_each_direction_has_a_place_of_its_own() {
        assert!(Work::ALL.into_iter().map(Work::place).eq(0..3));
        assert!(Direction::ALL.into_iter().map(Direction::place).eq(0..2));
    }
}
