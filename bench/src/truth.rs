//! What response times must be when the server's faults are known: exact quantiles, pure.
//!
//! A server that stands still for S of every P, and then answers C messages per second while R arrive
//! evenly spread, lets a message wait that arrives t after the beginning of the stall for
//!
//! ```text
//!   S − t + R·t / C  =  S − (1 − ρ)·t        with ρ = R / C
//! ```
//!
//! during the stall, since R·t messages are before it, and after it as well, since the backlog of
//! R·t − C·(t − S) takes that long; until that is 0, at t = S / (1 − ρ). So of all messages the share
//! S / ((1 − ρ)·P) waits, and those waits are evenly spread from 0 to S. To each comes what a message takes
//! without the fault, of which the distribution is measured.
//!
//! Several reactors on one core work off their backlogs one after the other, not in the order of arrival:
//! to a reactor that begins when those before it are done, at S + D, that is a stall of this length, of
//! which it sees its share of the messages. Its own work takes ρ/k · (S + D) / (1 − ρ/k); what comes to it
//! while the others have their turns waits for its next one, likewise.

/// A distribution of times in nanoseconds: steps at the values that occur.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    values: Vec<f64>,
    /// The share of all that lies at or below each value.
    up_to: Vec<f64>,
    /// The integral of that share from below up to each value.
    area: Vec<f64>,
}

impl Distribution {
    /// Out of values and how often they occur, in any order.
    pub(crate) fn of(cells: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut cells: Vec<(u64, u64)> =
            cells.into_iter().filter(|(_, count)| *count > 0).collect();
        cells.sort_unstable();
        let all: u64 = cells.iter().map(|(_, count)| count).sum();
        let mut made = Self::default();
        let (mut seen, mut area, mut before) = (0, 0.0, 0.0);
        for (value, count) in cells {
            let value = value as f64;
            area += seen as f64 / all as f64 * (value - before);
            seen += count;
            made.values.push(value);
            made.up_to.push(seen as f64 / all as f64);
            made.area.push(area);
            before = value;
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

    /// The integral of [`Self::share`] up to `x`.
    fn area(&self, x: f64) -> f64 {
        let last = self.steps(x).checked_sub(1);
        last.map_or(0.0, |at| self.area[at] + self.up_to[at] * (x - self.values[at]))
    }

    /// The least value at or below which that share lies.
    fn quantile(&self, share: f64) -> f64 {
        let at = self.up_to.partition_point(|up_to| *up_to < share - 1e-12);
        self.values.get(at.min(self.values.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// The mean.
    pub(crate) fn mean(&self) -> f64 {
        let highest = self.values.last().copied().unwrap_or(0.0);
        highest - self.area(highest)
    }
}

/// How fast a backlog is answered: each read of a connection takes a time of its own, and each message that
/// it brings another one. So many messages of few connections are answered faster than as many of many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answers {
    connections: f64,
    /// Nanoseconds for each read.
    read: f64,
    /// Nanoseconds for each message.
    message: f64,
}

impl Answers {
    /// From two rates, in messages per second: with one message in flight on each connection, and with
    /// `depth`, which are taken to come in one read.
    pub(crate) fn of(connections: u64, one: f64, depth: u32, deep: f64) -> Self {
        let (one, depth) = (1e9 / one, f64::from(depth.max(2)));
        // one = read + message; 1e9 / deep = read / depth + message
        let read = ((one - 1e9 / deep) / (1.0 - 1.0 / depth)).clamp(0.0, one);
        Self { connections: connections as f64, read, message: one - read }
    }

    /// The load, ρ, for the backlog of a stall of that length in nanoseconds.
    pub(crate) fn load(&self, rate: f64, stall: f64) -> f64 {
        let each = (rate * stall / 1e9 / self.connections).max(1.0);
        rate * (self.read / each + self.message) / 1e9
    }
}

/// A server that stands still again and again. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stalls {
    /// How long each time.
    pub(crate) length: f64,
    /// From one to the next; for one that happens once, how long the run lasts.
    pub(crate) every: f64,
    /// ρ: the rate over what the server answers per second while it has a backlog.
    pub(crate) load: f64,
    /// Reactors that share a core.
    pub(crate) lanes: u32,
    /// How long after the stall answering really begins: waking up, cold caches.
    pub(crate) start_up: f64,
}

/// Messages that wait: their share of all, and the longest wait; they are evenly spread from 0 to that.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waiting {
    share: f64,
    longest: f64,
}

impl Stalls {
    /// Those of each turn that a reactor has after a stall, until what is left is next to nothing.
    fn waiting(&self) -> Vec<Waiting> {
        const ROUNDS: usize = 8;
        let Self { length, every, load, lanes, start_up } = *self;
        let count = lanes.max(1) as usize;
        let load = load / count as f64;
        let mut now = length + start_up;
        // When each had nothing left to answer, counted from the beginning of the stall.
        let mut idle_since = vec![0.0; count];
        let mut all = Vec::with_capacity(count);
        for turn in 0..ROUNDS * count {
            let longest = now - idle_since[turn % count];
            if longest < 1.0 {
                break;
            }
            let share = longest / ((1.0 - load) * every * count as f64);
            all.push(Waiting { share, longest });
            now += load * longest / (1.0 - load);
            idle_since[turn % count] = now;
        }
        all
    }

    /// How long messages wait on the average, those that do not wait among them.
    fn mean_wait(&self) -> f64 {
        self.waiting().iter().map(|Waiting { share, longest }| share * longest / 2.0).sum()
    }

    /// The same server with the start-up time that explains a mean wait; none if it is less than that
    /// without any.
    pub(crate) fn explaining(self, mean_wait: f64) -> Self {
        let with = |start_up| Self { start_up, ..self };
        let enough = |start_up| with(start_up).mean_wait() >= mean_wait;
        with(if enough(0.0) { 0.0 } else { least(0.0, self.length, enough) })
    }

    /// The share of messages whose wait and the rest together take `x` at the most.
    fn share(&self, rest: &Distribution, x: f64) -> f64 {
        let (mut at_once, mut late) = (1.0, 0.0);
        for Waiting { share, longest } in self.waiting() {
            at_once -= share;
            late += share * (rest.area(x) - rest.area(x - longest)) / longest;
        }
        at_once * rest.share(x) + late
    }
}

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Each reply waits that long.
    Delay(f64),
    /// It stands still.
    Stalls(Stalls),
}

impl Fault {
    /// The same where answering begins so many nanoseconds after a stall.
    pub(crate) fn starting_after(self, start_up: f64) -> Self {
        match self {
            Self::Stalls(stalls) => Self::Stalls(Stalls { start_up, ..stalls }),
            other => other,
        }
    }

    /// The response time at or below which that share lies, given the distribution without the fault.
    pub(crate) fn quantile(&self, rest: &Distribution, share: f64) -> f64 {
        match self {
            Self::None => rest.quantile(share),
            Self::Delay(delay) => rest.quantile(share) + delay,
            Self::Stalls(stalls) => {
                let longest = stalls.waiting().iter().map(|turn| turn.longest).fold(0.0, f64::max);
                let highest = rest.quantile(1.0) + longest;
                least(0.0, highest, |x| stalls.share(rest, x) >= share - 1e-12)
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

/// What the luck of one run leaves open: the same quantile out of many runs whose seconds are drawn from
/// those of the runs without a fault. The bounds are those of 98 of 100 such runs, relative to the quantile
/// of all seconds together, and wider by what is not known of these themselves.
pub(crate) fn luck(
    seconds: &[Vec<(u64, u64)>],
    run_seconds: usize,
    quantile: impl Fn(&Distribution) -> f64,
) -> (f64, f64) {
    const DRAWS: usize = 300;
    if seconds.is_empty() || run_seconds == 0 {
        return (0.0, 0.0);
    }
    let all = quantile(&Distribution::of(seconds.iter().flatten().copied()));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // A linear congruential generator (Knuth, MMIX): repeatable, and good enough to draw seconds.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % seconds.len()
    };
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let run: Vec<usize> = (0..run_seconds).map(|_| draw()).collect();
            quantile(&Distribution::of(
                run.iter().flat_map(|second| seconds[*second].iter().copied()),
            ))
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let wider = (1.0 + run_seconds as f64 / seconds.len() as f64).sqrt();
    let (low, high) = (drawn[DRAWS / 100], drawn[DRAWS - 1 - DRAWS / 100]);
    (((low - all) * wider).min(0.0), ((high - all) * wider).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: f64 = 1e6;
    const SHARES: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

    /// Every message one after the other: those of a lane in order, the lanes in turns until each has no
    /// more, each message as long as 1/C.
    fn simulate(stalls: &Stalls, rest: &[f64], periods: u32, per_period: f64) -> Distribution {
        let Stalls { length, every, load, lanes, start_up } = *stalls;
        let spacing = every / per_period;
        let takes = load * spacing;
        let lanes = lanes as usize;
        let count = (f64::from(periods) * per_period) as usize;
        let mut queues = vec![std::collections::VecDeque::new(); lanes];
        let (mut next, mut now, mut lane, mut all) = (0, 0.0_f64, 0, Vec::new());
        while all.len() < count {
            if now % every < length + start_up {
                now += length + start_up - now % every;
                lane = 0;
            }
            while next < count && next as f64 * spacing <= now {
                queues[next % lanes].push_back(next);
                next += 1;
            }
            let Some(turn) =
                (0..lanes).map(|n| (lane + n) % lanes).find(|n| !queues[*n].is_empty())
            else {
                now = next as f64 * spacing;
                continue;
            };
            lane = turn;
            let number: usize = queues[turn].pop_front().expect("one is there");
            let wait = (now - number as f64 * spacing).max(0.0);
            now += takes;
            all.push(((wait + rest[number * 7919 % rest.len()]) as u64, 1));
        }
        Distribution::of(all)
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
        for (load, lanes, start_up) in [
            (0.0, 1, 0.0),
            (0.01, 1, 0.3),
            (0.2, 1, 0.0),
            (0.5, 1, 0.0),
            (0.05, 6, 0.2),
            (0.3, 3, 0.0),
        ] {
            let stalls = Stalls {
                length: 100.0 * MS,
                every: 1_000.0 * MS,
                load,
                lanes,
                start_up: start_up * MS,
            };
            let simulated = simulate(&stalls, &rest, 10, 20_000.1);
            for share in SHARES {
                let exact = Fault::Stalls(stalls).quantile(&alone, share);
                let found = simulated.quantile(share);
                // The simulation has whole messages, and a service time after its wait.
                let near = 0.1 * MS + 0.004 * exact;
                assert!((exact - found).abs() < near, "{stalls:?} {share}: {exact} {found}");
            }
            let mean = simulated.mean() - alone.mean();
            assert!((stalls.mean_wait() / mean - 1.0).abs() < 0.005, "{load} {lanes}: {mean}");
            let explained = Stalls { start_up: 0.0, ..stalls }.explaining(stalls.mean_wait());
            assert!((explained.start_up - stalls.start_up).abs() < 1.0);
        }
    }

    #[test]
    fn a_deep_backlog_is_answered_faster() {
        // 3 us for a read and 1 us for a message.
        let answers = Answers::of(1_000, 250_000.0, 8, 8e9 / 11_000.0);
        assert!((answers.read - 3_000.0).abs() < 1.0 && (answers.message - 1_000.0).abs() < 1.0);
        let near =
            |found: f64, known: f64| assert!((found - known).abs() < 1e-4, "{found} {known}");
        near(answers.load(1_000.0, 100.0 * MS), 0.004);
        near(answers.load(10_000.0, 100.0 * MS), 0.04);
        near(answers.load(10_000.0, 1_000.0 * MS), 0.013);
        // Nothing in it.
        near(Answers::of(1_000, 250_000.0, 8, 200_000.0).load(1_000.0, MS), 0.004);
    }

    #[test]
    fn the_knee_is_where_it_must_be() {
        let alone = Distribution::of([(100_000, 1)]);
        let quantile = |load, share| {
            let stalls =
                Stalls { length: 100.0 * MS, every: 1_000.0 * MS, load, lanes: 1, start_up: 0.0 };
            (Fault::Stalls(stalls).quantile(&alone, share) / 1_000.0).round() / 1_000.0
        };
        // Nine of ten messages do not wait at all; of the tenth, waits are spread evenly.
        assert_eq!([0.5, 0.89, 0.9].map(|share| quantile(0.0, share)), [0.1; 3]);
        assert_eq!([0.95, 0.99, 0.999].map(|share| quantile(0.0, share)), [50.1, 90.1, 99.1]);
        // With a load of 20 % one in eight waits.
        assert_eq!([0.87, 0.9, 0.99].map(|share| quantile(0.2, share)), [0.1, 20.1, 92.1]);
    }

    #[test]
    fn a_delay_moves_everything_and_nothing_moves_nothing() {
        let alone = Distribution::of([(10, 5), (20, 4), (1_000, 1)]);
        assert_eq!(Fault::None.quantile(&alone, 0.9), 20.0);
        assert_eq!(Fault::Delay(5.0 * MS).quantile(&alone, 0.5), 5_000_010.0);
        assert_eq!(Fault::None.quantile(&alone, 0.91), 1_000.0);
        assert!((alone.mean() - 113.0).abs() < 1e-9);
        assert_eq!(Distribution::default().quantile(0.5), 0.0);
    }

    #[test]
    fn luck_is_wide_where_single_pauses_decide() {
        // One second of ten has a pause of 5 ms in a hundredth of its messages.
        let mut seconds = vec![vec![(100_u64, 990_u64), (110, 10)]; 9];
        seconds.push(vec![(100, 990), (5_000_000, 10)]);
        let of = |share| luck(&seconds, 10, |d| Fault::None.quantile(d, share));
        assert_eq!(of(0.5), (0.0, 0.0));
        let (low, high) = of(0.9991);
        assert!(low < -4_000_000.0 || high > 4_000_000.0, "{low} {high}");
        assert_eq!(luck(&[], 10, |_| 1.0), (0.0, 0.0));
    }
}
