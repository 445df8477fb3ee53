//! Ports for agents.

use std::collections::BTreeSet;
use std::net::TcpListener;

/// Below the ports that systems hand out for outgoing connections: a port of an agent that is down for a moment
/// would else be taken by somebody's dialling, even by a dial of that very port.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// So many different ports that nobody listens on now. They are not held: whoever binds one may still be too late.
pub(crate) fn free(count: usize) -> Vec<u16> {
    let mut random = fastrand::Rng::new();
    let mut found = BTreeSet::new();
    for _ in 0..10_000 {
        if found.len() == count {
            break;
        }
        let port = random.u16(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            found.insert(port);
        }
    }
    assert_eq!(found.len(), count, "no {count} free ports on loopback");
    found.into_iter().collect()
}
