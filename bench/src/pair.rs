//! Servers and a client as a pair: starts the servers, waits until they listen, runs the client
//! against them, and stops them, whatever becomes of the client.
//!
//! ```text
//!   a signal ──> pair ──SIGTERM──> client
//!                  └── at the end, SIGTERM ──> servers
//! ```
//!
//! Both are in process groups of their own, so that Ctrl-C reaches this program only.

use crate::children::{Address, START_MAX, Server, terminate};
use crate::cli::PairArgs;
use crate::procfs;
use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a signal is looked for while a server starts.
const TURN: Duration = Duration::from_millis(100);

/// The longest that a server may take to end.
const STOP_MAX: Duration = Duration::from_secs(60);

/// The exit code of what a signal has ended.
const INTERRUPTED: u8 = 130;

/// Runs the pair. The exit code is the client's; 1 if the client has ended well and a server has
/// not.
pub(crate) fn run(args: &PairArgs) -> Result<u8> {
    let hang_up = (!procfs::ignores_hang_up()?).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD].into_iter().chain(hang_up))?;
    let mut parts = args.command.splitn(args.servers + 1, |word| word == "--");
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let mut commands = Vec::new();
    for _ in 0..args.servers {
        commands.push(next().context("give each server's command, and '--' behind it")?.to_vec());
    }
    give_ports(&mut commands)?;
    let client = next().context("give the client's command behind those of the servers")?;

    note_process(args, std::process::id(), &std::env::current_exe()?)?;
    let mut servers = Vec::new();
    for command in &commands {
        servers.push(start(args, command)?);
    }
    for server in &mut servers {
        match wait_until_ready(server, &mut signals) {
            Ok(true) => {}
            Ok(false) => {
                stop(args, servers);
                return Ok(INTERRUPTED);
            }
            Err(error) => {
                tell(args);
                return Err(error.context("the server did not start, see above"));
            }
        }
    }
    let addresses: Vec<Address> =
        servers.iter().flat_map(Server::addresses).cloned().map(without_slash).collect();
    let client: Vec<OsString> = client.iter().map(|word| filled(word, &addresses)).collect();
    if let Some(path) = &args.commands {
        let lines = commands.iter().map(|words| listening(words, &addresses));
        let lines = lines.chain([client.clone()]).map(|words| in_a_shell(&words) + "\n");
        let header = "# What was run; the port is the one that was free.\n".to_owned();
        let text: String = std::iter::once(header).chain(lines).collect();
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let code = run_client(args, &client, &mut signals);
    let ended_well = stop(args, servers);
    code.map(|code| if code == 0 && !ended_well { 1 } else { code })
}

/// Stops the servers and says of each that does not end well how it ended. One that the signal has
/// ended, since it takes no notice of any, has ended well.
fn stop(args: &PairArgs, servers: Vec<Server>) -> bool {
    let mut well = true;
    for server in servers {
        let trouble = match server.stop(STOP_MAX) {
            None => format!("did not end within {} s and was killed", STOP_MAX.as_secs()),
            Some(status) if status.success() || status.signal() == Some(SIGTERM) => continue,
            Some(status) => format!("ended with {status}"),
        };
        eprintln!("{}: the server {trouble}", args.name);
        well = false;
    }
    well
}

/// Stands in a server's command for a port of loopback that is free and below the ephemeral range.
const FREE: &str = "{free}";

/// Puts a port of its own in each place that asks for one.
fn give_ports(commands: &mut [Vec<OsString>]) -> Result<()> {
    let asks = |word: &&mut OsString| word.to_str().is_some_and(|text| text.contains(FREE));
    let places: Vec<_> = commands.iter_mut().flatten().filter(asks).collect();
    for (port, place) in procfs::free_ports(places.len())?.into_iter().zip(places) {
        *place = place.to_string_lossy().replace(FREE, &port.to_string()).into();
    }
    Ok(())
}

/// Starts one server.
fn start(args: &PairArgs, words: &[OsString]) -> Result<Server> {
    // Ours say a line for each URL; those that are given none listen somewhere all the same.
    let urls = words.iter().filter(|word| is_url(word)).count();
    let log = match &args.log {
        None => None,
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .with_context(|| format!("{} cannot be written", path.display()))?,
        ),
    };
    let server = Server::start(&mut command(words), urls.max(1), log)?;
    note_process(args, server.id(), Path::new(&words[0]))?;
    Ok(server)
}

/// Whether a word is a URL by itself, not an option with one as its value (`--origin=https://…`).
fn is_url(word: &OsStr) -> bool {
    let text = word.to_string_lossy();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// In a process group of its own: the terminal's Ctrl-C does not reach it.
fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).process_group(0);
    command
}

/// Waits for a server; `false`: a signal came first.
fn wait_until_ready(server: &mut Server, signals: &mut Signals) -> Result<bool> {
    let turns = START_MAX.as_millis() / TURN.as_millis();
    for _ in 0..turns {
        if server.is_ready(TURN)? {
            return Ok(true);
        }
        if signals.pending().any(|signal| signal != SIGCHLD) {
            return Ok(false);
        }
    }
    bail!("it says nothing")
}

/// Runs the client to its end and hands each signal on to it, as SIGTERM.
fn run_client(args: &PairArgs, words: &[OsString], signals: &mut Signals) -> Result<u8> {
    if signals.pending().any(|signal| signal != SIGCHLD) {
        return Ok(INTERRUPTED);
    }
    let name = words[0].display();
    let mut client = command(words)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let noted = note_process(args, client.id(), Path::new(&words[0]));
    let status = noted.and_then(|()| wait(&mut client, signals));
    if status.is_err() {
        let _ = client.kill();
        let _ = client.wait();
    }
    status
}

fn wait(client: &mut Child, signals: &mut Signals) -> Result<u8> {
    loop {
        if let Some(status) = client.try_wait()? {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        for signal in signals.wait() {
            if signal != SIGCHLD {
                terminate(client);
            }
        }
    }
}

/// Notes a process for whoever has to end it when this one was killed.
fn note_process(args: &PairArgs, pid: u32, program: &Path) -> Result<()> {
    let Some(path) = &args.undo else { return Ok(()) };
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let note = |mut file: File| writeln!(file, "process\t{pid}\t{}", program.display());
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(note).with_context(|| format!("{} cannot be written", path.display()))
}

/// Shows the servers' log, where there is one.
fn tell(args: &PairArgs) {
    if let Some(log) = args.log.as_ref().and_then(|path| fs::read_to_string(path).ok()) {
        eprint!("{log}");
    }
}

/// Nobody needs the slash behind host and port, and a path can be put there.
fn without_slash(address: Address) -> Address {
    let url = address.url.strip_suffix('/').unwrap_or(&address.url).to_owned();
    Address { url, ..address }
}

/// A word of the client's command with what the servers said in place of `{url}`, `{port}`, `{pid}`
/// and `{metrics}`: of the first address, or of that whose number stands behind, as in `{url.2}`.
fn filled(word: &OsStr, addresses: &[Address]) -> OsString {
    let Some(text) = word.to_str().filter(|text| text.contains('{')) else { return word.into() };
    let mut text = text.to_owned();
    for (at, Address { url, pid, metrics }) in addresses.iter().enumerate() {
        let port = url.rsplit(':').next().unwrap_or_default();
        let metrics = metrics.as_deref().unwrap_or_default();
        for (key, value) in
            [("url", url.as_str()), ("port", port), ("pid", &pid.to_string()), ("metrics", metrics)]
        {
            text = text.replace(&format!("{{{key}.{}}}", at + 1), value);
            if at == 0 {
                text = text.replace(&format!("{{{key}}}"), value);
            }
        }
    }
    text.into()
}

/// A server's command with the ports that it was given where any was asked for.
fn listening(words: &[OsString], addresses: &[Address]) -> Vec<OsString> {
    let real = |word: &OsString| {
        let any = word.to_str().filter(|text| text.contains("://"))?.strip_suffix(":0")?;
        addresses.iter().map(|address| &address.url).find(|url| url.starts_with(any))
    };
    words.iter().map(|word| real(word).map_or_else(|| word.clone(), OsString::from)).collect()
}

/// A command as it can be pasted into a shell, the program without its folder.
fn in_a_shell(words: &[OsString]) -> String {
    let (program, arguments) = words.split_at(1);
    let program = program.iter().map(|path| Path::new(path).file_name().unwrap_or(path));
    let words = program.chain(arguments.iter().map(OsString::as_os_str));
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() {
        return "''".to_owned();
    }
    if word.contains(char::is_control) {
        return format!("$'{}'", word.escape_default());
    }
    let is_plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    word.chars().flat_map(|c| (!is_plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn addresses() -> [Address; 2] {
        let address = |url: &str, pid, metrics: Option<&str>| {
            without_slash(Address { url: url.into(), pid, metrics: metrics.map(Into::into) })
        };
        [
            address("http://127.0.0.1:8080/", 7, Some("127.0.0.1:9")),
            address("ws://[::1]:81", 8, None),
        ]
    }

    #[test]
    fn the_client_is_told_what_the_servers_said() {
        let filled = |text: &str| filled(OsStr::new(text), &addresses()).into_string();
        assert_eq!(filled("{url}/1k"), Ok("http://127.0.0.1:8080/1k".into()));
        assert_eq!(filled("a b:{port.1}:{pid}"), Ok("a b:8080:7".into()));
        assert_eq!(filled("{url.2} {port.2}{metrics.2}"), Ok("ws://[::1]:81 81".into()));
        assert_eq!(filled("{metrics}"), Ok("127.0.0.1:9".into()));
        assert_eq!(filled("{url.3} {"), Ok("{url.3} {".into()));
    }

    #[test]
    fn each_place_has_a_port_of_its_own() {
        let mut commands = [words(&["s", "tcp://a:{free}", "{free}"]), words(&["t", "{free}"])];
        give_ports(&mut commands).expect("ports");
        let [one, two] = &commands;
        assert_eq!(one[0], "s");
        assert!(one[1].to_string_lossy().starts_with("tcp://a:"));
        let ports: Vec<u16> = [&one[2], &two[1]]
            .iter()
            .map(|word| word.to_string_lossy().parse().expect("a port"))
            .collect();
        assert_ne!(ports[0], ports[1]);
    }

    #[test]
    fn a_url_in_an_option_is_no_place_to_listen() {
        let urls = ["tcp://127.0.0.1:0", "ws://[::1]:81/a"];
        let others = ["c1000k-server", "--origin=https://example.test", "--json", ""];
        assert!(urls.iter().all(|word| is_url(OsStr::new(word))));
        assert!(!others.iter().any(|word| is_url(OsStr::new(word))));
    }

    #[test]
    fn commands_can_be_pasted() {
        let server = words(&["/a/c1000k-server", "--metrics", "127.0.0.1:0", "ws://[::1]:0"]);
        let server = in_a_shell(&listening(&server, &addresses()));
        assert_eq!(server, "c1000k-server --metrics 127.0.0.1:0 ws://\\[::1\\]:81");
        for (word, quoted) in [
            ("", "''"),
            ("a>0 'b'", "a\\>0\\ \\'b\\'"),
            ("a\n'", "$'a\\n\\''"),
            ("p99,1%", "p99,1%"),
        ] {
            assert_eq!(super::quoted(word), quoted);
        }
    }
}
