//! The lane kernels and their choice at start.
//!
//! A kernel digests whole leaves: independent messages of one length, the shape that lanes want. Everything
//! above the leaves (16 digests a chunk, 32 bytes a chunk for the root) is one stream and stays with `ring`.

use std::fmt;
use std::str::FromStr;

use crate::digest::tree::{Role, begin, end};
use crate::ids::Digest;
use crate::limits::LEAF_BYTES;

/// An implementation of the leaf digest. All kernels give the same digests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// One stream of `ring`: portable, with SHA-NI or the ARMv8 instructions where the processor has them.
    Ring,
}

impl Kernel {
    /// Every kernel of this build.
    pub const ALL: &[Self] = &[Self::Ring];

    /// The kernel to use: `forced` by the configuration, else the fastest on this machine.
    #[must_use]
    pub fn choose(forced: Option<Self>) -> Self {
        forced.unwrap_or(Self::Ring)
    }

    /// Its name in configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
        }
    }

    /// Digests these leaves, each of 1 to `LEAF_BYTES` bytes, into `out`, in order. They need not belong to one
    /// chunk or one segment: lanes take leaves from whatever is ready.
    pub fn leaves(self, leaves: &[&[u8]], out: &mut [Digest]) {
        assert_eq!(leaves.len(), out.len(), "one digest for each leaf");
        match self {
            Self::Ring => {
                for (leaf, digest) in leaves.iter().zip(out) {
                    assert!((1..=LEAF_BYTES).contains(&leaf.len()), "a leaf of {} bytes", leaf.len());
                    let mut context = begin(Role::Leaf);
                    context.update(leaf);
                    *digest = end(context);
                }
            }
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No kernel of this build has that name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownKernel {
    /// The name as given.
    pub name: String,
}

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no digest kernel is named {:?}; this build has:", self.name)?;
        Kernel::ALL.iter().try_for_each(|kernel| write!(f, " {kernel}"))
    }
}

impl std::error::Error for UnknownKernel {}

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

    #[test]
    fn a_kernel_reads_its_own_name_and_no_other() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(*kernel));
        }
        let refused = "sse2".parse::<Kernel>().unwrap_err();
        assert_eq!(refused.to_string(), "no digest kernel is named \"sse2\"; this build has: ring");
    }

    #[test]
    fn a_forced_kernel_is_the_one_chosen() {
        for kernel in Kernel::ALL {
            assert_eq!(Kernel::choose(Some(*kernel)), *kernel);
        }
    }

    #[test]
    #[should_panic(expected = "a leaf of 65537 bytes")]
    fn a_leaf_past_its_size_is_a_bug() {
        let bytes = vec![0; LEAF_BYTES + 1];
        Kernel::Ring.leaves(&[&bytes], &mut [Digest::default()]);
    }
}
