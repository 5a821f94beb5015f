//! JUnit's XML, as CI services read it: that the plan was reached, that the server kept up, that
//! the client was not the bottleneck, and each threshold, is a test case.

use crate::neutral::neutral;
use crate::section::server::{self, Fared};
use crate::section::{Outcome, ResultFile, generator, run, verdict};
use std::fmt::Write as _;

/// What became of a test case.
enum Verdict {
    Passed,
    Failed(String),
    /// Not decided, which fails nothing.
    Skipped(String),
}

/// The plan, the generator and the thresholds of a result as test cases. A client that was the
/// bottleneck makes nothing fail, as it does not when the run ends: the threshold
/// `generator.limited>0` does that.
#[must_use]
pub fn junit(result: &ResultFile) -> String {
    use Verdict::{Failed, Passed, Skipped};
    let about = &result.run;
    let reached = match about.outcome {
        Outcome::Done => Passed,
        _ => {
            let doubts = generator::other_warnings(result);
            let why: String = doubts.iter().map(|one| format!("; {}", one.text)).collect();
            Failed(
                format!("the run ended as '{}'{why}", about.outcome.name()).replace('\u{a0}', " "),
            )
        }
    };
    let mut cases = vec![("the run went as planned".to_owned(), reached)];
    if let Some(fared) = server::fared(result) {
        let kept_up = match fared {
            Fared::KeptUp => Passed,
            Fared::Behind => Failed(server::sentence(result)),
            Fared::Share(share) => Skipped(server::served_words(result, share)),
        };
        cases.push(("the server kept up".to_owned(), kept_up));
    }
    if result.generator.is_some() {
        let reasons = generator::reasons(result);
        let why: Vec<_> =
            reasons.iter().map(|one| format!("{}: {}", one.text, one.remedy)).collect();
        let own =
            if why.is_empty() { Passed } else { Skipped(why.join("; ").replace('\u{a0}', " ")) };
        cases.push(("the client was not the bottleneck".to_owned(), own));
    }
    cases.extend(result.verdict.thresholds.iter().map(|one| {
        let missed = || Failed(verdict::words(one).replace('\u{a0}', " "));
        (format!("not {}", one.expression), if one.ok { Passed } else { missed() })
    }));
    let count = |is: fn(&Verdict) -> bool| cases.iter().filter(|(_, verdict)| is(verdict)).count();
    let failed = count(|verdict| matches!(verdict, Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Skipped(_)));
    let seconds = run::lasted(about).map_or(0.0, |lasted| lasted.as_secs_f64());
    let name = xml(about.label.as_deref().unwrap_or(&about.id));
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuites>\n  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" \
         errors=\"0\" skipped=\"{skipped}\" time=\"{seconds}\" timestamp=\"{}\">",
        cases.len(),
        xml(about.started.split('.').next().unwrap_or_default()),
    );
    for (case, verdict) in cases {
        let _ = write!(text, "    <testcase classname=\"c1000k\" name=\"{}\"", xml(&case));
        let (element, message) = match verdict {
            Passed => {
                text += "/>\n";
                continue;
            }
            Failed(message) => ("failure", message),
            Skipped(message) => ("skipped", message),
        };
        let message = xml(&message);
        let _ = writeln!(text, ">\n      <{element} message=\"{message}\"/>\n    </testcase>");
    }
    text + "  </testsuite>\n</testsuites>\n"
}

/// Text as the value of an attribute.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in neutral(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
