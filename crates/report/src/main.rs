//! `c1000k-report`: shows, compares, merges, draws and exports result files. Reads files, needs no
//! network.

use anyhow::{Context as _, bail};
use c1000k_report::compare::condition::Condition;
use c1000k_report::compare::side::{RunFile, Side};
use c1000k_report::compare::{self, Comparison};
use c1000k_report::neutral::neutral;
use c1000k_report::{export, html, markdown, merge, schema, store, text, wrk};
use clap::{Args, Parser, ValueEnum};
use measure::Stage;
use serde_json::to_string_pretty;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
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
        /// How.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    Compare(CompareArgs),
    /// Draw one result or lay several over each other, as an HTML page that needs nothing else.
    Html {
        /// Result files, or folders of them; eight runs at most.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The page; without it, or with '-', the page goes to stdout.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Merge shards of one run, or repeats of one plan, into one result, without loss.
    Merge {
        /// Result files, or folders of them.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The merged result; without it, or with '-', the result goes to stdout.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a result in another program's format.
    Export {
        /// The result file.
        file: PathBuf,
        /// Which format.
        #[arg(long, value_enum)]
        format: ExportFormat,
        /// Which stage, in the format of a single one (hgrm); without it the response.
        #[arg(long, value_parser = stage)]
        stage: Option<Stage>,
        /// Where to; without it, or with '-', to stdout.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the JSON Schema of result files, with the meaning of every field.
    Schema,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people, on a terminal.
    Text,
    /// The result, in the newest schema that this program knows.
    Json,
    /// For an issue or a pull request.
    Markdown,
    /// As wrk prints it, for scripts that read that.
    Wrk,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum ExportFormat {
    /// Percentiles of one stage, in microseconds, for the plotter of HdrHistogram.
    Hgrm,
    /// An interval log of all stages, in nanoseconds, for tools of HdrHistogram.
    Hlog,
    /// The time line, second by second.
    Csv,
    /// The figures as Prometheus reads them.
    Prometheus,
    /// The plan and the thresholds as test cases.
    Junit,
}

fn stage(name: &str) -> Result<Stage, String> {
    let known = || Stage::ALL.map(Stage::name).join(", ");
    Stage::from_name(name)
        .ok_or_else(|| format!("there is no such stage: it is one of {}", known()))
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

/// The results in files and folders, each with its file.
fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<RunFile>> {
    let mut runs = Vec::new();
    for path in paths {
        runs.extend(Side::read(path)?.runs);
    }
    Ok(runs)
}

fn page(files: &[PathBuf]) -> anyhow::Result<String> {
    let runs = read_all(files)?;
    if runs.len() > html::RUNS_MAX {
        bail!("{} runs do not fit on one page: give {} at most", runs.len(), html::RUNS_MAX);
    }
    let labels: Vec<_> = runs.iter().map(|run| run.result.run.label.clone()).collect();
    let named = |RunFile { path, result }: RunFile| {
        // A label that two runs share tells neither.
        let label = result.run.label.clone();
        let label =
            label.filter(|one| labels.iter().flatten().filter(|other| *other == one).count() == 1);
        let name = label.unwrap_or_else(|| short_name(&path));
        html::Run::new(name, result).with_context(|| format!("'{}'", path.display()))
    };
    let runs: Vec<_> = runs.into_iter().map(named).collect::<anyhow::Result<_>>()?;
    Ok(html::page(&runs))
}

/// A file by its name, or by its folder's where it is called as all results are.
fn short_name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).filter(|_| path.ends_with("result.json"));
    let name = folder.or_else(|| path.file_name()).unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn exported(file: &Path, format: ExportFormat, stage: Option<Stage>) -> anyhow::Result<String> {
    if stage.is_some() && format != ExportFormat::Hgrm {
        bail!("--stage is for --format hgrm: the other formats have all stages, or none");
    }
    let result = store::read(file)?;
    Ok(match format {
        ExportFormat::Hgrm => export::hgrm(&result, export::stage_or_default(&result, stage)?)?,
        ExportFormat::Hlog => export::hlog(&result)?,
        ExportFormat::Csv => export::csv(&result),
        ExportFormat::Prometheus => export::prometheus(&result),
        ExportFormat::Junit => export::junit(&result),
    })
}

fn merged(files: &[PathBuf]) -> anyhow::Result<String> {
    let results: Vec<_> = read_all(files)?.into_iter().map(|run| run.result).collect();
    Ok(to_string_pretty(&merge::merge(&results)?)? + "\n")
}

/// Text for a file, or for stdout where none is named.
fn written(output: Option<PathBuf>, text: String) -> anyhow::Result<Output> {
    let Some(path) = output.filter(|path| !store::is_stdout(path)) else { return Ok(text.into()) };
    store::write_text(&path, &text)?;
    Ok(String::new().into())
}

fn shown(file: &Path, format: Format) -> anyhow::Result<String> {
    let result = store::read(file)?;
    Ok(match format {
        Format::Text => text::summary(&result, text::WIDTH) + &text::file_line(file),
        Format::Json => to_string_pretty(&result)? + "\n",
        Format::Markdown => markdown::summary(&result),
        Format::Wrk => wrk::summary(&result),
    })
}

fn run(command: Command) -> anyhow::Result<Output> {
    match command {
        Command::Compare(args) => args.run(),
        Command::Export { file, format, stage, output } => {
            written(output, exported(&file, format, stage)?)
        }
        Command::Html { files, output } => written(output, page(&files)?),
        Command::Merge { files, output } => written(output, merged(&files)?),
        Command::Schema => Ok((to_string_pretty(&schema::json_schema())? + "\n").into()),
        Command::Show { file, format } => Ok(shown(&file, format)?.into()),
    }
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
            let _ = writeln!(io::stderr(), "error: {}", neutral(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
