//! Making the ring: the best flags that this kernel takes, step by step, and what it can do.
//! See kernel-notes/ring-setup.md.

use io_uring::{IoUring, opcode};

use crate::limits::{OPERATIONS_IN_FLIGHT_MAX, RING_ENTRIES};
use crate::uring::errno::Errno;
use crate::uring::op::Congestion;
use crate::uring::probe::{Probe, ZERO_COPY_SEND};

use super::error::RingError;
use super::sys;

/// How a ring is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelOptions {
    /// Submission queue entries; rounded up to a power of two.
    pub entries: u32,
    /// Completion queue entries. A queue that is full all the same loses nothing (IORING_FEAT_NODROP).
    pub completions: u32,
    /// Register the slab's buffers.
    pub registered: bool,
    /// Sets of flags to leave out, the best first: how a kernel that does not know them is tried on one that does.
    pub left_out: usize,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self { entries: RING_ENTRIES, completions: COMPLETIONS, registered: true, left_out: 0 }
    }
}

/// Every operation in flight may complete twice (zero-copy sends), and the wake once more.
const COMPLETIONS: u32 = 4096;
const _: () = assert!(COMPLETIONS as usize > 2 * OPERATIONS_IN_FLIGHT_MAX);

/// Workers of the kernel for requests that would block: files, and all else. Few, so that a hung disk does not cost
/// hundreds of threads; not so few that the log's fdatasync waits behind bulk ones.
const WORKERS: [u32; 2] = [16, 4];

/// A set of flags, best first; the kernel answers EINVAL to one that it does not know.
struct Step {
    name: &'static str,
    single_issuer: bool,
    deferred: bool,
    cooperative: bool,
    no_array: bool,
}

const STEPS: [Step; 4] = [
    Step { name: "", single_issuer: true, deferred: true, cooperative: false, no_array: true },
    Step {
        name: "before 6.6: with it",
        single_issuer: true,
        deferred: true,
        cooperative: false,
        no_array: false,
    },
    Step {
        name: "COOP_TASKRUN: before 6.1, or switched off",
        single_issuer: false,
        deferred: false,
        cooperative: true,
        no_array: false,
    },
    Step {
        name: "plain interrupts: before 5.19",
        single_issuer: false,
        deferred: false,
        cooperative: false,
        no_array: false,
    },
];

impl Step {
    fn build(&self, options: KernelOptions) -> Result<IoUring, Errno> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(options.completions.max(options.entries)).setup_clamp();
        if self.single_issuer {
            builder.setup_single_issuer();
        }
        if self.deferred {
            builder.setup_defer_taskrun();
        }
        if self.cooperative {
            builder.setup_coop_taskrun();
        }
        if self.deferred || self.cooperative {
            builder.setup_taskrun_flag().setup_submit_all();
        }
        if self.no_array {
            builder.setup_no_sqarray();
        }
        builder.build(options.entries).map_err(Errno::from)
    }
}

/// What the ring does one way or another, by what the kernel has.
#[derive(Clone, Copy, Default)]
pub(super) struct Abilities {
    pub(super) truncate: bool,
    pub(super) zero_copy: bool,
}

/// What no ring of ours can do without.
const NEEDED: &[(u8, &str)] = &[
    (opcode::Read::CODE, "IORING_OP_READ (5.6)"),
    (opcode::Write::CODE, "IORING_OP_WRITE (5.6)"),
    (opcode::ReadFixed::CODE, "IORING_OP_READ_FIXED (5.1)"),
    (opcode::WriteFixed::CODE, "IORING_OP_WRITE_FIXED (5.1)"),
    (opcode::Fsync::CODE, "IORING_OP_FSYNC (5.1)"),
    (opcode::OpenAt::CODE, "IORING_OP_OPENAT (5.6)"),
    (opcode::OpenAt2::CODE, "IORING_OP_OPENAT2 (5.6)"),
    (opcode::Close::CODE, "IORING_OP_CLOSE (5.6)"),
    (opcode::Statx::CODE, "IORING_OP_STATX (5.6)"),
    (opcode::Fallocate::CODE, "IORING_OP_FALLOCATE (5.6)"),
    (opcode::RenameAt::CODE, "IORING_OP_RENAMEAT (5.11)"),
    (opcode::UnlinkAt::CODE, "IORING_OP_UNLINKAT (5.11)"),
    (opcode::MkDirAt::CODE, "IORING_OP_MKDIRAT (5.15)"),
    (opcode::Connect::CODE, "IORING_OP_CONNECT (5.5)"),
    (opcode::Accept::CODE, "IORING_OP_ACCEPT (5.5)"),
    (opcode::Send::CODE, "IORING_OP_SEND (5.6)"),
    (opcode::Recv::CODE, "IORING_OP_RECV (5.6)"),
    (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL (5.5)"),
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD (5.1)"),
    (opcode::Shutdown::CODE, "IORING_OP_SHUTDOWN (5.11)"),
];

/// Makes the ring and looks at what it can do.
pub(super) fn open(options: KernelOptions) -> Result<(IoUring, Abilities, Probe), RingError> {
    let kernel = read_line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut probe = Probe { backend: "io_uring", kernel, findings: Vec::new() };
    let (uring, step) = build(options)?;
    try_enter(&uring)?;
    probe.note("deferred task work", step.deferred, if step.deferred { "" } else { step.name });
    probe.note("submission without an array", step.no_array, if step.no_array { "" } else { step.name });
    let abilities = look(&uring, &mut probe)?;
    let mut workers = WORKERS;
    match uring.submitter().register_iowq_max_workers(&mut workers) {
        Ok(()) => {
            probe.note("bounded workers", true, format!("{} for files, {} else", WORKERS[0], WORKERS[1]))
        }
        Err(error) => probe.note("bounded workers", false, Errno::from(error).to_string()),
    }
    for congestion in Congestion::ALL {
        let (name, result) = (congestion.name(), sys::try_congestion(congestion));
        let note = result.err().map_or_else(String::new, |errno| no_congestion(name, errno));
        probe.note(name, result.is_ok(), note);
    }
    let cachestat = sys::resident(-1, 0, 1) != Err(Errno::NOT_SUPPORTED);
    probe.note("cachestat", cachestat, if cachestat { "" } else { "what is cached is not known" });
    Ok((uring, abilities, probe))
}

fn build(options: KernelOptions) -> Result<(IoUring, &'static Step), RingError> {
    let mut last = Errno::INVALID;
    for step in STEPS.iter().skip(options.left_out) {
        match step.build(options) {
            Ok(uring) => return Ok((uring, step)),
            Err(Errno::INVALID) => last = Errno::INVALID,
            Err(Errno::NO_MEMORY) => return Err(RingError::Memory { limit: sys::memlock_limit() }),
            Err(errno) => return Err(failed("io_uring_setup", errno)),
        }
    }
    Err(failed("io_uring_setup", last))
}

/// A filter may forbid one of the three system calls and allow the others.
fn failed(call: &'static str, errno: Errno) -> RingError {
    if !errno.is_forbidden() {
        return RingError::Call { name: call, errno };
    }
    let disabled = read_line("/proc/sys/kernel/io_uring_disabled").and_then(|line| line.parse().ok());
    RingError::Refused { call, errno, disabled }
}

/// Enters the ring once, with nothing to do: what forbids that would end the core at its first turn.
fn try_enter(uring: &IoUring) -> Result<(), RingError> {
    // SAFETY: no argument is given, and nothing is submitted.
    let entered = unsafe { uring.submitter().enter::<libc::sigset_t>(0, 0, 0, None) };
    entered.map(drop).map_err(|error| failed("io_uring_enter", error.into()))
}

/// What connections have in place of a congestion control, and what to allow.
fn no_congestion(name: &str, errno: Errno) -> String {
    let default = read_line("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let allow = if errno.is_forbidden() {
        let allowed = read_line("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap_or_default();
        format!("`sysctl net.ipv4.tcp_allowed_congestion_control='{allowed} {name}'`, or give CAP_NET_ADMIN")
    } else {
        format!("`modprobe tcp_{name}`")
    };
    format!("the system's default, {default}, instead: {errno}: {allow}")
}

/// Which requests the kernel knows.
fn look(uring: &IoUring, probe: &mut Probe) -> Result<Abilities, RingError> {
    let mut known = io_uring::Probe::new();
    uring
        .submitter()
        .register_probe(&mut known)
        .map_err(|error| failed("io_uring_register", error.into()))?;
    let parameters = uring.params();
    let features = [
        (parameters.is_feature_nodrop(), "completions that are never dropped (5.5)"),
        (parameters.is_feature_fast_poll(), "poll-driven sockets (5.7)"),
        (parameters.is_feature_ext_arg(), "waits with a time limit (5.11)"),
    ];
    let opcodes = NEEDED.iter().map(|(code, name)| (known.is_supported(*code), *name));
    let what: Vec<_> = opcodes.chain(features).filter(|(has, _)| !has).map(|(_, name)| name).collect();
    if !what.is_empty() {
        return Err(RingError::Missing { kernel: probe.kernel.clone(), what });
    }
    // The report of what was copied came later than the request, and without it the choice between the two is
    // blind.
    let zero_copy = known.is_supported(opcode::SendZc::CODE) && release(&probe.kernel) >= (6, 2);
    probe.note(ZERO_COPY_SEND, zero_copy, if zero_copy { "" } else { "before 6.2: copying sends" });
    let truncate = known.is_supported(opcode::Ftruncate::CODE);
    probe.note(
        "truncate in the ring",
        truncate,
        if truncate { "" } else { "before 6.9: on a helper thread" },
    );
    Ok(Abilities { truncate, zero_copy })
}

/// Major and minor number of a release such as `6.18.44-custom`.
fn release(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn read_line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(release("6.18.44-fc-v657"), (6, 18));
        assert_eq!(release("6.1-rc2"), (6, 1));
        assert!(release("5.15.0") < (6, 2) && release("") < (6, 2));
    }
}
