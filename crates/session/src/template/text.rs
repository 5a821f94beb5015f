//! Templates as text: `${…}` among what is sent as it stands; `$${` is a `${` that stands for
//! itself.

use super::{Escape, Form, Names, Number, Part, RESERVED, Template, TemplateError};

/// Compiles a template out of text.
///
/// # Errors
/// If it names what does not exist, or may become too long.
pub(crate) fn parse_text(text: &str, names: Names<'_>) -> Result<Template, TemplateError> {
    let mut builder = Builder::default();
    builder.text(text, names)?;
    builder.finish(names)
}

/// A template in the making.
#[derive(Default)]
pub(super) struct Builder {
    literals: Vec<u8>,
    parts: Vec<Part>,
}

impl Builder {
    pub(super) fn finish(self, names: Names<'_>) -> Result<Template, TemplateError> {
        Template::new(self.literals, self.parts, names)
    }

    pub(super) fn part(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Adds bytes that stand for themselves.
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        let start = self.literals.len() as u32;
        self.literals.extend_from_slice(bytes);
        let end = self.literals.len() as u32;
        match self.parts.last_mut() {
            _ if bytes.is_empty() => {}
            Some(Part::Literal(range)) if range.end == start => range.end = end,
            _ => self.parts.push(Part::Literal(start..end)),
        }
    }

    pub(super) fn text(&mut self, text: &str, names: Names<'_>) -> Result<(), TemplateError> {
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                self.literal(&rest.as_bytes()[..at - 1]);
                self.literal(b"${");
                rest = &rest[at + 2..];
                continue;
            }
            self.literal(&rest.as_bytes()[..at]);
            let inner = &rest[at + 2..];
            let end = inner.find('}').ok_or_else(|| {
                TemplateError(format!(
                    "'{}' has no '}}': write '$${{' for a '${{' that is sent",
                    &rest[at..]
                ))
            })?;
            self.part(expression(&inner[..end], names)?);
            rest = &inner[end + 1..];
        }
        self.literal(rest.as_bytes());
        Ok(())
    }
}

/// What stands between `${` and `}`.
pub(super) fn expression(inner: &str, names: Names<'_>) -> Result<Part, TemplateError> {
    let wrong = |why: &str| TemplateError(format!("'${{{inner}}}' {why}"));
    if let Some(part) = value(inner, Escape::None, names) {
        return Ok(part);
    }
    if let Some((name, argument)) = inner.split_once(':') {
        match name {
            "rand" => {
                let range = argument.split_once('-').and_then(|(low, high)| {
                    Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
                });
                let (low, high) = range
                    .filter(|(low, high): &(u64, u64)| low <= high)
                    .ok_or_else(|| wrong("needs two numbers, the lower first: '${rand:1-9}'"))?;
                return Ok(Part::Number(Number::Random { low, high }, Form::Decimal));
            }
            "pad" => {
                let count = argument.trim().parse().ok();
                return count.map(Part::Pad).ok_or_else(|| wrong("needs a length: '${pad:200}'"));
            }
            _ => {}
        }
    }
    // The name of a column may have colons of its own.
    if let Some((name, ending)) = inner.rsplit_once(':') {
        let escape = match ending {
            "json" => Escape::Json,
            "url" => Escape::Url,
            "base64" => Escape::Base64,
            _ => return Err(wrong("has an ending that is none of :json, :url and :base64")),
        };
        return value(name, escape, names).ok_or_else(|| wrong(&unknown(names)));
    }
    let number = |number| Ok(Part::Number(number, Form::Decimal));
    match inner {
        "conn" => return number(Number::Connection { divided_by: 1, modulo: u64::MAX }),
        "seq" => return number(Number::Sequence),
        "n" => return number(Number::Count),
        "now_ms" => return number(Number::NowMs),
        "stamp" => return Ok(Part::Stamp),
        "rand" => return Err(wrong("needs two numbers: '${rand:1-9}'")),
        "pad" => return Err(wrong("needs a length: '${pad:200}'")),
        _ => {}
    }
    let share = |text: &str| text.trim().parse().ok().filter(|share| *share > 0);
    let of_connection = inner.strip_prefix("conn").map(str::trim_start);
    if let Some(modulo) = of_connection.and_then(|rest| rest.strip_prefix('%')) {
        let modulo = share(modulo).ok_or_else(|| wrong("needs a number: '${conn%1000}'"))?;
        return number(Number::Connection { divided_by: 1, modulo });
    }
    if let Some(divided_by) = of_connection.and_then(|rest| rest.strip_prefix('/')) {
        let divided_by = share(divided_by).ok_or_else(|| wrong("needs a number: '${conn/100}'"))?;
        return number(Number::Connection { divided_by, modulo: u64::MAX });
    }
    Err(wrong(&unknown(names)))
}

/// A column or a variable of that name.
fn value(name: &str, escape: Escape, Names { data, variables }: Names<'_>) -> Option<Part> {
    // Counted when they were read.
    let column = data.column(name).map(|column| Part::Column(column as u16, escape));
    column.or_else(|| variables.number(name).map(|number| Part::Variable(number as u8, escape)))
}

/// Says what there is.
fn unknown(Names { data, variables }: Names<'_>) -> String {
    let list = |what: &str, names: &[String]| {
        if names.is_empty() {
            format!("there are no {what}")
        } else {
            format!("{what} are {}", names.join(", "))
        }
    };
    format!(
        "is not known: {}, {}, and always there are {}",
        list("columns", data.columns()),
        list("variables", variables.names()),
        RESERVED.join(", ")
    )
}
