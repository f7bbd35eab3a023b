//! Socket addresses in the kernel's form.

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an address of either family, and its length: read by the kernel, or written by it.
pub(super) struct Address {
    raw: Raw,
    bytes: libc::socklen_t,
}

#[repr(C)]
union Raw {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    family: libc::sa_family_t,
}

const _: () = assert!(offset_of!(libc::sockaddr_in, sin_family) == 0);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_family) == 0);

/// Sizes and families fit the kernel's narrow types.
const V4_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
const V6_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
const V4: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
const V6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

const V6_EMPTY: libc::sockaddr_in6 = libc::sockaddr_in6 {
    sin6_family: 0,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

impl Address {
    /// Room for an address that the kernel will write.
    pub(super) fn empty() -> Self {
        Self { raw: Raw { v6: V6_EMPTY }, bytes: V6_BYTES }
    }

    pub(super) fn of(address: SocketAddr) -> Self {
        // Every byte is initialised, whichever of the two is written over it.
        let mut this = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                let sin_addr = libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) };
                let sin_port = address.port().to_be();
                this.raw.v4 = libc::sockaddr_in { sin_family: V4, sin_port, sin_addr, sin_zero: [0; 8] };
                this.bytes = V4_BYTES;
            }
            SocketAddr::V6(address) => {
                this.raw.v6 = libc::sockaddr_in6 {
                    sin6_family: V6,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
            }
        }
        this
    }

    /// The address, if it is of one of the two families.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        // SAFETY: both structures begin with the family (asserted above), and every byte of the union is
        // initialised.
        let family = unsafe { self.raw.family };
        if family == V4 {
            // SAFETY: the family says so; every byte is initialised, and any value of them is valid.
            let raw = unsafe { self.raw.v4 };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            return Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))));
        }
        if family == V6 {
            // SAFETY: as above.
            let raw = unsafe { self.raw.v6 };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            return Some(SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)));
        }
        None
    }

    pub(super) fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }

    /// Where the kernel writes an address and its length.
    pub(super) fn pointers_mut(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        ((&raw mut self.raw).cast(), &raw mut self.bytes)
    }

    pub(super) fn bytes(&self) -> libc::socklen_t {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive_the_kernels_form() {
        for text in ["127.0.0.1:80", "0.0.0.0:65535", "[::1]:1", "[fe80::1:2%3]:4242"] {
            let address: SocketAddr = text.parse().expect("a literal");
            assert_eq!(Address::of(address).socket(), Some(address));
        }
        assert_eq!(Address::empty().socket(), None);
    }
}
