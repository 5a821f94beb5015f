//! `Causes`: why peers were given up as breaking the protocol, and what else they did of their own.

use crate::protocol::Closes;
use std::collections::BTreeMap;
use wire::Unasked;

/// Different sentences that one reactor tells apart in [`Causes`].
const RULES_MAX: usize = 32;
/// A sentence with words of the peer's in it is cut behind so many characters.
const RULE_CHARS_MAX: usize = 200;
/// What is counted for the rules beyond those.
const OTHER_RULES: &str = "other rules";

/// Why peers were given up as breaking the protocol. Counted on failures only, so it may allocate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Causes {
    /// Replies by status: those to handshakes with another one than was asked for, or all of HTTP.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections by the sentence that says what was wrong.
    pub(crate) rules: BTreeMap<String, u64>,
    /// What came and was passed over, as it was not the reply to anything.
    pub(crate) unasked: Unasked,
    /// How peers took leave that did so first.
    pub(crate) closes: Closes,
}

impl Causes {
    /// A peer broke this rule.
    pub(crate) fn violated(&mut self, rule: &str) {
        self.count(rule.chars().take(RULE_CHARS_MAX).collect(), 1);
    }

    /// So many replies had this status.
    pub(crate) fn answered_with(&mut self, status: u16, count: u64) {
        *self.statuses.entry(status).or_default() += count;
    }

    fn count(&mut self, rule: String, count: u64) {
        let known = self.rules.len() < RULES_MAX || self.rules.contains_key(&rule);
        let rule = if known { rule } else { OTHER_RULES.to_owned() };
        *self.rules.entry(rule).or_default() += count;
    }

    /// Adds another reactor's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            self.answered_with(*status, *count);
        }
        for (rule, count) in &other.rules {
            self.count(rule.clone(), *count);
        }
        self.unasked.merge(&other.unasked);
        self.closes.merge(&other.closes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_counted_and_bounded_and_none_is_lost() {
        let (mut one, mut other) = (Causes::default(), Causes::default());
        for n in 0..100 {
            one.violated(&format!("the close code {n} must not be sent"));
            other.violated("the same again");
        }
        other.violated(&"x".repeat(10_000));
        assert_eq!(one.rules.len(), RULES_MAX + 1);
        one.merge(&other);
        assert_eq!(one.rules.len(), RULES_MAX + 1);
        assert_eq!(one.rules.values().sum::<u64>(), 201);
        assert_eq!(one.rules[OTHER_RULES], 201 - RULES_MAX as u64);
        assert!(other.rules.keys().all(|rule| rule.chars().count() <= RULE_CHARS_MAX));
    }
}
