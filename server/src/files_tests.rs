//! Files in a real folder: found or not, kept, changed, sent.

use super::*;
use std::fs as disk;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wire::http::{HTTP_BODY_BYTES_DEFAULT, RequestEvent, RequestPool, Requests, date_text};

/// A root with a few files, and one file beside it that must never be served.
fn site() -> (TempDir, Root) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    for path in ["", "sub", "empty", "sub.html"] {
        disk::create_dir_all(root.join(path)).expect("a folder");
    }
    for (path, text) in [
        ("index.html", "<p>index"),
        ("a.txt", "hello"),
        ("none", ""),
        ("sub/index.html", "<p>sub"),
        ("sub/b c.css", "p {}"),
        (".hidden", "secret"),
        ("../outside", "outside"),
    ] {
        disk::write(root.join(path), text).expect("a file");
    }
    symlink("a.txt", root.join("inner")).expect("a link");
    symlink("../outside", root.join("outer")).expect("a link");
    symlink("../../outside", root.join("sub/outer")).expect("a link");
    symlink(folder.path(), root.join("folder")).expect("a link");
    symlink("/proc/self/root", root.join("proc")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    fs::mkfifoat(fs::CWD, root.join("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
    let opened = Root::open(&root).expect("a root");
    (folder, opened)
}

/// What the root gives for a path: its bytes, or a status.
fn read(root: &Root, path: &str) -> Result<Vec<u8>, u16> {
    let mut room = Vec::new();
    let safe = SafePath::decode(path.as_bytes(), &mut room);
    let found = safe.map_err(FileError::from).and_then(|safe| root.find(safe));
    let opened = found.and_then(|(name, _)| root.open_file(&name));
    let (fd, stat) = opened.map_err(|error| error.status().0)?;
    let mut bytes = Vec::new();
    disk::File::from(fd).read_to_end(&mut bytes).expect("a file");
    assert_eq!(stat.st_size, bytes.len() as i64);
    Ok(bytes)
}

#[test]
fn files_are_found_and_nothing_else_is() {
    let (_folder, mut root) = site();
    assert!(root.beneath, "this kernel has openat2");
    for beneath in [true, false] {
        root.beneath = beneath;
        for (path, text) in [
            ("/", "<p>index"),
            ("/index.html", "<p>index"),
            ("/a.txt", "hello"),
            ("/a%2Etxt?query", "hello"),
            ("/none", ""),
            ("/sub/", "<p>sub"),
            ("/sub/b%20c.css", "p {}"),
        ] {
            assert_eq!(read(&root, path), Ok(text.into()), "{path}");
        }
        for (path, status) in [
            ("/sub", 301),
            ("/empty", 301),
            ("/empty/", 404),
            ("/sub.html/", 404),
            ("/a.txt/", 404),
            ("/a.txt/x", 404),
            ("/missing", 404),
            ("/missing/x", 404),
            ("/pipe", 404),
            ("/.hidden", 404),
            ("/outer", 404),
            ("/sub/outer", 404),
            ("/folder/outside", 404),
            ("/folder/", 404),
            ("/proc/etc/passwd", 404),
            ("/loop", 404),
            ("/%6coop", 404),
            ("/../outside", 400),
            ("/%2e%2e/outside", 400),
            ("/sub/..%2f..%2foutside", 400),
            ("/a.txt%00.css", 400),
            ("//a.txt", 404),
            (&format!("/{}", "x".repeat(300)), 404),
        ] {
            assert_eq!(read(&root, path), Err(status), "{path}");
        }
        // Links stay within the root where the kernel can tell, and are not followed where not.
        let inner = if beneath { Ok(b"hello".to_vec()) } else { Err(404) };
        assert_eq!(read(&root, "/inner"), inner);
    }
    assert!(Root::open(Path::new("/nowhere/at/all")).is_err());
}

/// The time by the clock that files are stamped with.
fn unix_now() -> Nanos {
    Nanos::from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"))
}

/// So long after everything in a test that no change can go unseen.
fn later(seconds: u64) -> Nanos {
    Nanos(unix_now().0 + Nanos::from_secs(seconds).0)
}

fn files(root: Root) -> Files {
    Files::new(Arc::new(root), 512)
}

fn body(files: &mut Files, path: &str, now: Nanos) -> Result<Vec<u8>, u16> {
    let kept = files.find(path.as_bytes(), now).map_err(|error| error.status().0)?;
    match kept.contents() {
        Contents::Small(prepared) => Ok(prepared.body().to_vec()),
        Contents::Large(_) => panic!("a small file"),
    }
}

#[test]
fn a_change_is_seen_when_it_is_looked_for() {
    let (folder, root) = site();
    let (path, mut files) = (folder.path().join("root/a.txt"), files(root));
    let start = later(10);
    let at = |millis| Nanos(start.0 + Nanos::from_millis(millis).0);
    assert_eq!(body(&mut files, "/a.txt", at(0)), Ok(b"hello".to_vec()));
    let tag = files.find(b"/a.txt", at(0)).expect("kept").describe().etag.to_owned();
    disk::write(&path, "hi").expect("a change");
    assert_eq!(body(&mut files, "/a.txt", at(999)), Ok(b"hello".to_vec()));
    assert_eq!(body(&mut files, "/a.txt", at(1000)), Ok(b"hi".to_vec()));
    assert_ne!(files.find(b"/a.txt", at(1000)).expect("kept").describe().etag, tag);
    // Replaced by another of the same length and time.
    let time = disk::metadata(&path).expect("a file").modified().expect("a time");
    disk::write(folder.path().join("new"), "ho").expect("a file");
    let new = disk::File::options().write(true).open(folder.path().join("new")).expect("a file");
    new.set_modified(time).expect("a time");
    disk::rename(folder.path().join("new"), &path).expect("renamed");
    assert_eq!(body(&mut files, "/a.txt", at(2000)), Ok(b"ho".to_vec()));
    // Nothing changes: it is the same one that is kept, and a clock that goes back does no harm.
    assert_eq!(body(&mut files, "/a.txt", at(4000)), Ok(b"ho".to_vec()));
    assert_eq!(body(&mut files, "/a.txt", at(0)), Ok(b"ho".to_vec()));
    assert_eq!((files.len(), files.kept[&b"/a.txt"[..]].racy), (1, false));
    disk::remove_file(&path).expect("removed");
    assert_eq!(body(&mut files, "/a.txt", at(9000)), Err(404));
    assert!(files.is_empty() && files.order.is_empty() && files.bytes() == 0);
}

#[test]
fn a_file_that_has_just_changed_is_read_again() {
    let (_folder, root) = site();
    let mut files = files(root);
    let now = unix_now();
    assert_eq!(body(&mut files, "/a.txt", now), Ok(b"hello".to_vec()));
    assert!(files.kept[&b"/a.txt"[..]].racy);
    let now = later(10);
    assert_eq!(body(&mut files, "/a.txt", now), Ok(b"hello".to_vec()));
    assert!(!files.kept[&b"/a.txt"[..]].racy);
}

#[test]
fn what_is_kept_is_bounded() {
    let (folder, root) = site();
    let mut files = files(root);
    let path = |number| format!("/{number}");
    let large = disk::File::create(folder.path().join("root/large")).expect("a file");
    large.set_len(SMALL_BYTES_MAX + 1).expect("a length");
    for number in 0..KEPT_DESCRIPTORS_MAX + 10 {
        let name = folder.path().join("root").join(format!("large-{number}"));
        disk::hard_link(folder.path().join("root/large"), name).expect("a link");
        let found = files.find(format!("/large-{number}").as_bytes(), later(10));
        assert!(matches!(found.expect("a file").contents(), Contents::Large(_)));
    }
    assert_eq!((files.len(), files.descriptors), (KEPT_DESCRIPTORS_MAX, KEPT_DESCRIPTORS_MAX));
    let text = vec![b'x'; SMALL_BYTES_MAX as usize];
    let count = KEPT_BYTES_MAX / text.len() + 10;
    for number in 0..count {
        disk::write(folder.path().join("root").join(number.to_string()), &text).expect("a file");
    }
    for number in 0..count {
        assert_eq!(body(&mut files, &path(number), later(10)), Ok(text.clone()));
        // The first one is asked for all the time, and stays.
        assert!(number == 0 || files.kept.contains_key(path(0).as_bytes()));
        assert!(body(&mut files, "/0", later(10)).is_ok());
    }
    assert!(files.bytes() <= KEPT_BYTES_MAX && files.bytes() > KEPT_BYTES_MAX / 2);
    assert_eq!(files.order.len(), files.len());
    let all: usize = files.kept.values().map(|entry| entry.kept.size()).sum();
    assert_eq!(all, files.bytes());
}

/// The answer to a request, and the rest of it if that is to be sent from the file.
fn ask(files: &mut Files, request: &str) -> (String, Option<FilePart>) {
    let (mut state, mut pool) = (Requests::default(), RequestPool::default());
    let (mut out, mut transfer, now) = (Vec::new(), None, later(10));
    let max = HTTP_BODY_BYTES_DEFAULT;
    let read = state.read(max, &mut pool, request.as_bytes(), |event| {
        let RequestEvent::Request(request) = event else { panic!("{event:?}") };
        let answered = files.answer(&request, now, &date_text(0), &mut out);
        let line = format!("HTTP/1.1 {} ", answered.status.0);
        assert!(out.starts_with(line.as_bytes()), "the status that is counted");
        transfer = answered.part;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(request.len()));
    (String::from_utf8(out).expect("text"), transfer)
}

#[test]
fn requests_are_answered() {
    let (folder, root) = site();
    let mut files = files(root);
    let text = vec![b'y'; 200_000];
    disk::write(folder.path().join("root/large.bin"), &text).expect("a file");
    let (answer, transfer) = ask(&mut files, "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"));
    assert!(answer.contains("\r\nContent-Type: text/plain\r\n") && transfer.is_none());
    let tag = answer.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag");
    let again = format!("GET /a.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: {tag}\r\n\r\n");
    let (answer, _) = ask(&mut files, &again);
    assert!(answer.starts_with("HTTP/1.1 304 ") && answer.ends_with("\r\n\r\n"));
    for (request, start, end) in [
        ("HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "Connection: close\r\n\r\n<p>index"),
        (
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=1-3\r\n\r\n",
            "HTTP/1.1 206 ",
            "\n\r\nell",
        ),
        ("GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=5-\r\n\r\n", "HTTP/1.1 416 ", "\r\n\r\n"),
        ("GET /sub?x HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 301 ", "see /sub/?x\n"),
        ("GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 ", "404 Not Found\n"),
        ("GET /.. HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 ", "400 Bad Request\n"),
        ("PUT /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 ", "Method Not Allowed\n"),
        ("BREW /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 501 ", "501 Not Implemented\n"),
    ] {
        let (answer, transfer) = ask(&mut files, request);
        assert!(answer.starts_with(start) && answer.ends_with(end), "{request}: {answer}");
        assert!(transfer.is_none());
    }
    let (answer, transfer) = ask(&mut files, "GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.contains("\r\nContent-Length: 200000\r\n"));
    assert!(answer.contains("\r\nContent-Type: application/octet-stream\r\n"));
    assert!(answer.ends_with("\r\n\r\n"));
    assert_eq!(transfer.map(|transfer| transfer.left()), Some(200_000));
    let range = "GET /large.bin HTTP/1.1\r\nHost: h\r\nRange: bytes=-10\r\n\r\n";
    assert_eq!(ask(&mut files, range).1.map(|transfer| transfer.left()), Some(10));
    let (answer, transfer) = ask(&mut files, "HEAD /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.contains("\r\nContent-Length: 200000\r\n") && transfer.is_none());
}

#[test]
fn a_large_file_under_many_spellings_is_open_once() {
    let (folder, root) = site();
    let mut files = files(root);
    disk::write(folder.path().join("root/large.bin"), vec![b'y'; 200_000]).expect("a file");
    let descriptors = || disk::read_dir("/proc/self/fd").expect("listed").count();
    let before = descriptors();
    // Each of the nine letters as it is or in hexadecimal: 512 paths, of which each is kept by
    // itself.
    let spelling = |n: usize| -> String {
        let letters = b"large.bin".iter().enumerate();
        letters
            .map(|(at, letter)| match n >> at & 1 {
                0 => char::from(*letter).to_string(),
                _ => format!("%{letter:02x}"),
            })
            .collect()
    };
    let transfers: Vec<_> = (0..512)
        .map(|n| {
            let request = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", spelling(n));
            ask(&mut files, &request).1.expect("a part of a file")
        })
        .collect();
    // Other tests of this process open files, too.
    assert!(descriptors() < before + 300, "{} transfers", transfers.len());
    assert_eq!(files.open.len(), 1);
}

/// Each transfer holds the descriptor of its file, but no more may be open than agreed; those that
/// are only kept go first.
#[test]
fn large_files_that_are_open_are_bounded() {
    let (folder, root) = site();
    let mut files = Files::new(Arc::new(root), 4);
    for number in 0..8 {
        let name = folder.path().join("root").join(format!("large-{number}"));
        let large = disk::File::create(name).expect("a file");
        large.set_len(SMALL_BYTES_MAX + 1).expect("a length");
    }
    let get = |files: &mut Files, number: usize| {
        let (head, part) = ask(files, &format!("GET /large-{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
        (head[9..12].to_owned(), part)
    };
    for number in 0..8 {
        assert_eq!(get(&mut files, number).0, "200", "none is on its way");
    }
    assert!(files.open_files() <= 4 && files.refused() == 0);
    let mut under_way: Vec<_> = (0..4).map(|number| get(&mut files, number)).collect();
    assert!(under_way.iter().all(|(status, part)| status == "200" && part.is_some()));
    assert_eq!(get(&mut files, 4).0, "503");
    assert_eq!(get(&mut files, 0).0, "200", "what is open may be asked for by many");
    assert_eq!((files.open_files(), files.refused()), (4, 1));
    drop(under_way.pop());
    assert_eq!(get(&mut files, 4).0, "200", "one has ended");
}
