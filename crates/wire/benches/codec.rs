//! What the codecs cost: frames, masking, handshakes, compression; HTTP requests, answers,
//! responses. Prints a table.
//!
//! `cargo bench -p c1000k-wire` times every case and, where valgrind is installed, counts its
//! instructions: the difference of two runs with different numbers of rounds, which no neighbour on
//! the machine disturbs. `… -- NAME ROUNDS` runs one case that many times and says nothing.
//!
//! Counts are the figures to compare versions by. They are of the processor that valgrind plays,
//! which has AVX2 but no SHA instructions: a handshake takes fewer on one that has them.

use c1000k_wire::http::{
    self, Composer, DateCache, File, Prepared, RequestEvent, RequestPool, Requests, ResponseEvent,
    ResponsePool, Responses,
};
use c1000k_wire::ws::{
    Agreed, DeflatePolicy, Event, Kind, Limits, Policy, Pools, Request, RequestSpec, Role, Utf8,
    Window, Writer, Ws, echo, mask, read_whole,
};
use c1000k_wire::{Echo, PartialPool, Template};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long each case is timed, in windows of which the best counts: others were disturbed.
const WINDOW: Duration = Duration::from_millis(60);
const WINDOWS: usize = 5;

/// A case: what one round does, and how many units of what that is.
struct Case {
    name: &'static str,
    /// Units of one round.
    units: f64,
    unit: &'static str,
    round: Box<dyn FnMut()>,
}

impl Case {
    fn new(
        name: &'static str,
        units: usize,
        unit: &'static str,
        round: impl FnMut() + 'static,
    ) -> Self {
        Self { name, units: units as f64, unit, round: Box::new(round) }
    }
}

const NONCE: [u8; 16] = *b"the sample nonce";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn agreed(takeover: bool) -> Option<Agreed> {
    let window = Window { bits: 15, takeover };
    Some(Agreed { server: window, client: window })
}

/// `count` messages as `role` sends them.
fn messages(
    role: Role,
    deflate: Option<Agreed>,
    kind: Kind,
    payload: &[u8],
    count: usize,
) -> Vec<u8> {
    let (mut ws, mut pools, mut out) = (Ws::new(role, deflate), Pools::default(), Vec::new());
    for _ in 0..count {
        let mask = (role == Role::Client).then_some(KEY);
        ws.writer.message(&mut pools.write, kind, payload, mask, &mut out);
    }
    out
}

/// Text that compresses about as well as JSON does.
fn text(size: usize) -> Vec<u8> {
    let lines = (0..).map(|n: u32| {
        let hash = n.wrapping_mul(0x9e37_79b9);
        format!("{{\"id\":{n},\"name\":\"item {}\",\"price\":{}}},", hash >> 20, hash % 1000)
    });
    let mut text = Vec::new();
    for line in lines {
        if text.len() >= size {
            break;
        }
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(size);
    text
}

/// A server's echo of `count` messages that come in one read.
fn echo_case(name: &'static str, kind: Kind, size: usize, count: usize) -> Case {
    let payload = if kind == Kind::Text { text(size) } else { vec![7; size] };
    let stream = messages(Role::Client, None, kind, &payload, count);
    let (mut ws, mut pools) = (Ws::new(Role::Server, None), Pools::default());
    let (mut buffer, mut out) = (stream.clone(), Vec::new());
    Case::new(name, count, "frames", move || {
        buffer.copy_from_slice(&stream);
        let limits = Limits::default();
        let echoed = echo(&mut ws, &limits, &mut pools, || KEY, black_box(&mut buffer), &mut out);
        assert_eq!(black_box(echoed).messages as usize, count);
    })
}

/// The same bytes through the general machine.
fn machine_case(name: &'static str, size: usize, count: usize) -> Case {
    let stream = messages(Role::Client, None, Kind::Binary, &vec![7; size], count);
    let (mut ws, mut pools) = (Ws::new(Role::Server, None), Pools::default());
    let mut buffer = stream.clone();
    Case::new(name, count, "frames", move || {
        buffer.copy_from_slice(&stream);
        let (limits, mut ends) = (Limits::default(), 0);
        let verdict = ws.reader.read(&limits, &mut pools.read, black_box(&mut buffer), |event| {
            ends += usize::from(black_box(event) == Event::End);
        });
        assert_eq!((verdict, ends), (Ok(()), count));
    })
}

fn client_case(name: &'static str, size: usize, count: usize) -> Case {
    let stream = messages(Role::Server, None, Kind::Binary, &vec![7; size], count);
    let limits = Limits::default();
    Case::new(name, count, "frames", move || {
        let mut bytes = 0;
        read_whole(black_box(&stream), &limits, |_, payload| bytes += black_box(payload).len());
        assert_eq!(bytes, size * count);
    })
}

fn write_case(name: &'static str, size: usize, count: usize) -> Case {
    let (mut ws, mut pools, mut out) = (Ws::new(Role::Client, None), Pools::default(), Vec::new());
    let payloads = vec![7; size * count];
    Case::new(name, count, "frames", move || {
        out.clear();
        let mut index = 0u32;
        let keys = || {
            index += 1;
            index.to_le_bytes()
        };
        let messages: &[u8] = black_box(&payloads);
        ws.writer.messages(&mut pools.write, Kind::Binary, (messages, size), keys, &mut out);
        black_box(&out);
    })
}

/// The load itself: messages are stamped, come back as they are, and are proven.
fn stamp_case(name: &'static str, size: usize, count: usize) -> Case {
    let (mut template, mut echo) = (Template::new(size, count, 7), Echo::new(3));
    let (mut pool, mut stream) = (PartialPool::new(), Vec::new());
    Case::new(name, count, "messages", move || {
        stream.clear();
        stream.extend_from_slice(template.compose(&mut echo, count, black_box(11), black_box(12)));
        let stream = black_box(&stream);
        let read = echo.read(&template, &mut pool, stream, |stamp| {
            black_box(stamp);
        });
        assert_eq!(read, Ok(count as u32));
    })
}

fn mask_case(name: &'static str, size: usize) -> Case {
    let mut bytes = vec![7; size];
    Case::new(name, size, "bytes", move || mask(black_box(&mut bytes), KEY))
}

fn utf8_case(name: &'static str, text: Vec<u8>) -> Case {
    Case::new(name, text.len(), "bytes", move || {
        let verdict = Utf8::default().push(black_box(&text), |text| {
            black_box(text);
        });
        assert_eq!(verdict, Ok(()));
    })
}

fn handshake_cases() -> [Case; 3] {
    let spec = |deflate| RequestSpec {
        host: "127.0.0.1".to_owned(),
        port: 9000,
        default_port: 80,
        target: "/".to_owned(),
        deflate,
        ..RequestSpec::default()
    };
    let answer = |name, deflate| {
        let policy = Policy { deflate, ..Policy::default() };
        let request = Request::new(&spec(deflate)).expect("a good request");
        let (mut head, mut reply) = (Vec::new(), Vec::new());
        request.write(NONCE, &mut head);
        Case::new(name, 1, "handshakes", move || {
            reply.clear();
            let accepted = policy.answer(black_box(&head), &mut reply);
            assert_eq!(accepted.map(|accepted| accepted.deflate.is_some()), Ok(deflate.is_some()));
            black_box(&reply);
        })
    };
    let request = Request::new(&spec(None)).expect("a good request");
    let (mut head, mut reply) = (Vec::new(), Vec::new());
    request.write(NONCE, &mut head);
    Policy::default().answer(&head, &mut reply).expect("a good request");
    let client = Case::new("handshake, client's side", 1, "handshakes", move || {
        head.clear();
        request.write(black_box(NONCE), &mut head);
        assert!(request.check(NONCE, black_box(&reply)).is_ok());
    });
    [
        answer("handshake, server's side", None),
        answer("handshake, server, deflate", Some(DeflatePolicy::default())),
        client,
    ]
}

fn deflate_case(name: &'static str, takeover: bool, size: usize) -> Case {
    let (mut ws, mut pools) = (Ws::new(Role::Server, agreed(takeover)), Pools::default());
    let (text, mut out) = (text(size), Vec::new());
    Case::new(name, size, "bytes", move || {
        out.clear();
        ws.writer.message(&mut pools.write, Kind::Text, black_box(&text), None, &mut out);
        black_box(&out);
    })
}

fn inflate_case(name: &'static str, size: usize) -> Case {
    let stream = messages(Role::Client, agreed(false), Kind::Text, &text(size), 1);
    let (mut ws, mut pools) = (Ws::new(Role::Server, agreed(false)), Pools::default());
    let mut buffer = stream.clone();
    Case::new(name, size, "bytes", move || {
        buffer.copy_from_slice(&stream);
        let (limits, mut bytes) = (Limits::default(), 0);
        let verdict = ws.reader.read(&limits, &mut pools.read, black_box(&mut buffer), |event| {
            if let Event::Chunk(chunk) = event {
                bytes += chunk.len();
            }
        });
        assert_eq!((verdict, bytes), (Ok(()), size));
    })
}

fn ping_case() -> Case {
    let mut stream = Vec::new();
    for _ in 0..16 {
        Writer::ping(b"are you there?", Some(KEY), &mut stream);
    }
    let (mut ws, mut pools) = (Ws::new(Role::Server, None), Pools::default());
    let (mut buffer, mut out) = (stream.clone(), Vec::new());
    Case::new("ping and pong, 14 B", 16, "frames", move || {
        buffer.copy_from_slice(&stream);
        let limits = Limits::default();
        black_box(echo(&mut ws, &limits, &mut pools, || KEY, &mut buffer, &mut out));
    })
}

/// A request as a load generator sends it, and as a browser does.
const SHORT: &str = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n";
const LONG: &str = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\
    User-Agent: Mozilla/5.0 (X11; \
    Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,\
    application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, \
    deflate, br, zstd\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";

/// A small file's answer, ready.
fn prepared(size: usize) -> Prepared {
    let file = File {
        length: size as u64,
        modified: 784_111_777,
        etag: "\"400-671f3b2c.1a2b3c4d-5e6f\"",
        content_type: "text/html",
    };
    Prepared::new(&file, &vec![b'x'; size])
}

/// A server reads requests that come in one read. If they differ, every head is parsed.
fn requests_case(name: &'static str, request: &str, differ: bool, count: usize) -> Case {
    let one = |number: usize| match differ {
        true => request.replacen("index", ["index", "other"][number % 2], 1),
        false => request.to_owned(),
    };
    let stream: String = (0..count).map(one).collect();
    let (mut state, mut pool) = (Requests::default(), RequestPool::default());
    Case::new(name, count, "requests", move || {
        let mut seen = 0;
        let read = state.read(0, &mut pool, black_box(stream.as_bytes()), |event| {
            seen += usize::from(matches!(black_box(event), RequestEvent::Request(_)));
            ControlFlow::Continue(())
        });
        assert_eq!((read, seen), (Ok(stream.len()), count));
    })
}

/// A server reads requests and answers each with a file of 1 KiB.
fn answers_case(name: &'static str, count: usize) -> Case {
    let stream = SHORT.repeat(count);
    let (mut state, mut pool, mut out) = (Requests::default(), RequestPool::default(), Vec::new());
    let (prepared, mut dates) = (prepared(1024), DateCache::default());
    Case::new(name, count, "requests", move || {
        out.clear();
        let date = dates.at(784_111_777);
        let read = state.read(0, &mut pool, black_box(stream.as_bytes()), |event| {
            if let RequestEvent::Request(request) = event {
                prepared.write(request.method(), request.persistence(), date, &mut out);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(read, Ok(stream.len()));
        black_box(&out);
    })
}

/// A client reads responses that come in one read. If they differ, every head is parsed.
fn responses_case(name: &'static str, size: usize, differ: bool, count: usize) -> Case {
    let (mut stream, prepared) = (Vec::new(), prepared(size));
    for number in 0..count as u64 {
        let date = http::date_text(if differ { number % 2 } else { 0 });
        prepared.write(http::Method::Get, http::Persistence::Keep, &date, &mut stream);
    }
    let (mut state, mut pool) = (Responses::default(), ResponsePool::default());
    Case::new(name, count, "responses", move || {
        let (mut ends, mut bytes) = (0, 0);
        let method = http::Method::Get;
        let read = state.read(method, &mut pool, black_box(&stream), |event| match event {
            ResponseEvent::Chunk(chunk) => bytes += chunk.len(),
            ResponseEvent::End(response) => ends += usize::from(black_box(response).keeps),
            ResponseEvent::Start { .. } => {}
        });
        assert_eq!((read, ends, bytes), (Ok(()), count, count * size));
    })
}

fn compose_case(name: &'static str, count: usize) -> Case {
    let spec = http::RequestSpec {
        host: "127.0.0.1".to_owned(),
        port: 9000,
        method: "GET".to_owned(),
        targets: vec!["/index.html".to_owned()],
        ..http::RequestSpec::default()
    };
    let (composer, mut out) = (Composer::new(&spec).expect("a good spec"), Vec::new());
    Case::new(name, count, "requests", move || {
        out.clear();
        composer.write_many(black_box(7), count, &mut out);
        black_box(&out);
    })
}

fn http_cases() -> [Case; 9] {
    [
        requests_case("http requests, short, 1 a read", SHORT, false, 1),
        requests_case("http requests, short, 16 a read", SHORT, false, 16),
        requests_case("http requests, short, parsed", SHORT, true, 16),
        requests_case("http requests, browser's", LONG, false, 16),
        requests_case("http requests, browser's, parsed", LONG, true, 16),
        answers_case("http answers, 1 KiB, 16 a read", 16),
        responses_case("http responses, 1 KiB", 1024, false, 16),
        responses_case("http responses, 1 KiB, parsed", 1024, true, 16),
        compose_case("http client writes, 16 at once", 16),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        echo_case("echo, 32 B binary, 1 a read", Kind::Binary, 32, 1),
        echo_case("echo, 32 B binary, 16 a read", Kind::Binary, 32, 16),
        echo_case("echo, 32 B text, 16 a read", Kind::Text, 32, 16),
        echo_case("echo, 1 KiB binary, 16 a read", Kind::Binary, 1024, 16),
        machine_case("machine, 32 B binary, 16 a read", 32, 16),
        client_case("client reads 32 B, 16 a read", 32, 16),
        write_case("client writes 32 B, masked", 32, 16),
        write_case("client writes 1 KiB, masked", 1024, 16),
        stamp_case("client stamps and proves 32 B, 16 at once", 32, 16),
        stamp_case("client stamps and proves 1 KiB, 16 at once", 1024, 16),
        ping_case(),
        mask_case("mask, 32 B", 32),
        mask_case("mask, 16 KiB", 16 * 1024),
        utf8_case("UTF-8, ASCII, 16 KiB", text(16 * 1024)),
        utf8_case("UTF-8, Greek, 16 KiB", "κόσμε".repeat(1638).into_bytes()),
        deflate_case("deflate, 256 B, borrowed", false, 256),
        deflate_case("deflate, 256 B, dedicated", true, 256),
        deflate_case("deflate, 64 KiB, borrowed", false, 64 * 1024),
        inflate_case("inflate, 256 B", 256),
        inflate_case("inflate, 64 KiB", 64 * 1024),
    ];
    cases.extend(handshake_cases());
    cases.extend(http_cases());
    cases
}

/// The least time that a round took on average over a window, in seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real time, and nothing else here does"
)]
fn time(round: &mut dyn FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..WINDOWS {
        let (start, mut rounds) = (Instant::now(), 0u32);
        let spent = loop {
            for _ in 0..16 {
                round();
            }
            rounds += 16;
            let spent = start.elapsed();
            if spent >= WINDOW {
                break spent;
            }
        };
        best = best.min(spent.as_secs_f64() / f64::from(rounds));
    }
    best
}

/// The rounds of the shorter run that is counted, and how many more the longer one has. The first
/// ones make what is kept: buffers, streams, the features of the processor.
const COUNTED_FROM: u64 = 20;
const COUNTED: u64 = 50;

/// The instructions of a round, or `None` without valgrind.
fn instructions(name: &str) -> Option<f64> {
    let short = instructions_of(name, COUNTED_FROM)?;
    let long = instructions_of(name, COUNTED_FROM + COUNTED)?;
    Some(long.checked_sub(short)? as f64 / COUNTED as f64)
}

/// All instructions of this program, were it run for so many rounds of a case.
fn instructions_of(name: &str, rounds: u64) -> Option<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe().ok()?).args([name, &rounds.to_string()]);
    let output = valgrind.output().ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    // "==42== I   refs:      12,345,678", or "I refs:" since valgrind 3.21.
    let line = text.lines().find(|line| line.contains(" refs:") && line.contains(" I "))?;
    let digits = line.rsplit(':').next()?.replace(',', "");
    assert!(output.status.success(), "the case '{name}' failed: {text}");
    digits.trim().parse().ok()
}

/// A number that is read at a glance: three digits, or all that are in front of the point.
fn short(number: f64) -> String {
    let decimals = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.decimals$}")
}

fn main() {
    // Cargo passes `--bench` along.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    if let [name, rounds] = &arguments[..] {
        let rounds: u64 = rounds.parse().expect("a number of rounds");
        let found = cases().into_iter().find(|case| case.name == name.as_str());
        let mut case = found.expect("the name of a case, as the table has it");
        (0..rounds).for_each(|_| (case.round)());
        return;
    }
    println!("### Codec: one core, instructions counted by valgrind\n");
    println!("| case | instructions | time | rate |");
    println!("|---|---:|---:|---:|");
    for mut case in cases() {
        let unit = case.unit.trim_end_matches('s');
        let count = instructions(case.name);
        let count = count.map(|count| format!("{} per {unit}", short(count / case.units)));
        let count = count.unwrap_or_else(|| "no valgrind".into());
        let seconds = time(&mut *case.round) / case.units;
        let rate = match case.unit {
            "bytes" => format!("{} GB/s", short(1e-9 / seconds)),
            unit => format!("{} M {unit}/s", short(1e-6 / seconds)),
        };
        println!("| {} | {count} | {} ns | {rate} |", case.name, short(seconds * 1e9));
    }
    println!();
}
