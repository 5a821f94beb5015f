//! Words for people on the standard streams. Nobody may be reading there any more, and that must
//! never end a server or cost a run its result: `println!` and `eprintln!` panic then. Words that
//! could not be kept for their reader are another matter: that is an error.

use crate::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on stdout.
///
/// # Errors
/// If it cannot be written, on a full disk for instance. That nobody reads on (`| head`) is none.
pub fn say(line: impl Display) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line on stderr, behind the program's name.
pub fn complain(program: &str, line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {line}");
}
