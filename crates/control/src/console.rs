//! Words for people on the standard streams. Nobody may be reading there any more, and that must
//! never end a server or cost a run its result: `println!` and `eprintln!` panic then.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on stdout.
pub fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints a line on stderr, behind the program's name.
pub fn complain(program: &str, line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {line}");
}
