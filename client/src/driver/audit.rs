//! The audit's round over the table, before the traffic and behind it: has receipts stamped, and asks
//! what TCP knows of the audited connections.

use super::{LoadDriver, Table};
use crate::books::audited::Audited;
use crate::orders::Step;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::{Key, Network};

/// Slots looked at before other work gets its turn.
const LOOK_BATCH: usize = 4096;
/// Connections asked before other work gets its turn: two system calls each.
const ASK_BATCH: usize = 128;

impl<P: Protocol> LoadDriver<P> {
    /// Goes on with the round. Returns when to go on.
    pub(super) fn survey<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if self.done >= self.step {
            return Nanos::MAX;
        }
        let mut left = ASK_BATCH;
        for _ in 0..LOOK_BATCH {
            if left == 0 {
                return Nanos::ZERO;
            }
            if self.cursor >= core.high_water() {
                self.finish_step(core);
                return Nanos::MAX;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            // Who is still connecting is stamped when that has succeeded.
            let audited = |key: &Key| core.is_audited(*key) && !core.is_connecting(*key);
            if let Some(key) = key.filter(audited) {
                left -= 1;
                self.survey_one(core, key);
            }
        }
        Nanos::ZERO
    }

    fn survey_one<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let Some(audited) = &mut self.audited else { return };
        let Audited { connections, start, end, .. } = &mut **audited;
        let look = if self.step == Step::AuditFrom {
            // One that was opened since the audit began is counted already.
            if !core.is_stamped(key) {
                core.stamp(key);
                *connections += 1;
            }
            start
        } else {
            end
        };
        let look = look.get_or_insert_default();
        if let Some(health) = core.health(key) {
            look.add(health);
        }
    }

    /// The audit begins: connections that open from now on are stamped as they do.
    pub(super) fn begin_audit(&mut self) {
        if let Some(audited) = &mut self.audited {
            let look =
                if self.step == Step::AuditFrom { &mut audited.start } else { &mut audited.end };
            // That there was nobody to ask is known, too.
            look.get_or_insert_default();
            self.auditing = true;
        }
    }

    /// A connection was established in the middle of the audit.
    #[cold]
    pub(super) fn audit_late<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        if let Some(audited) = &mut self.audited
            && core.is_audited(key)
        {
            core.stamp(key);
            audited.connections += 1;
        }
    }
}
