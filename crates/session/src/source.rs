//! The file as it is read: tables whose words are taken one by one, so that each error names its
//! line and column, and a word that nobody took is told.

use measure::Nanos;
use measure::units::{parse_duration, parse_size};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a session file, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, text } = self;
        if *line == 0 {
            write!(f, "{file}: {text}")
        } else {
            write!(f, "{file}:{line}:{column}: {text}")
        }
    }
}

/// A value of the file.
pub(crate) type Item<'a> = &'a Spanned<DeValue<'a>>;

/// The file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn problem(self, span: Range<usize>, text: impl Into<String>) -> Problem {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: text.into(),
        }
    }

    /// Of the file as a whole.
    pub(crate) fn whole(self, text: impl Into<String>) -> Problem {
        Problem { file: self.name.to_owned(), line: 0, column: 0, text: text.into() }
    }

    pub(crate) fn parse(self) -> Result<Spanned<DeTable<'a>>, Problem> {
        DeTable::parse(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.problem(span, format!("this is no TOML: {}", error.message()))
        })
    }
}

/// A table whose words are taken one by one.
pub(crate) struct Table<'a> {
    pub(crate) source: Source<'a>,
    /// What it describes: `the session`, `a step`.
    what: &'static str,
    pub(crate) span: Range<usize>,
    /// What is left of it.
    left: BTreeMap<&'a str, (Range<usize>, Item<'a>)>,
    /// The words that were asked for.
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        source: Source<'a>,
        what: &'static str,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, Item<'a>)| {
            let word: &std::borrow::Cow<'a, str> = key.get_ref();
            (&**word, (key.span(), value))
        };
        let left = table.iter().map(entry).collect();
        Self { source, what, span, left, known: Vec::new() }
    }

    /// A value that has to be a table.
    pub(crate) fn of(
        source: Source<'a>,
        what: &'static str,
        item: Item<'a>,
    ) -> Result<Self, Problem> {
        match item.get_ref() {
            DeValue::Table(table) => Ok(Self::new(source, what, item.span(), table)),
            _ => Err(source.problem(item.span(), format!("{what} is written {{ … }}"))),
        }
    }

    /// Takes a word.
    pub(crate) fn take(&mut self, word: &'static str) -> Option<Item<'a>> {
        self.known.push(word);
        self.left.remove(word).map(|(_, item)| item)
    }

    /// All words that are left, in the order of the file, for tables that name things.
    pub(crate) fn entries(self) -> Vec<(&'a str, Range<usize>, Item<'a>)> {
        let mut entries: Vec<_> =
            self.left.into_iter().map(|(word, (span, item))| (word, span, item)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// Refuses words that nobody took.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some((word, (span, _))) = self.left.into_iter().min_by_key(|(_, (span, _))| span.start)
        else {
            return Ok(());
        };
        let known = self.known.join(", ");
        let text = format!("{} has no word '{word}': its words are {known}", self.what);
        Err(self.source.problem(span, text))
    }

    pub(crate) fn string(&mut self, word: &'static str) -> Result<Option<Text<'a>>, Problem> {
        self.take(word).map(|item| Text::of(self.source, word, item)).transpose()
    }

    /// A string, or several in an array.
    pub(crate) fn strings(&mut self, word: &'static str) -> Result<Vec<Text<'a>>, Problem> {
        let source = self.source;
        match self.take(word) {
            None => Ok(Vec::new()),
            Some(item) => match item.get_ref() {
                DeValue::Array(items) => {
                    items.iter().map(|item| Text::of(source, word, item)).collect()
                }
                _ => Ok(vec![Text::of(source, word, item)?]),
            },
        }
    }

    /// Tables in an array.
    pub(crate) fn tables(
        &mut self,
        word: &'static str,
        what: &'static str,
    ) -> Result<Vec<Self>, Problem> {
        let source = self.source;
        let Some(item) = self.take(word) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = item.get_ref() else {
            return Err(source.problem(item.span(), format!("`{word}` is written [ {{ … }}, … ]")));
        };
        items.iter().map(|item| Self::of(source, what, item)).collect()
    }

    /// A table of named things.
    pub(crate) fn table(
        &mut self,
        word: &'static str,
        what: &'static str,
    ) -> Result<Option<Self>, Problem> {
        let source = self.source;
        self.take(word).map(|item| Self::of(source, what, item)).transpose()
    }

    pub(crate) fn duration(&mut self, word: &'static str) -> Result<Option<Nanos>, Problem> {
        let Some(text) = self.string(word)? else { return Ok(None) };
        match parse_duration(&text.text) {
            Ok(time) if time > Nanos::ZERO => Ok(Some(time)),
            Ok(_) => Err(text.problem(format!("`{word}` has to be more than 0"))),
            Err(error) => Err(text.problem(error.to_string())),
        }
    }

    /// A size in bytes: a number, or a string with a unit.
    pub(crate) fn size(&mut self, word: &'static str) -> Result<Option<u64>, Problem> {
        let source = self.source;
        self.take(word).map(|item| size(source, word, item)).transpose()
    }

    pub(crate) fn flag(&mut self, word: &'static str) -> Result<bool, Problem> {
        match self.take(word) {
            None => Ok(false),
            Some(item) => match item.get_ref() {
                DeValue::Boolean(flag) => Ok(*flag),
                _ => Err(self.source.problem(item.span(), format!("`{word}` is true or false"))),
            },
        }
    }

    pub(crate) fn number(&mut self, word: &'static str) -> Result<Option<u64>, Problem> {
        let source = self.source;
        let number = |item: Item<'a>| {
            whole(item)
                .ok_or_else(|| source.problem(item.span(), format!("`{word}` is a whole number")))
        };
        self.take(word).map(number).transpose()
    }
}

/// A size in bytes: a number, or a string with a unit.
pub(crate) fn size(source: Source<'_>, word: &str, item: Item<'_>) -> Result<u64, Problem> {
    let size = match item.get_ref() {
        DeValue::String(text) => parse_size(text).ok(),
        _ => whole(item),
    };
    size.ok_or_else(|| source.problem(item.span(), format!("`{word}` is a size, as 24 or \"4k\"")))
}

fn whole(item: Item<'_>) -> Option<u64> {
    match item.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

/// A string of the file.
#[derive(Clone, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) text: std::borrow::Cow<'a, str>,
    pub(crate) span: Range<usize>,
}

impl<'a> Text<'a> {
    pub(crate) fn of(source: Source<'a>, word: &str, item: Item<'a>) -> Result<Self, Problem> {
        match item.get_ref() {
            DeValue::String(text) => Ok(Self { source, text: text.clone(), span: item.span() }),
            _ => Err(source.problem(item.span(), format!("`{word}` is a text in quotes"))),
        }
    }

    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        self.source.problem(self.span.clone(), text)
    }
}
