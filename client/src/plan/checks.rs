//! Options that are well-formed and make no sense, and those that contradict each other.

use super::usage;
use crate::cli::RunArgs;
use crate::load::phases::Phase;
use control::Error;
use measure::Nanos;
use measure::units::{format_duration, format_grouped, format_rate, format_size};
use wire::{MESSAGE_BYTES_MAX, Protocol};

/// Connections that one client is made for: a hundred times what any has held.
const CONNECTIONS_MAX: u64 = 100_000_000;
/// Messages per second that no single machine reaches: a typing error.
const RATE_MAX: f64 = 1e9;
/// The most runs of one series. Their results stay in memory until they are merged.
pub(crate) const REPEATS_MAX: u64 = 100;
/// The longest rest that can be asked for.
const COOL_DOWN_MAX: Nanos = Nanos::from_secs(86_400);

/// Numbers that are well-formed and make no sense.
pub(super) fn check_numbers(args: &RunArgs) -> Result<(), Error> {
    if args.connections == 0 {
        return Err(usage("--connections 0 leaves nothing to do: give at least 1".into()));
    }
    if args.connections > CONNECTIONS_MAX {
        return Err(usage(format!(
            "--connections {} is more than one client is made for: give at most {}",
            format_grouped(args.connections),
            format_grouped(CONNECTIONS_MAX)
        )));
    }
    for (name, rate) in [("--rate", args.rate), ("--connect-rate", args.connect_rate)] {
        if rate.is_some_and(|rate| rate <= 0.0 || rate > RATE_MAX) {
            return Err(usage(format!(
                "{name} must be above 0 and at most {}: leave it out to have no rate",
                format_rate(RATE_MAX)
            )));
        }
    }
    if !(1..=1_000_000).contains(&args.in_flight) {
        return Err(usage("--in-flight takes a number from 1 to 1,000,000".into()));
    }
    for (name, span) in [
        ("--timeout", args.timeout),
        ("--connect-timeout", args.connect_timeout),
        ("--duration", args.duration()),
    ] {
        if span == Nanos::ZERO {
            return Err(usage(format!("{name} 0 leaves no time: give more, such as 10s")));
        }
    }
    let messages = args.rate.map(|rate| rate * args.duration().as_secs_f64());
    if let Some(messages) = messages.filter(|messages| *messages < 0.5) {
        return Err(usage(format!(
            "--rate for {} is {messages:.2} messages, which is none: give a higher rate or a \
             longer --duration",
            format_duration(args.duration())
        )));
    }
    check_repeats(args)?;
    let year = Nanos::from_secs(366 * 86_400);
    for (name, span) in [("--duration", args.duration()), ("--hold", args.hold)] {
        if span > year {
            return Err(usage(format!("{name} is more than a year: give less")));
        }
    }
    Ok(())
}

/// Thresholds for phases that the run has not: nothing would ever be measured there.
pub(super) fn check_thresholds(args: &RunArgs, phases: &[Phase]) -> Result<(), Error> {
    let unknown = |name: &&str| phases.iter().all(|phase| phase.name != *name);
    for threshold in &args.fail_if {
        if let Some(name) = threshold.phase().filter(unknown) {
            let all: Vec<_> = phases.iter().map(|phase| phase.name).collect();
            return Err(usage(format!(
                "--fail-if '{}': this run has no phase '{name}': it has {}",
                threshold.expression(),
                all.join(", ")
            )));
        }
    }
    Ok(())
}

/// Numbers of a series that make no sense.
fn check_repeats(args: &RunArgs) -> Result<(), Error> {
    if args.repeat.is_some_and(|count| !(1..=REPEATS_MAX).contains(&count)) {
        return Err(usage(format!("--repeat takes a number from 1 to {REPEATS_MAX}")));
    }
    let read = [("--paths", &args.http.paths), ("--body-file", &args.http.body_file)];
    for (option, file) in read {
        let many = args.repeat.is_some_and(|count| count > 1);
        if let Some(file) = file.as_ref().filter(|file| many && file.exists() && !file.is_file()) {
            return Err(usage(format!(
                "{option} {}: with --repeat it is read for each run, and a pipe or device can be \
                 read once: name a file",
                file.display()
            )));
        }
    }
    if args.cool_down.is_some_and(|rest| rest > COOL_DOWN_MAX) {
        return Err(usage("--cool-down is more than a day: give less".to_owned()));
    }
    Ok(())
}

/// The size of messages, where they are ours.
pub(super) fn check_size(args: &RunArgs) -> Result<(), Error> {
    let size = args.size_bytes();
    let least = args.size_min();
    if size < least {
        return Err(usage(format!(
            "--size {size} has no room for the {least} bytes that prove a reply to be the right \
             one: give at least {least}"
        )));
    }
    if size > MESSAGE_BYTES_MAX as u64 {
        let most = format_size(MESSAGE_BYTES_MAX as u64);
        return Err(usage(format!("--size {size} is too large: give at most 16m ({most})")));
    }
    if args.closed && size.saturating_mul(args.in_flight) > 1 << 30 {
        return Err(usage(
            "--size times --in-flight is more than 1 GiB for each connection: lower one".into(),
        ));
    }
    Ok(())
}

/// The protocol of all URLs: a run measures one.
pub(super) fn one_scheme(args: &RunArgs) -> Result<Protocol, Error> {
    let first = args.urls.first().map_or(Protocol::Tcp, |url| url.protocol);
    let carried = args.urls.first().map(|url| url.transport);
    let other = |url: &&wire::Url| url.protocol != first || Some(url.transport) != carried;
    match args.urls.iter().find(other) {
        None => Ok(first),
        Some(other) => Err(usage(format!(
            "{other} speaks another protocol than {}: give each a run of its own",
            args.urls[0]
        ))),
    }
}
