//! `run --repeat N`: one plan run several times, one after another in one process, with a rest
//! between two runs; the single results, and one that is merged from them.
//!
//! Each run has preflight, reactors, seed and file of its own. Whatever ends the series early, what
//! was measured until then is merged and written.

use super::run::{self, Ran, Turn};
use crate::cli::RunArgs;
use crate::plan::checks::REPEATS_MAX;
use crate::plan::{Output, Plan, fresh_seed};
use crate::result::file::{keep, try_output};
use control::Error;
use control::live::{Mode, Progress, View};
use control::signals::Signals;
use crossbeam_channel::RecvTimeoutError;
use host::facts::Facts;
use measure::units::{format_duration, format_grouped, format_rate};
use measure::{Clock, Nanos, Stage};
use report::ResultFile;
use report::merge::{self, MergeError};
use report::schema::{Outcome, Repeat, Warning};
use report::verdict;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest rest where nothing is asked for: the kernel frees sockets behind the scenes.
const REST_MIN: Nanos = Nanos::from_secs(1);
/// The longest one: TIME_WAIT lasts 60 s in Linux, and what is there after that is somebody else's.
const REST_MAX: Nanos = Nanos::from_secs(65);
/// Sockets more than before the first run that are no reason to wait on: other programs have some
/// too.
const SOCKETS_SPARE: u64 = 50;
/// How often is looked whether the sockets are gone.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the server has to say how many connections it still has.
const PEER_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the plan as often as it is asked for, and returns the exit code of all runs together.
///
/// # Errors
/// What kept a run from taking place or its result from being written. What was measured before it
/// is merged and written all the same.
pub(crate) fn run(args: &RunArgs, count: u64, facts: Facts) -> Result<u8, Error> {
    let output = Output::new(args);
    let files = output.file.as_deref().map(Files::new).transpose()?;
    // What is wrong with the first run is found out before anything happens.
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let first = Plan::new(&single(args, files.as_ref(), seed, 1), &facts)?;
    run::check_refused(&first)?;
    if let Some(path) = &output.file {
        try_output(path)?;
    }
    let signals = run::catch_signals()?;
    let mut series = Series {
        args,
        count,
        output,
        files,
        seed,
        signals,
        before: Level::now(args.peer),
        results: Vec::new(),
        end: None,
    };
    series.go(first, facts);
    series.finish()
}

/// The options of one run of the series.
fn single(args: &RunArgs, files: Option<&Files>, seed: u64, number: u64) -> RunArgs {
    RunArgs {
        // The tag of a run is in each of its messages: a reply that comes late, in the run after,
        // has to be told from what that one sent. Neighbouring seeds have nothing in common.
        seed: Some(seed.wrapping_add(number - 1)),
        output: files.map(|files| files.single(number)),
        ..args.clone()
    }
}

/// What ended a series before its last run was over.
enum End {
    /// Somebody stopped it.
    Interrupted,
    /// A run opened nothing: another one would do so too.
    Hopeless,
    /// A run could not take place, could not be written or broke off.
    Trouble(Error),
}

struct Series<'a> {
    args: &'a RunArgs,
    count: u64,
    /// What becomes of the merged result.
    output: Output,
    files: Option<Files>,
    seed: u64,
    signals: Signals,
    before: Level,
    results: Vec<ResultFile>,
    end: Option<End>,
}

impl Series<'_> {
    fn go(&mut self, first: Plan, facts: Facts) {
        self.one(&first, &facts, Rest::default());
        for number in 2..=self.count {
            if self.end.is_some() {
                return;
            }
            let Some(rest) = self.cool_down(number) else {
                self.end = Some(End::Interrupted);
                return;
            };
            // What the run before had is not what this one needs: its memory is taken as growth.
            host::memory::give_back();
            let facts = Facts::read();
            let args = single(self.args, self.files.as_ref(), self.seed, number);
            let planned =
                Plan::new(&args, &facts).and_then(|plan| run::check_refused(&plan).map(|()| plan));
            match planned {
                Ok(plan) => self.one(&plan, &facts, rest),
                Err(error) => self.end = Some(End::Trouble(before_run(number, self.count, error))),
            }
        }
    }

    /// One run, its result and its line.
    fn one(&mut self, plan: &Plan, facts: &Facts, rest: Rest) {
        let number = self.results.len() as u64 + 1;
        let turn = Turn {
            repeat: Some(Repeat { number, of: self.count, cool_down_ns: rest.took.0 }),
            warning: rest.warning(self.args.cool_down),
        };
        let ran = match run::run_plan(plan, facts, &self.signals, &turn) {
            Ok(ran) => ran,
            Err(error) => {
                self.end = Some(End::Trouble(before_run(number, self.count, error)));
                return;
            }
        };
        let Ran { result, written, ended, interrupted } = ran;
        let file = written.as_ref().ok().and_then(Option::as_deref);
        let line = format!("run {number} of {}: {}", self.count, told(&result, file));
        Progress::new(Mode::detect(self.output.quiet)).message(&line);
        let hopeless = result.run.outcome == Outcome::Failed;
        // Whoever asks for the end while the last one closes has got all of it.
        let interrupted =
            interrupted && (number < self.count || result.run.outcome == Outcome::Interrupted);
        self.results.push(result);
        self.end = match (written.and(ended), interrupted) {
            (Err(error), _) => Some(End::Trouble(error)),
            (Ok(()), true) => Some(End::Interrupted),
            (Ok(()), false) => (hopeless && number < self.count).then_some(End::Hopeless),
        };
    }

    /// Rests before run `number`; `None` if somebody asked for the end meanwhile.
    fn cool_down(&self, number: u64) -> Option<Rest> {
        let clock = Clock::start();
        let mut progress =
            Progress::new(Mode::detect(self.output.quiet)).titled(title(number, self.count));
        let planned = self.args.connections;
        loop {
            let took = clock.now();
            let (least, most) = match self.args.cool_down {
                Some(rest) => (rest, rest),
                None => (REST_MIN, REST_MAX),
            };
            let left = (took >= least && took < most)
                .then(|| self.before.left_of(&Level::now(self.args.peer)));
            if took >= most || left == Some(0) {
                progress.clear();
                let left = left.unwrap_or_else(|| self.before.left_of(&Level::now(self.args.peer)));
                return Some(Rest { took, left });
            }
            progress.update(&View {
                phase: "cool-down",
                elapsed: took,
                phase_elapsed: took,
                phase_left: Some(if took < least { least - took } else { most - took }),
                planned,
                note: left.map(|left| format!("{} sockets to go", format_grouped(left))),
                ..View::default()
            });
            let step = LOOK_AGAIN.min((most - took).into());
            match self.signals.receiver().recv_timeout(step) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                    progress.clear();
                    return None;
                }
            }
        }
    }

    /// Merges what there is, writes and shows it.
    fn finish(mut self) -> Result<u8, Error> {
        if self.results.is_empty() {
            // Only trouble ends a series before its first result.
            return match self.end {
                Some(End::Trouble(error)) => Err(error),
                _ => Err(Error::Failed("no run took place".to_owned())),
            };
        }
        let mut merged = merge::repeats(&self.results).map_err(|error| self.unmerged(&error))?;
        self.account_for_the_rest(&mut merged);
        merged.verdict = verdict::judge(&merged);
        let written = keep(self.output.file.as_deref(), &merged);
        let shown =
            run::show(&self.output, &merged, written.as_ref().ok().and_then(Option::as_deref));
        if let Some(files) = &self.files {
            let left = files.left_over(self.results.len() as u64);
            if !left.is_empty() {
                let mut progress = Progress::new(Mode::detect(self.output.quiet));
                progress.message(&format!(
                    "note: {} of an earlier series: move them away before comparing the folder",
                    match left.as_slice() {
                        [one] => format!("{} is", one.display()),
                        [first, .., last] =>
                            format!("{} to {} are", first.display(), last.display()),
                        [] => String::new(),
                    }
                ));
            }
        }
        match self.end.take() {
            Some(End::Trouble(error)) => Err(error),
            _ => written.and(shown).map(|()| merged.verdict.exit_code),
        }
    }

    /// The merged result says how many runs there should have been, and why there were not.
    fn account_for_the_rest(&self, merged: &mut ResultFile) {
        let done = self.results.len() as u64;
        let why = match &self.end {
            None => return,
            Some(End::Interrupted) => {
                merged.run.outcome = Outcome::Interrupted;
                "somebody stopped them".to_owned()
            }
            Some(End::Hopeless) => format!("run {done} opened no connection"),
            Some(End::Trouble(error)) => {
                error.to_string().lines().next().unwrap_or_default().to_owned()
            }
        };
        if done < self.count {
            merged.run.warnings.push(Warning {
                code: "repeats_missing".to_owned(),
                text: format!("{done} of {} runs took place: {why}", self.count),
                remedy: "what is here is of those alone; run it again for the others".to_owned(),
            });
        }
    }

    /// Where the single results are, if they cannot be merged.
    fn unmerged(&self, error: &MergeError) -> Error {
        let where_they_are = match &self.files {
            Some(files) => {
                format!("the single results are in {} and so on", files.single(1).display())
            }
            None => "give --output next time, to have the single ones".to_owned(),
        };
        Error::Failed(format!("the runs cannot be merged: {error}; {where_they_are}"))
    }
}

fn title(number: u64, count: u64) -> String {
    format!("run {number} of {count}")
}

/// The same error, with the run before which it came.
fn before_run(number: u64, count: u64, error: Error) -> Error {
    if number == 1 {
        return error;
    }
    let say = |text: String| format!("before {}: {text}", title(number, count));
    match error {
        Error::Usage(text) => Error::Usage(say(text)),
        Error::Refused(text) => Error::Refused(say(text)),
        Error::Failed(text) => Error::Failed(say(text)),
    }
}

/// A run in one line.
fn told(result: &ResultFile, file: Option<&Path>) -> String {
    let made = &result.connections;
    let mut text = format!(
        "{}, {} opened ({})",
        result.run.outcome.name().replace('_', " "),
        format_grouped(made.opened),
        format_rate(made.rate_per_second)
    );
    if let Some(entry) = result.stages.get(Stage::Response) {
        text.push_str(&format!(
            ", {}, response p50 {} p99 {}",
            format_rate(result.messages.rate_achieved),
            format_duration(Nanos(entry.p50)),
            format_duration(Nanos(entry.p99))
        ));
    }
    if let Some(file) = file {
        text.push_str(&format!("; {}", file.display()));
    }
    text
}

// ---- The rest between two runs ------------------------------------------------------------------

/// What one run leaves to the next, as far as it can be counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Level {
    /// TCP sockets of this machine: in use, without an owner, and waiting out their time.
    sockets: u64,
    /// Connections that the server says it has, where it says so.
    served: u64,
}

impl Level {
    fn now(peer: Option<SocketAddr>) -> Self {
        let sockets = host::memory::sockets().unwrap_or_default();
        let ask = |peer| control::peer::fetch_snapshot(peer, PEER_PATIENCE).ok();
        let snapshot = peer.and_then(ask);
        let served = snapshot.and_then(|snapshot| snapshot.get("connections")?.as_u64());
        Self {
            sockets: sockets.tcp_in_use + sockets.tcp_orphan + sockets.tcp_time_wait,
            served: served.unwrap_or(0),
        }
    }

    /// How many more there are now, but for a few.
    fn left_of(&self, now: &Self) -> u64 {
        let more = |before: u64, now: u64| match now.saturating_sub(before) {
            0..=SOCKETS_SPARE => 0,
            more => more,
        };
        more(self.sockets, now.sockets).max(more(self.served, now.served))
    }
}

/// A rest that was taken.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    took: Nanos,
    /// What was still there of the run before.
    left: u64,
}

impl Rest {
    fn warning(&self, asked: Option<Nanos>) -> Option<Warning> {
        (self.left > 0).then(|| Warning {
            code: "not_settled".to_owned(),
            text: format!(
                "{} sockets more than before the first run were there when this one began",
                format_grouped(self.left)
            ),
            remedy: match asked {
                Some(_) => "give a longer --cool-down, or leave it out to wait for them",
                None => {
                    "give --cool-down if it takes them longer; see what else opens connections here"
                }
            }
            .to_owned(),
        })
    }
}

// ---- The files ----------------------------------------------------------------------------------

/// Where the results of a series go: `NAME-1.json` to `NAME-N.json` beside `NAME.json`.
#[derive(Clone, Debug)]
struct Files {
    merged: PathBuf,
}

impl Files {
    fn new(merged: &Path) -> Result<Self, Error> {
        if merged.exists() && !merged.is_file() && !merged.is_dir() {
            return Err(Error::Usage(format!(
                "--output {}: --repeat writes a file for each run beside it: name a file, such as \
                 result.json",
                merged.display()
            )));
        }
        Ok(Self { merged: merged.to_owned() })
    }

    fn single(&self, number: u64) -> PathBuf {
        let stem = self.merged.file_stem().unwrap_or_default();
        let mut name = stem.to_owned();
        name.push(format!("-{number}"));
        if let Some(extension) = self.merged.extension() {
            name.push(".");
            name.push(extension);
        }
        self.merged.with_file_name(name)
    }

    /// The files of an earlier series that this one did not write over.
    fn left_over(&self, written: u64) -> Vec<PathBuf> {
        let files = (written + 1..=REPEATS_MAX).map(|number| self.single(number));
        files.filter(|file| file.exists()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_results_lie_beside_the_merged_one() {
        for (merged, first) in [
            ("result.json", "result-1.json"),
            ("runs/a.b.json", "runs/a.b-1.json"),
            ("/tmp/result", "/tmp/result-1"),
            (".json", ".json-1"),
        ] {
            let files = Files::new(Path::new(merged)).expect("a file");
            assert_eq!(files.single(1), Path::new(first));
            assert_ne!(files.single(1), files.merged);
        }
        assert!(matches!(Files::new(Path::new("/dev/null")), Err(Error::Usage(_))));
    }

    #[test]
    fn files_of_a_longer_series_before_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::new(&folder.path().join("r.json")).expect("a file");
        for number in 1..=5 {
            std::fs::write(files.single(number), "").expect("written");
        }
        assert!(files.left_over(5).is_empty());
        assert_eq!(files.left_over(3), [files.single(4), files.single(5)]);
    }

    #[test]
    fn a_few_sockets_of_others_are_not_waited_for() {
        let before = Level { sockets: 10, served: 2 };
        let left = |sockets, served| before.left_of(&Level { sockets, served });
        assert_eq!((left(10, 2), left(0, 0), left(60, 52)), (0, 0, 0));
        assert_eq!((left(61, 2), left(10, 1_002), left(2_010, 1_002)), (51, 1_000, 2_000));
        let rest = Rest { took: Nanos::from_secs(65), left: 51 };
        assert!(rest.warning(None).is_some_and(|warning| warning.text.starts_with("51 sockets")));
        assert!(Rest::default().warning(None).is_none());
    }

    #[test]
    fn an_error_says_before_which_run_it_came_and_keeps_its_code() {
        let errors =
            [Error::Usage, Error::Refused, Error::Failed].map(|kind| kind("no".to_owned()));
        let codes = errors.map(|error| {
            let error = before_run(2, 5, error);
            assert_eq!(error.to_string(), "before run 2 of 5: no");
            error.code()
        });
        assert_eq!(codes, [2, 3, 1]);
        assert_eq!(before_run(1, 5, Error::Failed("no".to_owned())).to_string(), "no");
    }
}
