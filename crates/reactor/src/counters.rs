//! Plain counters of one reactor: what it did, and which of its limits it reached.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What one reactor did since it started. Owned by its thread; copied out in snapshots.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Adds another reactor's counters.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// Every counter with its name, in the order of declaration.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counters! {
    /// Turns of the loop.
    turns,
    /// Readiness events taken from the kernel.
    events,
    /// Events for a connection that was gone already.
    stale_events,
    /// Connections accepted and kept.
    accepted,
    /// Connections accepted and refused at once because the table or the plan was full.
    refused_full,
    /// Times that accepting failed for want of descriptors (EMFILE, ENFILE).
    accept_no_fds,
    /// Times that accepting failed for want of memory (ENOBUFS, ENOMEM).
    accept_no_memory,
    /// Times that accepting failed otherwise; the connection was gone before we took it.
    accept_failed,
    /// Connections that could not be registered with the kernel's event queue.
    watch_failed,
    /// Reads that gave bytes.
    reads,
    /// Bytes received.
    bytes_received,
    /// Bytes that the kernel took from us.
    bytes_sent,
    /// Writes that the kernel did not take whole: the rest waits for its peer.
    blocked_writes,
    /// Connections closed because too many bytes waited for their peers, or for others' peers.
    unsent_full,
    /// Times that one connection was made to wait because it had used up its reads of a turn.
    reads_budget_hits,
    /// Times that one connection was made to wait because it had used up its sending of a turn.
    sends_budget_hits,
    /// Work that was done, in units of about a nanosecond: reads, their bytes, and what drivers
    /// added.
    work,
    /// Times that one connection was made to wait because it had used up its work of a turn.
    work_budget_hits,
    /// Times that all connections with much work were made to wait because a turn's work for them
    /// was used up.
    turn_budget_hits,
    /// Times that a few bytes of one connection made so much work that the rest of a read had to
    /// wait, and less is read from it at a time.
    heavy_reads,
    /// Files that ended before what was promised of them: their connections were reset.
    files_cut,
    /// Times that accepting was interrupted because a batch was full.
    accept_budget_hits,
    /// Times that a wait gave as many events as it may.
    events_budget_hits,
    /// Times that handshakes were made to wait for the next turn because a turn's time for them was
    /// used up.
    handshake_budget_hits,
    /// Handshakes that could not begin at once because as many were under way as may be.
    handshakes_held,
    /// Times that the reactor stood still because it was told to.
    stalls,
}
