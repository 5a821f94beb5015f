//! `c1000k-report`: shows, compares, merges, draws and exports result files. Reads files, needs no
//! network.

use anyhow::Context as _;
use c1000k_report::compare::condition::Condition;
use c1000k_report::compare::side::Side;
use c1000k_report::compare::{self, Comparison};
use c1000k_report::{schema, store, text};
use clap::{Args, Parser, ValueEnum};
use serde_json::to_string_pretty;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit code of a comparison that found a regression.
const REGRESSION: u8 = 5;

/// Reads the result files of c1000k-client.
///
/// Exit codes: 0 done, 1 a file could not be read or runs are not comparable, 2 wrong usage,
/// 5 `compare` found a regression.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    /// Show one result.
    Show {
        /// The result file.
        file: PathBuf,
        /// Text for people, or JSON in the newest schema that this program knows.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    Compare(CompareArgs),
    /// Print the JSON Schema of result files, with the meaning of every field.
    Schema,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Compare two sides, each a result file or a folder of them.
///
/// Give each side five runs or more, run in turns: only then is it known what the noise from run to
/// run is, and what differs by more. Refuses runs of different plans or machines, and runs whose
/// client was at its end.
#[derive(Args)]
struct CompareArgs {
    /// What to compare with.
    base: PathBuf,
    /// What to compare.
    new: PathBuf,
    /// Fail (exit code 5) on this difference, if it is more than noise; may be repeated. Without it
    /// any figure that is worse makes the comparison fail.
    #[arg(long, value_name = "CONDITION")]
    fail_on: Vec<Condition>,
    /// The confidence, in percent, that no figure at all is called different by chance.
    #[arg(long, value_name = "PERCENT", default_value = "98", value_parser = level)]
    level: f64,
    /// Compare runs that are not comparable.
    #[arg(long)]
    force: bool,
    /// Print Markdown, for a pull request.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A confidence in percent, as a share.
fn level(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    let known = percent.filter(|percent| (50.0..=99.9).contains(percent));
    known
        .map(|p| p / 100.0)
        .ok_or_else(|| "give a percentage from 50 to 99.9, such as 98".to_owned())
}

impl CompareArgs {
    fn run(self) -> anyhow::Result<Output> {
        let (base, new) = (Side::read(&self.base)?, Side::read(&self.new)?);
        let Self { level, force, fail_on, markdown, json, .. } = self;
        let comparison =
            compare::compare(&base, &new, &compare::Options { level, force, fail_on })?;
        let show = match (markdown, json) {
            (true, _) => compare::show::markdown,
            (_, true) => |comparison: &Comparison| {
                to_string_pretty(comparison).expect("a comparison is JSON") + "\n"
            },
            _ => compare::show::table,
        };
        let exit_code = if comparison.regression { REGRESSION } else { 0 };
        Ok(Output { text: show(&comparison), exit_code })
    }
}

/// What goes to stdout, and how the program ends.
struct Output {
    text: String,
    exit_code: u8,
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Self { text, exit_code: 0 }
    }
}

fn run(command: Command) -> anyhow::Result<Output> {
    let json = match command {
        Command::Compare(args) => return args.run(),
        Command::Schema => to_string_pretty(&schema::json_schema())?,
        Command::Show { file, format: Format::Json } => to_string_pretty(&store::read(&file)?)?,
        Command::Show { file, format: Format::Text } => {
            let result = store::read(&file)?;
            return Ok((text::summary(&result, text::WIDTH) + &text::file_line(&file)).into());
        }
    };
    Ok((json + "\n").into())
}

fn main() -> ExitCode {
    let printed = run(Command::parse()).and_then(|Output { text, exit_code }| {
        match io::stdout().write_all(text.as_bytes()) {
            // Whoever read the output has seen enough: `| head` is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exit_code),
            done => done.map(|()| exit_code).context("cannot write to stdout"),
        }
    });
    match printed {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
