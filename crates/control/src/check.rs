//! `check` of both programs: what this machine lacks for a plan, without carrying it out.

use crate::Error;
use host::preflight::{self, Finding};
use measure::units::format_grouped;

/// What of the answer is wanted, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// How many connections fit, a tab, and why not more.
    Fits,
    /// Everything, for programs.
    Json,
    /// What would help, as commands for a shell.
    Shell,
    /// What would help, as a file of sysctls.
    Sysctl,
    /// A table for people.
    Table,
}

impl Form {
    /// The one that was asked for. The command line sees to it that it is one.
    #[must_use]
    pub fn of(fits: bool, json: bool, shell: bool, sysctl: bool) -> Self {
        match (fits, json, shell, sysctl) {
            (true, ..) => Self::Fits,
            (_, true, ..) => Self::Json,
            (_, _, true, _) => Self::Shell,
            (.., true) => Self::Sysctl,
            _ => Self::Table,
        }
    }
}

/// A plan that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// The connections that it asks for.
    pub connections: u64,
    /// What was found.
    pub findings: &'a [Finding],
    /// What it says of itself, line by line: stands above the table, and below it how much of it
    /// fits.
    pub description: Option<&'a [String]>,
}

impl Checked<'_> {
    /// The answer in a form. Of fewer connections more may be had than their share, since a plan
    /// for them may need fewer reactors and addresses: so `plan_for` plans for other numbers and
    /// says what is found then.
    ///
    /// # Errors
    /// If the findings cannot be written as JSON.
    pub fn text(
        &self,
        form: Form,
        plan_for: impl Fn(u64) -> Vec<Finding>,
    ) -> Result<String, Error> {
        let Self { connections, findings, description } = *self;
        let fits = || preflight::largest_unrefused(connections, &plan_for);
        Ok(match form {
            Form::Fits => {
                let (fits, reason) = fits();
                format!("{fits}\t{reason}")
            }
            Form::Json => {
                let (fits, reason) = fits();
                let value = serde_json::json!({
                    "connections": connections,
                    "fits": fits,
                    "reason": reason,
                    "findings": findings,
                });
                serde_json::to_string_pretty(&value).map_err(|e| Error::Failed(e.to_string()))?
            }
            Form::Shell => preflight::shell(findings),
            Form::Sysctl => preflight::settings(findings),
            Form::Table => match description {
                None => preflight::table(findings),
                Some(lines) => {
                    let table = preflight::table(findings);
                    let mut text = format!("{}\n\n{table}", lines.join("\n"));
                    let (fits, reason) = fits();
                    if fits < connections {
                        let asked = format_grouped(connections);
                        text.push_str(&format!("\nof {asked} connections only {reason}\n"));
                    }
                    text
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::preflight::Severity;

    /// A machine that refuses more than five.
    fn findings(connections: u64) -> Vec<Finding> {
        let finding = Finding {
            name: "room".into(),
            severity: Severity::Refusal,
            have: "5".into(),
            need: connections.to_string(),
            why: "there is no more".into(),
            remedy: None,
            sysctl: None,
            command: None,
        };
        (connections > 5).then_some(finding).into_iter().collect()
    }

    fn text(connections: u64, form: Form, description: Option<&[String]>) -> String {
        let findings = findings(connections);
        let checked = Checked { connections, findings: &findings, description };
        checked.text(form, self::findings).expect("text")
    }

    #[test]
    fn each_form_says_how_much_fits() {
        assert_eq!(text(3, Form::Fits, None), "3\tall 3 connections fit");
        assert!(text(9, Form::Fits, None).starts_with("5\t5 connections fit: room is 5"));
        let json: serde_json::Value =
            serde_json::from_str(&text(9, Form::Json, None)).expect("JSON");
        assert_eq!((&json["connections"], &json["fits"]), (&9.into(), &5.into()));
        assert_eq!(json["findings"][0]["name"], "room");
        let lines = ["nine connections".to_owned()];
        let table = text(9, Form::Table, Some(&lines));
        assert!(table.starts_with("nine connections\n\n"), "{table}");
        assert!(table.contains("\nof 9 connections only 5 connections fit"), "{table}");
        assert!(!text(3, Form::Table, Some(&lines)).contains("only"));
        assert_eq!(text(9, Form::Table, None), preflight::table(&findings(9)));
    }

    #[test]
    fn one_form_is_asked_for() {
        assert_eq!(Form::of(false, false, false, false), Form::Table);
        assert_eq!(Form::of(true, false, false, false), Form::Fits);
        assert_eq!(Form::of(false, true, false, false), Form::Json);
        assert_eq!(Form::of(false, false, true, false), Form::Shell);
        assert_eq!(Form::of(false, false, false, true), Form::Sysctl);
    }
}
