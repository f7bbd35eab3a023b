//! What must hold in every run: one invariant, one file. Checkers are fed plain facts and know nothing of the product.

mod applied_once;
mod bounded;
mod converges;
mod manifest_agreement;
mod never_older;
mod no_lost_commit;
mod no_unverified_byte;
mod one_leader;
mod shares_respected;
mod watermark_order;

use std::fmt;

pub use applied_once::AppliedOnce;
pub use bounded::Bounded;
pub use converges::Converges;
pub use manifest_agreement::ManifestAgreement;
pub use never_older::NeverOlder;
pub use no_lost_commit::NoLostCommit;
pub use no_unverified_byte::NoUnverifiedByte;
pub use one_leader::OneLeader;
pub use shares_respected::{Limit, Passed, SharesRespected};
pub use watermark_order::{WatermarkOrder, Watermarks};

/// An invariant is broken: which, by whom, with the facts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub String);

/// What a checker says to a fact.
pub type Verdict = Result<(), Violation>;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hold(holds: bool, violation: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation(violation())) }
}
