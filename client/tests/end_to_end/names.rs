//! Names with several addresses: a resolver's file of the test's own, in a mount namespace of its
//! own.

use crate::common::{Ran, Running, Server, client, command, has_ipv6, parse};
use report::ResultFile;
use report::schema::Address;
use std::io::Write;

/// Runs the client with `--json` where the names are those of `hosts`; `None` where this machine
/// lets nobody have a mount namespace.
fn measure(hosts: &str, args: &[&str]) -> Option<(Ran, ResultFile)> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(hosts.as_bytes()).expect("room");
    let file = file.path().to_str().expect("a name");
    // The client may use the CPUs and files of the test, so it is not asked to be another user.
    let unshare = ["--mount", "--map-root-user --user --mount"].into_iter().find(|options| {
        let mut probe = command("unshare");
        probe.args(options.split(' ')).args(["mount", "--bind", file, "/etc/hosts"]);
        probe.status().is_ok_and(|status| status.success())
    })?;
    let program = client(&[]).get_program().to_owned();
    let mut inside = command("unshare");
    inside.args(unshare.split(' '));
    inside.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\"", file]).arg(program);
    inside.args(["run", "--json", "-q"]).args(args);
    let ran = Running::start(inside).finish();
    let result = parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    Some((ran, result))
}

/// What each address took, and what it did not.
fn took(result: &ResultFile) -> Vec<(&str, u64, u64)> {
    let ip = |address: &str| address.rsplit_once(':').map_or(0, |(ip, _)| ip.len());
    let of = |it: &Address| (ip(&it.address), it.connected, it.failures.values().sum());
    let each = result.plan.addresses.iter().map(|it| (&it.address, of(it)));
    each.map(|(text, (len, connected, failed))| (&text[..len], connected, failed)).collect()
}

/// The URL of a server under another name.
fn named(server: &Server, name: &str) -> String {
    let (scheme, rest) = server.url().split_once("://").expect("a URL");
    let port = rest.trim_end_matches('/').rsplit_once(':').expect("a port").1;
    format!("{scheme}://{name}:{port}")
}

#[test]
fn every_address_of_a_name_is_tried_over_every_protocol() {
    // Of these the resolver puts those first that have more bits in common with 127.0.0.1.
    let hosts = "127.0.0.2 half\n127.0.0.9 half\n127.0.0.4 dead\n127.0.0.8 dead\n";
    for scheme in ["tcp", "ws", "http"] {
        let server = Server::start(&[&format!("{scheme}://127.0.0.9:0"), "--reactors", "1"]);
        let half = named(&server, "half");
        let args = [&half, "-c", "20", "-d", "200ms", "--closed"];
        let Some((ran, result)) = measure(hosts, &args) else { return };
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(took(&result), [("127.0.0.2", 0, 20), ("127.0.0.9", 20, 0)], "{scheme}");
        assert_eq!((result.connections.opened, result.connections.tried_again), (20, 20));
        assert_eq!(result.plan.addresses[0].failures["refused"], 20);
        assert!(!result.plan.spread_addresses && result.messages.received > 0);
        let spread = [&args[..], &["--spread-addresses"]].concat();
        let (ran, result) = measure(hosts, &spread).expect("as before");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(took(&result), [("127.0.0.2", 0, 10), ("127.0.0.9", 20, 0)], "{scheme}");
        assert!(result.plan.spread_addresses);
        let warned = result.run.warnings.iter().find(|one| one.code == "address_down");
        assert!(warned.is_some_and(|one| one.text.contains("127.0.0.2:")), "{result:?}");
        let text = report::text::summary(&result, 80);
        assert!(text.contains("127.0.0.2:") && text.contains("took none, 10 refused"), "{text}");
        assert!(text.contains("10 tried again at another address"), "{text}");

        let dead = named(&server, "dead");
        let (ran, result) = measure(hosts, &[&dead, "-c", "5"]).expect("as before");
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!((result.connections.failed, result.failures.refused), (5, 5));
        assert_eq!(took(&result), [("127.0.0.4", 0, 5), ("127.0.0.8", 0, 5)]);
        let warning = result.run.warnings.iter().find(|one| one.text.contains("nobody answers at"));
        let text = &warning.expect("the wall is named").text;
        assert!(text.contains("127.0.0.4:") && text.contains("127.0.0.8:"), "{text}");
    }
}

#[test]
fn all_addresses_share_the_connections_where_they_are_to() {
    let hosts = "127.0.0.2 many\n127.0.0.3 many\n127.0.0.4 many\n";
    let server = Server::start(&["tcp://0.0.0.0:0", "--reactors", "1"]);
    let many = named(&server, "many");
    let Some((ran, result)) = measure(hosts, &[&many, "-c", "30"]) else { return };
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(took(&result), [("127.0.0.2", 30, 0), ("127.0.0.3", 0, 0), ("127.0.0.4", 0, 0)]);
    let (ran, result) =
        measure(hosts, &[&many, "-c", "30", "--spread-addresses"]).expect("as before");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(took(&result), [("127.0.0.2", 10, 0), ("127.0.0.3", 10, 0), ("127.0.0.4", 10, 0)]);
    assert_eq!(result.connections.tried_again, 0);
}

#[test]
fn a_server_of_one_family_is_reached_by_a_name_of_both() {
    if !has_ipv6() {
        return;
    }
    let hosts = "::1 localhost\n127.0.0.1 localhost\n";
    let each = |scheme| [(scheme, "127.0.0.1", "[::1]"), (scheme, "[::1]", "127.0.0.1")];
    for (scheme, listens, other) in ["tcp", "ws", "http"].into_iter().flat_map(each) {
        let server = Server::start(&[&format!("{scheme}://{listens}:0"), "--reactors", "1"]);
        let url = named(&server, "localhost");
        let args = [&url, "-c", "20"];
        let Some((ran, result)) = measure(hosts, &args) else { return };
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!((result.connections.opened, result.connections.failed), (20, 0));
        let taken: Vec<_> = took(&result).into_iter().filter(|(_, took, _)| *took > 0).collect();
        assert!(taken.len() == 1 && taken[0].0 != other && taken[0].1 == 20, "{taken:?}");
    }
}
