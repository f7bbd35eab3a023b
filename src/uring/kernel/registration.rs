//! Registered buffers: the slab's memory pinned once, so that reads and writes do not pin it each time.
//! See kernel-notes/registered-buffers.md.

use io_uring::IoUring;

use crate::limits::SLAB_BUFFERS_MIN;
use crate::uring::buffer::{Buffer, Slab};
use crate::uring::errno::Errno;
use crate::uring::probe::{Probe, REGISTERED_BUFFERS};

use super::sys;

/// What of the slab the kernel knows.
#[derive(Default)]
pub(super) struct Registration {
    starts: Vec<usize>,
    buffer_bytes: usize,
}

impl Registration {
    /// Registers all of the slab, or notes why not and what to change.
    pub(super) fn of(uring: &IoUring, slab: &Slab, probe: &mut Probe) -> Self {
        let regions = slab.regions();
        let bytes: usize = regions.iter().map(|(_, bytes)| bytes).sum();
        let vectors: Vec<_> = regions
            .iter()
            .map(|(start, bytes)| libc::iovec { iov_base: start.cast_mut().cast(), iov_len: *bytes })
            .collect();
        // SAFETY: each vector is memory of the slab, which the core keeps until after it has dropped the ring (the
        // order of fields in core.rs), and dropping the ring unregisters it.
        let result = unsafe { uring.submitter().register_buffers(&vectors) };
        match result.map_err(Errno::from) {
            Ok(()) => {
                probe.note(
                    REGISTERED_BUFFERS,
                    true,
                    format!("{} of {} bytes", slab.count(), slab.buffer_bytes()),
                );
                // Registration has touched every page, so that it can be told on what kind they are.
                let huge = std::fs::read_to_string("/proc/self/smaps").map_or(0, |maps| {
                    huge_bytes(&maps, regions.first().map_or(0, |(start, _)| start.addr()))
                });
                probe.note("huge pages", huge > 0, format!("{} of {bytes} bytes", huge.min(bytes)));
                let starts = regions.iter().map(|(start, _)| start.addr()).collect();
                Self { starts, buffer_bytes: slab.buffer_bytes() }
            }
            Err(errno) => {
                probe.note(
                    REGISTERED_BUFFERS,
                    false,
                    refusal(errno, sys::memlock_limit(), bytes, slab.buffer_bytes()),
                );
                Self::default()
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The place under which the kernel knows the buffer, or of which it is a part. A buffer of another core's slab has
    /// none here.
    pub(super) fn index(&self, buffer: &Buffer) -> Option<u16> {
        let slot = buffer.slot()?;
        let start = self.starts.get(usize::from(slot))?;
        (*start..start + self.buffer_bytes).contains(&buffer.memory().as_ptr().addr()).then_some(slot)
    }
}

/// Bytes on huge pages in the mapping around `address`, by /proc/self/smaps (proc(5)). See
/// kernel-notes/huge-pages-and-memlock.md.
fn huge_bytes(maps: &str, address: usize) -> usize {
    let mut is_inside = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(start, end)| (hex(start), hex(end))) {
            is_inside = (start..end).contains(&address);
        } else if is_inside && let Some(kib) = line.strip_prefix("AnonHugePages:") {
            return kib.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1024;
        }
    }
    0
}

/// What is done instead, and what to allow.
fn refusal(errno: Errno, limit: u64, bytes: usize, buffer_bytes: usize) -> String {
    const INSTEAD: &str = "plain reads and writes, and copying sends, instead";
    if errno.is_forbidden() {
        return format!(
            "{INSTEAD}: io_uring_register(IORING_REGISTER_BUFFERS): {errno}: a seccomp filter or a security module \
             forbids it: allow io_uring_register with all of its operations"
        );
    }
    if errno != Errno::NO_MEMORY {
        return format!("{INSTEAD}: io_uring_register(IORING_REGISTER_BUFFERS): {errno}");
    }
    let fit = usize::try_from(limit).unwrap_or(usize::MAX) / buffer_bytes;
    let fewer = if fit >= usize::from(SLAB_BUFFERS_MIN) {
        format!(", or configure at most {fit} buffers")
    } else {
        String::new()
    };
    format!(
        "{INSTEAD}: {bytes} bytes wanted, {limit} may be locked (RLIMIT_MEMLOCK, shared by all of the user's \
         processes): raise it (`ulimit -l`, systemd LimitMEMLOCK=, docker --ulimit memlock=-1) or give \
         CAP_IPC_LOCK{fewer}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_allow_and_no_number_of_buffers_that_a_node_does_not_take() {
        let told = |errno, limit| refusal(Errno(errno), limit, 32 << 20, 1 << 20);
        for words in ["33554432 bytes wanted", "8388608 may be locked", "at most 8 buffers", "CAP_IPC_LOCK"] {
            assert!(told(libc::ENOMEM, 8 << 20).contains(words), "{words}");
        }
        assert!(!told(libc::ENOMEM, 3 << 20).contains("at most"), "{}", told(libc::ENOMEM, 3 << 20));
        let filtered = told(libc::EPERM, u64::MAX);
        assert!(filtered.contains("seccomp") && !filtered.contains("MEMLOCK"), "{filtered}");
        assert!(
            told(libc::EINVAL, 0).ends_with("Invalid argument (os error 22)"),
            "{}",
            told(libc::EINVAL, 0)
        );
    }

    #[test]
    fn huge_pages_are_counted_in_the_right_mapping() {
        let maps = "1000-2000 rw-p 00000000 00:00 0\nAnonHugePages:      2048 kB\nVmFlags: rd\n\
                    2000-3000 rw-p 00000000 00:00 0 [heap]\nAnonHugePages:      4096 kB\n";
        assert_eq!(huge_bytes(maps, 0x1000), 2048 * 1024);
        assert_eq!(huge_bytes(maps, 0x2fff), 4096 * 1024);
        assert_eq!(huge_bytes(maps, 0x3000), 0);
    }
}
