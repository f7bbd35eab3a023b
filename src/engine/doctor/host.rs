//! Memory and descriptors of this process, as the host allows them.

use std::fs;

use super::check::{Check, Standing};

/// Open files that a node of a few shards may have: connections, logs, segments that are read or written.
const FILES_MIN: u64 = 4096;

pub(super) fn memory() -> Vec<Check> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    vec![files(&limits), huge_pages(&huge)]
}

fn files(limits: &str) -> Check {
    let name = "open files";
    match limit(limits, "Max open files") {
        Some(most) if most >= FILES_MIN => Check::good(name, most.to_string()),
        Some(most) => Check::new(name, Standing::Slower, most.to_string()).change(format!(
            "raise it to {FILES_MIN} or more (`ulimit -n`, systemd LimitNOFILE=, docker --ulimit nofile=): many \
             peers and small segments need them"
        )),
        None => Check::new(name, Standing::Unknown, "the limit cannot be read"),
    }
}

/// The soft limit of a line of /proc/self/limits.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn huge_pages(enabled: &str) -> Check {
    let name = "transparent huge pages";
    let chosen = enabled.split_whitespace().find(|word| word.starts_with('[')).unwrap_or_default();
    match chosen {
        "[always]" | "[madvise]" => Check::good(name, chosen.trim_matches(['[', ']'])),
        "" => Check::new(name, Standing::Unknown, "the kernel does not say"),
        other => Check::new(name, Standing::Slower, other.trim_matches(['[', ']'])).change(
            "`echo madvise >/sys/kernel/mm/transparent_hugepage/enabled`: registered buffers on huge pages cost less",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max open files            1024                 524288               files     \n\
                          Max locked memory         unlimited            unlimited            bytes     \n";

    #[test]
    fn a_small_limit_is_named_with_what_to_raise() {
        let check = files(LIMITS);
        assert_eq!((check.standing, check.found.as_str()), (Standing::Slower, "1024"));
        assert!(check.change.contains("LimitNOFILE"), "{}", check.change);
        assert_eq!(files(&LIMITS.replace("1024", "65536")).standing, Standing::Good);
        assert_eq!(files("").standing, Standing::Unknown);
        assert_eq!(limit(LIMITS, "Max locked memory"), Some(u64::MAX));
    }

    #[test]
    fn huge_pages_that_are_switched_off_are_named() {
        assert_eq!(huge_pages("always [madvise] never\n").standing, Standing::Good);
        assert_eq!(huge_pages("always madvise [never]\n").standing, Standing::Slower);
        assert_eq!(huge_pages("").standing, Standing::Unknown);
    }
}
