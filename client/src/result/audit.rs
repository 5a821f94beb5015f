//! The section `audit`: where the time between a message and its reply went. The kernel's stamp of
//! a reply's receipt parts what is ours from what is not.

use crate::books::audited::{Audited, Look};
use crate::conductor::Measured;
use crate::load::audited_share::Share;
use measure::Stage;
use report::{hist, schema};

/// The audit of all reactors as the result carries it; `None` where nobody was audited.
pub(super) fn section(share: Share, measured: &Measured) -> Option<schema::Audit> {
    if share.is_off() {
        return None;
    }
    let mut all = Audited::default();
    let reactors = measured.finals.values().filter_map(|last| last.audit.as_deref());
    reactors.for_each(|one| all.merge(one));
    let stage = |stage| measured.recorder.stage(stage).and_then(hist::entry);
    let parts = || {
        Some(schema::AuditParts {
            send_lag: hist::entry(&all.send_lag)?,
            outside: stage(Stage::Outside)?,
            receive_lag: stage(Stage::ReceiveLag)?,
            response: hist::entry(&all.response)?,
        })
    };
    Some(schema::Audit {
        ratio: share.ratio(),
        connections: all.connections,
        messages: all.messages,
        unstamped: all.unstamped,
        misfits: all.misfits,
        clock_steps: all.clock_steps,
        parts: parts(),
        tcp_info: schema::TcpInfo {
            start: all.start.as_deref().map(look),
            end: all.end.as_deref().map(look),
        },
    })
}

fn look(look: &Look) -> schema::TcpLook {
    schema::TcpLook {
        connections: look.connections,
        retransmits: look.retransmits,
        rtt: hist::entry(&look.rtt),
        rtt_variation: hist::entry(&look.rtt_variation),
    }
}
