//! Each wall from the counters that it was recorded with, and none where there was none.

use super::*;
use measure::Failure;

/// What a quiet machine has counted since it started.
fn counted() -> Counters {
    Counters {
        listen_overflows: 70,
        listen_drops: 77,
        handshake_queue_drops: 3,
        handshake_queue_cookies: 977,
        handshake_retransmits: 2_926,
        aborts_on_memory: 3,
        memory_pressures: 1,
        retransmits: 16_211,
        packet_queue_drops: 8_569,
        conntrack_drops: 12,
        conntrack_used: Some(0),
        conntrack_max: Some(262_144),
        files_used: Some(6_248),
        files_max: Some(2_466_174),
        memory_total_bytes: 24 << 30,
        memory_available_bytes: 20 << 30,
        somaxconn: Some(4_096),
        tcp_max_syn_backlog: Some(2_048),
        tcp_syncookies: Some(1),
        netdev_max_backlog: Some(1_000),
        tcp_mem_pages: Some([287_898, 383_866, 575_796]),
        tcp_max_orphans: Some(131_072),
        ..Counters::default()
    }
}

/// What a run showed: a quiet one, to be spoilt by each test.
struct Case {
    before: Counters,
    after: Counters,
    server: Option<(Server, Server)>,
    same_host: bool,
    opened: u64,
    stalled: bool,
    failures: Vec<(Failure, u64)>,
    sources: Vec<String>,
    targets: Vec<String>,
}

impl Case {
    fn here() -> Self {
        Self {
            before: counted(),
            after: counted(),
            server: None,
            same_host: true,
            opened: 1_000,
            stalled: false,
            failures: Vec::new(),
            sources: vec!["10.0.0.7".to_owned()],
            targets: vec!["10.0.0.1:9000".to_owned()],
        }
    }

    /// The server is on another machine and shows its counters.
    fn far() -> Self {
        let server = Server {
            connections: 1_000_000,
            connections_max: 1_000_000,
            descriptors_limit: 20_000,
            backlog: 128,
            kernel: Some(counted()),
            ..Server::default()
        };
        Self { server: Some((server.clone(), server)), same_host: false, ..Self::here() }
    }

    fn walls(&self) -> Vec<Wall> {
        let mut failures = [0; Failure::COUNT];
        for (kind, count) in &self.failures {
            failures[*kind as usize] = *count;
        }
        diagnose(&Evidence {
            here: Span { before: &self.before, after: &self.after },
            server: self.server.as_ref().map(|(before, after)| Span { before, after }),
            same_host: self.same_host,
            opened: self.opened,
            failed: failures.iter().sum(),
            stalled: self.stalled,
            failures,
            descriptors_limit: 64,
            sources: &self.sources,
            targets: &self.targets,
        })
    }

    /// The only wall there is: its code and its sentence.
    fn only(&self) -> (&'static str, String) {
        let walls = self.walls();
        assert_eq!(walls.len(), 1, "{walls:?}");
        let Wall { code, text, remedy } = walls.into_iter().next().expect("one");
        assert!(!remedy.is_empty());
        (code, text)
    }

    /// What the listeners of the server say, before and after.
    fn turned_away(&mut self, before: [u64; 2], after: [u64; 2]) {
        let listeners = |counts: [u64; 2]| {
            let urls = ["ws://10.0.0.1:9000", "http://10.0.0.1:8080"];
            let each = urls.into_iter().zip(counts);
            each.map(|(url, count)| Listener { url: url.to_owned(), turned_away: Some(count) })
                .collect()
        };
        let (first, last) = self.server.as_mut().expect("a server");
        (first.listeners, last.listeners) = (listeners(before), listeners(after));
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server.as_mut().expect("a server").1
    }

    fn server_kernel(&mut self) -> &mut Counters {
        self.server().kernel.as_mut().expect("its counters")
    }
}

#[test]
fn where_nothing_stood_in_the_way_nothing_is_said() {
    assert_eq!(Case::here().walls(), []);
    assert_eq!(Case::far().walls(), []);
    // Slow handshakes alone, with nothing lost by them.
    let mut slow = Case::here();
    slow.after.handshake_retransmits += 5;
    assert_eq!(slow.walls(), []);
}

#[test]
fn the_accept_queue_of_a_server_that_shows_itself() {
    let mut case = Case::far();
    case.server_kernel().listen_overflows += 4_112;
    case.server_kernel().listen_drops += 4_112;
    case.server_kernel().somaxconn = Some(128);
    case.turned_away([7, 0], [4_119, 0]);
    let text = "the accept queue of the server at ws://10.0.0.1:9000 overflowed 4,112 times: \
                its backlog is 128 (somaxconn 128)";
    assert_eq!(case.only(), ("accept_queue", text.to_owned()));
    assert!(case.walls()[0].remedy.contains("net.core.somaxconn=65535"));
    case.server().backlog = 65_535;
    let text = "the accept queue of the server at ws://10.0.0.1:9000 overflowed 4,112 times: \
                its backlog is 128 (65,535 asked for, somaxconn 128)";
    assert_eq!(case.only().1, text);
    case.server_kernel().somaxconn = Some(100_000);
    assert!(case.walls()[0].remedy.starts_with("start the server with a larger backlog"));
}

#[test]
fn an_accept_queue_is_that_of_the_listener_meant_or_nobody_says_so() {
    let mut case = Case::far();
    case.server_kernel().listen_overflows += 5;
    case.server_kernel().listen_drops += 5;
    // A server that does not tell, as older ones do.
    let unknown = case.only().1;
    assert!(unknown.starts_with("an accept queue on the server's machine overflowed 5 times; "));
    assert!(unknown.contains("that of 10.0.0.1:9000 cannot be told"), "{unknown}");
    // Another program's.
    case.turned_away([7, 9], [7, 9]);
    assert_eq!(case.walls(), []);
    case.turned_away([7, 9], [7, 14]);
    let text = case.only().1;
    assert!(text.starts_with("the accept queue of the server at http://10.0.0.1:8080 overflowed"));
    case.turned_away([7, 9], [8, 14]);
    assert!(case.only().1.contains("at ws://10.0.0.1:9000 and http://10.0.0.1:8080 overflowed"));
    // One of which nothing is known may be the one.
    case.server().listeners[1].turned_away = None;
    assert_eq!(case.only().1, unknown);
}

#[test]
fn the_accept_queue_of_a_stranger_on_this_machine() {
    let mut case = Case::here();
    case.after.listen_overflows += 1;
    case.after.listen_drops += 1;
    let text = "an accept queue on this machine overflowed once; the kernel counts all listeners \
                together, so that it was that of 10.0.0.1:9000 cannot be told. If it was: it \
                accepts \
                more slowly than connections come, and somaxconn (4,096) bounds its backlog";
    assert_eq!(case.only(), ("accept_queue", text.to_owned()));
    // Of another machine without counters nothing is known.
    case.same_host = false;
    assert_eq!(case.walls(), []);
}

#[test]
fn the_server_at_its_limits() {
    let mut case = Case::far();
    case.server().counters.insert("accept_no_fds".to_owned(), 512);
    let text = "the server is at its descriptor limit (20,000): accepting failed 512 times";
    assert_eq!(case.only(), ("server_descriptors", text.to_owned()));
    let mut case = Case::far();
    case.server().counters.insert("accept_no_memory".to_owned(), 1);
    assert_eq!(case.only().0, "server_memory");
    let mut case = Case::far();
    case.server().refused_full = 90;
    let text = "the server turned 90 connections away: it holds 1,000,000 at the most";
    assert_eq!(case.only(), ("server_full", text.to_owned()));
    // It does not hold so many: then a table was full.
    case.server().connections = 19_000;
    let text = "the server is at its descriptor limit (20,000): a table was full, and 90 \
        connections \
                were turned away";
    assert_eq!(case.only(), ("server_descriptors", text.to_owned()));
}

#[test]
fn handshakes_under_way() {
    let mut case = Case::far();
    case.server_kernel().handshake_queue_cookies += 9;
    let text = "the server answered handshakes with SYN cookies 9 times, since too many were under \
                way: its backlog is 128";
    assert_eq!(case.only(), ("handshake_queue", text.to_owned()));
    let mut case = Case::far();
    case.server_kernel().tcp_syncookies = Some(0);
    case.server_kernel().listen_drops += 30;
    let text = "the server dropped new handshakes 30 times, since too many were under way: its \
                backlog is 128, tcp_max_syn_backlog is 2,048 and tcp_syncookies is off";
    assert_eq!(case.only(), ("handshake_queue", text.to_owned()));
    // With cookies on, listeners drop for other reasons than this.
    case.server_kernel().tcp_syncookies = Some(1);
    assert_eq!(case.walls(), []);
    case.server_kernel().handshake_queue_drops += 30;
    assert!(case.only().1.ends_with("tcp_syncookies is on"));
}

#[test]
fn tls_handshakes_that_were_put_off_until_somebody_gave_up() {
    let mut case = Case::far();
    case.server().counters.insert("handshake_budget_hits".to_owned(), 8_000);
    case.server().counters.insert("handshakes_held".to_owned(), 200);
    assert_eq!(case.walls(), [], "every ramp does that");
    case.failures = vec![(Failure::TimedOut, 12)];
    let text = "TLS handshakes came faster than the server's reactors do them and were put off \
                8,200 times; meanwhile 12 connections were given up";
    assert_eq!(case.only(), ("tls_handshakes", text.to_owned()));
    case.failures.clear();
    case.stalled = true;
    assert!(case.walls()[0].text.ends_with("put off 8,200 times; none is done any more"));
    case.stalled = false;
    case.server = None;
    assert_eq!(case.walls(), [], "a server that says nothing");
}

#[test]
fn a_full_conntrack_table_on_either_side() {
    let mut case = Case::far();
    case.after.conntrack_drops += 31;
    case.after.conntrack_used = Some(262_140);
    let text = "the conntrack table of this machine is full at 262,144: packets dropped 31 times";
    assert_eq!(case.only(), ("conntrack", text.to_owned()));
    let mut case = Case::far();
    case.server_kernel().conntrack_drops += 1;
    case.server_kernel().conntrack_used = Some(5);
    let text = "connection tracking of the server's machine dropped packets once; its table holds \
        5 \
                of 262,144 connections now";
    assert_eq!(case.only(), ("conntrack", text.to_owned()));
}

#[test]
fn ports_and_descriptors_of_this_end() {
    let mut case = Case { failures: vec![(Failure::NoPorts, 90)], ..Case::here() };
    let text =
        "source 10.0.0.7 has no port left towards 10.0.0.1:9000: 90 connections were not opened";
    assert_eq!(case.only(), ("no_ports", text.to_owned()));
    case.sources = vec!["10.0.0.7".to_owned(), "10.0.0.8".to_owned()];
    assert!(case.only().1.starts_with("the 2 sources 10.0.0.7 to 10.0.0.8 have no port left"));

    let mut case = Case { failures: vec![(Failure::NoFds, 1)], ..Case::here() };
    let text =
        "the client is at its descriptor limit (64 in each table): 1 connection was not opened";
    assert_eq!(case.only(), ("no_fds", text.to_owned()));
    case.after.files_used = case.after.files_max;
    let text = "this machine has 2,466,174 of 2,466,174 files open (fs.file-max): 1 connection was \
                not opened";
    assert_eq!(case.only().1, text);
}

#[test]
fn memory_of_either_machine() {
    let case = Case { failures: vec![(Failure::NoMemory, 2)], ..Case::here() };
    assert_eq!(case.only().0, "no_memory");
    let mut case = Case::here();
    case.after.memory_pressures += 2;
    case.after.sockets.tcp_mem_pages = 400_000;
    let text = "TCP ran short of memory on this machine 2 times: 400,000 pages are in use, and \
        above \
                383,866 the kernel shrinks buffers (tcp_mem)";
    assert_eq!(case.only(), ("tcp_memory", text.to_owned()));
    case.after.aborts_on_memory += 40;
    assert!(case.only().1.starts_with("the kernel of this machine reset connections 40 times"));
    let mut case = Case::far();
    case.server_kernel().memory_available_bytes = 1 << 20;
    let text = "the server's machine has only 1 MiB of its 24 GiB of memory left";
    assert_eq!(case.only(), ("low_memory", text.to_owned()));
}

#[test]
fn packets_that_found_no_room_count_where_they_were_sent_again() {
    let mut case = Case::here();
    case.after.packet_queue_drops += 900;
    assert_eq!(case.walls(), [], "somebody else's, perhaps");
    case.after.retransmits += 3;
    let text = "the queue of packets that wait for a CPU of this machine overflowed 900 times: it \
                holds 1,000 (netdev_max_backlog)";
    assert_eq!(case.only(), ("packet_queue", text.to_owned()));
}

#[test]
fn a_way_that_is_closed() {
    let mut case = Case { failures: vec![(Failure::Refused, 30)], opened: 0, ..Case::here() };
    let text = "nobody listens at 10.0.0.1:9000: every connection was refused";
    assert_eq!(case.only(), ("refused", text.to_owned()));
    case.targets.push("10.0.0.2:9000".to_owned());
    let text =
        "nobody answers at 10.0.0.1:9000 10.0.0.2:9000: every connection was refused in the end";
    assert_eq!(case.only(), ("refused", text.to_owned()));
    case.targets.pop();
    case.opened = 970;
    assert!(
        case.only().1.starts_with("30 connections were refused at 10.0.0.1:9000, although 970")
    );
    let case = Case { failures: vec![(Failure::Unreachable, 1)], ..Case::here() };
    assert_eq!(case.only().0, "unreachable");
    let case = Case { failures: vec![(Failure::Denied, 1)], ..Case::here() };
    assert_eq!(case.only().0, "denied");
}

#[test]
fn packets_that_nobody_answers() {
    let mut case = Case { failures: vec![(Failure::TimedOut, 64)], opened: 0, ..Case::far() };
    assert_eq!(case.walls(), [], "replies that time out are another matter");
    case.after.handshake_retransmits += 192;
    let text = "64 connections got no answer from 10.0.0.1:9000 (first packets were sent again 192 \
                times): no queue of the server dropped them, so something on the way does, as a \
                firewall would";
    assert_eq!(case.only(), ("unanswered", text.to_owned()));
    // A queue that overflowed explains it.
    case.server_kernel().listen_overflows += 192;
    assert_eq!(case.only().0, "accept_queue");

    let mut case = Case { stalled: true, server: None, same_host: false, ..Case::here() };
    case.after.handshake_retransmits += 3;
    let text = "connections under way get no answer from 10.0.0.1:9000 (first packets were sent \
        again \
                3 times): a firewall drops them, or a queue or table of the server is full";
    assert_eq!(case.only(), ("unanswered", text.to_owned()));
}
