//! The one place where channels to other agents are opened, so that none is without keepalive, limits or
//! protection.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::limits::MESSAGE_BYTES_MAX;
use crate::v1::operator_client::OperatorClient;
use crate::v1::origin_client::OriginClient;
use crate::v1::peer_client::PeerClient;

/// The metadata in which a caller names the agent that it means: an address may have passed to another one, and
/// a vote or a write must not go to whoever answers.
pub const MEANT_AGENT: &str = "selfsame-agent";

/// How a channel is opened and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Talk in plain text beyond loopback.
    pub insecure: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How often a connection is asked whether it still lives, also when nothing is under way.
    pub keepalive_interval: Duration,
    /// How long the answer may take before the connection is given up.
    pub keepalive_timeout: Duration,
}

impl Default for ChannelOptions {
    /// Plain text on loopback only. A peer counts as live if it answered within 5 s, so a connection that
    /// leads nowhere is given up before that: after 2 s of silence and 2 s without an answer.
    fn default() -> Self {
        ChannelOptions {
            insecure: false,
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
        }
    }
}

/// Why an address is not dialled, or listened on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `HOST:PORT`.
    #[error("address `{0}` is not HOST:PORT; hint: 127.0.0.1:7401, [::1]:7401 or agent-a.example:7401")]
    Invalid(String),
    /// Others could read and change what is said.
    #[error(
        "address `{0}` is beyond loopback, and there is no TLS; hint: configure `tls`, or `insecure: true` where \
         the network is trusted"
    )]
    PlainText(String),
}

/// Opens a channel to `HOST:PORT`. It connects at the first call, and again whenever the connection was lost; a
/// call while there is no connection fails, it does not wait for better times.
///
/// # Panics
///
/// Outside a Tokio runtime, in which the channel lives.
pub fn connect(address: &str, options: &ChannelOptions) -> Result<Channel, AddressError> {
    check(address, options.insecure)?;
    // TLS belongs here, and nowhere else: the scheme, and the endpoint's `tls_config`.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| AddressError::Invalid(address.to_owned()))?
        .connect_timeout(options.connect_timeout)
        // Without it a small call waits for the other side's delayed acknowledgement.
        .tcp_nodelay(true)
        // Without it a channel never recovers from a partition that swallows packets.
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}

/// Refuses addresses that are none, and those beyond loopback unless `insecure`.
pub fn check(address: &str, insecure: bool) -> Result<(), AddressError> {
    let invalid = || AddressError::Invalid(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    port.parse::<u16>().map_err(|_| invalid())?;
    let loopback = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<IpAddr>().map_err(|_| invalid())?.is_loopback(),
        None => {
            let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if host.is_empty() || !host.chars().all(of_name) {
                return Err(invalid());
            }
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
        }
    };
    if loopback || insecure { Ok(()) } else { Err(AddressError::PlainText(address.to_owned())) }
}

/// A client of the agent's peer service, with the protocol's limits.
pub fn peer_client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A client of the agent's operator service, with the protocol's limits.
pub fn operator_client(channel: Channel) -> OperatorClient<Channel> {
    OperatorClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A client of the agent's origin service, with the protocol's limits.
pub fn origin_client(channel: Channel) -> OriginClient<Channel> {
    OriginClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_loopback_unless_told_otherwise() {
        for near in ["127.0.0.1:7401", "127.9.9.9:1", "localhost:7401", "[::1]:7401"] {
            assert_eq!(check(near, false), Ok(()), "{near}");
        }
        for far in ["0.0.0.0:7401", "10.0.0.7:7401", "[::]:7401", "[fe80::1]:7401", "agent-b.shop.svc:7401"] {
            assert_eq!(check(far, false), Err(AddressError::PlainText(far.to_owned())));
            assert_eq!(check(far, true), Ok(()), "{far}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_any_case() {
        let wrong = [
            "",
            "7401",
            "127.0.0.1",
            ":7401",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "::1:7401",
            "[::1:7401",
            "[a]:1",
            "user@127.0.0.1:7401",
            "http://127.0.0.1:7401",
            "127.0.0.1:7401/path",
            "a b:1",
        ];
        for wrong in wrong {
            assert_eq!(check(wrong, true), Err(AddressError::Invalid(wrong.to_owned())));
            assert!(connect(wrong, &ChannelOptions::default()).is_err());
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = connect("10.0.0.7:7401", &ChannelOptions::default()).unwrap_err().to_string();
        assert!(refusal.contains("10.0.0.7:7401") && refusal.contains("hint: configure `tls`"), "{refusal}");
    }
}
