//! The words of the live view, as pure functions.

use super::View;
use measure::Nanos;
use measure::units::{format_grouped, format_rate};
use std::cmp::Reverse;
use std::iter;

/// The column of the labels; the longest is `connections`.
pub(super) const LABEL_WIDTH: usize = 12;
/// The label of the line that turns red.
pub(super) const FAILURES: &str = "failures";
const GAP: &str = "  ";

/// The panel: six or seven lines of at most `width` columns, without colours. What does not fit is
/// left out whole, from the right: a number is never cut.
#[must_use]
pub fn lines(view: &View, width: usize) -> Vec<String> {
    let mut lines = vec![
        line(view.phase, &phase(view, width), width),
        line("connections", &connections(view), width),
        line(FAILURES, &failures(view), width),
        line("messages", &messages(view), width),
        line("response", &response(view), width),
        line("in flight", &in_flight(view), width),
    ];
    if let Some(note) = &view.note {
        lines.push(line("note", std::slice::from_ref(note), width));
    }
    lines
}

/// The same as one line for logs and pipes, of any length.
#[must_use]
pub fn plain(view: &View) -> String {
    let mut parts = vec![
        format!("{} {} {}%", view.elapsed, view.phase, percent(view)),
        format!("{}/{} open", view.open, view.planned),
        format!("opening {}", format_rate(view.opened_per_second)),
    ];
    if view.failed + view.lost > 0 {
        parts.push(failures(view).join(" "));
    }
    if view.received > 0 || view.sent_per_second > 0.0 {
        let mut rates = messages(view);
        rates.truncate(2 + usize::from(view.rate_asked.is_some()));
        parts.push(rates.join(" "));
        parts.push(format!("response {}", response(view).join(" ")));
        parts.push(format!("in flight {}", in_flight(view).join(" ")));
    }
    parts.extend(left(view));
    parts.extend(view.note.clone());
    printable(&parts.join(", "))
}

fn phase(view: &View, width: usize) -> Vec<String> {
    let cells = width.saturating_sub(50).clamp(8, 40);
    let done = view.done();
    // Rounded down: a full bar means that nothing is left.
    let full = (done * cells as f64) as usize;
    let mut parts = vec![format!("[{}{}]", "#".repeat(full), ".".repeat(cells - full))];
    parts.extend(left(view));
    parts.push(format!("{}%", percent(view)));
    parts.push(format!("{} in all", view.elapsed));
    parts
}

/// How much of the phase is done; rounded down: 100 means that nothing is left.
fn percent(view: &View) -> u64 {
    (view.done() * 100.0) as u64
}

/// How long it still takes. A phase that takes longer than it was to says nothing.
fn left(view: &View) -> Option<String> {
    view.phase_left.filter(|left| *left > Nanos::ZERO).map(|left| format!("{left} left"))
}

fn connections(view: &View) -> Vec<String> {
    vec![
        format!("{}/{}", format_grouped(view.open), format_grouped(view.planned)),
        format!("+{}", format_rate(view.opened_per_second)),
        format!("opened {}", format_grouped(view.opened)),
    ]
}

fn failures(view: &View) -> Vec<String> {
    if view.failed + view.lost == 0 {
        return vec!["none".to_owned()];
    }
    let mut kinds: Vec<_> = view.failures.iter().filter(|(_, count)| *count > 0).collect();
    kinds.sort_by_key(|(_, count)| Reverse(*count));
    let sums = [("failed", view.failed), ("lost", view.lost)];
    let sums = sums.iter().filter(|(_, count)| *count > 0);
    sums.map(|(name, count)| format!("{} {name}", format_grouped(*count)))
        .chain(kinds.into_iter().map(|(name, count)| format!("{name} {}", format_grouped(*count))))
        .collect()
}

fn messages(view: &View) -> Vec<String> {
    let mut parts = vec![
        format!("sent {}", format_rate(view.sent_per_second)),
        format!("received {}", format_rate(view.received_per_second)),
    ];
    parts.extend(view.rate_asked.map(|rate| format!("asked {}", format_rate(rate))));
    parts.push(format!("{} in all", format_grouped(view.received)));
    parts
}

fn response(view: &View) -> Vec<String> {
    let named =
        [("p50", view.response_p50), ("p99", view.response_p99), ("max", view.response_max)];
    let parts: Vec<_> = named.into_iter().filter_map(|(name, time)| timed(name, time)).collect();
    if parts.is_empty() { vec!["none in the last second".to_owned()] } else { parts }
}

fn in_flight(view: &View) -> Vec<String> {
    iter::once(format_grouped(view.in_flight)).chain(timed("send lag p99", view.send_lag)).collect()
}

fn timed(name: &str, time: Option<Nanos>) -> Option<String> {
    time.map(|time| format!("{name} {time}"))
}

/// A label and as many of the parts, in their order, as fit. The first is always there, if need be
/// cut with an ellipsis.
fn line(label: &str, parts: &[String], width: usize) -> String {
    let mut text = format!("{label:<LABEL_WIDTH$}");
    for (index, part) in parts.iter().enumerate() {
        let gap = if index == 0 { "" } else { GAP };
        if index > 0 && columns(&text) + columns(gap) + columns(part) > width {
            break;
        }
        text.push_str(gap);
        text.push_str(part);
    }
    cut(&printable(&text), width)
}

/// At most `width` columns of `text`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(iter::once('…').take(width)).collect()
}

/// Every character counts as one column; what the programs print is ASCII.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Without control characters: text from elsewhere must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steady() -> View {
        View {
            phase: "run",
            elapsed: Nanos::from_secs(62),
            phase_elapsed: Nanos::from_secs(12),
            phase_left: Some(Nanos::from_secs(18)),
            phase_done: None,
            planned: 1_000_000,
            opened: 999_990,
            open: 999_988,
            failed: 10,
            lost: 2,
            opened_per_second: 31_400.0,
            sent_per_second: 50_000.0,
            received_per_second: 49_900.0,
            rate_asked: Some(50_000.0),
            received: 1_234_567,
            in_flight: 1_203,
            response_p50: Some(Nanos(61_500)),
            response_p99: Some(Nanos::from_micros(1_200)),
            response_max: Some(Nanos::from_millis(30)),
            send_lag: Some(Nanos::from_micros(12)),
            failures: vec![("reset", 2), ("timed_out", 10), ("refused", 0)],
            note: None,
        }
    }

    #[test]
    fn the_panel_at_80_columns() {
        let expected = [
            "run         [############..................]  18 s left  40%  62 s in all",
            "connections 999,988/1,000,000  +31.4k/s  opened 999,990",
            "failures    10 failed  2 lost  timed_out 10  reset 2",
            "messages    sent 50k/s  received 49.9k/s  asked 50k/s  1,234,567 in all",
            "response    p50 61.5 us  p99 1.2 ms  max 30 ms",
            "in flight   1,203  send lag p99 12 us",
        ];
        assert_eq!(lines(&steady(), 80), expected);
    }

    #[test]
    fn the_panel_at_40_columns() {
        let view = View { note: Some("the target's accept queue is full".into()), ..steady() };
        let expected = [
            "run         [###.....]  18 s left  40%",
            "connections 999,988/1,000,000  +31.4k/s",
            "failures    10 failed  2 lost",
            "messages    sent 50k/s  received 49.9k/s",
            "response    p50 61.5 us  p99 1.2 ms",
            "in flight   1,203  send lag p99 12 us",
            "note        the target's accept queue i…",
        ];
        assert_eq!(lines(&view, 40), expected);
    }

    #[test]
    fn what_can_be_counted_of_a_phase_is_its_bar() {
        let view =
            View { phase: "first echo", phase_left: None, phase_done: Some((1, 4)), ..steady() };
        let expected = "first echo  [#######.......................]  25%  62 s in all";
        assert_eq!(lines(&view, 80)[0], expected);
        let nothing = View { phase_done: Some((0, 0)), ..view };
        assert!(lines(&nothing, 80)[0].contains("  0%"), "{:?}", lines(&nothing, 80));
    }

    #[test]
    fn opening_without_a_planned_end_shows_how_many_were_tried() {
        let view = View {
            phase: "open",
            elapsed: Nanos::from_secs(5),
            planned: 1_000,
            opened: 240,
            open: 240,
            failed: 10,
            ..View::default()
        };
        let lines = lines(&view, 80);
        assert_eq!(lines[0], "open        [#######.......................]  25%  5 s in all");
        assert_eq!(lines[4], "response    none in the last second");
    }

    #[test]
    fn plain_lines_say_what_there_is() {
        assert_eq!(
            plain(&steady()),
            "62 s run 40%, 999988/1000000 open, opening 31.4k/s, \
             10 failed 2 lost timed_out 10 reset 2, \
             sent 50k/s received 49.9k/s asked 50k/s, response p50 61.5 us p99 1.2 ms max 30 ms, \
             in flight 1,203 send lag p99 12 us, 18 s left"
        );
        let opening = View {
            phase: "open",
            elapsed: Nanos::from_secs(1),
            planned: 10,
            open: 3,
            opened_per_second: 3.0,
            note: Some("two\nlines".to_owned()),
            ..View::default()
        };
        assert_eq!(plain(&opening), "1 s open 0%, 3/10 open, opening 3/s, two lines");
    }

    #[test]
    fn a_full_bar_means_that_nothing_is_left() {
        let bar = |done, left| {
            let (phase_elapsed, phase_left) = (Nanos(done), Some(Nanos(left)));
            let view = View { phase_elapsed, phase_left, ..View::default() };
            lines(&view, 58).swap_remove(0)
        };
        assert!(bar(999_999, 1).contains("[#######.]  1 ns left  99%"));
        assert!(bar(999_999, 0).contains("[########]  100%"));
        assert!(bar(0, 0).contains("[........]"), "no time at all is no progress");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked_or_steers_the_terminal(
            width in 0..200_usize,
            counts in any::<[u64; 6]>(),
            rate in any::<f64>(),
            note in any::<String>(),
        ) {
            let [planned, opened, failed, lost, elapsed, left] = counts;
            let view = View {
                phase: "drain",
                phase_elapsed: Nanos(elapsed),
                phase_left: left.is_multiple_of(2).then_some(Nanos(left)),
                planned,
                opened,
                failed: failed / 2,
                lost: lost / 2,
                opened_per_second: rate,
                note: Some(note),
                ..View::default()
            };
            for line in lines(&view, width) {
                prop_assert!(columns(&line) <= width, "{line:?}");
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
            prop_assert!(!plain(&view).contains(char::is_control));
        }
    }
}
