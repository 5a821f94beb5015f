//! What a TLS handshake takes of a processor of this machine: found by doing some, in memory.

use super::certificate;
use host::usage::thread_cpu_time;
use measure::Nanos;
use std::sync::Arc;
use tls::{ClientOptions, Connection, ServerOptions, Setup, Shared, Trust, Versions, authorities};

/// How long handshakes are done for.
const BUDGET: Nanos = Nanos::from_millis(50);
/// How many at the least, and the first of them does not count.
const LEAST: u32 = 3;

/// What one handshake takes of a processor, at each end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HandshakeCost {
    /// At the client.
    pub client: Nanos,
    /// At the server.
    pub server: Nanos,
}

/// Of full handshakes of these versions with these suites and groups, whose server has a P-256
/// certificate that is verified, or is not. `None` if none can be done like that.
#[must_use]
pub fn of_client(
    verifies: bool,
    versions: Versions,
    suites: &[String],
    groups: &[String],
) -> Option<HandshakeCost> {
    let made = certificate::make(&["localhost".to_owned()], &[]).ok()?;
    let server = ServerOptions {
        identity: &made.identity,
        client_authorities: None,
        alpn: Vec::new(),
        versions,
        tickets: 0,
    };
    let trust = match verifies {
        true => Trust::Authorities(Arc::new(authorities(made.authority_pem.as_bytes()).ok()?)),
        false => Trust::Anybody,
    };
    measure(&client(&trust, versions, suites, groups)?, &Setup::server(server).ok()?)
}

/// Of full handshakes of that server, with a client that does not verify it. `None` if it asks for
/// a certificate.
#[must_use]
pub fn of_server(setup: &Setup, versions: Versions) -> Option<HandshakeCost> {
    measure(&client(&Trust::Anybody, versions, &[], &[])?, setup)
}

fn client(
    trust: &Trust,
    versions: Versions,
    suites: &[String],
    groups: &[String],
) -> Option<Setup> {
    let options = ClientOptions {
        trust,
        identity: None,
        name: "localhost",
        alpn: Vec::new(),
        versions,
        suites,
        groups,
        resumes: 0.0,
        key_log: None,
    };
    Setup::client(options).ok()
}

/// One end in memory.
struct End {
    shared: Shared,
    spent: Nanos,
}

impl End {
    fn new(setup: &Setup) -> Self {
        Self { shared: Shared::new(vec![setup.clone()], usize::MAX), spent: Nanos::ZERO }
    }

    /// Takes what the other end has said. What is said to that, and whether it is done; `None`: it
    /// has failed.
    fn take(&mut self, connection: &mut Connection, wire: &[u8]) -> Option<(Vec<u8>, bool)> {
        let (began, mut plain, mut out) = (thread_cpu_time(), Vec::new(), Vec::new());
        connection.begin(&mut self.shared, &mut out);
        let progress = connection.open(&mut self.shared, wire, &mut plain, &mut out);
        self.spent += thread_cpu_time() - began;
        progress.end.is_none().then_some((out, progress.agreed))
    }
}

fn measure(client: &Setup, server: &Setup) -> Option<HandshakeCost> {
    let (mut client, mut server) = (End::new(client), End::new(server));
    let mut done = 0;
    while done < LEAST || client.spent + server.spent < BUDGET {
        shake(&mut client, &mut server)?;
        if done == 0 {
            (client.spent, server.spent) = (Nanos::ZERO, Nanos::ZERO);
        }
        done += 1;
    }
    let each = |end: &End| Nanos(end.spent.0 / u64::from(done - 1));
    Some(HandshakeCost { client: each(&client), server: each(&server) })
}

/// One handshake from its first byte to its last.
fn shake(client: &mut End, server: &mut End) -> Option<()> {
    let (mut ours, mut theirs) = (client.shared.connection(0)?, server.shared.connection(0)?);
    let (mut wire, _) = client.take(&mut ours, &[])?;
    loop {
        let (answer, server_done) = server.take(&mut theirs, &wire)?;
        let (more, client_done) = client.take(&mut ours, &answer)?;
        if server_done && client_done && more.is_empty() {
            ours.ended(&mut client.shared);
            theirs.ended(&mut server.shared);
            return Some(());
        }
        if more.is_empty() && answer.is_empty() {
            return None;
        }
        wire = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Versions = Versions { tls12: true, tls13: true };

    #[test]
    fn a_handshake_costs_something_at_both_ends() {
        for verifies in [true, false] {
            for versions in [BOTH, Versions { tls13: false, ..BOTH }] {
                let cost = of_client(verifies, versions, &[], &[]).expect("handshakes are done");
                assert!(cost.client > Nanos::ZERO && cost.server > Nanos::ZERO, "{cost:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_done_costs_nothing_that_is_known() {
        let none = ["TLS_AES_128_GCM_SHA256".to_owned()];
        assert_eq!(of_client(true, Versions { tls13: false, ..BOTH }, &none, &[]), None);
    }
}
