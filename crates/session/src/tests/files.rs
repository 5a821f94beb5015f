//! Session files that work: chat, MQTT, Socket.IO and an inbox over HTTP; what they send, what they
//! make of messages.

use super::*;

/// A compiled session with one connection of it.
struct One {
    program: Program,
    captured: Vec<u8>,
    scratch: Scratch,
    connection: u64,
    sequence: u32,
}

const STAMP: [u8; STAMP_BYTES] = [5; STAMP_BYTES];

impl One {
    fn of(file: &str, csv: &str) -> Self {
        let program = Program::compile("a.toml", file, |name| {
            assert_eq!(name, "users.csv");
            Data::read(csv.as_bytes()).map_err(|error| error.to_string())
        });
        let program = program.unwrap_or_else(|problem| panic!("{problem}"));
        let captured = program.first.clone();
        let scratch = program.kinds.scratch();
        Self { program, captured, scratch, connection: 1_002, sequence: 70_001 }
    }

    fn with<R>(&mut self, does: impl FnOnce(&Program, Context<'_>, &mut Scratch) -> R) -> R {
        let fill = Fill {
            row: self.program.row(self.connection, 1),
            captured: &self.captured,
            connection: self.connection,
            sequence: self.sequence,
            count: 0,
            now_ms: 0,
            random: 0,
            stamp: &STAMP,
        };
        let Program { data, variables, .. } = &self.program;
        does(&self.program, Context { data, variables, fill: &fill }, &mut self.scratch)
    }

    fn filled(&mut self, template: impl Fn(&Program) -> &Template) -> String {
        self.with(|program, Context { data, variables, fill }, _| {
            let mut out = Vec::new();
            template(program).write(data, variables, fill, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        })
    }

    fn sent(&mut self, step: impl Fn(&Program) -> &Step) -> String {
        self.filled(|program| match step(program).send.as_ref().expect("it sends") {
            Send::Text(text) | Send::Binary(text) => text,
            Send::Request { line, .. } => line,
        })
    }

    /// The kind of a message by its name, and what is kept of it.
    fn hears(&mut self, message: impl AsRef<[u8]>, status: Option<u16>) -> Option<String> {
        let bytes = message.as_ref();
        let message = Message { bytes, status };
        let kind =
            self.with(|program, context, scratch| program.kinds.tell(message, context, scratch))?;
        let Self { program, captured, scratch, .. } = self;
        program.kinds.keep(kind, bytes, &program.variables, captured, scratch).expect("it fits");
        Some(program.kinds.all()[kind].name.clone())
    }

    fn answers(&mut self, message: &[u8], sequence: u32) -> bool {
        let message = Message { bytes: message, status: None };
        let kind =
            self.with(|program, context, scratch| program.kinds.tell(message, context, scratch));
        let Self { program, scratch, .. } = self;
        program.kinds.answers(kind.expect("known"), message.bytes, sequence, scratch)
    }

    fn value(&self, name: &str) -> &[u8] {
        let number = self.program.variables.number(name).expect(name);
        self.program.variables.value(number, &self.captured)
    }
}

const CHAT: &str = include_str!("chat.toml");

#[test]
fn a_chat() {
    let mut one = One::of(CHAT, "user,token\nann,t1\n\"b\"\"ob\",t2\n");
    // Of two rows, that of connection 1,002 is the first again.
    one.connection = 1_003;
    assert_eq!(one.filled(|program| &program.header[0]), "Cookie: session=t2");
    assert_eq!(one.filled(|program| program.path.as_ref().expect("a path")), "/chat?v=2");
    assert_eq!(one.sent(|program| &program.setup[0]), r#"{"type":"login","user":"b\"ob"}"#);
    let welcome = r#"{"session":"s-\u00e9\/1","type":"welcome"}"#;
    assert_eq!(one.hears(welcome, None).as_deref(), Some("welcome"));
    assert_eq!(one.value("sid"), "s-é/1".as_bytes());
    assert_eq!(
        one.sent(|program| &program.setup[1]),
        r#"{"type":"join","room":"r3","session":"s-é/1"}"#
    );
    assert_eq!(one.hears(r#"{"type":"joined","room":"r3"}"#, None).as_deref(), Some("joined"));
    assert_eq!(one.hears(r#"{"type":"joined","room":"r4"}"#, None), None, "another room");
    let said = one.sent(|program| &program.repeated[0]);
    assert!(said.starts_with(r#"{"type":"say","ref":70001,"text":"c1k."#), "{said}");
    assert_eq!(find_stamp(said.as_bytes()), Some(STAMP));
    assert!(one.answers(br#"{"type":"ack","ref":70001}"#, 70_001));
    assert!(one.answers(br#"{"ref":"70001","type":"ack"}"#, 70_001), "as a text");
    assert!(!one.answers(br#"{"type":"ack","ref":70000}"#, 70_001));
    assert!(!one.answers(br#"{"type":"ack"}"#, 70_001));
    let program = &one.program;
    assert_eq!(program.names, ["login", "join", "say"]);
    assert_eq!(program.repeated[0].expect, 0b10100);
    assert_eq!(
        (program.every, program.setup[1].within),
        (Some(measure::Nanos::from_secs(30)), None)
    );
    assert!(program.kinds.all()[4].fails && program.kinds.is_push(3) && program.kinds.has_id(2));
    assert_eq!(program.variables.bytes(), 26);
    assert!(!program.is_http() && program.longest() > 70);
}

#[test]
fn why_a_message_is_not_of_a_kind_is_said() {
    let mut one = One::of(CHAT, "user,token\nann,t1\n");
    let message = Message { bytes: br#"{"type":"joined","room":"r9"}"#, status: None };
    let why = one.with(|program, context, scratch| {
        let why = program.kinds.why_not(message, context, scratch);
        why.into_iter()
            .map(|(kind, why)| format!("{kind}: {}", why.unwrap_or_default()))
            .collect::<Vec<_>>()
    });
    assert_eq!(why[0], "welcome: at /type is joined, not \"welcome\"");
    assert_eq!(why[1], "joined: at /room is r9, not \"r2\"");
}

#[test]
fn mqtt_in_bytes() {
    let mut one = One::of(include_str!("mqtt.toml"), "device,user,pass\nd1,u,p\n");
    assert_eq!(
        one.sent(|program| &program.setup[0]),
        "\u{10}\u{14}\0\u{4}MQTT\u{4}\u{fffd}\0<\0\u{2}d1\0\u{1}u\0\u{1}p"
    );
    assert_eq!(one.hears([0x20, 2, 1, 0], None).as_deref(), Some("connack"));
    assert_eq!(one.hears([0x20, 2, 0, 5], None), None, "refused");
    assert_eq!(one.hears([0x20, 2, 0], None), None, "too short");
    // 70,001 is 4,466 in sixteen bits that skip 0.
    assert!(one.answers(&[0x90, 3, 0x11, 0x72, 0], 70_001));
    assert!(!one.answers(&[0x90, 3, 0x11, 0x71, 0], 70_001));
    assert_eq!(one.program.frame, Some(Frame::Mqtt));
    assert_eq!((one.program.timers.len(), one.program.end.len()), (1, 1));
}

#[test]
fn socket_io_with_acknowledgements() {
    let mut one = One::of(include_str!("socketio.toml"), "token\nt\n");
    assert_eq!(one.hears("0{\"sid\":1}", None).as_deref(), Some("open"));
    assert_eq!(one.hears("2", None).as_deref(), Some("ping"));
    assert_eq!(one.hears("22", None), None);
    assert_eq!(one.filled(|program| program.kinds.all()[1].reply.as_ref().expect("a pong")), "3");
    assert!(one.answers(b"4370001[]", 70_001));
    assert!(!one.answers(b"437000[]", 70_001));
    assert_eq!(one.hears("good bye", None).as_deref(), Some("bye"));
    assert!(one.program.kinds.all()[6].closes && one.program.kinds.all()[3].fails);
    assert_eq!(one.program.end[1].close, Some(1000));
    let event = br#"42["chat",{"text":"c1k.x"}]"#;
    let pushed = one.program.kinds.pushed(5, event, &mut one.scratch);
    assert_eq!(pushed, Some(&event[..]));
}

#[test]
fn an_inbox_over_http() {
    let mut one = One::of(include_str!("inbox.toml"), "email\na@example.test\nb@example.test\n");
    assert_eq!(one.sent(|program| &program.repeated[0]), "GET /api/inbox?since=0");
    let inbox = br#"{"count":6.0,"more":false,"next":"a/1"}"#;
    assert_eq!(one.hears(inbox, Some(200)).as_deref(), Some("inbox"));
    assert_eq!(one.sent(|program| &program.repeated[0]), "GET /api/inbox?since=a%2F1");
    assert_eq!(one.hears(inbox, Some(500)), None);
    assert_eq!(one.hears("", Some(401)).as_deref(), Some("denied"));
    let long = Message { bytes: br#"{"access_token":"123456789"}"#, status: Some(200) };
    let kind = one.with(|program, context, scratch| program.kinds.tell(long, context, scratch));
    let One { program, captured, scratch, .. } = &mut one;
    let kept =
        program.kinds.keep(kind.expect("known"), long.bytes, &program.variables, captured, scratch);
    assert_eq!(kept, Err(Kept::Cut(0)), "no room for nine bytes");
    assert!(one.program.is_http());
    let rows: Vec<_> = (0..50).map(|connection| one.program.row(connection, 3)).collect();
    assert!(rows.contains(&0) && rows.contains(&1) && rows.iter().all(|row| *row < 2));
    assert_eq!(rows, (0..50).map(|connection| one.program.row(connection, 3)).collect::<Vec<_>>());
}

#[test]
fn each_connection_has_a_row_or_the_run_is_refused() {
    let one = One::of(&CHAT.replace("rows = \"cycle\"", ""), "user,token\na,b\nc,d\n");
    assert_eq!(one.program.check_rows(2), Ok(()));
    let refused = one.program.check_rows(3).expect_err("two rows");
    assert!(refused.starts_with("the data have 2 rows for 3 connections"), "{refused}");
    assert_eq!(One::of(CHAT, "user,token\na,b\n").program.check_rows(1_000_000), Ok(()));
}
