//! The rules of form for what is said of a node.

use super::command::NodeRecord;
use super::outcome::NodeReason;
use crate::ids::Incarnation;
use crate::limits::NODE_TEXT_BYTES_MAX;

/// Checks a record by itself.
pub(super) fn node(record: &NodeRecord) -> Result<(), NodeReason> {
    if record.id.0 == 0 {
        return Err(NodeReason::IdZero);
    }
    if !is_plain(&record.name) {
        return Err(NodeReason::Name);
    }
    if !address_is_valid(&record.address) {
        return Err(NodeReason::Address);
    }
    if !record.admin_address.as_deref().is_none_or(address_is_valid) {
        return Err(NodeReason::AdminAddress);
    }
    if record.incarnation == Incarnation::default() {
        return Err(NodeReason::IncarnationZero);
    }
    Ok(())
}

/// Whether text is `host:port`: a name, an IPv4 address or a bracketed IPv6 address, and a port that is not
/// 0.
fn address_is_valid(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_valid = match inner {
        Some(inner) => inner.parse::<core::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']', '/']),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    is_plain(address) && host_is_valid && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_plain(text: &str) -> bool {
    let length = (1..=NODE_TEXT_BYTES_MAX).contains(&text.len());
    length && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["a:1", "node-1.example:7400", "10.0.0.1:65535", "[::1]:7400", "[fe80::1]:1"] {
            assert!(address_is_valid(good), "{good}");
        }
        let long = format!("{}:1", "a".repeat(255));
        for bad in [
            "", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "::1:7400", "[::1]", "[x]:1", "a b:1", "a/b:1",
            &long,
        ] {
            assert!(!address_is_valid(bad), "{bad}");
        }
    }
}
