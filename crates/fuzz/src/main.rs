//! `c1000k-fuzz`: runs the targets for a while, each as long as the others.

use anyhow::{Context as _, Result, bail};
use c1000k_fuzz::driver::{Driver, Failure, INPUT_TIME_MAX, Running, seed_folder, seeds};
use c1000k_fuzz::{TARGETS, Target, target};
use clap::Parser;
use measure::{Clock, Nanos};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

/// Fuzzes the parsers on stable Rust: seeds, their mutations, and what is judged as none was before
#[derive(Debug, Parser)]
#[command(name = "c1000k-fuzz")]
struct Cli {
    /// The targets (default: all)
    targets: Vec<String>,
    /// Seconds, of all targets together
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Says which mutations are tried: the same number tries the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where a failing input is written
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    failures: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("fuzz: {failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, and says how many targets failed.
fn run(cli: &Cli) -> Result<usize> {
    let chosen = if cli.targets.is_empty() {
        TARGETS.to_vec()
    } else {
        let names = cli.targets.iter();
        names.map(|name| find(name)).collect::<Result<_>>()?
    };
    // Failures are told in one line each, below; a panic's own words would only repeat them.
    std::panic::set_hook(Box::new(|_| {}));
    let span = Nanos(u64::from(cli.seconds) * 1_000_000_000 / chosen.len() as u64);
    let mut failed = 0;
    for target in chosen {
        failed += usize::from(!fuzz(&target, span, cli)?);
    }
    Ok(failed)
}

fn find(name: &str) -> Result<Target> {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    let unknown = || format!("there is no target '{name}': they are {}", names.join(", "));
    target(name).copied().with_context(unknown)
}

/// Runs one target for so long, and says whether it held.
fn fuzz(target: &Target, span: Nanos, cli: &Cli) -> Result<bool> {
    let folder = seed_folder(target);
    let seeds = seeds(target).with_context(|| format!("no seeds in {}", folder.display()))?;
    let mut driver = match Driver::new(*target, seeds, cli.seed) {
        Ok(driver) => driver,
        Err(failure) => return tell(target, &failure, cli).map(|()| false),
    };
    let (beat, beats) = channel();
    let (running, failures, name) = (driver.running(), cli.failures.clone(), target.name);
    let watch = std::thread::spawn(move || watch(&beats, &running, &failures, name));
    let clock = Clock::start();
    let (end, mut inputs, mut verdict) = (clock.now() + span, 0u64, Ok(()));
    while verdict.is_ok() && clock.now() < end {
        // A look at the clock per input would cost more than some inputs do.
        verdict = (0..64).try_for_each(|_| driver.step());
        inputs += 64;
        if beat.send(()).is_err() {
            bail!("the watch has ended");
        }
    }
    drop(beat);
    if watch.join().is_err() {
        bail!("the watch has panicked");
    }
    if let Err(failure) = verdict {
        return tell(target, &failure, cli).map(|()| false);
    }
    println!(
        "fuzz: {name:<12} {inputs:>10} inputs, {:>5} kinds of verdict, seed {}: holds",
        driver.verdicts(),
        cli.seed
    );
    Ok(true)
}

/// Ends the program where an input takes too long, and keeps it: nothing else could end that.
fn watch(beats: &Receiver<()>, running: &Running, failures: &Path, name: &str) {
    let mut before = None;
    loop {
        match beats.recv_timeout(INPUT_TIME_MAX) {
            Ok(()) => before = None,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = running.lock().map(|input| input.clone()).unwrap_or_default();
                // While a failing input is made smaller there is no beat, but there are new inputs.
                if before.replace(now.clone()) != Some(now.clone()) {
                    continue;
                }
                let path = failures.join(format!("{name}.failing"));
                let kept = fs::write(&path, now);
                let kept = kept.map_or_else(|e| e.to_string(), |()| path.display().to_string());
                eprintln!("fuzz: {name}: an input takes longer than {INPUT_TIME_MAX:?}: {kept}");
                std::process::exit(1);
            }
        }
    }
}

/// Writes a failing input to a file and says what to do with it.
fn tell(target: &Target, failure: &Failure, cli: &Cli) -> Result<()> {
    let path = cli.failures.join(format!("{}.failing", target.name));
    fs::write(&path, &failure.input).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!(
        "fuzz: {}: FAILS on {} bytes, seed {}: {}\n      input: {}\n      kept: {}\n      \
         mend it, and move the input to {} so that it stays mended",
        target.name,
        failure.input.len(),
        cli.seed,
        failure.message,
        failure.input.escape_ascii(),
        path.display(),
        seed_folder(target).display(),
    );
    Ok(())
}
