//! Addresses as people write them: a host by number or by name, and a port.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// How long one of a name's several addresses is tried before the next.
const TRY_TIME: Duration = Duration::from_secs(2);

/// `10.0.0.1:7400`, `[::1]:7400` or `host.example:7400`. A name is looked up when it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address(String);

/// Why an address leads nowhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AddressError {
    /// It has not the form of one.
    Form { given: String },
    /// Its host has no address.
    Unresolved { given: String, why: String },
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let is_named = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains([':', '/', '[', ' ']) && port.parse::<u16>().is_ok()
        });
        if is_named || text.parse::<SocketAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(AddressError::Form { given: text.to_owned() })
    }
}

impl Address {
    fn all(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let unresolved = |why| AddressError::Unresolved { given: self.0.clone(), why };
        let all = self.0.to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
        let all: Vec<_> = all.collect();
        if all.is_empty() { Err(unresolved("it has no address".to_owned())) } else { Ok(all) }
    }

    /// Where to listen, or what a member is known by: the first address of the host.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, AddressError> {
        Ok(self.all()?[0])
    }

    /// Where to connect to: of a host with several addresses (`localhost` has two) the first at which somebody
    /// listens.
    pub(crate) fn reach(&self) -> Result<SocketAddr, AddressError> {
        let all = self.all()?;
        if all.len() == 1 {
            return Ok(all[0]);
        }
        let answers = |at: &&SocketAddr| TcpStream::connect_timeout(at, TRY_TIME).is_ok();
        Ok(*all.iter().find(answers).unwrap_or(&all[0]))
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { given } => {
                write!(f, "{given:?} is not an address such as 10.0.0.1:7400 or host.example:7400")
            }
            Self::Unresolved { given, why } => write!(f, "the host of {given:?} does not resolve: {why}"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_host_by_number_or_by_name_with_a_port_is_an_address_and_nothing_else_is() {
        for good in ["10.0.0.1:7400", "[::1]:7400", "localhost:7400", "host.example:0"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "nowhere", ":7400", "host:", "host:70000", "::1:7400", "http://host:7400"] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError::Form { given: bad.to_owned() }));
        }
    }

    #[test]
    fn a_host_without_an_address_is_told_from_a_malformed_one() {
        // Longer than any name may be, so that nobody is asked.
        let given = format!("{}:7400", "x".repeat(64));
        let error = given.parse::<Address>().expect("its form is right").resolve().expect_err("no such host");
        assert!(error.to_string().contains("does not resolve"), "{error}");
    }

    #[test]
    fn a_name_with_two_addresses_leads_to_the_one_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free");
        let at = listener.local_addr().expect("bound");
        let name: Address = format!("localhost:{}", at.port()).parse().expect("its form is right");
        assert_eq!(name.reach(), Ok(at));
    }
}
