//! Registered buffers: the slab's memory pinned once, so that reads and writes do not pin it each time.
//! See kernel-notes/registered-buffers.md.

use io_uring::IoUring;

use crate::uring::buffer::{Buffer, Slab};
use crate::uring::errno::Errno;
use crate::uring::probe::Probe;

use super::sys;

/// What of the slab the kernel knows.
#[derive(Default)]
pub(super) struct Registration {
    starts: Vec<usize>,
}

/// The finding's name.
pub(super) const NAME: &str = "registered buffers";

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
                probe.note(NAME, true, format!("{} of {} bytes", slab.count(), slab.buffer_bytes()));
                // Registration has touched every page, so that it can be told on what kind they are.
                let huge = std::fs::read_to_string("/proc/self/smaps").map_or(0, |maps| {
                    huge_bytes(&maps, regions.first().map_or(0, |(start, _)| start.addr()))
                });
                probe.note("huge pages", huge > 0, format!("{} of {bytes} bytes", huge.min(bytes)));
                Self { starts: regions.iter().map(|(start, _)| start.addr()).collect() }
            }
            Err(errno) => {
                probe.note(NAME, false, refusal(errno, bytes, slab));
                Self::default()
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The place under which the kernel knows the buffer. A buffer of another core's slab has none here.
    pub(super) fn index(&self, buffer: &Buffer) -> Option<u16> {
        let slot = buffer.slot()?;
        let start = self.starts.get(usize::from(slot))?;
        (*start == buffer.memory().as_ptr().addr()).then_some(slot)
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

fn refusal(errno: Errno, bytes: usize, slab: &Slab) -> String {
    if errno != Errno::NO_MEMORY && errno != Errno(libc::EPERM) {
        return format!("plain reads and writes instead: io_uring_register: {errno}");
    }
    let limit = sys::memlock_limit();
    let fit = usize::try_from(limit).unwrap_or(usize::MAX) / slab.buffer_bytes();
    format!(
        "plain reads and writes instead: {bytes} bytes wanted, {limit} may be locked (RLIMIT_MEMLOCK, shared by \
         all of the user's processes): raise it (`ulimit -l`, systemd LimitMEMLOCK=, docker --ulimit memlock=-1), \
         give CAP_IPC_LOCK, or configure at most {fit} buffers"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_counted_in_the_right_mapping() {
        let maps = "1000-2000 rw-p 00000000 00:00 0\nAnonHugePages:      2048 kB\nVmFlags: rd\n\
                    2000-3000 rw-p 00000000 00:00 0 [heap]\nAnonHugePages:      4096 kB\n";
        assert_eq!(huge_bytes(maps, 0x1000), 2048 * 1024);
        assert_eq!(huge_bytes(maps, 0x2fff), 4096 * 1024);
        assert_eq!(huge_bytes(maps, 0x3000), 0);
    }
}
