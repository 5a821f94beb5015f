//! Templates as bytes: pairs of hexadecimal digits, text in quotes, and groups that have their
//! length before them.
//!
//! ```text
//! 32 varint( str16('fleet/${conn%1000}') u16(${seq}) '${stamp}' )
//! ```
//!
//! A group around one number is that number; around anything else it is what that is, behind its
//! length. `str16( )` always has its length before it.

use super::text::{Builder, expression};
use super::{DEPTH_MAX, Form, Names, Part, Template, TemplateError, Width};

/// Compiles a template out of a description of bytes.
///
/// # Errors
/// If it is none, names what does not exist, or may become too long.
pub(crate) fn parse_binary(text: &str, names: Names<'_>) -> Result<Template, TemplateError> {
    let mut reader = Reader { rest: text, names, builder: Builder::default() };
    reader.items(0)?;
    if reader.rest.starts_with(')') {
        return Err(TemplateError("a ')' has no '(' before it".to_owned()));
    }
    reader.builder.finish(names)
}

struct Reader<'a> {
    rest: &'a str,
    names: Names<'a>,
    builder: Builder,
}

impl<'a> Reader<'a> {
    /// Reads up to the end, or to a bracket that closes a group.
    fn items(&mut self, depth: usize) -> Result<(), TemplateError> {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None | Some(')') => return Ok(()),
                Some('\'') => self.quoted()?,
                Some('$') => {
                    let whole = self.number()?;
                    return Err(TemplateError(format!(
                        "'{whole}' stands alone: say how, as in u16({whole}) or '{whole}' in quotes"
                    )));
                }
                Some(_) => self.word(depth)?,
            }
        }
    }

    fn quoted(&mut self) -> Result<(), TemplateError> {
        let inner = &self.rest[1..];
        let end = inner
            .find('\'')
            .ok_or_else(|| TemplateError(format!("{} has no quote at its end", self.rest)))?;
        self.builder.text(&inner[..end], self.names)?;
        self.rest = &inner[end + 1..];
        Ok(())
    }

    /// `${…}` here, and what is behind it.
    fn number(&mut self) -> Result<&'a str, TemplateError> {
        let end = self.rest.find('}').map(|at| at + 1);
        let end = end.filter(|_| self.rest.starts_with("${"));
        let end = end.ok_or_else(|| TemplateError(format!("'{}' is no '${{…}}'", self.rest)))?;
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(whole)
    }

    fn word(&mut self, depth: usize) -> Result<(), TemplateError> {
        let is_part = |char: char| char.is_ascii_alphanumeric();
        let end = self.rest.find(|char| !is_part(char)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(end);
        if let Some(inside) = behind.trim_start().strip_prefix('(') {
            self.rest = inside;
            return self.group(word, depth);
        }
        let bytes = hex(word).ok_or_else(|| {
            let shown = if word.is_empty() { self.rest } else { word };
            TemplateError(format!(
                "'{shown}' is neither pairs of hexadecimal digits nor a group such as u16( )"
            ))
        })?;
        self.builder.literal(&bytes);
        self.rest = behind;
        Ok(())
    }

    fn group(&mut self, word: &str, depth: usize) -> Result<(), TemplateError> {
        let width = match word {
            "str16" => Some(Width::U16),
            _ => Width::ALL.into_iter().find(|width| width.word() == word),
        };
        let width = width.ok_or_else(|| {
            TemplateError(format!(
                "'{word}( )' is no group: there are u8, u16, u16le, u32, varint and str16"
            ))
        })?;
        if depth == DEPTH_MAX {
            return Err(TemplateError(format!("more than {DEPTH_MAX} groups lie in each other")));
        }
        self.rest = self.rest.trim_start();
        if self.rest.starts_with("${") && word != "str16" {
            let whole = self.number()?;
            let inner = &whole[2..whole.len() - 1];
            let Part::Number(number, _) = expression(inner, self.names)? else {
                return Err(TemplateError(format!(
                    "'{whole}' is no number: write {word}('{whole}') for its length and itself"
                )));
            };
            self.builder.part(Part::Number(number, Form::Binary(width)));
        } else {
            self.builder.part(Part::Open(width));
            self.items(depth + 1)?;
            self.builder.part(Part::Close);
        }
        self.rest = self.rest.trim_start();
        self.rest = self
            .rest
            .strip_prefix(')')
            .ok_or_else(|| TemplateError(format!("the group {word}( ) does not end with ')'")))?;
        Ok(())
    }
}

/// Bytes written as pairs of hexadecimal digits.
fn hex(word: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        word.chars().map(|char| char.to_digit(16).map(|digit| digit as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    (rest.is_empty() && !word.is_empty())
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
