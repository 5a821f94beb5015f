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

use crate::audit;
use crate::generator;
use crate::headline;
use crate::metric::Unit;
use crate::schema::{
    Arrivals, CloseCode, Http, Model, Plan, Process, ResultFile, Run, StageEntry, ThresholdVerdict,
    Verdict, Warning, ratio,
};
use crate::spread;
use crate::statuses::Expected;
use crate::verdict::Threshold;
use measure::units::{self, format_count, format_duration, format_grouped, format_size};
use measure::{Failure, Nanos, Stage};
use std::fmt::Write as _;
use std::path::Path;

/// The width to make a summary for where nothing else is known.
pub const WIDTH: usize = 80;

/// The narrowest text that the latency table fits in; a narrower width is taken as this one.
pub const WIDTH_MIN: usize = 78;

/// Addresses that have a line each.
const ADDRESSES_SHOWN: usize = 8;

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
    page.section("addresses", &addresses(&result.plan));
    page.section("plan", &plan(&result.plan));
    page.section("", without_load(&result.plan));
    page.section("outcome", &outcome(&result.run, &result.verdict));
    let limited = generator::reasons(result);
    page.section("generator", &client_limited(&limited));
    page.blank();
    page.section("connections", &connections(result));
    if result.messages.sent > 0 || result.messages.planned.is_some_and(|planned| planned > 0) {
        page.section("messages", &messages(result));
    }
    page.section("pacing", &pacing(result));
    if result.messages.first_echo.is_some() {
        page.section("first echo", &first_echo(result));
    }
    latency(&mut page, result);
    time_went(&mut page, result);
    spread(&mut page, result);
    page.blank();
    page.section("memory", &memory(result));
    page.section("cpu", &cpu(result));
    page.section("reactors", &reactors(result));
    page.section("failures", &failures(result));
    page.section("statuses", &statuses(result));
    page.section("violations", &violations(result));
    page.section("closed", &close_codes(result));
    page.section("limits", &limits(result));
    page.blank();
    // What stands above already is not said twice.
    let others = generator::other_warnings(result);
    others.into_iter().for_each(|warning| page.section("warning", &warned(warning)));
    result.verdict.thresholds.iter().for_each(|one| page.section("threshold", &threshold(one)));
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

/// What a terminal shows as it is: a file from elsewhere may carry escape sequences in its texts.
pub(crate) fn ascii(text: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' || c == '\u{a0}' { c } else { '?' };
    text.chars().map(shown).collect()
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

/// Keeps a number and its unit on one line: [`wrap`] breaks at plain spaces only.
fn tight(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

fn time(nanoseconds: u64) -> String {
    tight(&format_duration(Nanos(nanoseconds)))
}

fn seconds(seconds: f64) -> String {
    time((seconds.max(0.0) * 1e9) as u64)
}

fn size(bytes: u64) -> String {
    tight(&format_size(bytes))
}

fn percent(ratio: f64, decimals: usize) -> String {
    tight(&format!("{:.decimals$} %", 100.0 * ratio))
}

/// A rate that no line is broken in.
fn format_rate(per_second: f64) -> String {
    units::format_rate(per_second).replace(' ', "\u{a0}")
}

fn grouped(value: f64) -> String {
    format_grouped(value.max(0.0).round() as u64)
}

pub(crate) fn plan(plan: &Plan) -> String {
    let ramp = plan
        .connect_rate_per_second
        .map_or_else(String::new, |rate| format!(" at {}", format_rate(rate)));
    let duration = time(plan.duration_ns);
    let (message, echo) = match &plan.http {
        None => (size(plan.size_bytes), "echo of "),
        Some(http) => (requests(http, plan.size_bytes), ""),
    };
    let traffic = match plan.model {
        Model::Open => {
            let rate = format_rate(plan.rate_per_second.unwrap_or_default());
            let manner = match plan.arrivals {
                Arrivals::Uniform => "open",
                Arrivals::Poisson => "open, Poisson",
            };
            format!("{message} at {rate} for {duration} ({manner})")
        }
        Model::Closed => {
            let in_flight = format_grouped(plan.in_flight.unwrap_or_default());
            format!("{message}, {in_flight} in flight for {duration} (closed)")
        }
        Model::None if plan.first_echo => format!("one {echo}{message} each"),
        Model::None => "no messages".to_owned(),
    };
    let connections = format_grouped(plan.connections);
    let hold = match plan.hold_ns {
        0 => String::new(),
        hold => format!(", held {}", time(hold)),
    };
    let at_a_time = match &plan.http {
        Some(http) if http.close => " at a time, one for each request",
        _ => "",
    };
    format!("{connections} connections{at_a_time}{ramp}{hold}; {traffic}")
}

/// What to add to a plan that only opens connections and lets them go.
fn without_load(plan: &Plan) -> &'static str {
    match (plan.model, plan.hold_ns) {
        (Model::None, 0) => {
            "for more: --rate N or --closed sends messages, --hold TIME keeps the connections"
        }
        _ => "",
    }
}

/// What is asked for.
fn requests(http: &Http, body_bytes: u64) -> String {
    let mut text = http.method.clone();
    if http.paths > 1 {
        let _ = write!(text, " of {} paths", format_grouped(http.paths));
    }
    if body_bytes > 0 {
        let _ = write!(text, " with {}", size(body_bytes));
    }
    if http.pipeline > 1 {
        let _ = write!(text, ", {} pipelined", format_grouped(http.pipeline));
    }
    text
}

pub(crate) fn outcome(run: &Run, verdict: &Verdict) -> String {
    let meaning = match verdict.exit_code {
        4 => " (a threshold was missed)",
        6 => " (the plan was not reached)",
        _ => "",
    };
    let name = run.outcome.name().replace('_', " ");
    let mut text = format!("{name}, exit code {}{meaning}", verdict.exit_code);
    if let Some(lasted) = lasted(run) {
        let _ = write!(text, "\nbegan {}, took {}", run.started, time(lasted.0));
    }
    text
}

/// How long a run took, if both of its ends are dates.
pub(crate) fn lasted(run: &Run) -> Option<Nanos> {
    let started = humantime::parse_rfc3339(&run.started).ok()?;
    let ended = humantime::parse_rfc3339(&run.ended).ok()?;
    ended.duration_since(started).ok().map(Nanos::from)
}

/// What each address took, a line each, where there is more than one.
pub(crate) fn addresses(plan: &Plan) -> String {
    if plan.addresses.len() < 2 {
        return String::new();
    }
    let mut text = String::new();
    for it in plan.addresses.iter().take(ADDRESSES_SHOWN) {
        let _ = match it.connected {
            _ if it.sources == 0 => write!(text, "{} cannot be reached from here", it.address),
            _ if it.took_none() => write!(text, "{} took none", it.address),
            0 => write!(text, "{} was not needed", it.address),
            count => write!(text, "{} took {}", it.address, format_grouped(count)),
        };
        for (kind, count) in &it.failures {
            let _ = write!(text, ", {} {}", format_grouped(*count), kind.replace('_', " "));
        }
        text.push('\n');
    }
    if plan.addresses.len() > ADDRESSES_SHOWN {
        let others = &plan.addresses[ADDRESSES_SHOWN..];
        let took = others.iter().map(|it| it.connected).fold(0, u64::saturating_add);
        let _ = write!(text, "{} others took {}", others.len(), format_grouped(took));
    }
    text
}

pub(crate) fn connections(result: &ResultFile) -> String {
    let it = &result.connections;
    let not_tried = match it.not_tried {
        0 => String::new(),
        count => format!(", {} not tried", format_grouped(count)),
    };
    let churn = result.plan.http.as_ref().is_some_and(|http| http.close);
    let planned = match churn {
        true => String::new(),
        false => format!(" of {}", format_grouped(it.planned)),
    };
    let idle = match it.ended_idle {
        0 => String::new(),
        count => format!(" ({} ended by the server between two responses)", format_grouped(count)),
    };
    let replaced = match it.replaced {
        0 => String::new(),
        count => format!(", {} replaced{idle}", format_grouped(count)),
    };
    let again = match it.tried_again {
        0 => String::new(),
        count => format!(", {} tried again at another address", format_grouped(count)),
    };
    format!(
        "{}{planned} opened in {} ({})\n{} failed, {} lost{replaced}{again}{not_tried}; \
         open: {} at the end{}, {} at the peak",
        format_grouped(it.opened.saturating_sub(it.replaced)),
        seconds(it.open_seconds),
        format_rate(it.rate_per_second),
        format_grouped(it.failed),
        format_grouped(it.lost),
        format_grouped(it.open_at_end),
        if result.spread.is_empty() { "" } else { "s" },
        format_grouped(it.open_peak),
    )
}

fn messages(result: &ResultFile) -> String {
    let it = &result.messages;
    let asked = it.rate_planned.map_or_else(
        || ", as fast as replies come".to_owned(),
        |rate| {
            // A share of nothing is no share.
            let share = percent(ratio(it.rate_achieved, rate), 1);
            let share = if it.sent > 0 { format!(" ({share})") } else { String::new() };
            format!(" of {} asked{share}", format_rate(rate))
        },
    );
    let served = served(result).map_or_else(String::new, |served| format!("{served}\n"));
    let planned =
        it.planned.map_or_else(String::new, |planned| format!(" of {}", format_grouped(planned)));
    let (count, wrong) = match &result.plan.http {
        Some(http) => (it.unserved, Expected::of(http).others()),
        None => (it.mismatched, "mismatched".to_owned()),
    };
    let resent = match it.resent {
        0 => String::new(),
        count => format!("; {} sent once more", format_grouped(count)),
    };
    let unasked = match it.unasked {
        0 => String::new(),
        count => format!("; {} unasked ({})", format_grouped(count), size(it.unasked_bytes)),
    };
    format!(
        "{}{planned} sent, {} received, {} lost\n{served}{} achieved{asked}\n\
         {} {wrong}; {} out, {} in{resent}{unasked}",
        format_grouped(it.sent),
        format_grouped(it.received),
        format_grouped(it.lost),
        format_rate(it.rate_achieved),
        format_grouped(count),
        size(it.bytes_sent),
        size(it.bytes_received),
    )
}

/// What was served in time, where that is not what came in the end: where they differ by more than 1 %.
pub(crate) fn served(result: &ResultFile) -> Option<String> {
    let it = &result.messages;
    let served = it.rate_served.filter(|_| it.rate_planned.is_some())?;
    if (served - it.rate_achieved).abs() <= 0.01 * it.rate_achieved {
        return None;
    }
    let share = it.rate_planned.map_or_else(String::new, |rate| {
        format!(" of {} asked ({})", format_rate(rate), percent(ratio(served, rate), 1))
    });
    let backlog = it.backlog_at_end.map_or_else(String::new, |count| {
        let growth = it.backlog_growth_per_second.filter(|growth| *growth >= 1.0);
        let growth =
            growth.map_or_else(String::new, |by| format!(", grown by {}", format_rate(by)));
        format!("; {} due and not answered at the end{growth}", format_grouped(count))
    });
    Some(format!("{} served in time{share}{backlog}", format_rate(served)))
}

/// How the sending kept to its schedule: the rate, and how evenly.
pub(crate) fn pacing(result: &ResultFile) -> String {
    result.pacing.as_ref().map_or_else(String::new, |it| {
        let dispersion = match (it.dispersion, it.dispersion_ideal) {
            (Some(sent), Some(ideal)) => format!(", dispersion {sent:.2} (ideal {ideal:.2})"),
            _ => String::new(),
        };
        format!(
            "sent {} of the rate asked, {}\nover {}: {:.1} sent, {} at most{dispersion}",
            percent(1.0 + it.rate_error, 2),
            it.arrivals.name(),
            time(it.window_ns),
            it.sent_per_window_mean,
            format_grouped(it.sent_per_window_max),
        )
    })
}

pub(crate) fn first_echo(result: &ResultFile) -> String {
    result.messages.first_echo.as_ref().map_or_else(String::new, |round| {
        let did = if result.plan.http.is_some() { "were answered" } else { "echoed" };
        format!(
            "{} of {} connections {did} in {} ({})",
            format_grouped(round.received),
            format_grouped(round.planned),
            seconds(round.seconds),
            format_rate(round.rate_per_second),
        )
    })
}

/// The table of stages, and the two readings of a reply's time beside each other.
fn latency(page: &mut Page, result: &ResultFile) {
    if result.stages.iter().next().is_none() {
        return;
    }
    page.blank();
    let header = PERCENTILES.map(|(name, _)| name.to_owned());
    let header: Vec<_> = header.into_iter().chain(["max".to_owned()]).collect();
    table_row(page, "latency", "count", &header);
    for (stage, entry) in shown_stages(result) {
        let mut cells = percentile_cells(entry);
        cells.push(time_cell(entry.max));
        table_row(page, &format!("  {}", stage.name()), &count_cell(entry.count), &cells);
    }
    if shown_stages(result).any(|(_, entry)| !carried(entry)) {
        page.section("", THIN);
    }
    if let (Some(response), Some(service)) = (&result.stages.response, &result.stages.service) {
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

/// The percentiles of the tables, each with the share of values that lie beyond it.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01), ("p99.9", 0.001)];

/// How many values must lie beyond a percentile; with fewer it is the luck of single messages.
const BEYOND: f64 = 10.0;

/// What the mark of those says.
pub(crate) const THIN: &str = "~: fewer than 10 values lie beyond it";

/// The percentiles of a stage as cells; those that its values cannot carry are marked.
pub(crate) fn percentile_cells(entry: &StageEntry) -> Vec<String> {
    let p95 = entry.p95().unwrap_or(entry.max);
    let times = [entry.p50, entry.p90, p95, entry.p99, entry.p999];
    let cell = |(time, (_, beyond)): (u64, (_, f64))| match carries(entry.count, beyond) {
        true => time_cell(time),
        // One column more for the mark, one less for the space.
        false => format!("~{}", time_cell(time).replace(' ', "")),
    };
    times.into_iter().zip(PERCENTILES).map(cell).collect()
}

/// Whether so many values carry a percentile beyond which this share of them lies.
pub(crate) fn carries(count: u64, beyond: f64) -> bool {
    // A whole number is not to be missed by the last bit of its factor.
    count as f64 * beyond > BEYOND - 1e-6
}

/// Whether the values of a stage carry all percentiles of the tables.
pub(crate) fn carried(entry: &StageEntry) -> bool {
    PERCENTILES.into_iter().all(|(_, beyond)| carries(entry.count, beyond))
}

/// The stages that tables show. Replies are told apart by the class of their status only where there was
/// more than one.
pub(crate) fn shown_stages(result: &ResultFile) -> impl Iterator<Item = (Stage, &StageEntry)> {
    let classes = Stage::BY_CLASS.into_iter();
    let classes = classes.filter(|class| result.stages.get(*class).is_some()).count();
    result.stages.iter().filter(move |(stage, _)| classes > 1 || !Stage::BY_CLASS.contains(stage))
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

/// A count that fits its column: all digits, or scaled from a thousand million on.
fn count_cell(count: u64) -> String {
    let grouped = format_grouped(count);
    if grouped.len() <= 11 { grouped } else { format_count(count) }
}

/// A time that fits its column: minutes and hours would not.
pub(crate) fn time_cell(nanoseconds: u64) -> String {
    match nanoseconds {
        100_000_000_000.. => format!("{} s", nanoseconds / 1_000_000_000),
        _ => format_duration(Nanos(nanoseconds)),
    }
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

pub(crate) fn memory(result: &ResultFile) -> String {
    let resources = &result.resources;
    let of = |name: &str, bytes: Option<f64>| Some(tight(&format!("{name} {} B", grouped(bytes?))));
    let server = resources.server.as_ref().and_then(|server| server.bytes_per_connection);
    let processes = [of("client", resources.client.bytes_per_connection), of("server", server)];
    let processes = processes.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let kernel = of("kernel", resources.kernel.bytes_per_connection).unwrap_or_default();
    let ends = if resources.kernel.both_ends { ", both ends counted" } else { "" };
    let each = |bytes: String, note| match bytes.is_empty() {
        true => bytes,
        false => format!("{bytes} a connection{note}\n"),
    };
    each(processes, "") + &each(kernel, ends) + &within_noise(result) + &footprint(result)
}

/// Whose growth was read, and did not stand out of the noise.
fn within_noise(result: &ResultFile) -> String {
    let resources = &result.resources;
    let one = |name, of: &Process| {
        let read = of.rss_bytes.is_some() && of.rss_bytes_before.is_some();
        (read && of.bytes_per_connection.is_none()).then_some(name)
    };
    let kernel = &resources.kernel;
    let slab = kernel.slab_bytes.is_some() && kernel.slab_bytes_before.is_some();
    let names: Vec<&str> = [
        one("client", &resources.client),
        resources.server.as_ref().and_then(|server| one("server", server)),
        (slab && kernel.bytes_per_connection.is_none()).then_some("kernel"),
    ]
    .into_iter()
    .flatten()
    .collect();
    // With a connection for each request no connection has a size.
    let churn = result.plan.http.as_ref().is_some_and(|http| http.close);
    if names.is_empty() || churn || result.connections.opened == 0 {
        return String::new();
    }
    format!("{} not measurable a connection: growth within noise\n", names.join(", "))
}

/// What the run took in all, beside what it was said to take.
fn footprint(result: &ResultFile) -> String {
    let (Some(taken), Some(predicted)) = (result.resources.taken, result.resources.predicted)
    else {
        return String::new();
    };
    let of = |taken: String, predicted: String| tight(&format!("{taken} (predicted {predicted})"));
    format!(
        "in all {}, {}\n",
        of(format_size(taken.memory_bytes), format_size(predicted.memory_bytes)),
        of(
            format!("{} open files", format_grouped(taken.open_files)),
            format_grouped(predicted.open_files)
        ),
    )
}

pub(crate) fn cpu(result: &ResultFile) -> String {
    let of = |name: &str, process: &Process| {
        let mut text = format!("{name} {}", seconds(process.cpu_seconds?));
        let each = [
            (process.cpu_ns_per_connection, "connection"),
            (process.cpu_ns_per_message, "message"),
        ];
        let each: Vec<_> = each
            .into_iter()
            .filter_map(|(nanoseconds, what)| Some(format!("{} a {what}", time(nanoseconds?))))
            .collect();
        if !each.is_empty() {
            let _ = write!(text, " ({})", each.join(", "));
        }
        Some(text)
    };
    let client = of("client", &result.resources.client);
    let server = result.resources.server.as_ref().and_then(|server| of("server", server));
    client
        .into_iter()
        .chain(server)
        .chain(generator::others_line(result))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How evenly the work was spread, and who had most of it.
fn reactors(result: &ResultFile) -> String {
    let all = &result.reactors;
    let Some(busiest) = all.iter().max_by(|a, b| a.busy_ratio.total_cmp(&b.busy_ratio)) else {
        return String::new();
    };
    let held = || all.iter().map(|reactor| reactor.connections);
    let sum: u128 = held().map(u128::from).sum();
    let mean = (sum / all.len() as u128) as u64;
    let cores = match result.plan.cores.len() {
        0 => "not pinned".to_owned(),
        1 => "on 1 core".to_owned(),
        count => format!("on {count} cores"),
    };
    let core = busiest.core.map_or_else(String::new, |core| format!(" on core {core}"));
    let busy = generator::line(result).unwrap_or_else(|| {
        format!("busiest: #{}{core} at {}", busiest.index, percent(busiest.busy_ratio, 0))
    });
    let mut text = format!(
        "{} {cores}; connections min {} mean {} max {}\n{busy}",
        all.len(),
        format_grouped(held().min().unwrap_or_default()),
        format_grouped(mean),
        format_grouped(held().max().unwrap_or_default()),
    );
    for line in generator::balance_lines(result) {
        let _ = write!(text, "\n{line}");
    }
    text
}

/// What the first lines say of a run whose client was the bottleneck; nothing of others.
pub(crate) fn client_limited(reasons: &[Warning]) -> String {
    let mut text = String::new();
    for Warning { code, text: why, remedy } in reasons {
        let head = if text.is_empty() { "CLIENT-LIMITED: " } else { "also: " };
        let _ = writeln!(text, "{head}{why} ({code})\n-> {remedy}");
    }
    text
}

pub(crate) fn failures(result: &ResultFile) -> String {
    let kinds = Failure::ALL.into_iter().map(|kind| (kind.name(), result.failures.get(kind)));
    non_zero(kinds)
}

/// What was answered, by status; of handshakes only what was no upgrade.
pub(crate) fn statuses(result: &ResultFile) -> String {
    non_zero(result.http_statuses.iter().map(|(status, &count)| (status.as_str(), count)))
}

/// The rules that connections broke, a line for each: the most broken first.
pub(crate) fn violations(result: &ResultFile) -> String {
    let mut rules: Vec<_> = result.violations.iter().filter(|(_, count)| **count > 0).collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let line = |(rule, count): (&String, &u64)| format!("{} {rule}", format_grouped(*count));
    rules.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How the server took leave before the run did, a line for each close code: the most frequent first.
pub(crate) fn close_codes(result: &ResultFile) -> String {
    let mut codes: Vec<_> = result.close_codes.iter().collect();
    codes.sort_by_key(|(_, one)| std::cmp::Reverse(one.count));
    let line = |(code, one): (&String, &CloseCode)| {
        let reason = match one.reason.as_str() {
            "" => String::new(),
            reason => format!(" \"{reason}\""),
        };
        format!("closed {code}{reason} × {}", format_grouped(one.count))
    };
    codes.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn limits(result: &ResultFile) -> String {
    let reached =
        non_zero(result.limits_reached.iter().map(|(name, &count)| (name.as_str(), count)));
    if reached.is_empty() { reached } else { format!("reached: {reached}") }
}

fn non_zero<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let named: Vec<_> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {}", format_grouped(count)))
        .collect();
    named.join(", ")
}

fn warned(warning: &Warning) -> String {
    format!("{} ({})\n-> {}", warning.text, warning.code, warning.remedy)
}

pub(crate) fn threshold(one: &ThresholdVerdict) -> String {
    format!("{}: {}", if one.ok { "ok" } else { "MISSED" }, threshold_words(one))
}

/// What was measured and when that fails: `response.p99 2.11 ms, fails above 50 ms`. An expression
/// of a later version, which is not understood here, stands as it was given.
pub(crate) fn threshold_words(one: &ThresholdVerdict) -> String {
    let measured = match (&one.note, one.value) {
        (Some(note), _) => format!("({note})"),
        // A limit in percent is met by one.
        (None, Some(value)) if one.unit == Unit::Ratio.name() && one.expression.ends_with('%') => {
            tight(&format!("{:.1} %", 100.0 * value))
        }
        (None, Some(value)) => in_unit(value, &one.unit),
        (None, None) => "(not measured)".to_owned(),
    };
    match one.expression.parse::<Threshold>() {
        Ok(known) => format!("{} {measured}, {}", known.name(), known.direction()),
        Err(_) => format!("{} {measured}, fails if that holds", one.expression),
    }
}

pub(crate) fn in_unit(value: f64, unit: &str) -> String {
    match Unit::from_name(unit) {
        Some(Unit::Nanoseconds) => time(value.max(0.0).round() as u64),
        Some(Unit::Seconds) => seconds(value),
        Some(Unit::Bytes) => size(value.max(0.0).round() as u64),
        Some(Unit::PerSecond) => format_rate(value),
        Some(Unit::Count) => grouped(value),
        Some(Unit::Ratio) => format!("{value:.3}"),
        None => format!("{value} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Pacing, Reactor, Stages};
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
        result.balance.client = generator::client_balance(&result);
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
        let stages = Stages { response: Some(entry), ..Stages::default() };
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
        let stages = Stages { connect: Some(entry), ..Stages::default() };
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
