//! This boot of the machine.

use std::fs;

use crate::ids::Incarnation;

/// Tells one run of the machine from the next: what was written but not synced may be lost in between.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    Incarnation::from_hex(&digits).map_or([0; 16], |id| id.0)
}
