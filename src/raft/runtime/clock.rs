//! openraft's instants: nanoseconds of the core's clock.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use openraft_rt::Instant;

use crate::ids::Nanos;
use crate::uring::Core;

/// A time of the current core's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(pub(crate) Nanos);

/// A length as openraft tells it, in ours.
pub(super) fn nanos(length: Duration) -> Nanos {
    Nanos(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
}

impl Instant for Moment {
    fn now() -> Self {
        Self(Core::current().now())
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.plus(nanos(length)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, length: Duration) {
        *self = *self + length;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.since(nanos(length)))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.since(earlier.0).0)
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, length: Duration) {
        *self = *self - length;
    }
}
