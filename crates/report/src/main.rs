//! `c1000k-report`: shows result files and prints their schema. Reads files, needs no network.

use anyhow::Context as _;
use c1000k_report::{schema, store, text};
use clap::{Parser, ValueEnum};
use serde_json::to_string_pretty;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads the result files of c1000k-client.
///
/// Exit codes: 0 done, 1 a file could not be read, 2 wrong usage.
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
    /// Print the JSON Schema of result files, with the meaning of every field.
    Schema,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn run(command: Command) -> anyhow::Result<String> {
    let json = match command {
        Command::Schema => to_string_pretty(&schema::json_schema())?,
        Command::Show { file, format: Format::Json } => to_string_pretty(&store::read(&file)?)?,
        Command::Show { file, format: Format::Text } => {
            let result = store::read(&file)?;
            return Ok(text::summary(&result, text::WIDTH) + &text::file_line(&file));
        }
    };
    Ok(json + "\n")
}

fn main() -> ExitCode {
    let printed = run(Command::parse()).and_then(|text| {
        match io::stdout().write_all(text.as_bytes()) {
            // Whoever read the output has seen enough: `| head` is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            done => done.context("cannot write to stdout"),
        }
    });
    if let Err(error) = printed {
        let _ = writeln!(io::stderr(), "error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
