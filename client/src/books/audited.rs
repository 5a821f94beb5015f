//! The audit: for a share of the connections, where the time between a message and its reply went. The
//! kernel's stamp of a reply's receipt parts what is ours from what is not.

use crate::books::totals::Recorder;
use crate::protocol::Times;
use host::receipt::TcpHealth;
use measure::{FineHistogram, Nanos, Stage};
use reactor::Receipt;
use report::{hist, schema};
use std::fmt;
use std::str::FromStr;

/// A share is counted in these: 1 % is 10,000.
const PARTS: u64 = 1_000_000;

/// How many of the connections are audited, in millionths; zero: none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Share(u32);

impl FromStr for Share {
    type Err = String;

    /// Reads `1%`, `0.1 %`, `100%`, `0` and `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let no_share =
            "give a share of the connections from 0.0001% to 100%, such as 1% or 0.1%, or off";
        Self::parse(text.trim()).ok_or_else(|| no_share.to_owned())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() { f.write_str("off") } else { write!(f, "{}%", f64::from(self.0) / 1e4) }
    }
}

impl Share {
    /// Nobody is audited.
    pub const OFF: Self = Self(0);
    /// Everybody is.
    pub const ALL: Self = Self(PARTS as u32);

    fn parse(text: &str) -> Option<Self> {
        if text == "off" || text == "0" {
            return Some(Self::OFF);
        }
        let number = text.strip_suffix('%')?.trim_end();
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent: f64 = number.parse().ok().filter(|_| plain)?;
        let parts = (percent / 100.0 * PARTS as f64).round();
        let lost = percent > 0.0 && parts == 0.0;
        (!lost && parts <= PARTS as f64).then_some(Self(parts as u32))
    }

    /// Whether nobody is audited.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / PARTS as f64
    }

    /// Whether the connection of this number is among them, where number n belongs to reactor n mod
    /// `reactors`. The i-th of them is about number i / share, and belongs to reactor i mod `reactors`:
    /// so they are spread evenly over the numbers and over the reactors. The first one is number 0.
    #[must_use]
    pub fn has(self, number: u32, reactors: u64) -> bool {
        let (reactors, share) = (reactors as i64, i64::from(self.0));
        let (place, reactor) = (i64::from(number) / reactors, i64::from(number) % reactors);
        // In units of a millionth, and of a reactor: how many of this reactor's connections before this
        // one there should be, less the reactor's turn. Each time that passes a whole one, here it is.
        let whole = PARTS as i64 * reactors;
        let before = place * share * reactors - reactor * PARTS as i64;
        let rounded_up = |amount: i64| -(-amount).div_euclid(whole);
        rounded_up(before + share * reactors) > rounded_up(before)
    }
}

/// What TCP says of the audited connections at one moment.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// How many told.
    pub(crate) connections: u64,
    pub(crate) retransmits: u64,
    pub(crate) rtt: FineHistogram,
    pub(crate) rtt_variation: FineHistogram,
}

impl Look {
    pub(crate) fn add(&mut self, health: TcpHealth) {
        self.connections += 1;
        self.retransmits += u64::from(health.retransmits);
        self.rtt.record(health.rtt.0);
        self.rtt_variation.record(health.rtt_variation.0);
    }

    fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.retransmits += other.retransmits;
        self.rtt.merge(&other.rtt);
        self.rtt_variation.merge(&other.rtt_variation);
    }

    fn record(&self) -> schema::TcpLook {
        schema::TcpLook {
            connections: self.connections,
            retransmits: self.retransmits,
            rtt: hist::entry(&self.rtt),
            rtt_variation: hist::entry(&self.rtt_variation),
        }
    }
}

/// What one reactor learned of its audited connections. The parts `outside` and `receive_lag` are with
/// the other stages, in its [`Recorder`].
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// Connections whose receipts were stamped.
    pub(crate) connections: u64,
    /// Replies of the traffic phase whose time was parted.
    pub(crate) messages: u64,
    /// Those that came without a stamp.
    pub(crate) unstamped: u64,
    /// Those whose stamp lies before the message, or behind the reading of the reply.
    pub(crate) misfits: u64,
    /// Times that the time of day was found to have been set.
    pub(crate) clock_steps: u64,
    pub(crate) send_lag: FineHistogram,
    pub(crate) response: FineHistogram,
    /// TCP's view before the traffic and behind it; `None`: the run did not come to that.
    pub(crate) start: Option<Box<Look>>,
    pub(crate) end: Option<Box<Look>>,
}

impl Audited {
    /// A reply of the traffic phase is complete. Its parts add up to its response, to the nanosecond.
    #[inline]
    pub(crate) fn reply(
        &mut self,
        recorder: &mut Recorder,
        times: &Times,
        receipt: Receipt,
        now: Nanos,
    ) {
        match receipt {
            Receipt::At(receipt) if times.sent <= receipt && receipt <= now => {
                self.messages += 1;
                self.send_lag.record((times.sent - times.intended).0);
                recorder.record(Stage::Outside, receipt - times.sent);
                recorder.record(Stage::ReceiveLag, now - receipt);
                self.response.record((now - times.intended).0);
            }
            Receipt::At(_) => self.misfits += 1,
            Receipt::Missing | Receipt::NotAudited => self.unstamped += 1,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.unstamped += other.unstamped;
        self.misfits += other.misfits;
        // All reactors look at the same clock.
        self.clock_steps = self.clock_steps.max(other.clock_steps);
        self.send_lag.merge(&other.send_lag);
        self.response.merge(&other.response);
        for (mine, theirs) in [(&mut self.start, &other.start), (&mut self.end, &other.end)] {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
    }
}

/// The audit of all reactors as the result carries it; `None` where nobody was audited.
pub(crate) fn section<'a>(
    share: Share,
    reactors: impl Iterator<Item = &'a Audited>,
    recorder: &Recorder,
) -> Option<schema::Audit> {
    if share.is_off() {
        return None;
    }
    let mut all = Audited::default();
    reactors.for_each(|one| all.merge(one));
    let stage = |stage| recorder.stage(stage).and_then(hist::entry);
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
            start: all.start.map(|look| look.record()),
            end: all.end.map(|look| look.record()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_is_read_and_written() {
        for (text, share, written) in [
            ("1%", 10_000, "1%"),
            (" 0.1 % ", 1_000, "0.1%"),
            ("100%", 1_000_000, "100%"),
            ("2.5%", 25_000, "2.5%"),
            ("0.0001%", 1, "0.0001%"),
            ("0", 0, "off"),
            ("0%", 0, "off"),
            ("off", 0, "off"),
        ] {
            let read: Share = text.parse().expect(text);
            assert_eq!((read, read.to_string().as_str()), (Share(share), written), "{text}");
        }
        for text in ["", "%", "1", "on", "101%", "-1%", "1%%", "0.00001%", "nan%", "1e0%", "inf%"] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(error.contains("such as 1% or 0.1%, or off"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn audited_connections_are_evenly_spread_and_at_least_one(
            parts in 1..=1_000_000u32,
            reactors in 1..60u64,
            connections in 1..20_000u32,
        ) {
            let share = Share(parts);
            let audited: Vec<u32> = (0..connections).filter(|n| share.has(*n, reactors)).collect();
            prop_assert_eq!(audited.first(), Some(&0));
            // Over the numbers, the end of the last round apart, in which each reactor may be one off.
            let expected = f64::from(connections) * share.ratio();
            let off = (audited.len() as f64 - expected).abs();
            prop_assert!(off <= 2.0 + reactors as f64, "{} of {expected}", audited.len());
            // Over the reactors.
            let mut each = vec![0i64; reactors.min(connections.into()) as usize];
            audited.iter().for_each(|n| each[(u64::from(*n) % reactors) as usize] += 1);
            let (least, most) = (each.iter().min().expect("some"), each.iter().max().expect("some"));
            prop_assert!(most - least <= 2, "{each:?}");
        }

        #[test]
        fn everybody_and_nobody_are_just_that(number: u32, reactors in 1..1_000u64) {
            prop_assert!(Share::ALL.has(number, reactors));
            prop_assert!(!Share::OFF.has(number, reactors));
        }
    }

    #[test]
    fn a_part_that_would_be_negative_is_counted_and_not_recorded() {
        let mut recorder = Recorder::for_stages(&[Stage::Outside, Stage::ReceiveLag]);
        let mut audited = Audited::default();
        let times = Times { first: false, intended: Nanos(10), sent: Nanos(30) };
        let stamps = [29, 30, 70, 100, 101, 0].map(|at| Receipt::At(Nanos(at)));
        for receipt in stamps.into_iter().chain([Receipt::Missing]) {
            audited.reply(&mut recorder, &times, receipt, Nanos(100));
        }
        assert_eq!((audited.messages, audited.misfits, audited.unstamped), (3, 3, 1));
        let cells = |stage| -> Vec<_> {
            recorder.stage(stage).expect("recorded").cells().map(|(span, _)| span).collect()
        };
        assert_eq!(cells(Stage::Outside), [0, 40, 70]);
        assert_eq!(cells(Stage::ReceiveLag), [0, 30, 70]);
        assert_eq!(audited.send_lag.cells().collect::<Vec<_>>(), [(20, 3)]);
        assert_eq!(audited.response.cells().collect::<Vec<_>>(), [(90, 3)]);
    }
}
