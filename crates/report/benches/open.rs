//! How long it takes to open a result of a million connections and to show it in each way. Prints a
//! table.
//!
//! `cargo bench -p c1000k-report` takes the kept result in `results/`; `… -- FILE` another. It
//! fails where any way takes a second.

use c1000k_report::{ResultFile, export, html, markdown, store, text, wrk};
use measure::Stage;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often each is done; the best counts, others were disturbed.
const ROUNDS: usize = 10;

/// Whoever asks to see a file should not have to wait for it.
const LIMIT: Duration = Duration::from_secs(1);

/// What can be done with a result that was read: the name of the way, and its output.
type Way = (&'static str, fn(ResultFile) -> String);

const WAYS: [Way; 7] = [
    ("read", |_| String::new()),
    ("show", |result| text::summary(&result, text::WIDTH)),
    ("show as markdown", |result| markdown::summary(&result)),
    ("show as wrk", |result| wrk::summary(&result)),
    ("html", |result| {
        html::page(&[html::Run::new("bench".to_owned(), result).expect("whole histograms")])
    }),
    ("export hgrm", |result| export::hgrm(&result, Stage::Response).expect("it had traffic")),
    ("export hlog", |result| export::hlog(&result).expect("whole histograms")),
];

#[expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real time, and nothing else here does"
)]
fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let file = given.map_or_else(kept, PathBuf::from);
    println!("{:<20} {:>10} {:>12}", "read, and", "time", "output");
    let mut all_quick = true;
    for (name, way) in WAYS {
        let mut best = Duration::MAX;
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let result = store::read(black_box(&file)).expect("a result");
            bytes = black_box(way(result)).len();
            best = best.min(started.elapsed());
        }
        println!("{name:<20} {:>7.1} ms {bytes:>10} B", best.as_secs_f64() * 1e3);
        all_quick &= best < LIMIT;
    }
    if all_quick { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kept() -> PathBuf {
    let result = "../../results/kept-2026-11-26-tcp-1m/result.json";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(result)
}
