//! Why a ring cannot be made, in words that say what to allow.

use std::fmt;

use crate::uring::errno::Errno;

/// A ring cannot be made on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RingError {
    /// The system refuses io_uring to this process: a sysctl, or a seccomp filter.
    Refused {
        /// The first of the three system calls that is refused.
        call: &'static str,
        /// What it answered: EPERM, EACCES or ENOSYS.
        errno: Errno,
        /// kernel.io_uring_disabled, where it can be read.
        disabled: Option<u8>,
    },
    /// The kernel is too old.
    Missing {
        /// Its release.
        kernel: String,
        /// What it lacks.
        what: Vec<&'static str>,
    },
    /// The queues do not fit the memory that may be locked.
    Memory {
        /// RLIMIT_MEMLOCK in bytes.
        limit: u64,
    },
    /// A call failed that fails nowhere else.
    Call {
        /// The system call.
        name: &'static str,
        /// Its error.
        errno: Errno,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { call, errno, disabled: Some(level @ 1..) } => write!(
                f,
                "io_uring is switched off on this host ({call}: {errno}; kernel.io_uring_disabled = \
                 {level}): set `sysctl kernel.io_uring_disabled=0`, or 1 and kernel.io_uring_group to a group of \
                 this process"
            ),
            Self::Refused { call, errno, disabled } => write!(
                f,
                "io_uring is refused to this process ({call}: {errno}; kernel.io_uring_disabled {}): a \
                 seccomp filter forbids it, as the default profiles of container runtimes do: allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile (docker: \
                 --security-opt seccomp=PROFILE; kubernetes: seccompProfile.localhostProfile; systemd: \
                 SystemCallFilter=@io-event), and let it lock memory for registered buffers (--ulimit memlock=-1, \
                 LimitMEMLOCK=infinity)",
                if disabled.is_some() { "= 0" } else { "unknown" }
            ),
            Self::Missing { kernel, what } => write!(
                f,
                "Linux {kernel} is too old for Ringway's rings: it lacks {}. Linux 6.1 is enough, 6.9 has everything",
                what.join(", ")
            ),
            Self::Memory { limit } => write!(
                f,
                "the ring's queues do not fit the memory that may be locked ({limit} bytes): raise it (`ulimit -l`, \
                 systemd LimitMEMLOCK=, docker --ulimit memlock=-1) or give CAP_IPC_LOCK"
            ),
            Self::Call { name, errno } => write!(f, "{name} failed while the ring was made: {errno}"),
        }
    }
}

impl std::error::Error for RingError {}
