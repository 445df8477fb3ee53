//! `HOST:PORT`: where an agent listens and is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::problems::quoted;
use super::units::Refusal;

/// A host and a port, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As it was written.
    pub(super) text: String,
    /// The host, so that two spellings of one host are equal.
    pub(super) host: Host,
    /// The port, not 0.
    pub(super) port: u16,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A name, in lower case, without the dot at its end.
    Name(String),
}

impl Host {
    /// Whether only this machine reaches it.
    pub(super) fn is_loopback(&self) -> bool {
        matches!(self, Host::Ip(ip) if ip.is_loopback())
    }

    /// Whether it stands for all addresses of the machine, which one can listen on but not dial.
    pub(super) fn is_unspecified(&self) -> bool {
        matches!(self, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl Address {
    /// Reads `HOST:PORT`. IPv6 addresses stand in brackets, as in URLs.
    pub(super) fn parse(text: &str) -> Result<Address, Refusal> {
        let refused = |hint: &str| Refusal {
            message: format!("{} is not an address", quoted(text)),
            hint: hint.to_owned(),
        };
        const FORM: &str = "write HOST:PORT, such as `127.0.0.1:7401`, `db-a:7401` or `[::1]:7401`";
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refused(FORM))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) => {
                ip.parse::<Ipv6Addr>().map(|ip| Host::Ip(canonical(ip))).map_err(|_| refused(FORM))?
            }
            None => named_host(host).ok_or_else(|| refused(FORM))?,
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>() {
            Ok(port) if digits && port > 0 => Ok(Address { text: text.to_owned(), host, port }),
            _ => Err(refused("the port is a number from 1 to 65535")),
        }
    }
}

/// An IPv6 address that stands for an IPv4 address is that address.
fn canonical(ip: Ipv6Addr) -> IpAddr {
    IpAddr::V6(ip).to_canonical()
}

/// An IPv4 address or a name. `localhost` is taken for 127.0.0.1.
fn named_host(host: &str) -> Option<Host> {
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Some(Host::Ip(ip.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name == "localhost" {
        return Some(Host::Ip(Ipv4Addr::LOCALHOST.into()));
    }
    // Underscores are no hostname's, but container networks have them.
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // A last label of digits would be a mistyped IPv4 address.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= 253 && !numeric && name.split('.').all(label)).then_some(Host::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_are_equal() {
        let host = |text: &str| Address::parse(text).unwrap().host;
        assert_eq!(host("localhost:1"), host("127.0.0.1:1"));
        assert_eq!(host("DB-a.:1"), host("db-a:1"));
        assert_eq!(host("[::ffff:127.0.0.1]:1"), host("127.0.0.1:1"));
        assert!(host("[::1]:1").is_loopback() && host("127.8.0.1:1").is_loopback());
        assert!(!host("db-a:1").is_loopback() && host("0.0.0.0:1").is_unspecified());
    }

    #[test]
    fn half_addresses_are_refused() {
        for text in [
            "",
            ":",
            "7401",
            ":7401",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "::1:7401",
            "[::1]",
            "[x]:1",
            "http://host:1",
            "a b:1",
            "300.1.1.1:1",
            "127.0.0.1",
            "a..b:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
