//! The subcommands: what a command line asks for, from the plan to the exit code.

mod check;
mod echo;
mod repeat;
mod run;

use crate::cli::{Cli, Command};
use crate::plan::Plan;
use control::Error;
use control::console::say;
use control::signals;
use host::facts::Facts;

/// Does what the command line says, and returns the exit code.
///
/// # Errors
/// What kept the run from taking place.
pub fn run(cli: &Cli) -> Result<u8, Error> {
    signals::survive_file_limits()
        .map_err(|error| Error::Failed(format!("catching signals: {error}")))?;
    host::table::raise_descriptor_limit()
        .map_err(|error| Error::Failed(format!("raising the descriptor limit: {error}")))?;
    let facts = Facts::read();
    match &cli.command {
        Command::Check(args) => {
            let plan = Plan::new(&args.run, &facts)?;
            say(check::text(args, &plan, &facts)?.trim_end())?;
            Ok(if plan.is_refused() { 3 } else { 0 })
        }
        Command::Run(args) => match args.repeat {
            Some(count @ 2..) => repeat::run(args, count, facts),
            _ => run::run_alone(args, &facts),
        },
        Command::Echo(args) => echo::run(args, &facts),
    }
}
