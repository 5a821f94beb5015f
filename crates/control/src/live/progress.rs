//! `Progress`: the live view on stderr. It may be cut short, never the run.
//!
//! Whatever happens to the terminal is no concern of the measurement: text that cannot be written
//! is kept for the next time while the reader pauses (a pager, Ctrl-S), and once stderr is broken
//! the progress falls silent.

use super::View;
use super::text::{FAILURES, LABEL_WIDTH, columns, cut, lines, plain, printable};
use measure::Nanos;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use std::collections::VecDeque;
use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Lines that wait for a reader who pauses. Beyond it the oldest go, and are counted.
const WAITING_MAX: usize = 64;
/// A frame stays below 4 KiB, which is what a pipe that is ready takes without blocking
/// (`pipe(7)`): so many columns of a line, and so many bytes of lines beside the panel.
const LINE_WIDTH_MAX: usize = 400;
const LINES_BYTES_MAX: usize = 2048;
/// One line per second, also if the views come more often or a little early.
const PLAIN_INTERVAL: Nanos = Nanos::from_millis(950);
/// The size taken where the terminal does not tell (columns, rows).
const SIZE: (usize, usize) = (80, 24);
/// How long a reader is waited for while the run goes on, and at its end.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const LAST_WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How the progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// A panel that is drawn in place.
    Panel {
        /// Whether labels and failures are coloured.
        colours: bool,
    },
    /// One line per second, without any escape sequence.
    Plain,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// What suits stderr: the panel on a terminal that can move its cursor, with colours unless
    /// `NO_COLOR` is set (<https://no-color.org>); plain lines into a pipe or file.
    #[must_use]
    pub fn detect(quiet: bool) -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let capable = set("TERM").is_some_and(|term| term != "dumb");
        Self::choose(quiet, io::stderr().is_terminal() && capable, set("NO_COLOR").is_some())
    }

    fn choose(quiet: bool, moves_cursor: bool, no_colour: bool) -> Self {
        match (quiet, moves_cursor) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Panel { colours: !no_colour },
            (false, false) => Self::Plain,
        }
    }
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    /// A duplicate of stderr; `None` once it is broken, and in `Quiet`.
    out: Option<File>,
    /// Finished lines, to be printed above the panel.
    waiting: VecDeque<String>,
    left_out: u64,
    panel: Vec<String>,
    /// Whether the panel has failures to show in red.
    failing: bool,
    /// The columns of each line of the panel as it stands on the screen.
    drawn: Vec<usize>,
    /// What stands above each view: which of several runs it is.
    title: Option<String>,
    /// The phase and time of the last plain line.
    last: Option<(&'static str, Nanos)>,
}

impl Progress {
    /// Progress on stderr.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self::on(mode, io::stderr().as_fd().try_clone_to_owned().ok())
    }

    fn on(mode: Mode, out: Option<OwnedFd>) -> Self {
        Self {
            mode,
            out: out.filter(|_| mode != Mode::Quiet).map(File::from),
            waiting: VecDeque::new(),
            left_out: 0,
            panel: Vec::new(),
            failing: false,
            drawn: Vec::new(),
            title: None,
            last: None,
        }
    }

    /// The same, with each view under `title`, such as `run 2 of 5`.
    #[must_use]
    pub fn titled(self, title: String) -> Self {
        Self { title: Some(printable(&title)), ..self }
    }

    /// Shows `view`: draws the panel anew, or prints a line if the last one is a second old or of
    /// another phase. Costs a few system calls; once to ten times a second is meant.
    pub fn update(&mut self, view: &View) {
        match self.mode {
            Mode::Panel { .. } => {
                let (width, height) = self.size();
                // The last column stays free: terminals differ in what a full line does to the
                // cursor. A panel taller than the screen could not be reached again from below.
                let width = (width - 1).min(LINE_WIDTH_MAX);
                self.panel = self.title.iter().map(|title| cut(title, width)).collect();
                self.panel.extend(lines(view, width));
                self.panel.truncate(height - 1);
                self.failing = view.failed + view.lost > 0;
            }
            Mode::Plain if self.is_due(view) => {
                self.last = Some((view.phase, view.elapsed));
                let title = self.title.iter().map(|title| format!("{title}, "));
                let line = title.chain([plain(view)]).collect();
                self.wait_in_line(line);
            }
            Mode::Plain | Mode::Quiet => return,
        }
        self.flush(NO_WAIT);
    }

    /// Prints `text` above the panel. In `Quiet` it is not shown: what the user must know belongs
    /// into the result as well.
    pub fn message(&mut self, text: &str) {
        for line in text.lines() {
            self.wait_in_line(printable(line));
        }
        self.flush(NO_WAIT);
    }

    /// Takes the panel off the screen, so that the summary starts where it stood. Waits for a slow
    /// reader, for a second at most.
    pub fn clear(&mut self) {
        self.panel.clear();
        self.flush(LAST_WAIT);
    }

    fn is_due(&self, view: &View) -> bool {
        self.last.is_none_or(|(phase, at)| {
            phase != view.phase || view.elapsed.since(at) >= PLAIN_INTERVAL
        })
    }

    fn wait_in_line(&mut self, line: String) {
        if self.out.is_none() {
            return;
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(cut(&line, LINE_WIDTH_MAX));
    }

    /// Writes what waits and the panel, a frame at a time, for as long as the reader takes them.
    fn flush(&mut self, patience: Timespec) {
        let (width, _) = self.size();
        loop {
            let (frame, lines) = self.frame(width);
            let Some(out) = &mut self.out else { return };
            if frame.is_empty() || !is_ready(out, patience) {
                return;
            }
            match out.write_all(frame.as_bytes()) {
                // Somebody who shares the terminal has made it non-blocking, and it took a part
                // only: the next frame mends the screen.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.out = None,
                Ok(()) => {}
            }
            self.waiting.drain(..lines);
            self.left_out = 0;
            self.drawn = self.panel.iter().map(|line| columns(line)).collect();
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    /// What brings a screen of `width` columns from the panel that stands on it to the next one,
    /// and how many of the waiting lines are in it. The cursor is always at the start of the line
    /// below the panel.
    fn frame(&self, width: usize) -> (String, usize) {
        let mut frame = String::new();
        if !self.drawn.is_empty() {
            // A terminal that became narrower has wrapped the lines.
            let rows: usize = self.drawn.iter().map(|line| line.div_ceil(width).max(1)).sum();
            // Writing to a String cannot fail.
            let _ = write!(frame, "\r\x1b[{rows}A\x1b[J");
        }
        if self.left_out > 0 {
            let _ =
                writeln!(frame, "({} lines left out: they were not read in time)", self.left_out);
        }
        let mut taken = 0;
        while let Some(line) = self.waiting.get(taken).filter(|_| frame.len() < LINES_BYTES_MAX) {
            frame.push_str(line);
            frame.push('\n');
            taken += 1;
        }
        for line in &self.panel {
            if self.mode == (Mode::Panel { colours: true }) {
                push_painted(&mut frame, line, self.failing);
            } else {
                frame.push_str(line);
            }
            frame.push('\n');
        }
        (frame, taken)
    }

    /// The columns and rows of the terminal.
    fn size(&self) -> (usize, usize) {
        let size = self.out.as_ref().and_then(|out| tcgetwinsize(out).ok());
        // A terminal that was never told its size says zero.
        size.filter(|size| size.ws_col > 0 && size.ws_row > 0)
            .map_or(SIZE, |size| (size.ws_col.into(), size.ws_row.into()))
    }
}

/// The label in bold; a line of failures in red as a whole.
fn push_painted(out: &mut String, line: &str, failing: bool) {
    if failing && line.starts_with(FAILURES) {
        let _ = write!(out, "\x1b[31m{line}\x1b[0m");
        return;
    }
    let end = line.char_indices().nth(LABEL_WIDTH).map_or(line.len(), |(at, _)| at);
    let (label, rest) = line.split_at(end);
    let _ = write!(out, "\x1b[1m{label}\x1b[0m{rest}");
}

/// Whether a write does something now: succeed or fail, but not block. A terminal that is paused by
/// Ctrl-S and a full pipe are not ready, a broken one is.
fn is_ready(out: &File, patience: Timespec) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::OUT)];
    poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{Action, Winsize, tcflow, tcsetwinsize};
    use std::io::{PipeReader, Read, pipe};

    const PANEL: Mode = Mode::Panel { colours: false };

    fn view(second: u64) -> View {
        View {
            phase: "hold",
            elapsed: Nanos::from_secs(second),
            planned: 10,
            open: second,
            ..View::default()
        }
    }

    fn on_pipe(mode: Mode) -> (Progress, PipeReader) {
        let (reader, writer) = pipe().expect("pipe");
        (Progress::on(mode, Some(writer.into())), reader)
    }

    /// All that was written until the progress went away.
    fn written(progress: Progress, mut reader: PipeReader) -> String {
        drop(progress);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    }

    /// A terminal that knows just enough: text, line ends, cursor up, clear to the end, colours.
    #[derive(Default)]
    struct Screen {
        rows: Vec<String>,
        row: usize,
    }

    impl Screen {
        fn show(&mut self, text: &str) {
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '\r' => assert!(self.rows.get(self.row).is_none_or(String::is_empty)),
                    '\n' => self.row += 1,
                    '\x1b' => rest = self.escape(rest.strip_prefix('[').expect("CSI")),
                    c => self.put(c),
                }
            }
        }

        fn put(&mut self, c: char) {
            self.rows.resize(self.rows.len().max(self.row + 1), String::new());
            self.rows[self.row].push(c);
        }

        fn escape<'a>(&mut self, sequence: &'a str) -> &'a str {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).expect("a final byte");
            let (number, rest) = sequence.split_at(end);
            match &rest[..1] {
                "A" => self.row = self.row.checked_sub(number.parse().expect("rows")).expect("up"),
                "J" => self.rows.truncate(self.row),
                "m" => {}
                other => panic!("unknown sequence {other}"),
            }
            &rest[1..]
        }
    }

    #[test]
    fn the_mode_follows_the_terminal() {
        assert_eq!(Mode::choose(true, true, false), Mode::Quiet);
        assert_eq!(Mode::choose(false, true, false), Mode::Panel { colours: true });
        assert_eq!(Mode::choose(false, true, true), Mode::Panel { colours: false });
        assert_eq!(Mode::choose(false, false, false), Mode::Plain);
    }

    #[test]
    fn the_panel_is_redrawn_in_its_place() {
        for colours in [false, true] {
            let (mut progress, reader) = on_pipe(Mode::Panel { colours });
            let mut screen = Screen::default();
            progress.message("before");
            progress.update(&View { note: Some("a line more".into()), ..view(1) });
            progress.message("first\nsecond");
            progress.update(&View { failed: 1, ..view(2) });
            let panel = progress.panel.clone();
            let text = written(progress, reader);
            screen.show(&text);
            assert_eq!(screen.rows[..3], ["before", "first", "second"]);
            assert_eq!(screen.rows[3..], panel);
            assert_eq!(screen.row, screen.rows.len(), "the cursor is below the panel");
            assert!(panel[1].starts_with("connections 2/10"), "{panel:?}");
            assert_eq!(text.contains("\x1b[31mfailures    1 failed"), colours);
            assert_eq!(text.contains("\x1b[1mconnections \x1b[0m"), colours);
        }
    }

    #[test]
    fn a_title_stands_above_each_view() {
        let (progress, reader) = on_pipe(PANEL);
        let mut progress = progress.titled("run 2 of 5".to_owned());
        let mut screen = Screen::default();
        progress.update(&view(1));
        progress.message("kept");
        progress.update(&view(2));
        screen.show(&written(progress, reader));
        assert_eq!(screen.rows[..2], ["kept", "run 2 of 5"]);
        assert!(screen.rows[2].starts_with("hold "), "{:?}", screen.rows);
        let (progress, reader) = on_pipe(Mode::Plain);
        let mut progress = progress.titled("run 2 of\x1b5".to_owned());
        progress.update(&view(1));
        let text = written(progress, reader);
        assert!(text.starts_with("run 2 of 5, 1 s hold 0%, "), "{text}");
    }

    #[test]
    fn clearing_leaves_the_messages_alone() {
        let (mut progress, reader) = on_pipe(PANEL);
        progress.update(&view(1));
        progress.message("kept");
        progress.clear();
        progress.clear();
        let mut screen = Screen::default();
        screen.show(&written(progress, reader));
        assert_eq!((screen.rows, screen.row), (vec!["kept".to_owned()], 1));
    }

    #[test]
    fn lines_that_a_narrower_screen_wrapped_are_counted_twice() {
        let (mut progress, _reader) = on_pipe(PANEL);
        progress.drawn = vec![79, 40, 41, 0];
        assert_eq!(progress.frame(40).0, "\r\x1b[6A\x1b[J");
        assert_eq!(progress.frame(80).0, "\r\x1b[4A\x1b[J");
    }

    #[test]
    fn plain_progress_is_a_line_a_second_and_one_for_each_phase() {
        let (mut progress, reader) = on_pipe(Mode::Plain);
        for tenth in 0..=20 {
            progress.update(&View { elapsed: Nanos::from_millis(100 * tenth), ..view(0) });
        }
        progress.update(&View { phase: "drain", ..view(2) });
        progress.message("done\x1b[2J");
        progress.clear();
        let text = written(progress, reader);
        let starts: Vec<_> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(
            starts,
            ["0 ns hold 0%", "1 s hold 0%", "2 s hold 0%", "2 s drain 0%", "done [2J"]
        );
    }

    #[test]
    fn quiet_writes_nothing() {
        let (mut progress, reader) = on_pipe(Mode::Quiet);
        progress.update(&view(1));
        progress.message("psst");
        progress.clear();
        assert_eq!(written(progress, reader), "");
    }

    #[test]
    fn a_broken_pipe_ends_the_progress_only() {
        let (mut progress, reader) = on_pipe(PANEL);
        drop(reader);
        progress.update(&view(1));
        assert!(progress.out.is_none());
        progress.update(&view(2));
        progress.message("nobody hears");
        progress.clear();
        assert!(progress.waiting.is_empty());
    }

    #[test]
    fn a_reader_who_pauses_gets_the_last_lines_and_the_count_of_the_others() {
        let (mut progress, mut reader) = on_pipe(Mode::Plain);
        // Fills the pipe: 64 KiB as a rule, up to 1 MiB.
        let line = "x".repeat(1000);
        while progress.waiting.is_empty() {
            progress.message(&line);
        }
        for index in 0..100 {
            progress.message(&format!("message {index}"));
        }
        let mut taken = vec![0; 1 << 20];
        let count = reader.read(&mut taken).expect("what was written");
        assert!(count >= 4096);
        progress.clear();
        let text = written(progress, reader);
        let kept: Vec<_> = text.lines().skip_while(|line| line.starts_with('x')).collect();
        assert_eq!(kept[0], "(37 lines left out: they were not read in time)");
        assert_eq!(kept[1..].len(), WAITING_MAX);
        assert_eq!(kept[WAITING_MAX], "message 99");
    }

    #[test]
    fn a_frame_fits_a_pipe_that_is_ready() {
        let (mut progress, _reader) = on_pipe(Mode::Panel { colours: true });
        progress.update(&View { note: Some("n".repeat(9_000)), ..view(1) });
        for _ in 0..WAITING_MAX {
            progress.wait_in_line("m".repeat(9_000));
        }
        while !progress.waiting.is_empty() {
            let (frame, taken) = progress.frame(80);
            assert!(taken > 0 && frame.len() <= 4096, "{taken} lines, {} bytes", frame.len());
            progress.waiting.drain(..taken);
        }
    }

    #[test]
    fn a_real_terminal_tells_its_size_and_may_pause() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("terminal");
        grantpt(&master).expect("grant");
        unlockpt(&master).expect("unlock");
        let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
        let size = Winsize { ws_col: 40, ws_row: 5, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("size");
        let control = terminal.try_clone().expect("clone");
        let mut progress = Progress::on(PANEL, Some(terminal));

        progress.update(&view(1));
        assert_eq!(progress.panel.len(), 4, "one row is the cursor's");
        assert!(progress.panel.iter().all(|line| columns(line) < 40));
        let mut master = File::from(master);
        let mut shown = [0; 4096];
        let count = master.read(&mut shown).expect("the panel");
        assert!(shown[..count].starts_with(b"hold        [........]"));

        tcflow(&control, Action::OOff).expect("Ctrl-S");
        progress.message("while it pauses");
        assert_eq!(progress.waiting.len(), 1, "kept, and nothing waited for it");
        tcflow(&control, Action::OOn).expect("Ctrl-Q");
        progress.clear();
        let count = master.read(&mut shown).expect("the message");
        let shown = str::from_utf8(&shown[..count]).expect("text");
        assert_eq!(shown, "\r\x1b[4A\x1b[Jwhile it pauses\r\n");
    }
}
