//! What response times must be when the server's faults are known: exact quantiles, pure.
//!
//! A server that stands still for S, goes on W after the end of that, and has answered all that
//! came meanwhile D after it, lets a message wait that arrives t after the beginning of the stall
//! for
//!
//! ```text
//!   S + W + u·(D − W) − t    for 0 ≤ t < S + D, where u from 0 to 1 is its place in the backlog
//! ```
//!
//! Messages arrive evenly spread and are answered in the order in which their connections became
//! readable, so u = t / (S + D) as long as none has two of them; where one has, it gives all it has
//! with one read, and u is the place of its first; what comes on those that have had their turn is
//! read behind the others. W and D are what the server's reactors say by their own clocks; each has
//! its own, since those that share a core go on one after the other. A reply that waits for a delay
//! waits for that, and for as long as the reactor is late to it, which it says as well.
//!
//! To each wait comes what a message takes without the fault, of which the distribution is
//! measured.

/// A distribution of times in nanoseconds: steps at the values that occur.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    values: Vec<f64>,
    /// The share of all that lies at or below each value.
    up_to: Vec<f64>,
}

impl Distribution {
    /// Out of values and how often they occur, in any order.
    pub(crate) fn of(cells: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut cells: Vec<(u64, u64)> =
            cells.into_iter().filter(|(_, count)| *count > 0).collect();
        cells.sort_unstable();
        let all: u64 = cells.iter().map(|(_, count)| count).sum();
        let mut made = Self::default();
        let mut seen = 0;
        for (value, count) in cells {
            seen += count;
            made.values.push(value as f64);
            made.up_to.push(seen as f64 / all as f64);
        }
        made
    }

    /// How many values lie at or below `x`, as the number of steps.
    fn steps(&self, x: f64) -> usize {
        self.values.partition_point(|value| *value <= x)
    }

    /// The share that lies at or below `x`.
    pub(crate) fn share(&self, x: f64) -> f64 {
        self.steps(x).checked_sub(1).map_or(0.0, |last| self.up_to[last])
    }

    /// The least value at or below which that share lies.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = self.up_to.partition_point(|up_to| *up_to < share - 1e-12);
        self.values.get(at.min(self.values.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// How a reactor says that it came back from its stalls. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recovery {
    /// Its share of all messages.
    pub(crate) share: f64,
    /// W: how much later than at the end of a stall it went on.
    pub(crate) late: f64,
    /// D: from that end until nothing was left to be read.
    pub(crate) backlog: f64,
}

/// A server that stands still again and again. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stalls {
    /// S: how long each time.
    pub(crate) length: f64,
    /// From one to the next; for one that happens once, how long the run lasts.
    pub(crate) every: f64,
    /// Messages per second, over all connections.
    pub(crate) rate: f64,
    pub(crate) connections: f64,
    pub(crate) recoveries: Vec<Recovery>,
}

/// How late a reactor says that it came to what was due. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lateness {
    /// Its share of all messages.
    pub(crate) share: f64,
    pub(crate) count: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Lateness {
    /// The lateness that this share of all did not exceed. Between what is known the share that is
    /// later falls exponentially, as waiting times do; below the median it grows evenly.
    fn quantile(&self, share: f64) -> f64 {
        let Self { count, p50, p99, max, .. } = *self;
        let later = 1.0 - share;
        let least = (1.0 / count.max(1.0)).min(0.01);
        let between = |low: f64, high: f64, from: f64, to: f64| {
            low + (high - low) * ((from / later).ln() / (from / to).ln()).clamp(0.0, 1.0)
        };
        if share <= 0.5 {
            p50 * share * 2.0
        } else if later >= 0.01 {
            between(p50, p99, 0.5, 0.01)
        } else if least < 0.01 {
            between(p99, max, 0.01, least)
        } else {
            max
        }
    }
}

/// What the server does wrong, as shares of all messages and how long those wait, in nanoseconds.
/// The others do not wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(Vec<(f64, f64)>);

impl Waits {
    /// How finely waits are cut.
    const STEPS: usize = 1_000;

    /// The server does nothing wrong.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Each reply waits that long, and until its reactor comes to it.
    pub(crate) fn of_delay(delay: f64, lateness: &[Lateness]) -> Self {
        let each = |late: &Lateness| {
            let late = *late;
            centres()
                .map(move |share| (late.share / Self::STEPS as f64, delay + late.quantile(share)))
        };
        Self(lateness.iter().flat_map(each).collect())
    }

    /// It stands still.
    pub(crate) fn of_stalls(stalls: &Stalls) -> Self {
        Self(stalls.recoveries.iter().flat_map(|recovery| stalls.waits(recovery)).collect())
    }

    /// The response time at or below which that share of messages lies, where `rest` is what they
    /// take without the fault.
    pub(crate) fn quantile(&self, rest: &Distribution, share: f64) -> f64 {
        let waiting: f64 = self.0.iter().map(|(share, _)| share).sum();
        let longest = self.0.iter().map(|(_, wait)| *wait).fold(0.0, f64::max);
        let up_to = |x: f64| {
            let late: f64 = self.0.iter().map(|(share, wait)| share * rest.share(x - wait)).sum();
            (1.0 - waiting) * rest.share(x) + late
        };
        least(0.0, rest.quantile(1.0) + longest, |x| up_to(x) >= share - 1e-9)
    }
}

/// The middles of even steps from 0 to 1.
fn centres() -> impl Iterator<Item = f64> {
    (0..Waits::STEPS).map(|step| (step as f64 + 0.5) / Waits::STEPS as f64)
}

impl Stalls {
    /// The waits of what one reactor gets.
    fn waits(&self, recovery: &Recovery) -> impl Iterator<Item = (f64, f64)> {
        let Self { length, every, .. } = *self;
        let Recovery { share, backlog, .. } = *recovery;
        let over = length + backlog;
        let of_step = share * over / every / Waits::STEPS as f64;
        let places = self.places(recovery);
        centres().map(move |part| {
            let at = part * over;
            (of_step, (length + places.answered(at, length) - at).max(0.0))
        })
    }

    /// In which order one reactor answers what waits.
    fn places(&self, recovery: &Recovery) -> Places {
        let Recovery { share, late, backlog } = *recovery;
        let (connections, pace) = (self.connections * share, self.rate * share / 1e9);
        if pace * self.length <= connections {
            return Places::InOrder { late, backlog, over: self.length + backlog };
        }
        // All connections are readable; meanwhile messages come on one after the other, from
        // `first` on. Those that come before the sweep over the connections has caught up with them
        // are read with what is there already, later ones make their connections readable again.
        let first = pace * self.length % connections;
        let (mut read, mut caught) = ((backlog - late) / connections, backlog);
        for _ in 0..50 {
            caught = (late + first * read) / (1.0 - pace * read).max(1e-9);
            caught = caught.clamp(0.0, backlog);
            read = (backlog - late) / (connections + pace * (backlog - caught));
        }
        Places::Sweep { connections, pace, first, late, backlog, read, caught }
    }
}

/// The order in which a reactor answers what waits. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
enum Places {
    /// That in which it came: no connection has two messages waiting.
    InOrder { late: f64, backlog: f64, over: f64 },
    /// Connection by connection, each with all that it has; then what has come since on those that
    /// had had their turn.
    Sweep {
        connections: f64,
        /// Messages in a nanosecond.
        pace: f64,
        /// The connection whose turn to send it was at the end of the stall.
        first: f64,
        late: f64,
        backlog: f64,
        /// What one read takes.
        read: f64,
        /// When the sweep had caught up with what came, after the end of the stall.
        caught: f64,
    },
}

impl Places {
    /// When a message is answered that came `at` after the beginning of the stall of that length,
    /// counted from the end of that.
    fn answered(self, at: f64, length: f64) -> f64 {
        match self {
            Self::InOrder { late, backlog, over } => late + at / over * (backlog - late),
            Self::Sweep { connections, pace, first, late, backlog, read, caught } => {
                let since = at - length;
                if since <= 0.0 {
                    late + pace * at % connections * read
                } else if since <= caught {
                    late + (first + pace * since) * read
                } else {
                    let swept = late + connections * read;
                    swept + (since - caught) / (backlog - caught) * (backlog - swept)
                }
            }
        }
    }
}

/// The least number between the two for which `holds`, which it does for all above: by halving.
fn least(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MS: f64 = 1e6;
    const SHARES: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

    /// One reactor, message by message: connections take turns in sending, and each read answers
    /// all that its connection has. Returns how messages fared, and the time from the end of a
    /// stall until nothing was left.
    fn simulate(stalls: &Stalls, read: f64, rest: &[f64], periods: u32) -> (Distribution, f64) {
        let late = stalls.recoveries[0].late;
        let spacing = 1e9 / stalls.rate;
        let connections = stalls.connections as usize;
        let count = (f64::from(periods) * stalls.every / spacing) as usize;
        let mut unread = vec![Vec::new(); connections];
        let (mut readable, mut all) = (VecDeque::new(), Vec::new());
        let (mut next, mut now, mut backlog, mut caught_up) = (0, 0.0_f64, 0.0_f64, true);
        while all.len() < count {
            let into = now % stalls.every;
            if into < stalls.length {
                now += stalls.length + late - into;
                caught_up = false;
            }
            while next < count && next as f64 * spacing <= now {
                let of: &mut Vec<usize> = &mut unread[next % connections];
                if of.is_empty() {
                    readable.push_back(next % connections);
                }
                of.push(next);
                next += 1;
            }
            let Some(connection) = readable.pop_front() else {
                if !std::mem::replace(&mut caught_up, true) {
                    backlog = now % stalls.every - stalls.length;
                }
                now = next as f64 * spacing;
                continue;
            };
            for number in unread[connection].drain(..) {
                let wait = (now - number as f64 * spacing).max(0.0);
                all.push(((wait + rest[number * 7919 % rest.len()]) as u64, 1));
            }
            now += read;
        }
        (Distribution::of(all), backlog)
    }

    fn rest() -> Vec<f64> {
        // Mostly short, one in a hundred 1 ms, one in a thousand 3 ms.
        let long = |n| if n == 0 { 3.0 * MS } else { 1.0 * MS };
        (0..1_000).map(|n| if n < 10 { long(n) } else { 50_000.0 + 100.0 * n as f64 }).collect()
    }

    #[test]
    fn quantiles_are_those_of_a_server_that_is_simulated() {
        let rest = rest();
        let alone = Distribution::of(rest.iter().map(|value| (*value as u64, 1)));
        for (rate, connections, read_us, late) in [
            (20_000.1, 100_000.0, 0.1, 0.0),
            (20_000.1, 100_000.0, 0.5, 0.3),
            (20_000.1, 100_000.0, 10.0, 2.0),
            (20_000.1, 100_000.0, 25.0, 0.0),
            // Two or three, and a dozen, messages of each connection wait. (With a whole number of
            // them there are gaps between their waits, and quantiles that lie in one are anywhere
            // in it.)
            (20_000.1, 900.0, 10.0, 0.2),
            (20_000.1, 170.0, 10.0, 0.0),
        ] {
            let recovery = Recovery { share: 1.0, late: late * MS, backlog: 0.0 };
            let (length, every) = (100.0 * MS, 1_000.0 * MS);
            let mut stalls =
                Stalls { length, every, rate, connections, recoveries: vec![recovery] };
            let (simulated, backlog) = simulate(&stalls, read_us * 1e3, &rest, 10);
            stalls.recoveries[0].backlog = backlog;
            let waits = Waits::of_stalls(&stalls);
            for share in SHARES {
                let exact = waits.quantile(&alone, share);
                let found = simulated.quantile(share);
                // The simulation has whole messages, and each read is one step.
                let near = 0.15 * MS + 0.004 * exact;
                assert!((exact - found).abs() < near, "{stalls:?} {share}: {exact} {found}");
            }
        }
    }

    #[test]
    fn reactors_have_their_own_waits() {
        let alone = Distribution::of([(0, 1)]);
        let recovery = |late, backlog| Recovery { share: 0.5, late, backlog };
        let recoveries = vec![recovery(0.0, 0.0), recovery(100.0 * MS, 100.0 * MS)];
        let stalls = Stalls {
            length: 100.0 * MS,
            every: 1_000.0 * MS,
            rate: 1_000.0,
            connections: 1e6,
            recoveries,
        };
        // 5 % of all wait for up to 100 ms, 10 % for up to 200 ms.
        let quantile = |share| Waits::of_stalls(&stalls).quantile(&alone, share) / MS;
        let near = |found: f64, known: f64| assert!((found - known).abs() < 0.5, "{found} {known}");
        near(quantile(0.85), 0.0);
        near(quantile(0.95), 100.0);
        near(quantile(0.90), 50.0);
        near(quantile(0.99), 180.0);
    }

    #[test]
    fn the_knee_is_where_it_must_be() {
        let alone = Distribution::of([(100_000, 1)]);
        let quantile = |backlog: f64, share| {
            let recoveries = vec![Recovery { share: 1.0, late: 0.0, backlog: backlog * MS }];
            let stalls = Stalls {
                length: 100.0 * MS,
                every: 1_000.0 * MS,
                rate: 10_000.0,
                connections: 1e6,
                recoveries,
            };
            (Waits::of_stalls(&stalls).quantile(&alone, share) / MS * 10.0).round() / 10.0
        };
        // Nine of ten messages do not wait at all; of the tenth, waits are spread evenly.
        assert_eq!([0.5, 0.89].map(|share| quantile(0.0, share)), [0.1; 2]);
        assert_eq!([0.95, 0.99, 0.999].map(|share| quantile(0.0, share)), [50.1, 90.1, 99.1]);
        // If it takes 25 ms to catch up, one in eight waits.
        assert_eq!([0.87, 0.9, 0.99].map(|share| quantile(25.0, share)), [0.1, 20.1, 92.1]);
    }

    #[test]
    fn a_delay_moves_everything_and_nothing_moves_nothing() {
        let alone = Distribution::of([(10, 5), (20, 4), (1_000, 1)]);
        assert!((Waits::none().quantile(&alone, 0.9) - 20.0).abs() < 1e-6);
        assert!((Waits::none().quantile(&alone, 0.91) - 1_000.0).abs() < 1e-6);
        let punctual = Lateness { share: 1.0, count: 9.0, p50: 0.0, p99: 0.0, max: 0.0 };
        let delayed = Waits::of_delay(5.0 * MS, &[punctual]);
        assert!((delayed.quantile(&alone, 0.5) - 5_000_010.0).abs() < 1e-3);
    }

    #[test]
    fn lateness_is_what_is_known_of_it() {
        let late = Lateness { share: 1.0, count: 10_000.0, p50: 50.0, p99: 400.0, max: 3_000.0 };
        for (share, value) in [
            (0.0, 0.0),
            (0.25, 25.0),
            (0.5, 50.0),
            (0.99, 400.0),
            (0.9999, 3_000.0),
            (1.0, 3_000.0),
        ] {
            let found = late.quantile(share);
            assert!((found - value).abs() < 1.0, "{share}: {found}");
        }
        // Exponential between the median and the 99th percentile.
        assert!((late.quantile(0.9) - (50.0 + 350.0 * 5f64.ln() / 50f64.ln())).abs() < 1.0);
        let few = Lateness { count: 7.0, ..late };
        assert!((few.quantile(0.995) - 3_000.0).abs() < 1.0);
        // With a constant rest the delay's quantiles are those of the lateness.
        let alone = Distribution::of([(100, 1)]);
        let found = Waits::of_delay(1_000.0, &[late]).quantile(&alone, 0.99);
        assert!((found - 1_500.0).abs() < 10.0, "{found}");
    }
}
