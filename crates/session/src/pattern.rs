//! Regular expressions over messages. All of a session are one automaton, which says which of them
//! match in one pass; groups are taken by a second one. Both are built once and bounded: nothing
//! grows while they search, whatever a message holds.

use regex_automata::dfa::regex::Regex;
use regex_automata::dfa::{Automaton, dense, onepass};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternSet};
use std::fmt;
use std::ops::Range;

/// The largest that an automaton may be, in bytes.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// Groups of one expression that may be named.
const GROUPS_MAX: usize = 8;

/// Why a regular expression cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PatternError {
    /// It is none.
    #[error("'{0}' is no regular expression: {1}")]
    Wrong(String, String),
    /// Its automaton would be too large.
    #[error(
        "'{0}' needs an automaton of more than 1 MiB: bound its repetitions, or use \
         `starts`, `has` or `json`"
    )]
    Large(String),
    /// All expressions together would be.
    #[error(
        "all regular expressions together need an automaton of more than 1 MiB: use `starts`, \
         `has` or `json` for some"
    )]
    LargeTogether,
    /// Its groups cannot be taken in one pass.
    #[error(
        "the groups of '{0}' cannot be taken in one pass: write it so that each byte leaves one \
         way to go on, as `\"id\":([0-9]+)` does and `.*([0-9]+)` does not"
    )]
    ManyWays(String),
    /// It has no such group.
    #[error("'{0}' has no group {1}")]
    NoGroup(String, usize),
}

/// The regular expressions of a session.
#[derive(Clone, Default)]
pub(crate) struct Patterns {
    texts: Vec<String>,
    all: Option<dense::DFA<Vec<u32>>>,
    groups: Vec<Option<Box<Groups>>>,
}

/// How the groups of one expression are taken.
#[derive(Clone)]
struct Groups {
    whole: Regex,
    groups: onepass::DFA,
}

/// What searching needs, once for each reactor.
pub(crate) struct PatternScratch {
    /// Those that match.
    found: PatternSet,
    caches: Vec<Option<onepass::Cache>>,
}

/// Bytes, not characters: messages need not be text.
fn bytes_syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

fn thompson() -> thompson::Config {
    thompson::Config::new().utf8(false).nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
}

fn dense() -> dense::Config {
    dense::Config::new()
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(4 * AUTOMATON_BYTES_MAX))
}

impl Patterns {
    /// The number of an expression, which is added if it is not here.
    ///
    /// # Errors
    /// If it is none, or its automaton would be too large.
    pub(crate) fn number(&mut self, text: &str) -> Result<usize, PatternError> {
        if let Some(known) = self.texts.iter().position(|known| known == text) {
            return Ok(known);
        }
        syntax::parse_with(text, &bytes_syntax()).map_err(|error| {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            PatternError::Wrong(text.to_owned(), last.trim_start_matches("error: ").to_owned())
        })?;
        let built = dense::Builder::new()
            .configure(dense())
            .syntax(bytes_syntax())
            .thompson(thompson())
            .build(text);
        built.map_err(|_| PatternError::Large(text.to_owned()))?;
        self.texts.push(text.to_owned());
        self.groups.push(None);
        Ok(self.texts.len() - 1)
    }

    /// A group of an expression is to be taken.
    ///
    /// # Errors
    /// If there is none of that number, or that cannot be done in one pass.
    pub(crate) fn take_group(&mut self, number: usize, group: usize) -> Result<(), PatternError> {
        let text = &self.texts[number];
        if self.groups[number].is_none() {
            let many_ways = || PatternError::ManyWays(text.clone());
            let whole = Regex::builder()
                .dense(dense())
                .syntax(bytes_syntax())
                .thompson(thompson())
                .build(text)
                .map_err(|_| PatternError::Large(text.clone()))?;
            let groups = onepass::Builder::new()
                .configure(onepass::Config::new().size_limit(Some(AUTOMATON_BYTES_MAX)))
                .syntax(bytes_syntax())
                .thompson(thompson())
                .build(text)
                .map_err(|_| many_ways())?;
            self.groups[number] = Some(Box::new(Groups { whole, groups }));
        }
        let known = self.groups[number].as_ref().map_or(0, |groups| {
            groups.groups.get_nfa().group_info().group_len(regex_automata::PatternID::ZERO)
        });
        if group < known && group < GROUPS_MAX {
            Ok(())
        } else {
            Err(PatternError::NoGroup(text.clone(), group))
        }
    }

    /// Builds the automaton of all of them; nothing is added behind this.
    ///
    /// # Errors
    /// If it would be too large.
    pub(crate) fn finish(&mut self) -> Result<(), PatternError> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let all = dense::Builder::new()
            .configure(dense().match_kind(MatchKind::All))
            .syntax(bytes_syntax())
            .thompson(thompson())
            .build_many(&self.texts);
        self.all = Some(all.map_err(|_| PatternError::LargeTogether)?);
        Ok(())
    }

    pub(crate) fn text(&self, number: usize) -> &str {
        &self.texts[number]
    }

    /// Bytes that the automata take, shared by all connections.
    pub(crate) fn bytes(&self) -> usize {
        let of = |groups: &Groups| {
            let (forward, reverse) = (groups.whole.forward(), groups.whole.reverse());
            forward.memory_usage() + reverse.memory_usage() + groups.groups.memory_usage()
        };
        let groups: usize = self.groups.iter().flatten().map(|groups| of(groups)).sum();
        groups + self.all.as_ref().map_or(0, dense::DFA::memory_usage)
    }

    pub(crate) fn scratch(&self) -> PatternScratch {
        let cache = |groups: &Option<Box<Groups>>| Some(groups.as_ref()?.groups.create_cache());
        PatternScratch {
            found: PatternSet::new(self.texts.len()),
            caches: self.groups.iter().map(cache).collect(),
        }
    }

    /// Finds out which match in a message.
    pub(crate) fn find(&self, message: &[u8], scratch: &mut PatternScratch) {
        scratch.found.clear();
        if let Some(all) = &self.all {
            // It fails at bytes or anchors that it does not know: there are none.
            let _ = all.try_which_overlapping_matches(&Input::new(message), &mut scratch.found);
        }
    }

    /// Where a group of an expression lies in a message, if that matches and has it.
    pub(crate) fn group(
        &self,
        (number, group): (usize, usize),
        message: &[u8],
        scratch: &mut PatternScratch,
    ) -> Option<Range<usize>> {
        let groups = self.groups.get(number)?.as_ref()?;
        let cache = scratch.caches.get_mut(number)?.as_mut()?;
        let whole = groups.whole.try_search(&Input::new(message)).ok()??;
        let mut slots = [None; 2 * GROUPS_MAX];
        let input = Input::new(message).span(whole.range()).anchored(Anchored::Yes);
        groups.groups.try_search_slots(cache, &input, &mut slots).ok()??;
        Some(slots[2 * group]?.get()..slots[2 * group + 1]?.get())
    }
}

impl PatternScratch {
    /// Whether an expression matches in the message that was searched last.
    pub(crate) fn matches(&self, number: usize) -> bool {
        regex_automata::PatternID::new(number).is_ok_and(|number| self.found.contains(number))
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("texts", &self.texts).finish_non_exhaustive()
    }
}

impl fmt::Debug for PatternScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternScratch").field("found", &self.found).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATTERNS: [&str; 6] =
        [r"^43(\d+)\[", r"\nreceipt-id:(\d+)\n", r"a(b|cd)?e", r"(?i)hello", r"x{2,3}$", r"^$"];

    fn patterns() -> Patterns {
        let mut patterns = Patterns::default();
        for text in PATTERNS {
            let number = patterns.number(text).expect(text);
            if let 0..3 = number {
                patterns.take_group(number, 1).expect(text);
            }
        }
        patterns.finish().expect("small");
        patterns
    }

    fn refused(text: &str) -> String {
        Patterns::default().number(text).expect_err(text).to_string()
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        assert!(refused("a(b").starts_with("'a(b' is no regular expression: unclosed group"));
        assert!(refused(r"(?:\w{100}){100}").contains("more than 1 MiB"));
        assert!(refused(r"(a|b)*a(a|b){18}").contains("more than 1 MiB"));
        let mut patterns = Patterns::default();
        let number = patterns.number(r".*(\d+)").expect("right");
        let said = patterns.take_group(number, 1).expect_err("many ways").to_string();
        assert!(said.contains("in one pass"), "{said}");
        let number = patterns.number(r"^(\d+)").expect("right");
        let said = patterns.take_group(number, 2).expect_err("one group").to_string();
        assert_eq!(said, r"'^(\d+)' has no group 2");
        assert_eq!(patterns.number(r"^(\d+)"), Ok(number));
    }

    proptest! {
        #[test]
        fn they_match_what_regex_matches(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("43"), Just("7["), Just("\nreceipt-id:12\n"), Just("abe"), Just("acde"),
                    Just("ae"), Just("HeLLo"), Just("xxx"), Just("xx"), Just("\u{e9}"),
                ],
                0..6,
            )
        ) {
            let message = parts.concat();
            let patterns = patterns();
            let mut scratch = patterns.scratch();
            patterns.find(message.as_bytes(), &mut scratch);
            for (number, text) in PATTERNS.into_iter().enumerate() {
                let theirs = regex::bytes::Regex::new(text).expect("right");
                let found = theirs.captures(message.as_bytes());
                prop_assert_eq!(scratch.matches(number), found.is_some(), "{}", text);
                if number < 3 {
                    let group = found.and_then(|found| Some(found.get(1)?.range()));
                    let ours = patterns.group((number, 1), message.as_bytes(), &mut scratch);
                    prop_assert_eq!(ours, group);
                }
            }
        }
    }
}
