//! Kinds of messages: each message that comes is told apart once, before anybody asks for it. The
//! first kind whose tests all hold is its own; one that fits none is unknown.

use crate::data::Data;
use crate::json::{self, Pointers, Value};
use crate::pattern::{PatternScratch, Patterns};
use crate::place::{Place, Read};
use crate::source::{Item, Problem, Source, Table, Text};
use crate::template::{Fill, Names, Template, Variables, parse_binary, parse_text};
use memchr::memmem::Finder;
use toml::de::DeValue;

/// So many kinds may be told apart: a connection remembers those that came early in 32 bits.
pub const KINDS_MAX: usize = 32;

/// A kind of message.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: String,
    tests: Vec<Test>,
    /// What is kept of it: the number of a variable, and where its value lies.
    take: Vec<(usize, Place)>,
    /// Where the number of the request lies that it answers.
    id: Option<Place>,
    /// Where the stamp of what was published lies.
    push: Option<Place>,
    /// What is sent back at once.
    pub reply: Option<Template>,
    /// The connection has failed with it.
    pub fails: bool,
    /// The connection ends well with it.
    pub closes: bool,
}

/// What has to hold of a message.
#[derive(Debug)]
enum Test {
    Status(u16),
    Is(Expected),
    Starts(Expected),
    Has(Box<Finder<'static>>),
    /// These bytes from there on; `None` fits any.
    Bytes {
        at: usize,
        bytes: Vec<Option<u8>>,
    },
    Json {
        pointer: String,
        number: u16,
        want: Want,
    },
    Pattern(usize),
}

/// What is to be found at a pointer.
#[derive(Debug)]
enum Want {
    Anything,
    Text(Expected),
    /// A number, `true`, `false` or `null`, as it is written.
    Plain(String),
}

/// Bytes that are always the same, or that a template makes.
#[derive(Debug)]
enum Expected {
    Always(Box<[u8]>),
    Filled(Template),
}

/// What telling messages apart needs, once for each reactor.
#[derive(Debug)]
pub struct Scratch {
    values: Vec<Option<Value>>,
    patterns: PatternScratch,
    expected: Vec<u8>,
}

/// All kinds of a session, in the order in which they are tried.
#[derive(Debug, Default)]
pub struct Kinds {
    all: Vec<Kind>,
    pointers: Pointers,
    patterns: Patterns,
    /// Whether any test asks for it.
    json: bool,
}

/// A message that is to be told apart.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its content.
    pub bytes: &'a [u8],
    /// The status of the response that carried it, over HTTP.
    pub status: Option<u16>,
}

/// What expected values are filled with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rows.
    pub data: &'a Data,
    /// The variables.
    pub variables: &'a Variables,
    /// The connection.
    pub fill: &'a Fill<'a>,
}

impl Kinds {
    /// Reads `[messages]`.
    pub(crate) fn read(table: Table<'_>, names: Names<'_>) -> Result<Self, Problem> {
        let source = table.source;
        let mut kinds = Self::default();
        for (name, span, item) in table.entries() {
            if kinds.all.len() == KINDS_MAX {
                let text = format!("there are more than {KINDS_MAX} kinds of messages");
                return Err(source.problem(span, text));
            }
            let kind =
                kinds.read_one(name, Table::of(source, "a kind of message", item)?, names)?;
            kinds.all.push(kind);
        }
        kinds.patterns.finish().map_err(|error| source.whole(error.to_string()))?;
        Ok(kinds)
    }

    fn read_one(
        &mut self,
        name: &str,
        mut table: Table<'_>,
        names: Names<'_>,
    ) -> Result<Kind, Problem> {
        let source = table.source;
        let mut tests = Vec::new();
        if let Some(status) = table.number("status")? {
            let status = u16::try_from(status).ok().filter(|status| (100..600).contains(status));
            let status = status
                .ok_or_else(|| source.problem(table.span.clone(), "`status` is from 100 to 599"))?;
            tests.push(Test::Status(status));
        }
        if let Some(text) = table.string("is")? {
            tests.push(Test::Is(expected(&text, names)?));
        }
        if let Some(text) = table.string("starts")? {
            tests.push(Test::Starts(expected(&text, names)?));
        }
        if let Some(text) = table.string("has")? {
            let Expected::Always(bytes) = expected(&text, names)? else {
                return Err(text.problem("`has` is always the same: it takes no ${…}"));
            };
            tests.push(Test::Has(Box::new(Finder::new(&bytes).into_owned())));
        }
        let at = table.number("at")?;
        match table.string("bytes")? {
            Some(text) => {
                let bytes = byte_pattern(&text)?;
                tests.push(Test::Bytes { at: at.unwrap_or(0) as usize, bytes });
            }
            None if at.is_some() => {
                return Err(source.problem(table.span.clone(), "`at` belongs to `bytes`"));
            }
            None => {}
        }
        if let Some(wanted) = table.table("json", "`json`")? {
            for (pointer, span, item) in wanted.entries() {
                let number = self.pointers.number(pointer).ok_or_else(|| {
                    let text = format!("'{pointer}' is no pointer: write '/key' or '/list/0/key'");
                    source.problem(span, text)
                })?;
                let want = want(source, item, names)?;
                tests.push(Test::Json { pointer: pointer.to_owned(), number, want });
            }
        }
        let mut pattern = None;
        if let Some(text) = table.string("regex")? {
            let number = self.patterns.number(&text.text);
            let number = number.map_err(|error| text.problem(error.to_string()))?;
            pattern = Some(number);
            tests.push(Test::Pattern(number));
        }
        if tests.is_empty() {
            let text = format!(
                "the kind '{name}' has no test: one of status, is, starts, has, bytes, json, regex"
            );
            return Err(source.problem(table.span.clone(), text));
        }
        let mut place = |text: &Text<'_>| {
            Place::parse(&text.text, pattern, &mut self.pointers, &mut self.patterns)
                .map_err(|error| text.problem(error))
        };
        let mut take = Vec::new();
        if let Some(wanted) = table.table("take", "`take`")? {
            for (variable, span, item) in wanted.entries() {
                let number = names.variables.number(variable).ok_or_else(|| {
                    let text = format!(
                        "there is no variable '{variable}': give it room, \
                         vars = {{ {variable} = 24 }}"
                    );
                    source.problem(span, text)
                })?;
                take.push((number, place(&Text::of(source, "take", item)?)?));
            }
        }
        let id = table.string("id")?.map(|text| place(&text)).transpose()?;
        let push = table.string("push")?.map(|text| place(&text)).transpose()?;
        let reply = table.string("reply")?.map(|text| template(&text, names)).transpose()?;
        let fails = table.flag("fail")?;
        let closes = match table.string("close")? {
            None => false,
            Some(text) if text.text == "ok" => true,
            Some(text) => return Err(text.problem("`close` is \"ok\": the connection ends well")),
        };
        table.finish()?;
        self.json |= self.pointers.len() > 0;
        Ok(Kind { name: name.to_owned(), tests, take, id, push, reply, fails, closes })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Kind] {
        &self.all
    }

    /// The number of a kind.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|kind| kind.name == name)
    }

    /// Bytes that telling messages apart takes, shared by all connections.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.patterns.bytes()
    }

    /// What a reactor needs to tell messages apart.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        Scratch {
            values: vec![None; self.pointers.len()],
            patterns: self.patterns.scratch(),
            expected: Vec::new(),
        }
    }

    /// The kind of a message. What is asked of it behind this is about the message that was told
    /// apart last.
    pub fn tell(
        &self,
        message: Message<'_>,
        context: Context<'_>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        self.read_message(message, scratch);
        self.all.iter().position(|kind| self.first_unmet(kind, message, context, scratch).is_none())
    }

    /// Finds out what tests ask for.
    fn read_message(&self, message: Message<'_>, scratch: &mut Scratch) {
        if self.json {
            self.pointers.find(message.bytes, &mut scratch.values);
        }
        self.patterns.find(message.bytes, &mut scratch.patterns);
    }

    /// The first test of a kind that a message does not pass.
    fn first_unmet<'a>(
        &self,
        kind: &'a Kind,
        message: Message<'_>,
        context: Context<'_>,
        scratch: &mut Scratch,
    ) -> Option<&'a Test> {
        kind.tests.iter().find(|test| !self.holds(test, message, context, scratch))
    }

    fn holds(
        &self,
        test: &Test,
        message: Message<'_>,
        context: Context<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { values, patterns, expected } = scratch;
        match test {
            Test::Status(status) => message.status == Some(*status),
            Test::Is(text) => message.bytes == text.bytes(context, expected),
            Test::Starts(text) => message.bytes.starts_with(text.bytes(context, expected)),
            Test::Has(text) => text.find(message.bytes).is_some(),
            Test::Bytes { at, bytes } => {
                let part = message.bytes.get(*at..).and_then(|rest| rest.get(..bytes.len()));
                let fits = |(byte, want): (&u8, &Option<u8>)| want.is_none_or(|want| want == *byte);
                part.is_some_and(|part| part.iter().zip(bytes).all(fits))
            }
            Test::Json { number, want, .. } => {
                let Some(Value { kind, at }) = &values[usize::from(*number)] else { return false };
                let raw = &message.bytes[at.clone()];
                match want {
                    Want::Anything => true,
                    Want::Text(text) => {
                        *kind == json::Kind::String
                            && json::is_text(raw, text.bytes(context, expected))
                    }
                    Want::Plain(plain) => *kind == json::Kind::Plain && is_plain(raw, plain),
                }
            }
            Test::Pattern(number) => patterns.matches(*number),
        }
    }

    /// For each kind why a message is not of it; `None` where it fits.
    #[must_use]
    pub fn why_not(
        &self,
        message: Message<'_>,
        context: Context<'_>,
        scratch: &mut Scratch,
    ) -> Vec<(&str, Option<String>)> {
        self.read_message(message, scratch);
        let mut all = Vec::new();
        for kind in &self.all {
            let unmet = self.first_unmet(kind, message, context, scratch);
            all.push((&*kind.name, unmet.map(|test| self.said(test, message, context, scratch))));
        }
        all
    }

    /// Why a test does not hold, in words.
    fn said(
        &self,
        test: &Test,
        message: Message<'_>,
        context: Context<'_>,
        scratch: &mut Scratch,
    ) -> String {
        let Scratch { values, expected, .. } = scratch;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        match test {
            Test::Status(status) => match message.status {
                Some(is) => format!("its status is {is}, not {status}"),
                None => format!("it has no status, and {status} is asked for"),
            },
            Test::Is(text) => format!("it is not \"{}\"", shown(text.bytes(context, expected))),
            Test::Starts(text) => {
                format!("it does not start with \"{}\"", shown(text.bytes(context, expected)))
            }
            Test::Has(text) => format!("it does not have \"{}\"", shown(text.needle())),
            Test::Bytes { at, .. } => format!("its bytes from {at} on are others"),
            Test::Json { pointer, number, want } => {
                let found = values[usize::from(*number)].as_ref();
                let is = match found {
                    None => format!("it has nothing at {pointer}"),
                    Some(value) => {
                        format!("at {pointer} is {}", shown(&message.bytes[value.at.clone()]))
                    }
                };
                match want {
                    Want::Anything => is,
                    Want::Text(text) => {
                        format!("{is}, not \"{}\"", shown(text.bytes(context, expected)))
                    }
                    Want::Plain(plain) => format!("{is}, not {plain}"),
                }
            }
            Test::Pattern(number) => format!("'{}' does not match", self.patterns.text(*number)),
        }
    }

    /// Keeps what a kind keeps of the message that was told apart last.
    ///
    /// # Errors
    /// If something was longer than its variable's room, or not there: which variable.
    pub fn keep(
        &self,
        kind: usize,
        message: &[u8],
        variables: &Variables,
        captured: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), Kept> {
        for (variable, place) in &self.all[kind].take {
            variables.clear(*variable, captured);
            let mut fits = true;
            let is_there = place.take(&mut self.reading(message, scratch), |part| {
                fits = variables.append(*variable, captured, part);
                fits
            });
            if !fits {
                return Err(Kept::Cut(*variable));
            }
            if !is_there {
                return Err(Kept::Missing(*variable));
            }
        }
        Ok(())
    }

    fn reading<'a>(&'a self, message: &'a [u8], scratch: &'a mut Scratch) -> Read<'a> {
        let Scratch { values, patterns, .. } = scratch;
        Read { message, values, patterns: &self.patterns, scratch: patterns }
    }

    /// Whether a message of this kind answers a request of its own number.
    #[must_use]
    pub fn has_id(&self, kind: usize) -> bool {
        self.all[kind].id.is_some()
    }

    /// Whether the message that was told apart last answers the request of this number.
    pub fn answers(
        &self,
        kind: usize,
        message: &[u8],
        sequence: u32,
        scratch: &mut Scratch,
    ) -> bool {
        let Some(place) = &self.all[kind].id else { return true };
        place.number(&mut self.reading(message, scratch)) == Some(place.as_sent(sequence))
    }

    /// Whether messages of this kind are published by others.
    #[must_use]
    pub fn is_push(&self, kind: usize) -> bool {
        self.all[kind].push.is_some()
    }

    /// Where the stamp of what was published is to be looked for in the message that was told apart
    /// last.
    pub fn pushed<'a>(
        &'a self,
        kind: usize,
        message: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Option<&'a [u8]> {
        let place = self.all[kind].push.as_ref()?;
        place.slice(&mut self.reading(message, scratch))
    }
}

/// Why something of a message could not be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// It was longer than the room of this variable.
    Cut(usize),
    /// There was nothing for this variable.
    Missing(usize),
}

impl Expected {
    fn bytes<'a>(&'a self, context: Context<'_>, filled: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Always(bytes) => bytes,
            Self::Filled(template) => {
                filled.clear();
                template.write(context.data, context.variables, context.fill, filled);
                filled
            }
        }
    }
}

/// A template as text; an error says where the text stands.
pub(crate) fn template(text: &Text<'_>, names: Names<'_>) -> Result<Template, Problem> {
    parse_text(&text.text, names).map_err(|error| text.problem(error.to_string()))
}

/// The same as bytes.
pub(crate) fn binary(text: &Text<'_>, names: Names<'_>) -> Result<Template, Problem> {
    parse_binary(&text.text, names).map_err(|error| text.problem(error.to_string()))
}

fn expected(text: &Text<'_>, names: Names<'_>) -> Result<Expected, Problem> {
    let template = template(text, names)?;
    Ok(match template.constant() {
        Some(bytes) => Expected::Always(bytes.into()),
        None => Expected::Filled(template),
    })
}

fn want(source: Source<'_>, item: Item<'_>, names: Names<'_>) -> Result<Want, Problem> {
    Ok(match item.get_ref() {
        DeValue::String(text) if text == "*" => Want::Anything,
        DeValue::String(_) => Want::Text(expected(&Text::of(source, "json", item)?, names)?),
        DeValue::Integer(number) if number.radix() == 10 => Want::Plain(number.as_str().to_owned()),
        DeValue::Float(number) => Want::Plain(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Want::Plain(flag.to_string()),
        _ => {
            let text = "what is expected is a text, a number, true, false or \"*\" for anything";
            return Err(source.problem(item.span(), text));
        }
    })
}

/// Whether a number or word, as it was found, is the one that is wanted: 6 is 6.0 too.
fn is_plain(raw: &[u8], plain: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().is_ok();
    let number = |text: &str| text.parse::<f64>().ok();
    raw == plain.as_bytes()
        || std::str::from_utf8(raw).is_ok_and(|raw| {
            // Whole numbers may have more digits than a fraction holds.
            !(whole(raw) && whole(plain)) && number(raw).is_some_and(|is| number(plain) == Some(is))
        })
}

/// Pairs of hexadecimal digits, `..` for any byte.
fn byte_pattern(text: &Text<'_>) -> Result<Vec<Option<u8>>, Problem> {
    let wrong =
        || text.problem("`bytes` are pairs of hexadecimal digits, `..` for any: \"20 02 .. 00\"");
    let compact: Vec<char> = text.text.chars().filter(|char| !char.is_whitespace()).collect();
    let (pairs, rest) = compact.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(wrong());
    }
    let byte = |pair: &[char; 2]| match pair {
        ['.', '.'] => Ok(None),
        [high, low] => {
            let (high, low) = (high.to_digit(16), low.to_digit(16));
            let byte = high.zip(low).map(|(high, low)| (high << 4 | low) as u8);
            byte.map(Some).ok_or_else(wrong)
        }
    };
    pairs.iter().map(byte).collect()
}
