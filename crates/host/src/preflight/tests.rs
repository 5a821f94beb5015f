//! The checks on recorded facts of many kinds of machine.

use super::*;
use proptest::prelude::*;

// The first was recorded; the others follow the defaults of such machines.
/// Two cores, 24 GiB, 20,000 descriptors and no privilege to raise them, in a container.
const SMALL_VM: &str = include_str!("../../fixtures/small_vm.json");
/// Eight threads, 16 GiB, the old limits of 1,024 and 4,096 descriptors, a firewall that tracks.
const LAPTOP: &str = include_str!("../../fixtures/laptop.json");
/// Four cores of a machine with 64 GiB, of which the group may use 512 MiB and 64 tasks.
const CONTAINER: &str = include_str!("../../fixtures/container.json");
/// Forty CPUs of which the group may use one and a half, 4 GiB and 4,096 tasks; control groups of
/// version 1, an old kernel with a short accept queue, swap in use.
const CONTAINER_V1: &str = include_str!("../../fixtures/container_v1.json");
/// Four cores and 16 GiB in a cloud, with a slow clock and without syncookies.
const VM: &str = include_str!("../../fixtures/vm_4_cores.json");
/// 128 threads, 512 GiB, two cards, no tracking.
const SERVER: &str = include_str!("../../fixtures/server_128_cores.json");

fn facts(text: &str) -> Facts {
    serde_json::from_str(text).expect("facts")
}

/// A million connections over loopback, as many reactors as the small machine needs.
fn million(role: Role) -> Demand {
    Demand {
        role,
        peer_here: true,
        connections: 1_000_000,
        reactors: 56,
        own_tables: true,
        other_descriptors: 0,
        sources: 20,
        targets: 1,
        ports: (1_024, 65_535),
        four_tuples: 1_200_000,
        backlog: 4_096,
        user_bytes_per_connection: 64,
        messages_in_flight: 1_000,
        message_bytes: 32,
        silent_seconds: 20,
        handshakes: None,
        interfaces: Vec::new(),
    }
}

fn finding(demand: &Demand, facts: &Facts, name: &str) -> Finding {
    let findings = check(demand, facts);
    findings.into_iter().find(|finding| finding.name == name).expect(name)
}

/// The names of what is not enough, graver ones marked.
fn complaints(demand: &Demand, facts: &Facts) -> Vec<String> {
    let findings = check(demand, facts).into_iter();
    let lacking = findings.filter(|finding| finding.severity > Severity::Note);
    let mark = |finding: Finding| match finding.severity {
        Severity::Refusal => format!("{}!", finding.name),
        _ => finding.name,
    };
    lacking.map(mark).collect()
}

#[test]
fn a_million_fits_on_the_small_machine() {
    let facts = facts(SMALL_VM);
    assert_eq!(complaints(&million(Role::Both), &facts), ["conntrack"]);
    let (fits, reason) = largest_that_fits(&million(Role::Both), &facts);
    assert_eq!((fits, reason.as_str()), (1_000_000, "all 1,000,000 connections fit"));
    let names: Vec<_> =
        check(&million(Role::Both), &facts).into_iter().map(|finding| finding.name).collect();
    for name in ["descriptors", "somaxconn", "threads", "clock source"] {
        assert!(
            names.iter().any(|n| n == name),
            "those that suffice are in the table too: {names:?}"
        );
    }
}

#[test]
fn two_million_are_too_many_open_files_there() {
    let facts = facts(SMALL_VM);
    let demand =
        Demand { connections: 2_000_000, reactors: 112, sources: 40, ..million(Role::Both) };
    let demand = Demand { four_tuples: 2_400_000, ..demand };
    assert_eq!(complaints(&demand, &facts), ["fs.file-max!", "conntrack"]);
    let file_max = finding(&demand, &facts, "fs.file-max");
    let (name, value) = file_max.sysctl.expect("a setting");
    let mended = Facts { fs_file_max: value.parse().ok(), ..facts.clone() };
    assert_eq!(complaints(&demand, &mended), ["conntrack"]);
    assert_eq!(file_max.remedy, Some(format!("sudo sysctl -w {name}={value}")));
    let (fits, reason) = largest_that_fits(&demand, &facts);
    assert!((1_200_000..1_235_000).contains(&fits), "{fits}");
    assert!(reason.contains("fs.file-max"), "{reason}");
}

#[test]
fn one_table_is_not_enough_and_the_remedy_says_how_many_are() {
    let facts = facts(SMALL_VM);
    let demand = Demand { own_tables: false, ..million(Role::Client) };
    let finding = finding(&demand, &facts, "descriptors");
    assert_eq!(finding.severity, Severity::Refusal);
    assert_eq!((finding.have.as_str(), finding.need.as_str()), ("19,788", "1,000,000"));
    assert!(finding.remedy.expect("remedy").starts_with("--reactors 51 "));
}

#[test]
fn a_server_needs_more_tables_than_a_client() {
    let facts = facts(SMALL_VM);
    let with = |role, reactors| {
        let demand = Demand { reactors, ..million(role) };
        finding(&demand, &facts, "descriptors").severity
    };
    assert_eq!(with(Role::Client, 51), Severity::Ok);
    assert_eq!(with(Role::Client, 50), Severity::Refusal);
    assert_eq!(with(Role::Server, 53), Severity::Ok);
    assert_eq!(with(Role::Server, 52), Severity::Refusal);
    assert_eq!(with(Role::Both, 52), Severity::Refusal);
}

#[test]
fn the_laptop_needs_tables_memory_and_room_in_conntrack() {
    let facts = facts(LAPTOP);
    let complaints_of = complaints(&million(Role::Both), &facts);
    assert_eq!(complaints_of, ["descriptors!", "memory", "swap", "conntrack!", "CPU governor"]);
    let conntrack = finding(&million(Role::Both), &facts, "conntrack");
    assert!(conntrack.why.ends_with("they do here"), "{}", conntrack.why);
    let demand = Demand { reactors: 350, ..million(Role::Both) };
    assert_eq!(finding(&demand, &facts, "descriptors").severity, Severity::Ok);
    let (fits, reason) = largest_that_fits(&demand, &facts);
    assert_eq!(fits, facts.conntrack_max.unwrap() - facts.conntrack_used.unwrap());
    assert!(reason.contains("conntrack is "), "{reason}");
}

#[test]
fn the_container_is_bound_by_its_group() {
    let facts = facts(CONTAINER);
    let demand = Demand { reactors: 4, connections: 100_000, sources: 2, ..million(Role::Both) };
    assert_eq!(complaints(&demand, &facts), ["memory!", "CPU quota"]);
    let (fits, reason) = largest_that_fits(&demand, &facts);
    assert!((55_000..65_000).contains(&fits), "{fits}");
    assert!(reason.contains("512 MiB is the control group's limit"), "{reason}");
    let threads = finding(&million(Role::Both), &facts, "threads");
    assert_eq!((threads.severity, threads.sysctl), (Severity::Refusal, None));
    assert!(threads.why.contains("pids.max"), "{}", threads.why);
    // Too many threads: then not even one connection fits.
    assert_eq!(largest_that_fits(&million(Role::Both), &facts).0, 0);
}

#[test]
fn the_big_server_lacks_nothing_but_backlog() {
    let facts = facts(SERVER);
    let demand = Demand {
        peer_here: false,
        reactors: 64,
        connections: 10_000_000,
        backlog: 65_535,
        ..million(Role::Server)
    };
    assert_eq!(complaints(&demand, &facts), ["somaxconn"]);
    let somaxconn = finding(&demand, &facts, "somaxconn");
    let setting = ("net.core.somaxconn".to_owned(), "65535".to_owned());
    assert_eq!((somaxconn.have.as_str(), somaxconn.sysctl), ("4,096", Some(setting)));
    assert_eq!(finding(&demand, &facts, "fs.file-max").have, "unlimited");
    assert!(!check(&demand, &facts).iter().any(|finding| finding.name == "ports"));
    assert!(!check(&demand, &facts).iter().any(|finding| finding.name == "conntrack"));
    let one_table = Demand { own_tables: false, ..demand };
    assert_eq!(complaints(&one_table, &facts), ["descriptors!", "fs.nr_open!", "somaxconn"]);
}

#[test]
fn settings_are_a_file_that_sysctl_loads() {
    let facts = facts(SMALL_VM);
    let demand = Demand { connections: 2_000_000, reactors: 112, ..million(Role::Both) };
    let text = settings(&check(&demand, &facts));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<_> = lines.filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert_eq!(names, ["fs.file-max", "net.netfilter.nf_conntrack_max"], "{text}");
    assert_eq!(text.lines().count(), 2 * names.len(), "a reason above each: {text}");
    assert_eq!(settings(&check(&Demand { connections: 10, ..demand }, &facts)), "");
}

#[test]
fn a_shell_gets_commands_and_the_rest_as_comments() {
    let demand = Demand { own_tables: false, ..million(Role::Both) };
    let text = shell(&check(&demand, &facts(LAPTOP)));
    let commands: Vec<_> = text.lines().filter(|line| !line.starts_with("# ")).collect();
    let expected = [
        "sudo prlimit --pid $$ --nofile=1000212:1000212",
        "sudo sysctl -w net.netfilter.nf_conntrack_max=1100343",
        "sudo cpupower frequency-set -g performance",
    ];
    for command in expected {
        assert!(commands.contains(&command), "{command} in {text}");
    }
    assert!(text.contains("# ask for fewer connections"), "advice is no command: {text}");
    assert!(
        text.contains("# sudo sysctl -w net.ipv4.tcp_max_orphans="),
        "notes are not run: {text}"
    );
}

/// Each kind of machine with a run that suits its size, and the table that was reviewed for it.
/// `C1000K_BLESS=1` writes the tables anew, to be reviewed again.
#[test]
fn the_tables_are_those_that_were_reviewed() {
    let far = |interface: &str, role| Demand {
        peer_here: false,
        interfaces: vec![interface.to_owned()],
        ..million(role)
    };
    let container = Demand { connections: 100_000, reactors: 4, sources: 2, ..million(Role::Both) };
    let cases = [
        ("small_vm", SMALL_VM, million(Role::Both)),
        ("laptop", LAPTOP, million(Role::Both)),
        ("container", CONTAINER, container.clone()),
        (
            "container_v1",
            CONTAINER_V1,
            Demand { role: Role::Server, reactors: 40, silent_seconds: 100_000, ..container },
        ),
        (
            "vm_4_cores",
            VM,
            Demand { connections: 500_000, reactors: 4, ..far("ens4", Role::Server) },
        ),
        (
            "server_128_cores",
            SERVER,
            Demand {
                connections: 10_000_000,
                reactors: 128,
                backlog: 65_535,
                messages_in_flight: 10_000_000,
                ..far("eno1", Role::Server)
            },
        ),
        (
            "server_128_cores_client",
            SERVER,
            Demand {
                connections: 10_000_000,
                reactors: 128,
                sources: 100,
                four_tuples: 6_451_200,
                ..far("enp65s0f0np0", Role::Client)
            },
        ),
    ];
    for (name, text, demand) in cases {
        let path = format!("{}/fixtures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let table = table(&check(&demand, &facts(text)));
        if std::env::var_os("C1000K_BLESS").is_some() {
            std::fs::write(&path, &table).expect("written");
        }
        let reviewed = std::fs::read_to_string(&path).expect("a reviewed table");
        assert_eq!(table, reviewed, "{name}");
    }
}

#[test]
fn fewer_connections_need_fewer_threads() {
    let facts = facts(CONTAINER);
    let findings = |connections: u64| {
        let reactors = connections.div_ceil(19_900).max(1);
        check(&Demand { connections, reactors, ..million(Role::Both) }, &facts)
    };
    let (fits, reason) = largest_unrefused(1_000_000, findings);
    assert!((55_000..65_000).contains(&fits), "{fits}");
    assert!(reason.contains("memory is"), "{reason}");
}

#[test]
fn sources_bound_the_ports() {
    let facts = facts(SMALL_VM);
    let demand = Demand { sources: 16, four_tuples: 960_000, ..million(Role::Client) };
    let ports = finding(&demand, &facts, "ports");
    assert_eq!((ports.severity, ports.have.as_str()), (Severity::Refusal, "960,000"));
    let remedy = "name at least 17 source addresses (--source-ip), or more targets";
    assert_eq!(ports.remedy.as_deref(), Some(remedy));
    assert_eq!(largest_that_fits(&demand, &facts).0, 960_000);
    let two_targets = Demand { targets: 2, four_tuples: 1_920_000, ..demand.clone() };
    assert_eq!(finding(&two_targets, &facts, "ports").severity, Severity::Ok);
    let none = Demand { four_tuples: 0, ..demand };
    assert_eq!(largest_that_fits(&none, &facts).0, 0);
}

#[test]
fn queued_data_counts_and_idle_connections_do_not() {
    let facts = facts(SMALL_VM);
    let severity = |messages_in_flight| {
        let demand = Demand { messages_in_flight, ..million(Role::Both) };
        finding(&demand, &facts, "tcp_mem").severity
    };
    assert_eq!(severity(0), Severity::Ok);
    assert_eq!(severity(400_000), Severity::Warning);
    assert_eq!(severity(1_000_000), Severity::Refusal);
}

#[test]
fn what_a_machine_does_not_show_is_not_judged() {
    let blind = Facts { descriptors_hard: 1_000_000, ..Facts::default() };
    let findings = check(&million(Role::Both), &blind);
    let names: Vec<_> = findings.into_iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["descriptors", "ports", "reserved ports"]);
}

#[test]
fn every_finding_says_why_and_every_lack_how_to_mend_it() {
    for text in [SMALL_VM, LAPTOP, CONTAINER, CONTAINER_V1, VM, SERVER] {
        for role in [Role::Client, Role::Server, Role::Both] {
            for finding in check(&million(role), &facts(text)) {
                assert!(!finding.why.is_empty(), "{}", finding.name);
                assert_eq!(finding.remedy.is_some(), finding.severity > Severity::Ok);
                assert!(finding.sysctl.is_none() || finding.remedy.is_some());
            }
        }
    }
}

#[test]
fn chance_needs_room() {
    assert_eq!(descriptors_per_table(20_000, 10), 19_880);
    assert_eq!(descriptors_per_table(50, 1), 0);
    assert_eq!(fullest_table(1_000_000, 50, false), 20_000);
    assert_eq!(fullest_table(1_000_000, 100, true), 10_600);
    assert_eq!(fullest_table(1_000_000, 1, true), 1_000_000);
    assert_eq!(reactors_needed(1_000_000, 20_000, false), Some(51));
    assert_eq!(reactors_needed(1_000_000, 20_000, true), Some(53));
    assert_eq!(reactors_needed(19_000, 20_000, true), Some(1));
    assert_eq!(reactors_needed(0, 20_000, true), Some(1));
    // Small tables: the reactors' own descriptors count. 76 without them.
    assert_eq!(reactors_needed(300_000, 4_096, false), Some(79));
    assert_eq!(reactors_needed(1_000_000, 1_024, false), None);
}

proptest! {
    #[test]
    fn the_reactors_needed_suffice_and_one_less_does_not(
        connections in 0..10_000_000u64,
        limit in 100..100_000u64,
        hashed: bool,
    ) {
        let fits = |reactors| {
            fullest_table(connections, reactors, hashed) <= descriptors_per_table(limit, reactors)
        };
        match reactors_needed(connections, limit, hashed) {
            Some(reactors) => {
                prop_assert!(fits(reactors));
                prop_assert!(reactors == 1 || !fits(reactors - 1));
            }
            None => prop_assert!(!(1..=REACTORS_MAX).any(fits)),
        }
    }

    #[test]
    fn what_fits_is_not_refused_and_one_more_is(
        asked in 0..4_000_000u64,
        reactors in 1..200u64,
        sources in 0..60u64,
        hard in 0..50_000u64,
        peer_here: bool,
    ) {
        let facts = Facts { descriptors_hard: hard, ..facts(SMALL_VM) };
        let demand = Demand {
            connections: asked,
            reactors,
            sources,
            peer_here,
            ..million(Role::Client)
        };
        let (fits, reason) = largest_that_fits(&demand, &facts);
        let refused = |connections| {
            let findings = check(&Demand { connections, ..demand.clone() }, &facts);
            findings.iter().any(|finding| finding.severity == Severity::Refusal)
        };
        prop_assert!(fits <= asked && !refused(fits), "{}", reason);
        prop_assert!(fits == asked || refused(fits + 1), "{}", reason);
        prop_assert_eq!(fits == asked, reason.starts_with("all "));
    }

    #[test]
    fn no_demand_is_too_large_to_be_judged(
        connections: u64, reactors: u64, sources: u64, targets: u64, bytes: u64,
    ) {
        let demand = Demand {
            connections,
            reactors,
            sources,
            targets,
            four_tuples: bytes,
            user_bytes_per_connection: bytes,
            messages_in_flight: connections,
            message_bytes: bytes,
            ..million(Role::Both)
        };
        prop_assert!(check(&demand, &facts(LAPTOP)).len() >= 9);
    }
}
