//! The kernels and the choice among them.
//!
//! A kernel digests whole leaves: independent messages of one length, the shape that lanes want. Everything
//! above the leaves (16 digests a chunk, 32 bytes a chunk for the root) is one stream and stays with `ring`, and so
//! do pieces of a leaf and the flat digest. See kernel-notes/sha256-lanes.md.

use std::fmt;
use std::str::FromStr;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::digest::lanes::in_pairs;
#[cfg(target_arch = "aarch64")]
use crate::digest::lanes_aarch64::ArmSha2;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes_avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes_avx512::Avx512;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes_sha_ni::ShaNi;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes_wide::{in_eights, in_sixteens};
use crate::digest::tree::one_by_one;
use crate::ids::{Digest, Nanos};
use crate::limits::{CHUNK_LEAVES, LEAF_BYTES};

/// An implementation of the leaf digest. All kernels give the same digests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// One stream of `ring`: portable, with SHA-NI or the ARMv8 instructions where the processor has them.
    Ring,
    /// Two streams at once by the SHA extensions of x86-64.
    ShaNi,
    /// Eight leaves at once in AVX2 registers; fewer as `Ring` does it.
    Avx2,
    /// Sixteen leaves at once in AVX-512 registers; fewer as `ShaNi` does it, or `Ring`.
    Avx512,
    /// Two streams at once by the SHA-2 instructions of ARMv8.
    ArmSha2,
}

/// Bytes of each leaf of the trial at start.
const TRIAL_LEAF_BYTES: usize = 16 * 1024;
/// Rounds of the trial; the best of each kernel counts. All of it takes about 2 ms.
const TRIAL_ROUNDS: usize = 4;

impl Kernel {
    /// Every kernel by name, the plainest first; this machine may lack some.
    pub const ALL: &[Self] = &[Self::Ring, Self::ShaNi, Self::Avx2, Self::Avx512, Self::ArmSha2];

    /// Whether this machine has what it needs. `leaves` of one that is not present are digested by `Ring`.
    #[must_use]
    pub fn is_present(self) -> bool {
        match self {
            Self::Ring => true,
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => ShaNi::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::ArmSha2 => ArmSha2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::ShaNi | Self::Avx2 | Self::Avx512 => false,
            #[cfg(not(target_arch = "aarch64"))]
            Self::ArmSha2 => false,
        }
    }

    /// The kernels that this machine has.
    pub fn present() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kernel| kernel.is_present())
    }

    /// The one that digests sixteen leaves in the least time by `clock`, tried here and now.
    pub fn fastest(mut clock: impl FnMut() -> Nanos) -> Self {
        let mut best = (u64::MAX, Self::Ring);
        for kernel in (0..TRIAL_ROUNDS).flat_map(|_| Self::present()) {
            let nanos = kernel.trial(&mut clock);
            if nanos < best.0 {
                best = (nanos, kernel);
            }
        }
        best.1
    }

    /// The bytes that one core digests with it in a second, by `clock`, tried here and now.
    pub fn rate(self, mut clock: impl FnMut() -> Nanos) -> u64 {
        let nanos = (0..TRIAL_ROUNDS).map(|_| self.trial(&mut clock)).min().unwrap_or_default().max(1);
        let bytes = u64::try_from(TRIAL_LEAF_BYTES * CHUNK_LEAVES).expect("usize fits u64");
        bytes.saturating_mul(Nanos::SECOND.0) / nanos
    }

    /// Nanoseconds that sixteen leaves take.
    fn trial(self, clock: &mut impl FnMut() -> Nanos) -> u64 {
        let bytes = vec![0x5a; TRIAL_LEAF_BYTES];
        let leaves: [&[u8]; CHUNK_LEAVES] = [&bytes; CHUNK_LEAVES];
        let mut out = [Digest::default(); CHUNK_LEAVES];
        let begun = clock();
        self.leaves(&leaves, &mut out);
        clock().0.saturating_sub(begun.0)
    }

    /// Its name in configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::ShaNi => "sha-ni",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::ArmSha2 => "arm-sha2",
        }
    }

    /// The kernel of that name, if this machine has it.
    ///
    /// # Errors
    /// When it has not.
    pub fn require(self) -> Result<Self, AbsentKernel> {
        if self.is_present() { Ok(self) } else { Err(AbsentKernel { kernel: self }) }
    }

    /// Digests these leaves, each of 1 to `LEAF_BYTES` bytes, into `out`, in order. They need not belong to one
    /// chunk or one segment: lanes take leaves from whatever is ready.
    pub fn leaves(self, leaves: &[&[u8]], out: &mut [Digest]) {
        assert_eq!(leaves.len(), out.len(), "one digest for each leaf");
        for leaf in leaves {
            assert!((1..=LEAF_BYTES).contains(&leaf.len()), "a leaf of {} bytes", leaf.len());
        }
        match self {
            Self::Ring => {}
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => {
                if let Some(lanes) = ShaNi::detect() {
                    return in_pairs(lanes, leaves, out);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                if let Some(lanes) = Avx2::detect() {
                    return in_eights(lanes, leaves, out);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                if let Some(lanes) = Avx512::detect() {
                    return in_sixteens(lanes, leaves, out);
                }
            }
            #[cfg(target_arch = "aarch64")]
            Self::ArmSha2 => {
                if let Some(lanes) = ArmSha2::detect() {
                    return in_pairs(lanes, leaves, out);
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::ShaNi | Self::Avx2 | Self::Avx512 => {}
            #[cfg(not(target_arch = "aarch64"))]
            Self::ArmSha2 => {}
        }
        one_by_one(leaves, out);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No kernel has that name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownKernel {
    /// The name as given.
    pub name: String,
}

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no digest kernel is named {:?}; there are:", self.name)?;
        Kernel::ALL.iter().try_for_each(|kernel| write!(f, " {kernel}"))
    }
}

impl std::error::Error for UnknownKernel {}

/// This machine has not what the kernel needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbsentKernel {
    /// The kernel asked for.
    pub kernel: Kernel,
}

impl fmt::Display for AbsentKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine has no digest kernel {}; it has:", self.kernel)?;
        Kernel::present().try_for_each(|kernel| write!(f, " {kernel}"))
    }
}

impl std::error::Error for AbsentKernel {}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Self, UnknownKernel> {
        let found = Self::ALL.iter().find(|kernel| kernel.name() == name);
        found.copied().ok_or_else(|| UnknownKernel { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DIGEST_KERNELS;

    #[test]
    fn a_kernel_reads_its_own_name_and_no_other() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(*kernel));
        }
        let refused = "sse2".parse::<Kernel>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no digest kernel is named \"sse2\"; there are: ring sha-ni avx2 avx512 arm-sha2"
        );
    }

    #[test]
    fn the_configuration_knows_every_kernel_by_name() {
        assert!(DIGEST_KERNELS.iter().copied().eq(Kernel::ALL.iter().map(|kernel| kernel.name())));
    }

    #[test]
    fn the_kernel_with_the_shortest_trial_is_the_one_chosen() {
        for wanted in Kernel::present() {
            // A clock that stands still while the wanted kernel runs, and for no other.
            let order: Vec<Kernel> = Kernel::present().collect();
            let (mut readings, mut now) = (0, 0);
            let chosen = Kernel::fastest(|| {
                let runs = order[readings / 2 % order.len()];
                now += if readings % 2 == 1 && runs != wanted { 1000 } else { 1 };
                readings += 1;
                Nanos(now)
            });
            assert_eq!(chosen, wanted);
        }
    }

    #[test]
    fn a_kernel_that_the_machine_lacks_is_refused_by_name_and_digests_nothing_wrong() {
        for kernel in Kernel::ALL {
            match kernel.require() {
                Ok(found) => assert_eq!(found, *kernel),
                Err(error) => assert!(error.to_string().contains(kernel.name()), "{error}"),
            }
        }
        assert_eq!(
            AbsentKernel { kernel: Kernel::Avx512 }.to_string().split("; it has: ring").next(),
            Some("this machine has no digest kernel avx512")
        );
    }

    #[test]
    #[should_panic(expected = "a leaf of 65537 bytes")]
    fn a_leaf_past_its_size_is_a_bug() {
        let bytes = vec![0; LEAF_BYTES + 1];
        Kernel::Ring.leaves(&[&bytes], &mut [Digest::default()]);
    }
}
