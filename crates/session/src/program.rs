//! `Program`: a session file compiled, shared by all reactors. How a connection goes through it:
//!
//! ```text
//! connect ─► setup ─► ready ─► loop, again and again, timers beside it ─► end ─► close
//! ```

use crate::data::Data;
use crate::frame::Frame;
use crate::kind::{Kinds, binary, template};
use crate::source::{Item, Problem, Source, Table, Text, size};
use crate::template::{Names, RESERVED, Template, Variables};
use crate::think::Think;
use measure::Nanos;
use std::path::Path;
use toml::de::DeValue;

/// Steps that may have a name, and so a histogram of their own.
pub const NAMES_MAX: usize = 16;
/// Timers that a session may have.
pub const TIMERS_MAX: usize = 4;
/// Columns of the rows.
const COLUMNS_MAX: usize = 1000;
/// Variables, and bytes that one may take.
const VARIABLES_MAX: usize = 32;
const ROOM_BYTES_MAX: u64 = 4096;

/// A session.
#[derive(Debug)]
pub struct Program {
    /// The rows.
    pub data: Data,
    /// Which of them a connection has.
    pub rows: Rows,
    /// What connections keep.
    pub variables: Variables,
    /// What they keep at the beginning.
    pub first: Vec<u8>,
    /// The path of the request that opens a connection, query included.
    pub path: Option<Template>,
    /// Fields of its head.
    pub header: Vec<Template>,
    /// Subprotocols that it asks for.
    pub subprotocol: Vec<String>,
    /// How messages are told apart in a stream; `None`: as the protocol does.
    pub frame: Option<Frame>,
    /// Before a connection is ready.
    pub setup: Vec<Step>,
    /// Again and again.
    pub repeated: Vec<Step>,
    /// How long it takes from one loop of a connection to its next; else the run's rate says.
    pub every: Option<Nanos>,
    /// Beside the loop.
    pub timers: Vec<Timer>,
    /// Before a connection is closed.
    pub end: Vec<Step>,
    /// What may come.
    pub kinds: Kinds,
    /// The names of steps that are recorded by themselves.
    pub names: Vec<String>,
}

/// Which row a connection has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rows {
    /// Its own: there have to be as many as connections.
    #[default]
    Unique,
    /// That of its number, from the first again behind the last.
    Cycle,
    /// One that the seed says.
    Random,
}

/// A step.
#[derive(Debug)]
pub struct Step {
    /// The number of its name.
    pub name: Option<u8>,
    /// What is sent.
    pub send: Option<Send>,
    /// The kinds of messages, a bit each, one of which ends it; 0: it ends when it was sent.
    pub expect: u32,
    /// How long that may take; `None`: as long as any reply of the run.
    pub within: Option<Nanos>,
    /// How long the connection then does nothing.
    pub think: Option<Think>,
    /// The status of the close with which it ends the connection.
    pub close: Option<u16>,
}

/// What a step sends.
#[derive(Debug)]
pub enum Send {
    /// Text.
    Text(Template),
    /// Bytes.
    Binary(Template),
    /// An HTTP request.
    Request {
        /// Method and target.
        line: Template,
        /// Fields of its head.
        header: Vec<Template>,
        /// Its body.
        body: Option<Template>,
    },
}

impl Send {
    /// All templates of it.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let (first, header, body) = match self {
            Self::Text(text) | Self::Binary(text) => (text, &[][..], None),
            Self::Request { line, header, body } => (line, &header[..], body.as_ref()),
        };
        std::iter::once(first).chain(header).chain(body)
    }

    /// The longest that it may be, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.templates().map(Template::longest).sum()
    }

    /// Whether it carries the number of its request.
    #[must_use]
    pub fn has_sequence(&self) -> bool {
        self.templates().any(Template::has_sequence)
    }
}

/// A step beside the loop.
#[derive(Debug)]
pub struct Timer {
    /// From one time to the next.
    pub every: Nanos,
    /// What is done then.
    pub step: Step,
}

impl Program {
    /// Reads and compiles a session file. Its data lies beside it.
    ///
    /// # Errors
    /// If something of it is wrong: where, and what to write instead.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|error| Source { name: &name, text: "" }.whole(error.to_string()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::compile(&name, &text, |data| {
            let file = std::fs::File::open(folder.join(data)).map_err(|error| error.to_string())?;
            Data::read(std::io::BufReader::new(file)).map_err(|error| error.to_string())
        })
    }

    /// Compiles the text of a session file. `read` brings its data by their name.
    ///
    /// # Errors
    /// If something of it is wrong: where, and what to write instead.
    pub fn compile(
        file: &str,
        text: &str,
        read: impl FnOnce(&str) -> Result<Data, String>,
    ) -> Result<Self, Problem> {
        let source = Source { name: file, text };
        let document = source.parse()?;
        let mut table = Table::new(source, "a session", document.span(), document.get_ref());
        let data = match table.string("data")? {
            None => Data::default(),
            Some(name) => {
                let data = read(&name.text);
                data.map_err(|error| name.problem(format!("{}: {error}", name.text)))?
            }
        };
        if data.columns().len() > COLUMNS_MAX {
            return Err(source.whole(format!("the data have more than {COLUMNS_MAX} columns")));
        }
        if let Some(name) = data.columns().iter().find(|name| RESERVED.contains(&&***name)) {
            return Err(source.whole(format!(
                "a column is named '{name}', which stands for something else in every session: \
                 name it otherwise"
            )));
        }
        let rows = rows(&mut table, &data)?;
        let (variables, first) = variables(&mut table, &data)?;
        let names = Names { data: &data, variables: &variables };
        let path = table.string("path")?.map(|text| template(&text, names)).transpose()?;
        let header = templates(&table.strings("header")?, names)?;
        let subprotocol = table.strings("subprotocol")?;
        let frame = table.string("frame")?.map(|text| frame(&text)).transpose()?;
        let kinds = match table.table("messages", "[messages]")? {
            Some(messages) => Kinds::read(messages, names)?,
            None => Kinds::default(),
        };
        let mut steps = Steps { names, kinds: &kinds, recorded: Vec::new() };
        let setup = steps.read(&mut table, "setup")?;
        let repeated = steps.read(&mut table, "loop")?;
        let every = table.duration("every")?;
        let mut timers = Vec::new();
        for mut timer in table.tables("timers", "a timer")? {
            let every = timer.duration("every")?;
            let span = timer.span.clone();
            let every = every.ok_or_else(|| source.problem(span, "a timer needs `every`"))?;
            timers.push(Timer { every, step: steps.one(timer)? });
        }
        let end = steps.read(&mut table, "end")?;
        let recorded = steps.recorded;
        table.finish()?;
        let program = Self {
            subprotocol: subprotocol.into_iter().map(|text| text.text.into_owned()).collect(),
            names: recorded,
            rows,
            first,
            path,
            header,
            frame,
            setup,
            repeated,
            every,
            timers,
            end,
            kinds,
            variables,
            data,
        };
        program.check().map_err(|text| source.whole(text))?;
        Ok(program)
    }

    /// What holds of the whole.
    fn check(&self) -> Result<(), String> {
        if self.timers.len() > TIMERS_MAX {
            return Err(format!("there are more than {TIMERS_MAX} timers"));
        }
        if self.setup.is_empty() && self.repeated.is_empty() && self.timers.is_empty() {
            return Err("nothing is done: a session needs `setup`, `loop` or `timers`".to_owned());
        }
        let thinks = self.repeated.iter().any(|step| step.think.is_some());
        if thinks && self.every.is_some() {
            return Err(
                "`every` and `think` both say when the next loop begins: leave one out".to_owned()
            );
        }
        if self.is_http()
            && self.steps().any(|step| !matches!(step.send, None | Some(Send::Request { .. })))
        {
            return Err(
                "some steps have a `request`, others `send`: a session speaks either HTTP, or \
                        messages"
                    .to_owned(),
            );
        }
        let most = self.frame.unwrap_or_default().most();
        if self.steps().filter_map(|step| step.send.as_ref()).any(|send| send.longest() > most) {
            return Err(format!(
                "a message may be longer than a frame of {} can say",
                self.frame.unwrap_or_default().word()
            ));
        }
        Ok(())
    }

    /// All steps.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let timers = self.timers.iter().map(|timer| &timer.step);
        self.setup.iter().chain(&self.repeated).chain(timers).chain(&self.end)
    }

    /// Whether it speaks HTTP requests, not messages.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.steps().any(|step| matches!(step.send, Some(Send::Request { .. })))
    }

    /// The longest that anything may be that it sends, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        let sent = self.steps().filter_map(|step| Some(step.send.as_ref()?.longest()));
        let replies =
            self.kinds.all().iter().filter_map(|kind| Some(kind.reply.as_ref()?.longest()));
        sent.chain(replies).max().unwrap_or(0)
    }

    /// Refuses too few rows for so many connections.
    ///
    /// # Errors
    /// If each is to have a row of its own and there are fewer.
    pub fn check_rows(&self, connections: u64) -> Result<(), String> {
        let rows = self.data.rows() as u64;
        if self.rows == Rows::Unique && rows > 0 && rows < connections {
            return Err(format!(
                "the data have {rows} rows for {connections} connections: give them more, fewer \
                 connections, or rows = \"cycle\""
            ));
        }
        Ok(())
    }

    /// The row of a connection; the same for the same seed.
    #[must_use]
    pub fn row(&self, connection: u64, seed: u64) -> usize {
        let rows = self.data.rows() as u64;
        if rows == 0 {
            return 0;
        }
        let row = match self.rows {
            Rows::Unique | Rows::Cycle => connection % rows,
            Rows::Random => {
                crate::template::mixed(seed ^ crate::template::mixed(connection)) % rows
            }
        };
        row as usize
    }
}

fn rows(table: &mut Table<'_>, data: &Data) -> Result<Rows, Problem> {
    let Some(text) = table.string("rows")? else { return Ok(Rows::default()) };
    if data.rows() == 0 {
        return Err(
            text.problem("`rows` says which row of `data` a connection has: there are none")
        );
    }
    match &*text.text {
        "unique" => Ok(Rows::Unique),
        "cycle" => Ok(Rows::Cycle),
        "random" => Ok(Rows::Random),
        _ => Err(text.problem("`rows` is \"unique\", \"cycle\" or \"random\"")),
    }
}

/// The variables, and what they hold at the beginning.
fn variables(table: &mut Table<'_>, data: &Data) -> Result<(Variables, Vec<u8>), Problem> {
    let source = table.source;
    let (mut variables, mut starts) = (Variables::default(), Vec::new());
    for (name, span, item) in table.table("vars", "`vars`")?.map(Table::entries).unwrap_or_default()
    {
        let refused =
            |why: &str| Err(source.problem(span.clone(), format!("the variable '{name}' {why}")));
        if RESERVED.contains(&name) {
            return refused("has a name that stands for something else in every session");
        }
        if data.column(name).is_some() {
            return refused("has the name of a column");
        }
        if starts.len() == VARIABLES_MAX {
            return refused(&format!("is one too many: {VARIABLES_MAX} are the most"));
        }
        let (room, start) = room(source, item)?;
        if !(1..=ROOM_BYTES_MAX).contains(&room) {
            return refused(&format!(
                "has room for {room} bytes: 1 to {ROOM_BYTES_MAX} are allowed"
            ));
        }
        if start.len() as u64 > room {
            return refused("starts with more than it has room for");
        }
        // No more than the most.
        variables.add(name.to_owned(), room as u16);
        starts.push(start);
    }
    let mut first = vec![0; variables.bytes()];
    for (number, start) in starts.iter().enumerate() {
        variables.append(number, &mut first, start.as_bytes());
    }
    Ok((variables, first))
}

/// `24`, or `{ size = 24, start = "0" }`.
fn room(source: Source<'_>, item: Item<'_>) -> Result<(u64, String), Problem> {
    let DeValue::Table(_) = item.get_ref() else {
        return Ok((size(source, "vars", item)?, String::new()));
    };
    let mut table = Table::of(source, "a variable", item)?;
    let room = table.size("size")?;
    let room = room.ok_or_else(|| source.problem(item.span(), "a variable needs its `size`"))?;
    let start = table.string("start")?.map(|text| text.text.into_owned()).unwrap_or_default();
    table.finish()?;
    Ok((room, start))
}

fn templates(texts: &[Text<'_>], names: Names<'_>) -> Result<Vec<Template>, Problem> {
    texts.iter().map(|text| template(text, names)).collect()
}

fn frame(text: &Text<'_>) -> Result<Frame, Problem> {
    let named = Frame::ALL.into_iter().find(|(word, _)| *word == text.text);
    named.map(|(_, frame)| frame).ok_or_else(|| {
        let words: Vec<_> = Frame::ALL.iter().map(|(word, _)| *word).collect();
        text.problem(format!("`frame` is one of {}", words.join(", ")))
    })
}

/// Reads steps, and gives their names numbers.
struct Steps<'a> {
    names: Names<'a>,
    kinds: &'a Kinds,
    recorded: Vec<String>,
}

impl Steps<'_> {
    fn read(&mut self, table: &mut Table<'_>, word: &'static str) -> Result<Vec<Step>, Problem> {
        table.tables(word, "a step")?.into_iter().map(|step| self.one(step)).collect()
    }

    fn one(&mut self, mut table: Table<'_>) -> Result<Step, Problem> {
        let (source, span) = (table.source, table.span.clone());
        let wrong = |text: &str| source.problem(span.clone(), text);
        let name = table.string("name")?.map(|text| self.name(&text)).transpose()?;
        let send = self.send(&mut table)?;
        let mut expect = 0;
        for kind in table.strings("expect")? {
            let number = self.kinds.number(&kind.text).ok_or_else(|| {
                let known: Vec<_> = self.kinds.all().iter().map(|kind| &*kind.name).collect();
                kind.problem(format!(
                    "no message is of the kind '{}': [messages] has {}",
                    kind.text,
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                ))
            })?;
            expect |= 1 << number;
        }
        let within = table.duration("within")?;
        if within.is_some() && expect == 0 {
            return Err(wrong(
                "`within` says how long what is expected may take: `expect` is missing",
            ));
        }
        let think = table.string("think")?;
        let think = think.map(|text| Think::parse(&text.text).map_err(|why| text.problem(why)));
        let think = think.transpose()?;
        let close = match table.number("close")? {
            None => None,
            Some(status @ (1000 | 1001 | 3000..=4999)) => Some(status as u16),
            Some(_) => {
                return Err(wrong("`close` is 1000, 1001, or from 3000 to 4999 (RFC 6455 7.4)"));
            }
        };
        table.finish()?;
        if send.is_none() && expect == 0 && think.is_none() && close.is_none() {
            return Err(wrong(
                "a step does something: send, binary, request, expect, think or close",
            ));
        }
        if name.is_some() && send.is_none() && expect == 0 {
            return Err(wrong(
                "a name is for what is measured: this step sends and expects nothing",
            ));
        }
        Ok(Step { name, send, expect, within, think, close })
    }

    fn name(&mut self, text: &Text<'_>) -> Result<u8, Problem> {
        let is_word =
            |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        if text.text.is_empty() || !text.text.chars().all(is_word) {
            return Err(
                text.problem("a name is of small letters, digits and _: thresholds name it")
            );
        }
        if self.recorded.iter().any(|known| *known == text.text) {
            return Err(text.problem(format!("two steps are named '{}'", text.text)));
        }
        if self.recorded.len() == NAMES_MAX {
            return Err(
                text.problem(format!("{NAMES_MAX} steps may have names: each has histograms"))
            );
        }
        self.recorded.push(text.text.clone().into_owned());
        Ok((self.recorded.len() - 1) as u8)
    }

    fn send(&self, table: &mut Table<'_>) -> Result<Option<Send>, Problem> {
        let text = table.string("send")?;
        let bytes = table.string("binary")?;
        let request = table.string("request")?;
        let header = table.strings("header")?;
        let body = table.string("body")?;
        let given = [&text, &bytes, &request].into_iter().flatten().count();
        let wrong = |text: &str| Err(table.source.problem(table.span.clone(), text));
        if given > 1 {
            return wrong("a step has one of send, binary and request");
        }
        if request.is_none() && (body.is_some() || !header.is_empty()) {
            return wrong("`header` and `body` belong to a `request`");
        }
        if let Some(text) = text {
            return Ok(Some(Send::Text(template(&text, self.names)?)));
        }
        if let Some(bytes) = bytes {
            return Ok(Some(Send::Binary(binary(&bytes, self.names)?)));
        }
        let Some(request) = request else { return Ok(None) };
        let method = request.text.split_once(' ').filter(|(method, target)| {
            let is_token =
                !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
            is_token && target.starts_with(['/', '$'])
        });
        if method.is_none() {
            return Err(request.problem("`request` is a method and a path: \"GET /api/inbox\""));
        }
        Ok(Some(Send::Request {
            line: template(&request, self.names)?,
            header: templates(&header, self.names)?,
            body: body.map(|text| template(&text, self.names)).transpose()?,
        }))
    }
}
