//! The program: reads the command line, runs, and turns what became of it into an exit code.

#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = c1000k_client::Cli::parse();
    match c1000k_client::run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            control::console::complain(
                "c1000k-client",
                report::neutral::neutral(&error.to_string()),
            );
            ExitCode::from(error.code())
        }
    }
}
