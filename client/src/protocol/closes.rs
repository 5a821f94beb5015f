//! `Closes`: how peers took leave that did so first.

use std::collections::BTreeMap;

/// Close codes that one reactor tells apart in [`Closes`].
const CLOSE_CODES_MAX: usize = 64;
/// What stands for a close frame without a code (RFC 6455 7.1.5).
const NO_CLOSE_CODE: u16 = 1005;

/// How peers took leave that did so first: by close code how often, and the first reason that was
/// given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Closes {
    pub(crate) by_code: BTreeMap<u16, (u64, String)>,
    /// Those with codes beyond the ones that are told apart.
    pub(crate) others: u64,
}

impl Closes {
    /// A peer took leave with this.
    #[cold]
    pub(crate) fn count(&mut self, code: Option<u16>, reason: &str) {
        self.add(code.unwrap_or(NO_CLOSE_CODE), 1, reason);
    }

    fn add(&mut self, code: u16, count: u64, reason: &str) {
        if self.by_code.len() >= CLOSE_CODES_MAX && !self.by_code.contains_key(&code) {
            self.others += count;
            return;
        }
        let (sum, first) = self.by_code.entry(code).or_default();
        *sum += count;
        if first.is_empty() {
            reason.clone_into(first);
        }
    }

    /// Adds those of another reactor.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (code, (count, reason)) in &other.by_code {
            self.add(*code, *count, reason);
        }
        self.others += other.others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_counted_with_their_first_reasons_and_bounded() {
        let (mut one, mut other) = (Closes::default(), Closes::default());
        one.count(None, "");
        one.count(Some(4401), "");
        other.count(Some(4401), "login timeout");
        other.count(Some(4401), "later");
        for code in 3000..3100 {
            other.count(Some(code), "");
        }
        one.merge(&other);
        assert_eq!(one.by_code[&1005], (1, String::new()));
        assert_eq!(one.by_code[&4401], (3, "login timeout".to_owned()));
        assert_eq!(one.by_code.len(), CLOSE_CODES_MAX);
        let told_apart: u64 = one.by_code.values().map(|(count, _)| count).sum();
        assert_eq!(told_apart + one.others, 104);
    }
}
