//! The findings in the forms they are asked for: a table for people, a drop-in file for sysctl, and
//! commands for a shell. As JSON they are themselves.

use super::{Finding, Severity};

/// The findings as people read them: a line each, and what mends it below those that lack
/// something.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let widest = |heading: &str, column: fn(&Finding) -> &String| {
        findings.iter().map(|f| column(f).len()).chain([heading.len()]).max().unwrap_or(0)
    };
    let (name, have) = (widest("limit", |f| &f.name), widest("have", |f| &f.have));
    let need = widest("need", |f| &f.need);
    let mut text = format!("       {:name$}  {:>have$}  {:>need$}\n", "limit", "have", "need");
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warn",
            Severity::Refusal => "LACKS",
        };
        let Finding { name: n, have: h, need: d, .. } = finding;
        text.push_str(&format!("{mark:>5}  {n:name$}  {h:>have$}  {d:>need$}\n"));
        if finding.severity > Severity::Ok {
            text.push_str(&format!("       why: {}\n", finding.why));
            if let Some(remedy) = &finding.remedy {
                text.push_str(&format!("       do:  {remedy}\n"));
            }
        }
    }
    text
}

/// The sysctls that would mend what the run lacks, as a file for `sysctl --load` or
/// `/etc/sysctl.d` (sysctl.d(5)): `name = value` lines, the reason above each.
#[must_use]
pub fn settings(findings: &[Finding]) -> String {
    let lacking = findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    let wanted = lacking.filter_map(|finding| Some((finding, finding.sysctl.as_ref()?)));
    wanted
        .map(|(finding, (name, value))| {
            format!(
                "# is {}, needs {}: {}\n{name} = {value}\n",
                finding.have, finding.need, finding.why
            )
        })
        .collect()
}

/// What mends the lacks, for a shell: each command below its reason. What no command mends is a
/// comment, and so is what the run does not depend on.
#[must_use]
pub fn shell(findings: &[Finding]) -> String {
    let lacking = findings.iter().filter(|finding| finding.severity > Severity::Ok);
    lacking
        .map(|finding| {
            let Finding { name, have, need, why, .. } = finding;
            let reason = format!("# {name} is {have}, needs {need}: {why}\n");
            let mend = match (&finding.command, &finding.remedy) {
                (Some(command), _) if finding.severity >= Severity::Warning => command.clone(),
                (Some(remedy), _) | (None, Some(remedy)) => format!("# {remedy}"),
                (None, None) => return reason,
            };
            format!("{reason}{mend}\n")
        })
        .collect()
}
