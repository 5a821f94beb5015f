//! How measurements become a result: a file for each of its larger sections, and what becomes of
//! the whole.

mod audit;
mod connections;
pub(crate) mod file;
mod messages;
pub(crate) mod pacing;
mod phases;
mod reactors;
mod resources;

use crate::books::recorder::Recorder;
use crate::conductor::Measured;
use crate::conductor::doctor::walls;
use crate::plan::Plan;
use host::facts::Facts;
use measure::Stage;
use measure::units::format_duration;
use report::outcome::{outcome, warnings};
use report::schema::{self, ResultFile, Warning, timestamp};
use report::{generator, hist, server};
use std::collections::BTreeMap;
use std::time::SystemTime;
use wire::without_password;

pub(crate) fn result_of(
    plan: &Plan,
    facts: &Facts,
    cpus: &[usize],
    mut measured: Measured,
    started: SystemTime,
) -> ResultFile {
    let mut result = ResultFile {
        run: run_of(plan, started),
        plan: schema::Plan {
            addresses: connections::addresses_of(plan, &measured),
            ..plan.record.clone()
        },
        peer: measured.end.peer.clone().or_else(|| measured.ramped.peer.clone()),
        connections: connections::connections_of(plan, &measured),
        messages: messages::messages_of(plan, &measured),
        pacing: pacing::section(plan, &measured, messages::traffic_time(plan, &measured)),
        failures: measured.totals.failures.into(),
        http_statuses: statuses_of(&measured),
        violations: measured.causes.rules.clone(),
        close_codes: close_codes_of(&measured),
        tls: tls_of(plan, &measured),
        resources: resources::resources_of(plan, &measured),
        reactors: reactors::section(cpus, &measured),
        audit: audit::section(plan.load.audit, &measured),
        limits_reached: limits_of(&measured),
        timeline: std::mem::take(&mut measured.timeline),
        phases: phases::section(plan.record.model, std::mem::take(&mut measured.phases)),
        ..frame(plan, facts)
    };
    result.stages = stages_of(plan.record.model, &mut measured.recorder);
    reactors::fill(&mut result, &measured);
    result.fill_derived();
    result.run.warnings = walls(&measured.walls);
    if result.resources.client.rss_bytes.is_none() {
        result.run.warnings.push(Warning {
            code: "no_proc".to_owned(),
            text: "this system shows nothing in /proc: memory, waits for cores and the kernel's \
                   counters were not measured, and are null"
                .to_owned(),
            remedy: "mount it (mount -t proc proc /proc), in a container with its usual mounts"
                .to_owned(),
        });
    }
    if let Some(duration) = plan.unused_duration {
        result.run.warnings.push(Warning {
            code: "duration_unused".to_owned(),
            text: format!(
                "--duration {} says how long messages are to be sent, and none were",
                format_duration(duration)
            ),
            remedy:
                "say how many with --rate, or send as replies come with --closed; --hold keeps \
                     connections open without traffic"
                    .to_owned(),
        });
    }
    generator::fill(&mut result);
    server::fill(&mut result, messages::silence(&measured));
    result.run.outcome = outcome(&result, measured.halt_interrupted);
    result.run.warnings.extend(warnings(&result));
    for note in &measured.notes {
        result.run.warnings.push(Warning {
            code: "peer".to_owned(),
            text: note.clone(),
            remedy: "give the address that the server's --metrics names".to_owned(),
        });
    }
    result
}

/// Which run it is.
pub(crate) fn run_of(plan: &Plan, started: SystemTime) -> schema::Run {
    let seed = plan.load.seed;
    schema::Run {
        id: format!("{}-{seed:x}", timestamp(started).replace([':', '.'], "")),
        label: plan.output.label.clone(),
        started: timestamp(started),
        ended: timestamp(SystemTime::now()),
        // Names of files need not be UTF-8, and `args` panics at those.
        command: std::env::args_os()
            .map(|word| without_password(&word.to_string_lossy()).into_owned())
            .collect(),
        seed,
        ..schema::Run::default()
    }
}

/// What is known of a result before its run.
pub(crate) fn frame(plan: &Plan, facts: &Facts) -> ResultFile {
    ResultFile {
        tool: schema::Tool {
            name: "c1000k-client".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("C1000K_COMMIT").map(str::to_owned),
        },
        // What became of the attempts is known at the end.
        plan: schema::Plan { addresses: Vec::new(), ..plan.record.clone() },
        host: serde_json::to_value(facts).unwrap_or_default(),
        connections: schema::Connections {
            planned: plan.load.connections,
            ..schema::Connections::default()
        },
        messages: schema::Messages {
            planned: messages::messages_planned(plan),
            rate_planned: plan.record.rate_per_second,
            ..schema::Messages::default()
        },
        ..ResultFile::default()
    }
}

fn statuses_of(measured: &Measured) -> BTreeMap<String, u64> {
    let statuses = measured.causes.statuses.iter();
    statuses.map(|(status, count)| (status.to_string(), *count)).collect()
}

fn close_codes_of(measured: &Measured) -> BTreeMap<String, schema::CloseCode> {
    let closes = &measured.causes.closes;
    let entry =
        |count, reason: &str| schema::CloseCode { count, reason: wire::shown(reason.as_bytes()) };
    let known = closes.by_code.iter();
    let known = known.map(|(code, (count, reason))| (code.to_string(), entry(*count, reason)));
    let others = (closes.others > 0).then(|| ("other".to_owned(), entry(closes.others, "")));
    known.chain(others).collect()
}

fn tls_of(plan: &Plan, measured: &Measured) -> Option<schema::Tls> {
    plan.record.tls.as_ref()?;
    let mut all = tls::Tally::default();
    for tally in measured.finals.values().filter_map(|last| last.tls.as_deref()) {
        all.merge(tally);
    }
    Some(schema::Tls {
        handshakes: all.handshakes,
        resumed: all.resumed,
        verified: all.verified,
        failed: all.failures.values().sum(),
        versions: all.versions,
        suites: all.suites,
        groups: all.groups,
        alpn: all.alpn,
        failures: all.failures,
        alerts_sent: all.alerts_sent,
        alerts_received: all.alerts_received,
        truncated: all.truncated,
    })
}

fn limits_of(measured: &Measured) -> BTreeMap<String, u64> {
    let mut limits = BTreeMap::new();
    let mut add = |name: &str, count: u64| *limits.entry(name.to_owned()).or_insert(0) += count;
    for last in measured.finals.values() {
        let counters = &last.counters;
        add("blocked_writes", counters.blocked_writes);
        add("unsent_full", counters.unsent_full);
        add("reads_budget", counters.reads_budget_hits);
        add("events_budget", counters.events_budget_hits);
        add("watch_failed", counters.watch_failed);
        add("handshake_budget", counters.handshake_budget_hits);
        add("handshakes_held", counters.handshakes_held);
        add("tuples_skipped", last.totals.tuples_skipped);
        add("pace_blocked", last.totals.pace_blocked);
        for (name, count) in &last.limits_reached {
            add(name, *count);
        }
    }
    limits
}

/// What was recorded, stage by stage; what holds for two stages is said of both.
fn stages_of(model: schema::Model, recorder: &mut Recorder) -> schema::Stages {
    if recorder.stage(Stage::Handshake).is_none() {
        // Without TLS and upgrade a connection is usable as soon as it is established.
        recorder.copy(Stage::Connect, Stage::Handshake);
    }
    if model == schema::Model::Closed {
        // A closed model means to send exactly when it does.
        recorder.copy(Stage::Service, Stage::Response);
    }
    let mut stages = schema::Stages::default();
    for stage in Stage::ALL {
        stages.set(stage, recorder.stage(stage).and_then(hist::entry));
    }
    stages
}

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// The one side counts by the other's names, and neither knows the other.
    #[test]
    fn every_cause_that_tls_counts_has_its_words_and_its_place_in_the_guide() {
        let guide = include_str!("../../../docs/TLS.md");
        for cause in tls::Cause::ALL {
            let name = cause.name();
            let failures = BTreeMap::from([(name.to_owned(), 3)]);
            let tls = Some(schema::Tls { failures, ..schema::Tls::default() });
            let told = warnings(&ResultFile { tls, ..ResultFile::default() });
            let found = told.iter().find(|warning| warning.code == format!("tls_{name}"));
            let found = found.unwrap_or_else(|| panic!("{name} is not told: {told:?}"));
            assert!(!found.text.contains("this version does not know"), "{found:?}");
            assert!(guide.contains(&format!("`{name}`")), "docs/TLS.md lacks {name}");
        }
    }
}
