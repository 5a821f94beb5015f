//! End to end, on loopback: the reference serves, asks, is compared with itself, and opens.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_c1000k-reference");

fn reference(arguments: &[&str]) -> Output {
    let done = Command::new(PROGRAM).args(arguments).output().expect("it starts");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// A reference server that ends with the test.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["server", "--port", "0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut ready = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut ready).expect("a line");
        let ready: Value = serde_json::from_str(&ready).expect("JSON");
        let url = ready["url"].as_str().expect("a URL");
        let port = url.strip_prefix("tcp://127.0.0.1:").expect("on loopback").to_owned();
        assert_eq!(ready["pid"], child.id());
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_is_driven_and_compared_with_itself() {
    let server = Server::start();
    let pid = server.child.id().to_string();
    let line = text(&reference(&[
        "client",
        "--port",
        &server.port,
        "--server-pid",
        &pid,
        "--connections",
        "20",
        "--depth",
        "3",
        "--size",
        "1k",
        "--seconds",
        "0.2",
    ]));
    let line: Value = serde_json::from_str(&line).expect("one JSON line");
    let counted = line["messages"].as_u64().expect("a count");
    assert!(counted > 0);
    assert!(line["client_cpu_ns_per_message"].as_f64() > Some(0.0));
    assert!(line["server_cpu_ns_per_message"].as_f64() > Some(0.0));

    let [first, twin] = ["first", "twin"].map(|tag| format!("{tag}:{}:{pid}", server.port));
    let output = text(&reference(&[
        "compare",
        "--target",
        &first,
        "--target",
        &twin,
        "--null",
        "twin",
        "--connections",
        "20",
        "--rounds",
        "3",
        "--slice",
        "0.05",
    ]));
    let records: Vec<Value> = output
        .lines()
        .take_while(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["rate_ratio"]["median"], 1.0);
    assert!(records[1]["server_cpu_ratio"]["median"].as_f64() > Some(0.0));
    assert!(records[1]["rate_counts"].is_boolean());
    assert!(output.contains("| twin "), "{output}");
}

/// Upgrades one connection and answers its frames of 300 bytes, until the client is gone.
fn serve_websocket(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    assert!(head.starts_with(b"GET / HTTP/1.1\r\n"));
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    loop {
        let mut frame = [0; 4 + 4 + 300];
        stream.read_exact(&mut frame)?;
        let (head, masked) = frame.split_at(8);
        assert_eq!(head[..4], [0x82, 0x80 | 126, 1, 44]);
        let message = masked.iter().zip(head[4..].iter().cycle()).map(|(a, b)| a ^ b);
        let reply: Vec<u8> = [0x82, 126, 1, 44].into_iter().chain(message).collect();
        assert_eq!(reply[4..], [b'x'; 300]);
        stream.write_all(&reply)?;
    }
}

#[test]
fn a_client_speaks_websocket() {
    let options = host::socket::ListenOptions { backlog: 8, reuse_port: false };
    let listener = host::socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(false).expect("blocking");
    let port = listener.local_addr().expect("its address").port().to_string();
    let server = std::thread::spawn(move || {
        let threads = listener.incoming().take(3).map(|connection| {
            let connection = connection.expect("a connection");
            std::thread::spawn(|| serve_websocket(connection))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().expect("frames as they should be").expect_err("the client ends it");
        }
    });
    let line = text(&reference(&[
        "client",
        "--ws",
        "--port",
        &port,
        "--connections",
        "3",
        "--depth",
        "2",
        "--size",
        "300",
        "--seconds",
        "0.2",
    ]));
    let line: Value = serde_json::from_str(&line).expect("one JSON line");
    assert!(line["messages"].as_u64() > Some(0));
    server.join().expect("served");
}

#[test]
fn connections_are_opened_echoed_over_and_closed() {
    let line = text(&reference(&[
        "open",
        "--connections",
        "300",
        "--threads",
        "3",
        "--server-threads",
        "2",
        "--openers",
        "1",
        "--sources",
        "2",
        "--echo-rounds",
        "2",
    ]));
    let line: Value = serde_json::from_str(&line).expect("one JSON line");
    assert_eq!((&line["connections"], &line["threads"]), (&300.into(), &3.into()));
    assert!(line["rate_per_second"].as_f64() > Some(0.0));
    assert!(line["connect_p50_ns"].as_u64() <= line["connect_p99_ns"].as_u64());
    assert!(line["connect_p99_ns"].as_u64() <= line["connect_max_ns"].as_u64());
    assert!(line["echoes_per_second"].as_f64() > Some(0.0));
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence() {
    // Port 1 (tcpmux) is nobody's these days.
    let refused = ["client", "--port", "1", "--seconds", "0.1"];
    let too_much = ["client", "--port", "1", "--size", "64k", "--depth", "2"];
    for (arguments, reason) in [(&refused[..], "could not be opened"), (&too_much, "in flight")] {
        let done = Command::new(PROGRAM).args(arguments).output().expect("it starts");
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{message}");
        assert!(message.contains(reason) && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn a_pair_ends_with_its_client_and_leaves_nothing() {
    let folder = std::env::temp_dir().join(format!("c1000k-pair-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (log, undo, commands) = (path("log"), path("undo"), path("commands"));
    let pair = |client: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["pair", "--as", "test", "--log", &log, "--undo", &undo]);
        command.args(["--commands", &commands, "--", PROGRAM, "server", "--port", "0", "--"]);
        command.args(["sh", "-c", client, "client", "{url}", "{pid}"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let done = pair("echo $1 $2; kill -0 $2 && exit 6").output().expect("it starts");
    assert_eq!(done.status.code(), Some(6), "{}", String::from_utf8_lossy(&done.stderr));
    let said = text(&done);
    let (url, pid) = said.trim().split_once(' ').expect("a URL and a number");
    assert!(url.starts_with("tcp://127.0.0.1:"), "{said}");
    let is_gone = |pid: &str| !std::path::Path::new("/proc").join(pid).exists();
    assert!(is_gone(pid));
    let read = |path: &str| std::fs::read_to_string(path).expect("written");
    assert!(read(&log).contains(url));
    assert!(read(&commands).contains("\nsh -c "));
    assert!(read(&undo).contains(&format!("process\t{pid}\t{PROGRAM}\n")));

    // Each signal is handed on, also one to the whole group, as Ctrl-C is.
    let mut running = pair("trap 'exit 130' TERM; echo $2; while :; do sleep 0.05; done")
        .spawn()
        .expect("it starts");
    let mut pid = String::new();
    let output = running.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut pid).expect("a line");
    let own = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &own]).status().expect("kill").success());
    assert_eq!(running.wait().expect("its end").code(), Some(130));
    assert!(is_gone(pid.trim()));

    // A server that does not end well fails what went well otherwise.
    let line = r#"echo '{"url": "tcp://127.0.0.1:9", "pid": 7}'"#;
    let failing = format!("trap 'exit 3' TERM; {line}; while :; do sleep 0.05; done");
    for (client, code) in [("true", 1), ("exit 6", 6)] {
        let mut command = Command::new(PROGRAM);
        command
            .args(["pair", "--as", "test", "--", "sh", "-c", &failing, "--", "sh", "-c", client]);
        let done = command.output().expect("it starts");
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{message}");
        assert!(message.contains("test: the server ended with exit status: 3"), "{message}");
    }

    let mut broken = Command::new(PROGRAM);
    broken.args([
        "pair",
        "--as",
        "test",
        "--log",
        &log,
        "--",
        "sh",
        "-c",
        "echo no >&2",
        "--",
        "true",
    ]);
    let done = broken.output().expect("it starts");
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    assert!(message.contains("no\ntest: the server did not start, see above"), "{message}");
    std::fs::remove_dir_all(&folder).expect("removed");
}
