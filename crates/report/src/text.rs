//! The summary of a result for the terminal: plain ASCII, no colours, made for 80 columns.
//!
//! ```text
//! target       tcp://127.0.0.1:700
//! plan         1,000,000 connections, held 10 s; 32 B at 50k/s for 30 s (open)
//! outcome      done, exit code 0
//!
//! connections  1,000,000 of 1,000,000 opened in 33.4 s (29.9k/s)
//!
//! latency            count      p50      p90      p95      p99    p99.9      max
//!   connect      1,000,000  33.8 us   ...
//! ```

use crate::figure::Unit;
use crate::headline;
use crate::section::{
    ABOVE, BELOW, Line, ResultFile, Shown, StageEntry, Warning, audit, generator, phases, plan,
    run, spread, stages, verdict,
};
use crate::words::{
    PERCENTILES, THIN, ascii, carried, count_cell, grouped, in_unit, percent, percentile_cells,
    time, time_cell,
};
use measure::Stage;
use measure::units::{format_count, format_grouped};
use std::fmt::Write as _;
use std::path::Path;

/// The width to make a summary for where nothing else is known.
pub const WIDTH: usize = 80;

/// The narrowest text that the latency table fits in; a narrower width is taken as this one.
pub const WIDTH_MIN: usize = 78;

/// Columns of the label on the left.
const LABEL: usize = 13;

/// Columns of one time in the latency table, without the space before it.
const TIME: usize = 8;

/// The summary of a result, at most `width` columns wide (at least [`WIDTH_MIN`]), ending in a line
/// break. Text that comes from the file is printed in ASCII, anything else in it as `?`.
#[must_use]
pub fn summary(result: &ResultFile, width: usize) -> String {
    let mut page = Page::new(width);
    page.section("verdict", &headline::plain(result));
    if let Some(label) = &result.run.label {
        page.section("label", label);
    }
    page.section("target", &result.plan.targets.join(" "));
    page.section("addresses", &plan::addresses(&result.plan));
    page.section("plan", &plan::words(&result.plan));
    page.section("", plan::without_load(&result.plan));
    page.section("outcome", &run::words(&result.run, &result.verdict));
    page.section("generator", &generator::client_limited(&generator::reasons(result)));
    page.blank();
    page.lines(ABOVE, result);
    latency(&mut page, result);
    time_went(&mut page, result);
    spread(&mut page, result);
    page.blank();
    page.lines(BELOW, result);
    page.blank();
    // What stands above already is not said twice.
    let others = generator::other_warnings(result);
    others.into_iter().for_each(|warning| page.section("warning", &warned(warning)));
    let thresholds = &result.verdict.thresholds;
    thresholds.iter().for_each(|one| page.section("threshold", &verdict::words(one)));
    page.text
}

/// The line that says where a result lies; it follows the summary.
#[must_use]
pub fn file_line(path: &Path) -> String {
    let path = ascii(&path.display().to_string()).replace('\u{a0}', "?");
    format!("{:LABEL$}{path}\n", "file")
}

/// Text under construction: labelled paragraphs, broken at the width.
struct Page {
    text: String,
    width: usize,
    /// An empty line is due, if anything follows.
    gap: bool,
}

impl Page {
    fn new(width: usize) -> Self {
        Self { text: String::new(), width: width.max(WIDTH_MIN), gap: false }
    }

    /// Sets off what follows.
    fn blank(&mut self) {
        self.gap = true;
    }

    fn line(&mut self, line: &str) {
        if std::mem::take(&mut self.gap) {
            self.text.push('\n');
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// What sections say.
    fn lines(&mut self, lines: &[Line], result: &ResultFile) {
        let told = lines.iter().filter(|Line(_, _, shown)| *shown != Shown::Markdown);
        told.for_each(|Line(label, words, _)| self.section(label, &words(result)));
    }

    /// A label and its text, wrapped under itself; each line of the text begins a new one. Nothing
    /// if the text is empty.
    fn section(&mut self, label: &str, text: &str) {
        let mut label = label;
        for line in text.lines().filter(|line| !line.is_empty()) {
            for row in wrap(&ascii(line), self.width - LABEL) {
                self.line(&format!("{label:LABEL$}{row}"));
                label = "";
            }
        }
    }
}

/// Breaks text at its spaces into rows of at most `width` columns, and longer words where they end.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        // What is not ASCII here is a tight space: a column like any other.
        let word = word.replace('\u{a0}', " ");
        for piece in word.as_bytes().chunks(width) {
            let row = rows.last_mut().expect("there is one from the start");
            let piece = String::from_utf8_lossy(piece);
            if row.is_empty() {
                row.push_str(&piece);
            } else if row.len() + 1 + piece.len() <= width {
                row.push(' ');
                row.push_str(&piece);
            } else {
                rows.push(piece.into_owned());
            }
        }
    }
    rows
}

/// The table of stages, and the two readings of a reply's time beside each other.
fn latency(page: &mut Page, result: &ResultFile) {
    if result.stages.iter().next().is_none() {
        return;
    }
    let rows = || {
        let whole = stages::shown(result).map(|(name, entry)| (name.to_owned(), entry));
        whole.chain(phases::rows(result))
    };
    page.blank();
    let header = PERCENTILES.map(|(name, _)| name.to_owned());
    let header: Vec<_> = header.into_iter().chain(["max".to_owned()]).collect();
    table_row(page, "latency", "count", &header);
    for (name, entry) in rows() {
        let mut cells = percentile_cells(entry);
        cells.push(time_cell(entry.max));
        // A longer name stands in a line of its own: the columns are those of the others.
        let mut name = format!("  {}", ascii(&name).replace('\u{a0}', "?"));
        if name.len() >= LABEL + 3 {
            page.line(&name.chars().take(page.width).collect::<String>());
            name.clear();
        }
        table_row(page, &name, &count_cell(entry.count), &cells);
    }
    if rows().any(|(_, entry)| !carried(entry)) {
        page.section("", THIN);
    }
    let both = (result.stages.get(Stage::Response), result.stages.get(Stage::Service));
    if let (Some(response), Some(service)) = both {
        page.section("", &response_beside_service(response, service));
    }
    let clipped: u64 = result.stages.iter().map(|(_, entry)| entry.clipped).sum();
    if clipped > 0 {
        let longest = time(measure::FineHistogram::HIGHEST);
        let clipped = format_grouped(clipped);
        page.section("", &format!("clipped: {clipped} above {longest}, told apart only by max"));
    }
}

/// The parts of the audited responses side by side, and what TCP says of their connections.
fn time_went(page: &mut Page, result: &ResultFile) {
    let Some(audit) = &result.audit else { return };
    page.blank();
    page.section("audit", &audit::heading(audit));
    let parts = audit::parts(audit);
    let mut row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>7}")).collect();
        page.line(&format!("  {name:LAST$}{cells}", LAST = LABEL - 2));
    };
    if !parts.is_empty() {
        row("", &audit::COLUMNS.map(str::to_owned));
    }
    let thin = parts.iter().any(|part| !part.carried);
    for part in parts {
        row(part.name, &part.cells);
    }
    if thin {
        page.section("", THIN);
    }
    page.section("", &audit::missing(audit));
    page.section("tcp", &audit::tcp(audit));
}

/// Columns of the names in the table of the spread.
const SPREAD_NAME: usize = 32;

/// How far repeats lie apart; of one run there is nothing to tell.
fn spread(page: &mut Page, result: &ResultFile) {
    let runs = result.spread.first().map_or(0, |one| one.values.len());
    if runs < 2 {
        return;
    }
    page.blank();
    let row = |name: &str, cells: [&str; 4]| {
        let mut row = format!("{name:SPREAD_NAME$}");
        for cell in cells {
            let _ = write!(row, " {cell:>TIME$}");
        }
        row.replace('\u{a0}', " ")
    };
    let header = row(&format!("spread of {runs} runs"), ["min", "median", "max", "cv"]);
    page.line(&header);
    for one in &result.spread {
        let name: String =
            ascii(spread::label(&one.metric)).chars().take(SPREAD_NAME - 2).collect();
        let unit = Unit::from_name(&one.unit);
        let [min, median, max] = [one.min, one.median, one.max].map(|value| match unit {
            Some(Unit::Nanoseconds) => time_cell(value.max(0.0).round() as u64),
            Some(Unit::Bytes) => format!("{} B", grouped(value)),
            Some(unit) => in_unit(value, unit.name()),
            None => format_count(value.max(0.0).round() as u64),
        });
        let cv = one.variation_ratio.map_or_else(|| "-".to_owned(), |ratio| percent(ratio, 1));
        page.line(&row(&format!("  {name}"), [&min, &median, &max, &cv]));
    }
    page.section("", "cv: their standard deviation, as a share of their mean");
}

fn table_row(page: &mut Page, name: &str, count: &str, times: &[String]) {
    let mut row = format!("{name:LABEL$}{count:>11}");
    for time in times {
        let _ = write!(row, " {time:>TIME$}");
    }
    page.line(&row);
}

fn response_beside_service(response: &StageEntry, service: &StageEntry) -> String {
    format!(
        "response is from the intended send time, service from the actual:\n\
         p99 {} | {}, p99.9 {} | {}",
        time(response.p99),
        time(service.p99),
        time(response.p999),
        time(service.p999),
    )
}

fn warned(warning: &Warning) -> String {
    format!("{} ({})\n-> {}", warning.text, warning.code, warning.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Arrivals, Model, Pacing, Reactor, Stages, ThresholdVerdict};
    use crate::section::reactors::words as reactors;
    use crate::section::verdict::words as threshold;
    use proptest::prelude::*;

    #[test]
    fn an_empty_result_has_a_summary_without_empty_sections() {
        let text = summary(&ResultFile::default(), 80);
        assert!(text.contains("connections  0 of 0 opened in 0 ns (0/s)"), "{text}");
        for absent in ["latency", "target", "messages  ", "memory", "reactors", "limits", "warning"]
        {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }

    #[test]
    fn only_what_is_not_zero_is_listed() {
        let mut result = ResultFile::default();
        result.failures.reset = 1_200;
        result.failures.no_ports = 3;
        result.limits_reached = [("accept_batch".to_owned(), 0), ("outbox".to_owned(), 7)].into();
        result.http_statuses = [("403".to_owned(), 12)].into();
        result.violations =
            [("a mask".to_owned(), 1), ("no mask".to_owned(), 2_000), ("never".to_owned(), 0)]
                .into();
        let text = summary(&result, 80);
        assert!(text.contains("failures     reset 1,200, no_ports 3\n"), "{text}");
        assert!(text.contains("statuses     403 12\n"), "{text}");
        assert!(text.contains("violations   2,000 no mask\n             1 a mask\n"), "{text}");
        assert!(text.contains("limits       reached: outbox 7\n"), "{text}");
    }

    #[test]
    fn reactors_that_hold_more_than_a_number_can_add_up_do_not_overflow() {
        let full = Reactor { connections: u64::MAX, busy_ratio: 0.5, ..Reactor::default() };
        let result = ResultFile { reactors: vec![full.clone(), full], ..ResultFile::default() };
        assert!(reactors(&result).ends_with("busiest: #0 at 50\u{a0}%"), "{}", reactors(&result));
    }

    #[test]
    fn a_client_at_its_end_is_said_in_the_first_lines_and_once() {
        let mut result = ResultFile::default();
        result.plan.model = Model::Open;
        result.connections.opened = 2;
        result.messages.sent = 2;
        let reactor = |index, busy_ratio| Reactor {
            index,
            busy_ratio,
            core: Some(3),
            opened: 1 + 2 * index,
            wait_ratio: Some(0.01),
            ..Reactor::default()
        };
        result.reactors = vec![reactor(0, 0.1), reactor(1, 0.97)];
        let delay = StageEntry { count: 9, p99: 80_000, max: 5_200_000, ..StageEntry::default() };
        let of = generator::of_reactors(&result.reactors);
        result.generator = Some(crate::schema::Generator { loop_delay: Some(delay), ..of });
        result.balance.client = crate::section::balance::client_balance(&result);
        generator::fill(&mut result);
        let text = summary(&result, 80);
        let generator =
            text.find("generator    CLIENT-LIMITED: reactor #1 of the client on core 3");
        assert!(generator.is_some() && generator < text.find("\nconnections"), "{text}");
        assert_eq!(text.matches("client_busy").count(), 1, "{text}");
        assert!(!text.contains("warning"), "{text}");
        assert!(
            text.contains("loop delay p99 80 us, max 5.2 ms; busiest: #1 on core 3 at 97 %,"),
            "{text}"
        );
        assert!(text.contains("client, most over mean: opened 1.50"), "{text}");
    }

    #[test]
    fn a_threshold_shows_what_was_measured_in_its_unit() {
        let mut one = ThresholdVerdict {
            expression: "response.p99>50ms".to_owned(),
            value: Some(61_500_000.0),
            unit: "ns".to_owned(),
            ok: false,
            note: None,
        };
        assert_eq!(threshold(&one), "MISSED: response.p99 61.5\u{a0}ms, fails above 50\u{a0}ms");
        one.ok = true;
        assert_eq!(threshold(&one), "ok: response.p99 61.5\u{a0}ms, fails above 50\u{a0}ms");
        for (expression, value, unit, words) in [
            ("connections.failed>=2", 1.0, "count", "connections.failed 1, fails at or above 2"),
            ("response.max < 1 ms", 2e6, "ns", "response.max 2\u{a0}ms, fails below 1\u{a0}ms"),
            // A limit is not rounded to the digits that are shown of a measured value.
            (
                "response.p99>1.2345ms",
                1e6,
                "ns",
                "response.p99 1\u{a0}ms, fails above 1.2345\u{a0}ms",
            ),
            ("of.later>5", 1.0, "count", "of.later>5 1, fails if that holds"),
            ("http.429>5%", 0.0213, "ratio", "http.429 2.1\u{a0}%, fails above 5%"),
            ("generator.busy_max>0.9", 0.5, "ratio", "generator.busy_max 0.500, fails above 0.9"),
        ] {
            one.expression = expression.to_owned();
            one.value = Some(value);
            one.unit = unit.to_owned();
            assert_eq!(threshold(&one), format!("ok: {words}"));
        }
        one.value = None;
        one.note = Some("nothing answered".to_owned());
        one.expression = "response.p99>50ms".to_owned();
        let words = "ok: response.p99 (nothing answered), fails above 50\u{a0}ms";
        assert_eq!(threshold(&one), words);
        for (value, unit, shown) in [
            (1_840_000.0, "per_second", "1.84\u{a0}M/s"),
            (96.0, "bytes", "96\u{a0}B"),
            (31_400.0, "per_second", "31.4k/s"),
            (1.5, "seconds", "1.5\u{a0}s"),
            (1_000.0, "count", "1,000"),
            (2.0, "parsecs", "2 parsecs"),
        ] {
            assert_eq!(in_unit(value, unit), shown);
        }
    }

    #[test]
    fn the_audit_is_a_table_that_fits() {
        let audit = Some(audit::tests::example());
        let text = summary(&ResultFile { audit, ..ResultFile::default() }, 80);
        let expected = "
audit        where the time went: 2 messages, 1 connection (1 %)
                  p50     p90     p95     p99   p99.9     max    mean   share
  send_lag       ~0ns   ~40us   ~40us   ~40us   ~40us   40 us   20 us  10.0 %
  outside       ~90us  ~250us  ~250us  ~250us  ~250us  250 us  170 us  85.0 %
  receive_lag   ~10us   ~10us   ~10us   ~10us   ~10us   10 us   10 us   5.0 %
  response     ~100us  ~300us  ~300us  ~300us  ~300us  300 us  200 us 100.0 %
             ~: fewer than 10 values lie beyond it
tcp          before: rtt p50 40 us, p99 40 us, max 40 us; 0 packets sent again
             behind: rtt p50 55 us, p99 55 us, max 55 us; 3 packets sent again
";
        assert!(text.contains(expected), "{text}");
        let audit = Some(crate::schema::Audit { ratio: 1.0, ..Default::default() });
        let text = summary(&ResultFile { audit, ..ResultFile::default() }, 80);
        assert!(
            text.contains("audit        where the time went: 0 messages, 0 connections (100 %)"),
            "{text}"
        );
        assert!(!text.contains("share"), "{text}");
    }

    #[test]
    fn a_run_without_load_says_what_to_add_and_nothing_is_no_percentage() {
        let mut result = ResultFile::default();
        assert!(summary(&result, 80).contains("for more: --rate N or --closed sends messages"));
        result.plan.hold_ns = 1;
        assert!(!summary(&result, 80).contains("for more"));
        result.plan.model = Model::Open;
        result.messages.rate_planned = Some(100.0);
        result.messages.planned = Some(10);
        assert!(summary(&result, 80).contains("0/s achieved of 100/s asked\n"));
        result.messages.sent = 1;
        assert!(summary(&result, 80).contains("0/s achieved of 100/s asked (0.0 %)\n"));
    }

    #[test]
    fn pacing_stands_beside_its_ideal() {
        let it = Pacing {
            window_ns: 1_000_000,
            sent_per_window_mean: 100.0,
            sent_per_window_max: 1_234,
            dispersion: Some(1.28),
            dispersion_ideal: Some(1.004),
            arrivals: Arrivals::Poisson,
            rate_error: -0.0002,
            ..Pacing::default()
        };
        let mut result = ResultFile { pacing: Some(it.clone()), ..ResultFile::default() };
        let text = summary(&result, 80);
        let line = "pacing       sent 99.98 % of the rate asked, poisson\n             \
                    over 1 ms: 100.0 sent, 1,234 at most, dispersion 1.28 (ideal 1.00)\n";
        assert!(text.contains(line), "{text}");
        let nothing = Pacing { dispersion: None, dispersion_ideal: None, ..it };
        result.pacing = Some(nothing);
        assert!(!summary(&result, 80).contains("dispersion"));
        assert!(crate::markdown::summary(&result).contains("- pacing: sent 99.98 %"));
    }

    #[test]
    fn the_spread_of_repeats_is_a_table_and_that_of_one_run_is_none() {
        let one = |metric: &str, unit: &str, values: &[f64]| crate::schema::Spread {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            values: values.iter().copied().map(Some).collect(),
            min: values[0],
            median: values[values.len() / 2],
            max: values[values.len() - 1],
            variation_ratio: (values.len() > 1).then_some(0.034),
        };
        let mut result = ResultFile {
            spread: vec![
                one("messages.rate_achieved", "per_second", &[19_990.0, 20_000.0, 20_010.0]),
                one("response.p99", "ns", &[310_000.0, 332_000.0, 1_400_000.0]),
                one("resources.kernel.bytes_per_connection", "bytes", &[8_100.0, 8_350.2, 8_400.0]),
            ],
            ..ResultFile::default()
        };
        let text = summary(&result, 72);
        let expected = "\
spread of 3 runs                      min   median      max       cv
  messages per second               20k/s    20k/s    20k/s    3.4 %
  response p99                     310 us   332 us   1.4 ms    3.4 %
  kernel memory a connection      8,100 B  8,350 B  8,400 B    3.4 %
             cv: their standard deviation, as a share of their mean
";
        assert!(text.contains(expected), "{text}");
        result.spread = vec![one("response.p99", "ns", &[310_000.0])];
        assert!(!summary(&result, 72).contains("spread"));
    }

    #[test]
    fn the_addresses_of_a_name_have_a_line_each() {
        let mut result = ResultFile::default();
        let at = |n: u64, connected, sources| crate::schema::Address {
            address: format!("127.0.0.{n}:80"),
            sources,
            connected,
            ..crate::schema::Address::default()
        };
        result.plan.addresses = vec![at(1, 5_000, 1)];
        assert!(!summary(&result, 80).contains("addresses"), "one is the target");
        result.plan.addresses.extend([at(2, 0, 1), at(3, 0, 1), at(4, 0, 0)]);
        let failures = [("refused".to_owned(), 1_000), ("timed_out".to_owned(), 2)];
        result.plan.addresses[2].failures = failures.into();
        result.connections.tried_again = 1_002;
        let text = summary(&result, 80);
        let expected = "\
addresses    127.0.0.1:80 took 5,000
             127.0.0.2:80 was not needed
             127.0.0.3:80 took none, 1,000 refused, 2 timed out
             127.0.0.4:80 cannot be reached from here
";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("1,002 tried again at another"), "{text}");
        result.plan.addresses.extend((0..6).map(|_| at(9, 1_000, 1)));
        assert!(summary(&result, 80).contains("\n             2 others took 2,000\n"));
    }

    #[test]
    fn clipped_values_are_not_kept_quiet() {
        let entry = StageEntry { count: 5, clipped: 2, ..StageEntry::default() };
        let mut stages = Stages::default();
        stages.set(Stage::Response, Some(entry));
        let text = summary(&ResultFile { stages, ..ResultFile::default() }, 80);
        assert!(text.contains("clipped: 2 above 73 min 18 s"), "{text}");
    }

    #[test]
    fn long_times_and_large_counts_keep_to_their_columns() {
        let entry = StageEntry {
            count: 12_345_678_901,
            p50: 99_960_000_000,
            p90: 125_000_000_000,
            p95: Some(3),
            max: measure::FineHistogram::HIGHEST,
            ..StageEntry::default()
        };
        let mut stages = Stages::default();
        stages.set(Stage::Connect, Some(entry));
        let text = summary(&ResultFile { stages, ..ResultFile::default() }, 80);
        let row =
            "  connect          12.3g    100 s    125 s     3 ns     0 ns     0 ns   4398 s\n";
        assert!(text.contains(row), "{text}");
    }

    proptest! {
        #[test]
        fn foreign_text_cannot_leave_its_lines_or_reach_the_terminal(
            label in "\\PC{0,60}|[\\x00-\\x7f]{0,300}",
            width in 0..200usize,
        ) {
            let mut result = ResultFile::default();
            result.run.label = Some(label.clone());
            result.plan.targets = vec![label.clone()];
            let address = crate::schema::Address { address: label.clone(), ..Default::default() };
            result.plan.addresses = vec![address; 2];
            result.spread = vec![crate::schema::Spread {
                metric: label.clone(),
                unit: label.clone(),
                values: vec![Some(f64::MAX); 2],
                max: f64::MAX,
                variation_ratio: Some(9.0),
                ..crate::schema::Spread::default()
            }];
            result.run.warnings =
                vec![Warning { code: label.clone(), text: label.clone(), remedy: label }];
            for line in summary(&result, width).lines() {
                prop_assert!(line.len() <= width.max(WIDTH_MIN), "{}", line);
                prop_assert!(line.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
            }
        }
    }
}
