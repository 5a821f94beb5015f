//! `Finding`: one limit held against what is asked for.

use measure::units::{format_grouped, format_size};
use serde::{Deserialize, Serialize};

/// How grave a finding is, in ascending order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Enough.
    Ok,
    /// Good to know; the numbers of this run do not depend on it.
    Note,
    /// The run may go on, but its numbers may suffer.
    Warning,
    /// The run cannot reach what it asks for.
    Refusal,
}

/// One limit, held against what is asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The limit's name: a word, or the sysctl's own.
    pub name: String,
    /// How grave it is.
    pub severity: Severity,
    /// What there is, with unit.
    pub have: String,
    /// What is asked for, with unit.
    pub need: String,
    /// What the limit does to a run.
    pub why: String,
    /// The command or the sentence that mends it; `None` where there is nothing to mend.
    pub remedy: Option<String>,
    /// The sysctl and the value that mend it, for scripts.
    pub sysctl: Option<(String, String)>,
    /// The command that mends it, with privilege, where one does.
    pub command: Option<String>,
}

impl Finding {
    /// A limit that suffices where `have` is at least `need`, and is of this severity otherwise.
    pub(super) fn compare(name: &str, unit: Unit, have: u64, need: u64, lacking: Severity) -> Self {
        Self::judge(name, unit.format(have), unit.format(need), have >= need, lacking)
    }

    /// A setting that suffices or not, and is of this severity then.
    pub(super) fn judge(
        name: &str,
        have: impl Into<String>,
        need: impl Into<String>,
        suffices: bool,
        lacking: Severity,
    ) -> Self {
        Self {
            name: name.to_owned(),
            severity: if suffices { Severity::Ok } else { lacking },
            have: have.into(),
            need: need.into(),
            why: String::new(),
            remedy: None,
            sysctl: None,
            command: None,
        }
    }

    /// Whether it is less than asked for.
    fn lacks(&self) -> bool {
        self.severity > Severity::Ok
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Mends a lack by what this sentence says.
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = self.lacks().then(|| remedy.into());
        self
    }

    /// Mends a lack by a command that needs privilege.
    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = self.lacks().then(|| command.into());
        self.remedy = self.remedy.or_else(|| self.command.clone());
        self
    }

    /// Mends a lack by a setting that has a name of its own.
    pub(super) fn set(mut self, name: &str, value: impl ToString) -> Self {
        if self.lacks() {
            let value = value.to_string();
            let quote = if value.contains(' ') { "'" } else { "" };
            self.sysctl = Some((name.to_owned(), value.clone()));
            self = self.command(format!("sudo sysctl -w {name}={quote}{value}{quote}"));
        }
        self
    }
}

/// Beyond what any machine has of anything.
const UNLIMITED: u64 = 1 << 60;

/// How a number is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Things,
    Bytes,
    Seconds,
}

impl Unit {
    pub(super) fn format(self, value: u64) -> String {
        match self {
            // Some limits are switched off by the highest number there is, less what is in use.
            Self::Things if value >= UNLIMITED => "unlimited".to_owned(),
            Self::Things => format_grouped(value),
            Self::Bytes => format_size(value),
            Self::Seconds => format!("{} s", format_grouped(value)),
        }
    }
}
