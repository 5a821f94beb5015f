//! The one line that comes first everywhere: did the server keep up, was the generator honest, did
//! the thresholds hold? With the worst of the three, which gives it its colour.

use crate::part::is_unfinished;
use crate::section::server::{self, Fared};
use crate::section::{Model, Outcome, ResultFile, generator};

/// How good the news are; the worst comes last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Worst {
    /// All is as it should be.
    Good,
    /// A reader has to know something before the numbers are used.
    Doubt,
    /// Something failed.
    Bad,
}

/// The words, without a full stop, and the worst of them.
#[must_use]
pub fn of(result: &ResultFile) -> (String, Worst) {
    but_for(result, "")
}

/// The same without one of its parts, which stands beside it already.
#[must_use]
pub(crate) fn but_for(result: &ResultFile, told: &str) -> (String, Worst) {
    let parts = [of_server(result), of_generator(result), of_thresholds(result), of_run(result)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let worst = parts.iter().map(|(_, worst)| *worst).max().unwrap_or(Worst::Good);
    let words = parts.into_iter().map(|(words, _)| words).filter(|words| words != told);
    let words: Vec<_> = words.collect();
    (words.join(" \u{b7} "), worst)
}

/// The same in ASCII, for terminals.
#[must_use]
pub fn plain(result: &ResultFile) -> String {
    of(result).0.replace('\u{b7}', "-")
}

fn of_server(result: &ResultFile) -> Option<(String, Worst)> {
    Some(match server::fared(result)? {
        Fared::KeptUp => ("the server kept up".to_owned(), Worst::Good),
        Fared::Behind => ("the server fell behind".to_owned(), Worst::Bad),
        Fared::Share(share) => (server::served_words(result, share), Worst::Doubt),
    })
}

fn of_generator(result: &ResultFile) -> Option<(String, Worst)> {
    if result.plan.model == Model::None || result.messages.sent == 0 || is_unfinished(result) {
        return None;
    }
    Some(match generator::reasons(result).is_empty() {
        true => ("the generator was honest".to_owned(), Worst::Good),
        false => ("the generator was limited".to_owned(), Worst::Doubt),
    })
}

fn of_thresholds(result: &ResultFile) -> Option<(String, Worst)> {
    let all = &result.verdict.thresholds;
    let missed = all.iter().filter(|one| !one.ok).count();
    match (all.len(), missed) {
        (0, _) => None,
        (_, 0) => Some(("thresholds held".to_owned(), Worst::Good)),
        (all, missed) => Some((format!("{missed} of {all} thresholds missed"), Worst::Bad)),
    }
}

/// What kept a run from its plan where nothing of the above does.
fn of_run(result: &ResultFile) -> Option<(String, Worst)> {
    let words = match result.run.outcome {
        Outcome::Done => return None,
        Outcome::NotReached if server::fared(result) == Some(Fared::Behind) => return None,
        Outcome::NotReached => "the plan was not reached",
        Outcome::Interrupted if is_unfinished(result) => "cut off before its end",
        Outcome::Interrupted => "interrupted",
        Outcome::Failed => "failed",
    };
    Some((words.to_owned(), Worst::Bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Generator, Server, ThresholdVerdict, Warning};

    #[test]
    fn the_worst_of_the_parts_gives_the_colour() {
        let mut result = ResultFile::default();
        result.run.outcome = Outcome::Done;
        assert_eq!(of(&result), (String::new(), Worst::Good));
        result.plan.model = Model::Open;
        let messages = &mut result.messages;
        (messages.sent, messages.rate_planned) = (100, Some(10.0));
        (messages.rate_served, messages.served_seconds) = (Some(10.0), 10.0);
        let both = "the server kept up \u{b7} the generator was honest";
        assert_eq!(of(&result), (both.to_owned(), Worst::Good));
        assert_eq!(plain(&result), "the server kept up - the generator was honest");
        result.verdict.thresholds = vec![ThresholdVerdict { ok: true, ..Default::default() }];
        assert_eq!(of(&result).1, Worst::Good);
        result.generator =
            Some(Generator { reasons: vec![Warning::default()], ..Generator::default() });
        assert_eq!(of(&result).1, Worst::Doubt);
        result.verdict.thresholds.push(ThresholdVerdict::default());
        let (words, worst) = of(&result);
        assert!(words.ends_with("the generator was limited \u{b7} 1 of 2 thresholds missed"));
        assert_eq!(worst, Worst::Bad);
        (result.generator, result.server) =
            (None, Some(Server { behind: true, ..Server::default() }));
        result.verdict.thresholds.clear();
        result.run.outcome = Outcome::NotReached;
        let words = "the server fell behind \u{b7} the generator was honest";
        assert_eq!(of(&result), (words.to_owned(), Worst::Bad));
        result.server = None;
        assert!(of(&result).0.ends_with("the plan was not reached"));
        // What never came to its end was not judged.
        result.run.outcome = Outcome::Interrupted;
        result.messages.rate_served = None;
        result.run.warnings.push(Warning { code: "unfinished".to_owned(), ..Warning::default() });
        assert_eq!(of(&result), ("cut off before its end".to_owned(), Worst::Bad));
    }
}
