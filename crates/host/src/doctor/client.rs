//! Walls at the client: ports, descriptors, memory.

use super::{Counters, Evidence, Wall, connections_were, wall};
use measure::Failure;
use measure::units::format_grouped;

pub(super) fn ports(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoPorts);
    let (from, have) = match evidence.sources {
        [one] => (format!("source {one}"), "has"),
        [first, .., last] => {
            (format!("the {} sources {first} to {last}", evidence.sources.len()), "have")
        }
        [] => ("this machine".to_owned(), "has"),
    };
    wall(
        "no_ports",
        count,
        |_| {
            format!(
                "{from} {have} no port left towards {}: {} not opened",
                evidence.targets.join(" "),
                connections_were(count)
            )
        },
        "give more source addresses (--source-ip), a wider --source-ports, or more targets",
    )
}

pub(super) fn descriptors(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoFds);
    let Counters { files_used, files_max, .. } = *evidence.here.after;
    let machine = files_used.zip(files_max).filter(|(used, max)| *used >= max / 100 * 99);
    let text = match machine {
        Some((used, max)) => format!(
            "this machine has {} of {} files open (fs.file-max)",
            format_grouped(used),
            format_grouped(max)
        ),
        None => format!(
            "the client is at its descriptor limit ({} in each table)",
            format_grouped(evidence.descriptors_limit)
        ),
    };
    wall(
        "no_fds",
        count,
        |_| format!("{text}: {} not opened", connections_were(count)),
        match machine {
            Some((_, max)) => format!("sudo sysctl -w fs.file-max={}", max.saturating_mul(2)),
            None => {
                "raise it (ulimit -n), or --reactors with a table of its own for each".to_owned()
            }
        },
    )
}

pub(super) fn no_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoMemory);
    wall(
        "no_memory",
        count,
        |_| format!("the kernel had no memory left here: {} not opened", connections_were(count)),
        "open fewer connections, or raise the control group's memory limit",
    )
}
