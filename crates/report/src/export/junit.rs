//! JUnit's XML, as CI services read it: that the plan was reached, and each threshold, is a test.

use crate::schema::{Outcome, ResultFile};
use crate::text;
use std::fmt::Write as _;

/// The plan and the thresholds of a result as test cases.
#[must_use]
pub fn junit(result: &ResultFile) -> String {
    let run = &result.run;
    let reached = (run.outcome != Outcome::Done)
        .then(|| format!("the run ended as '{}'", run.outcome.name()));
    let mut cases = vec![("the run went as planned".to_owned(), reached)];
    cases.extend(result.verdict.thresholds.iter().map(|one| {
        let missed = (!one.ok).then(|| text::threshold(one).replace('\u{a0}', " "));
        (format!("not {}", one.expression), missed)
    }));
    let failed = cases.iter().filter(|(_, failure)| failure.is_some()).count();
    let seconds = text::lasted(run).map_or(0.0, |lasted| lasted.as_secs_f64());
    let name = xml(run.label.as_deref().unwrap_or(&run.id));
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuites>\n  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds}\" timestamp=\"{}\">",
        cases.len(),
        xml(run.started.split('.').next().unwrap_or_default()),
    );
    for (case, failure) in cases {
        let _ = write!(text, "    <testcase classname=\"c1000k\" name=\"{}\"", xml(&case));
        let _ = match failure {
            Some(message) => {
                writeln!(text, ">\n      <failure message=\"{}\"/>\n    </testcase>", xml(&message))
            }
            None => writeln!(text, "/>"),
        };
    }
    text + "  </testsuite>\n</testsuites>\n"
}

/// Text as the value of an attribute; what XML 1.0 does not allow at all becomes `?`.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}
