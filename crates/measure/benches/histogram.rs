//! What recording costs: one value into a histogram, by how its values lie. Prints a table.
//!
//! `cargo bench -p c1000k-measure`. Each figure is the best of several windows: others were
//! disturbed.

use c1000k_measure::{Clock, FineHistogram, Histogram, IntervalHistogram, Nanos};
use std::hint::black_box;

/// How long one window is at least, and how many there are.
const WINDOW: Nanos = Nanos::from_millis(40);
const WINDOWS: usize = 9;
/// Values of one round: more than fit the first cache level beside the cells, fewer than the
/// second.
const VALUES: usize = 16_384;

/// Evenly distributed bits, the same each time (xorshift64, Marsaglia 2003).
fn bits(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Nanoseconds for each of `VALUES` calls.
fn each(mut round: impl FnMut()) -> f64 {
    let clock = Clock::start();
    let mut best = f64::INFINITY;
    for _ in 0..WINDOWS {
        let (from, mut rounds) = (clock.now(), 0u32);
        while clock.now() - from < WINDOW {
            round();
            rounds += 1;
        }
        let took = (clock.now() - from).0 as f64;
        best = best.min(took / f64::from(rounds) / VALUES as f64);
    }
    best
}

fn recording<const BITS: u32>(values: &[u64]) -> f64 {
    let mut histogram = Histogram::<BITS>::new();
    each(|| values.iter().for_each(|value| histogram.record(black_box(*value))))
}

fn main() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut all = |of: &dyn Fn(u64) -> u64| -> Vec<u64> {
        (0..VALUES).map(|_| of(bits(&mut state))).collect()
    };
    let cases = [
        ("the same value", all(&|_| 52_300)),
        ("50 to 66 us, evenly", all(&|bits| 50_000 + bits % 16_384)),
        (
            "1 us to 1 s, each power alike",
            all(&|bits| {
                let power = 10 + bits % 20;
                (1 << power) | ((bits >> 32) & ((1 << power) - 1))
            }),
        ),
        ("above the highest (clipped)", all(&|bits| FineHistogram::HIGHEST + 1 + bits % 1_000)),
    ];
    println!("{:<34} {:>12} {:>12}", "recording one value", "fine", "interval");
    for (name, values) in &cases {
        let (fine, interval) = (recording::<11>(values), recording::<8>(values));
        println!("{name:<34} {fine:>9.2} ns {interval:>9.2} ns");
    }
    let clock = Clock::start();
    let reading = each(|| {
        for _ in 0..VALUES {
            black_box(clock.now());
        }
    });
    println!("{:<34} {reading:>9.2} ns", "reading the clock, for comparison");
    let mut interval = IntervalHistogram::new();
    cases[2].1.iter().for_each(|value| interval.record(*value));
    let copied = each(|| drop(black_box(interval.clone()))) * VALUES as f64;
    println!("{:<34} {copied:>22.0} ns", "copying an interval histogram");
    let quantiles = each(|| {
        black_box(interval.quantiles([0.5, 0.99]));
    }) * VALUES as f64;
    println!("{:<34} {quantiles:>22.0} ns", "two quantiles of one, in one pass");
}
