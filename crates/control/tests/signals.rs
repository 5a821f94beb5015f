//! Signals, in a process of their own: the test runs itself again as the process that is signalled.

use c1000k_control::signals::{Signal, Signals};
use crossbeam_channel::{after, select};
use rustix::process::{Pid, Signal as Kill, kill_process};
use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const ROLE: &str = "C1000K_TEST_SIGNALS_CHILD";

/// Says on stderr what arrives, and then waits for the signal that ends it.
fn child() {
    let signals = Signals::install().expect("handlers");
    eprintln!("installed {}", signals.count());
    let give_up = after(PATIENCE);
    loop {
        select! {
            recv(signals.receiver()) -> signal => match signal.expect("the thread lives") {
                Signal::Drain => eprintln!("drain {}", signals.count()),
                Signal::Abort => eprintln!("abort {}", signals.count()),
            },
            recv(give_up) -> _ => return,
        }
    }
}

/// This program again, to run the test of that name as the process that is signalled, and what it
/// says.
fn start(mut command: Command, test: &str) -> (Child, impl FnMut() -> String) {
    let mut child = command
        .args([test, "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("child");
    let mut said = BufReader::new(child.stderr.take().expect("stderr")).lines();
    (child, move || said.next().expect("a line").expect("text"))
}

fn this_program() -> PathBuf {
    env::current_exe().expect("this program")
}

#[test]
fn the_first_drains_the_second_aborts_the_third_ends_the_process() {
    if env::var_os(ROLE).is_some() {
        return child();
    }
    let (mut child, mut next) = start(Command::new(this_program()), "the_first_drains");
    let pid = Pid::from_child(&child);
    assert_eq!(next(), "installed 0");
    kill_process(pid, Kill::TERM).expect("kill");
    assert_eq!(next(), "drain 1");
    kill_process(pid, Kill::HUP).expect("kill");
    assert_eq!(next(), "abort 2");
    kill_process(pid, Kill::INT).expect("kill");
    assert_eq!(child.wait().expect("its end").code(), Some(130));
}

#[test]
fn who_was_started_to_outlive_its_terminal_does() {
    if env::var_os(ROLE).is_some() {
        return child();
    }
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(this_program());
    let (mut child, mut next) = start(command, "who_was_started");
    let pid = Pid::from_child(&child);
    assert_eq!(next(), "installed 0");
    kill_process(pid, Kill::HUP).expect("kill");
    kill_process(pid, Kill::TERM).expect("kill");
    assert_eq!(next(), "drain 1");
    child.kill().expect("kill");
    child.wait().expect("its end");
}
