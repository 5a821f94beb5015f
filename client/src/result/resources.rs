//! The section `resources`: memory and CPU time of both ends and of the machine.

use crate::conductor::Measured;
use crate::conductor::crew::Reading;
use crate::plan::Plan;
use host::preflight;
use measure::Nanos;
use report::schema;

pub(super) fn resources_of(plan: &Plan, measured: &Measured) -> schema::Resources {
    let Measured { before, ramped, drive_from, drive_to, end, .. } = measured;
    let seconds = |from: &Reading, to: &Reading| Some((to.cpu - from.cpu).as_secs_f64());
    let client = schema::Process {
        rss_bytes_before: before.rss_bytes,
        rss_bytes: ramped.rss_bytes,
        rss_bytes_after_traffic: drive_to.rss_bytes,
        cpu_seconds: Some(end.cpu.as_secs_f64()),
        cpu_seconds_opening: seconds(before, ramped),
        cpu_seconds_traffic: seconds(drive_from, drive_to),
        ..schema::Process::default()
    };
    let kernel = schema::Kernel {
        both_ends: plan.loopback,
        memfree_bytes_before: before.memfree_bytes,
        memfree_bytes: ramped.memfree_bytes,
        slab_bytes_before: before.slab_bytes,
        slab_bytes: ramped.slab_bytes,
        ..schema::Kernel::default()
    };
    let others = others(plan, measured);
    let predicted = schema::Footprint {
        memory_bytes: preflight::bytes_needed(&plan.demand),
        open_files: preflight::files_needed(&plan.demand),
    };
    schema::Resources {
        client,
        server: server_of(measured),
        kernel,
        predicted: Some(predicted),
        taken: taken(plan, measured),
        others_cpu_seconds: others.map(|(seconds, _)| seconds),
        others_cpu_ratio: others.map(|(_, share)| share),
    }
}

/// CPU time of this machine that went to others than the client and a server that runs here and
/// tells, in seconds and as a share of all there was: in the traffic, or over the whole run without
/// any.
fn others(plan: &Plan, measured: &Measured) -> Option<(f64, f64)> {
    let Measured { before, drive_from, drive_to, end, .. } = measured;
    let (from, to) = match plan.record.model {
        schema::Model::None => (before, end),
        _ => (drive_from, drive_to),
    };
    let worked = host::schedule::worked_share(&from.cores, &to.cores)?;
    let cores = to.cores.keys().filter(|core| from.cores.contains_key(core)).count();
    let machine = (to.at - from.at).as_secs_f64() * cores as f64;
    let server = |reading: &Reading| reading.peer.as_ref()?.get("cpu_ns")?.as_u64();
    let server = match (plan.loopback, server(from).zip(server(to))) {
        (true, Some((from, to))) => Nanos(to.saturating_sub(from)),
        _ => Nanos::ZERO,
    };
    let own = ((to.cpu - from.cpu) + server).as_secs_f64();
    // The kernel counts the one in ticks and the other exactly: a little below nothing is nothing.
    let seconds = (worked * machine - own).max(0.0);
    Some((seconds, schema::ratio(seconds, machine)))
}

/// What the run had taken of this machine when all connections stood. The part of a server that
/// runs here too is known only if it tells (`--peer`).
fn taken(plan: &Plan, measured: &Measured) -> Option<schema::Footprint> {
    let Measured { before, ramped, .. } = measured;
    let slab = ramped.slab_bytes?.saturating_sub(before.slab_bytes?);
    let server = match plan.loopback {
        true => ramped.peer.as_ref()?.get("rss_bytes")?.as_u64()?,
        false => 0,
    };
    Some(schema::Footprint {
        memory_bytes: slab + ramped.rss_bytes? + server,
        open_files: ramped.open_files?.saturating_sub(before.open_files?),
    })
}

/// What the server says of itself, from its snapshots between the phases.
fn server_of(measured: &Measured) -> Option<schema::Process> {
    let number = |reading: &Reading, field: &str| reading.peer.as_ref()?.get(field)?.as_u64();
    let Measured { before, ramped, drive_from, drive_to, end, .. } = measured;
    end.peer.as_ref().or(ramped.peer.as_ref())?;
    let seconds = |from: &Reading, to: &Reading| {
        let spent = number(to, "cpu_ns")?.saturating_sub(number(from, "cpu_ns")?);
        Some(Nanos(spent).as_secs_f64())
    };
    Some(schema::Process {
        rss_bytes_before: number(before, "rss_bytes"),
        rss_bytes: number(ramped, "rss_bytes"),
        rss_bytes_after_traffic: number(drive_to, "rss_bytes"),
        cpu_seconds: seconds(before, end),
        cpu_seconds_opening: seconds(before, ramped),
        cpu_seconds_traffic: seconds(drive_from, drive_to),
        ..schema::Process::default()
    })
}
