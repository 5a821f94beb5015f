//! Walls of either machine: connection tracking, memory, packets that wait for a CPU.

use super::{Counters, Evidence, Wall, times, wall};
use measure::units::{format_grouped, format_size};

pub(super) fn conntrack(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let (used, max) = (kernel.after.conntrack_used?, kernel.after.conntrack_max?);
        // The count falls again as soon as handshakes are given up.
        let full = used.saturating_mul(10) >= max.saturating_mul(9);
        wall(
            "conntrack",
            kernel.grown(|kernel| kernel.conntrack_drops),
            |times| {
                let max = format_grouped(max);
                if full {
                    format!(
                        "the conntrack table of {machine} is full at {max}: packets dropped {times}"
                    )
                } else {
                    format!(
                        "connection tracking of {machine} dropped packets {times}; its table holds \
                         {} of {max} connections now",
                        format_grouped(used)
                    )
                }
            },
            format!(
                "on {machine}: sudo sysctl -w net.netfilter.nf_conntrack_max={}, or leave these \
                 ports out of tracking (notrack)",
                max.saturating_mul(4)
            ),
        )
    })
}

pub(super) fn tcp_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let [_, pressure, high] = kernel.after.tcp_mem_pages?;
        let pages = format_grouped(kernel.after.sockets.tcp_mem_pages);
        let remedy = format!(
            "on {machine}: raise net.ipv4.tcp_mem, or have fewer or smaller messages in flight"
        );
        let aborted = wall(
            "tcp_memory",
            kernel.grown(|kernel| kernel.aborts_on_memory),
            |times| {
                format!(
                    "the kernel of {machine} reset connections {times} for want of memory: \
                     {pages} of \
                     {} pages of tcp_mem are in use, {} of {} orphans",
                    format_grouped(high),
                    format_grouped(kernel.after.sockets.tcp_orphan),
                    format_grouped(kernel.after.tcp_max_orphans.unwrap_or(0)),
                )
            },
            remedy.clone(),
        );
        aborted.or_else(|| {
            wall(
                "tcp_memory",
                kernel.grown(|kernel| kernel.memory_pressures),
                |times| {
                    format!(
                        "TCP ran short of memory on {machine} {times}: {pages} pages are in use, \
                         and \
                         above {} the kernel shrinks buffers (tcp_mem)",
                        format_grouped(pressure),
                    )
                },
                remedy,
            )
        })
    })
}

pub(super) fn low_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let Counters { memory_total_bytes: total, memory_available_bytes: left, .. } =
            *kernel.after;
        let low = total > 0 && left < total / 50;
        low.then(|| Wall {
            code: "low_memory",
            text: format!(
                "{machine} has only {} of its {} of memory left",
                format_size(left),
                format_size(total)
            ),
            remedy: "open fewer connections, or stop what else uses memory there".to_owned(),
        })
    })
}

/// Only where packets were sent again too: the count is that of the whole machine.
pub(super) fn packet_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let dropped = kernel.grown(|kernel| kernel.packet_queue_drops);
        let resent = kernel.grown(|kernel| kernel.retransmits);
        let length = kernel.after.netdev_max_backlog.unwrap_or(1_000);
        wall(
            "packet_queue",
            dropped.min(resent),
            |_| {
                format!(
                    "the queue of packets that wait for a CPU of {machine} overflowed {}: it \
                     holds {} \
                     (netdev_max_backlog)",
                    times(dropped),
                    format_grouped(length)
                )
            },
            format!("on {machine}: sudo sysctl -w net.core.netdev_max_backlog={}", length * 10),
        )
    })
}
