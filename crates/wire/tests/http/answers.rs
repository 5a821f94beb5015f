//! Answers: conditions, ranges, and heads as they leave, read back by our own client.

use crate::support::{BODY_MAX, Reply, replies};
use c1000k_wire::http::{
    Answer, DateText, File, Method, Persistence, Prepared, RequestEvent, RequestPool, Requests,
    Status, choose, date_text, write_file_head, write_status, write_text,
};
use proptest::prelude::*;
use std::ops::ControlFlow;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const MODIFIED: u64 = 784_111_777;

fn file(length: u64) -> File<'static> {
    File { length, modified: MODIFIED, etag: "\"e,t\"", content_type: "text/css" }
}

/// The answer to a request with these header lines.
fn answer(method: &str, lines: &str, length: u64, now: u64) -> Answer {
    let stream = format!("{method} / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let (mut state, mut pool, mut answer) = (Requests::default(), RequestPool::default(), None);
    let read = state.read(BODY_MAX, &mut pool, stream.as_bytes(), |event| {
        let RequestEvent::Request(request) = event else { panic!("{event:?}") };
        answer = Some(choose(&request, &file(length), now));
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(stream.len()));
    answer.expect("a request")
}

fn get(lines: &str) -> Answer {
    answer("GET", lines, 1000, MODIFIED + 1)
}

fn part(first: u64, end: u64) -> Answer {
    Answer::Part { first, end }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    use Answer::{NotModified, Whole};
    for (lines, expected) in [
        ("", Whole),
        ("If-None-Match: \"e,t\"\r\n", NotModified),
        ("If-None-Match: W/\"e,t\"\r\n", NotModified),
        ("If-None-Match: *\r\n", NotModified),
        ("If-None-Match: \"a\", ,W/\"b\",\"e,t\"\r\n", NotModified),
        ("If-None-Match: \"a\"\r\nIf-None-Match: \"e,t\"\r\n", NotModified),
        ("If-None-Match: , ,\"e,t\",\r\n", NotModified),
        ("If-None-Match: ,\r\n", Whole),
        ("If-None-Match: \"a\"\r\n", Whole),
        ("If-None-Match: e,t\r\n", Whole),
        ("If-None-Match: \"x\"e,t\"\r\n", Whole),
        ("If-None-Match: w/\"e,t\"\r\n", Whole),
        ("If-None-Match:\r\n", Whole),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", NotModified),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", NotModified),
        ("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", NotModified),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n", NotModified),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", Whole),
        ("If-Modified-Since: yesterday\r\n", Whole),
        // The entity tag is the better witness (RFC 9110 13.1.3).
        ("If-None-Match: \"a\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Whole),
        ("If-None-Match: *\r\nRange: bytes=0-1\r\n", NotModified),
    ] {
        assert_eq!(get(lines), expected, "{lines}");
        assert_eq!(answer("HEAD", lines, 1000, MODIFIED), expected, "{lines}");
    }
}

#[test]
fn what_the_client_does_not_mean_is_not_sent() {
    use Answer::{Failed, NotModified, Whole};
    let (before, then) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (lines, expected) in [
        // Strong comparison (RFC 9110 13.1.1).
        ("If-Match: \"e,t\"".to_owned(), Whole),
        ("If-Match: *".to_owned(), Whole),
        ("If-Match: ,\"a\", \"e,t\"".to_owned(), Whole),
        ("If-Match: \"a\"\r\nIf-Match: \"e,t\"".to_owned(), Whole),
        ("If-Match: \"a\"".to_owned(), Failed),
        ("If-Match: W/\"e,t\"".to_owned(), Failed),
        ("If-Match:".to_owned(), Failed),
        (format!("If-Unmodified-Since: {then}"), Whole),
        (format!("If-Unmodified-Since: {before}"), Failed),
        ("If-Unmodified-Since: yesterday".to_owned(), Whole),
        // The order of RFC 9110 13.2.2.
        (format!("If-Match: \"e,t\"\r\nIf-Unmodified-Since: {before}"), Whole),
        ("If-Match: \"a\"\r\nIf-None-Match: \"e,t\"".to_owned(), Failed),
        ("If-Match: \"e,t\"\r\nIf-None-Match: \"e,t\"".to_owned(), NotModified),
        ("If-Match: \"a\"\r\nRange: bytes=0-1".to_owned(), Failed),
    ] {
        let lines = lines + "\r\n";
        assert_eq!(get(&lines), expected, "{lines}");
        assert_eq!(answer("HEAD", &lines, 1000, MODIFIED), expected, "{lines}");
    }
    assert_eq!(get("If-Match: \"e,t\"\r\nRange: bytes=0-1\r\n"), part(0, 2));
    let mut out = Vec::new();
    write_file_head(Failed, &file(1000), Persistence::Keep, &date(), &mut out);
    assert_eq!(
        String::from_utf8(out).expect("ASCII"),
        "HTTP/1.1 412 Precondition Failed\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(Failed.body(Method::Get, &file(1000)), (0, 0));
}

#[test]
fn parts_are_cut_out() {
    use Answer::{Unsatisfiable, Whole};
    // RFC 9110 14.1.2, and what does not follow its grammar.
    for (range, expected) in [
        ("bytes=0-499", part(0, 500)),
        ("bytes=500-999", part(500, 1000)),
        ("bytes=500-", part(500, 1000)),
        ("bytes=-500", part(500, 1000)),
        ("Bytes= 0-0", part(0, 1)),
        ("bytes=999-", part(999, 1000)),
        ("bytes=0-99999999999999999999999", part(0, 1000)),
        ("bytes=-99999999999999999999999", part(0, 1000)),
        ("bytes=1000-", Unsatisfiable),
        ("bytes=1000-2000", Unsatisfiable),
        ("bytes=99999999999999999999999-", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=5-4", Whole),
        ("bytes=0-1,5-6", Whole),
        ("bytes=-", Whole),
        ("bytes=", Whole),
        ("bytes=+1-2", Whole),
        ("bytes=1--2", Whole),
        ("bytes=a-b", Whole),
        ("bytes", Whole),
        ("lines=0-1", Whole),
        ("bytes=0-1\r\nRange: bytes=2-3", Whole),
    ] {
        let lines = format!("Range: {range}\r\n");
        assert_eq!(get(&lines), expected, "{range}");
        // Ranges are for GET alone (RFC 9110 14.2).
        assert_eq!(answer("HEAD", &lines, 1000, 0), Whole, "{range}");
    }
    for (range, expected) in [("0-", Unsatisfiable), ("-5", Whole), ("-0", Unsatisfiable)] {
        let lines = format!("Range: bytes={range}\r\n");
        assert_eq!(answer("GET", &lines, 0, 0), expected, "{range} of nothing");
    }
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (condition, expected) in [
        ("\"e,t\"", part(0, 2)),
        ("W/\"e,t\"", Whole),
        ("\"x\"", Whole),
        (date, part(0, 2)),
        ("Sun, 06 Nov 1994 08:49:38 GMT", Whole),
        ("\"e,t\"\r\nIf-Range: \"e,t\"", Whole),
        ("", Whole),
    ] {
        let lines = format!("Range: bytes=0-1\r\nIf-Range: {condition}\r\n");
        assert_eq!(get(&lines), expected, "{condition}");
    }
    let lines = format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n");
    assert_eq!(answer("GET", &lines, 1000, MODIFIED), Whole, "the second is not over");
}

fn date() -> DateText {
    date_text(MODIFIED + 60)
}

#[test]
fn heads_of_files_say_what_belongs_to_them() {
    let head = |answer, persistence| {
        let mut out = Vec::new();
        write_file_head(answer, &file(1000), persistence, &date(), &mut out);
        String::from_utf8(out).expect("ASCII")
    };
    assert_eq!(
        head(Answer::Whole, Persistence::Keep),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\nContent-Length: 1000\r\n\
         Accept-Ranges: bytes\r\nContent-Type: text/css\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"e,t\"\r\n\r\n"
    );
    assert_eq!(
        head(part(5, 10), Persistence::Close),
        "HTTP/1.1 206 Partial Content\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\n\
         Content-Range: bytes 5-9/1000\r\nContent-Length: 5\r\nContent-Type: text/css\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"e,t\"\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(
        head(Answer::NotModified, Persistence::KeepOld),
        "HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"e,t\"\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        head(Answer::Unsatisfiable, Persistence::Keep),
        "HTTP/1.1 416 Range Not Satisfiable\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\n\
         Content-Range: bytes */1000\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(part(5, 10).body(Method::Get, &file(1000)), (5, 10));
    assert_eq!(Answer::Whole.body(Method::Get, &file(1000)), (0, 1000));
    assert_eq!(Answer::Whole.body(Method::Head, &file(1000)), (0, 0));
    assert_eq!(Answer::NotModified.body(Method::Get, &file(1000)), (0, 0));
}

#[test]
fn prepared_answers_are_those_that_are_written() {
    for body in [&b""[..], b"hello"] {
        let file = file(body.len() as u64);
        let prepared = Prepared::new(&file, body);
        assert_eq!(prepared.body(), body);
        for persistence in [Persistence::Close, Persistence::Keep, Persistence::KeepOld] {
            for method in [Method::Get, Method::Head] {
                let (mut expected, mut out) = (b"before".to_vec(), b"before".to_vec());
                write_file_head(Answer::Whole, &file, persistence, &date(), &mut expected);
                if method == Method::Get {
                    expected.extend_from_slice(body);
                }
                prepared.write(method, persistence, &date(), &mut out);
                assert_eq!(out, expected);
            }
        }
    }
}

#[test]
#[should_panic(expected = "a length that is not the body's")]
fn a_wrong_length_is_never_prepared() {
    let _ = Prepared::new(&file(4), b"hello");
}

#[test]
fn texts_and_statuses_are_read_back() {
    let mut out = Vec::new();
    let (found, keep) = (Status::MOVED_PERMANENTLY, Persistence::Keep);
    write_text(found, &[("Location", "/a/")], "moved\n", Method::Get, keep, &date(), &mut out);
    write_status(Status::METHOD_NOT_ALLOWED, Method::Post, keep, &date(), &mut out);
    write_status(Status::NOT_FOUND, Method::Get, Persistence::Close, &date(), &mut out);
    let text = String::from_utf8(out.clone()).expect("ASCII");
    assert!(text.contains("\r\nLocation: /a/\r\n"));
    assert_eq!(text.matches("\r\nAllow: GET, HEAD\r\n").count(), 1);
    let whole = |status, keeps, body: &str| {
        let (length, body) = (Some(body.len() as u64), body.as_bytes().to_vec());
        Reply::Whole { status, length, keeps, body }
    };
    let expected = [
        whole(301, true, "moved\n"),
        whole(405, true, "405 Method Not Allowed\n"),
        whole(404, false, "404 Not Found\n"),
    ];
    assert_eq!(replies(Method::Get, &out, &[]), expected);
    let mut out = Vec::new();
    write_status(Status::NOT_FOUND, Method::Head, keep, &date(), &mut out);
    let expected = Reply::Whole { status: 404, length: Some(14), keeps: true, body: vec![] };
    assert_eq!(replies(Method::Head, &out, &[]), [expected]);
}

proptest! {
    #[test]
    fn ranges_stay_within_the_file(range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0..2000u64) {
        if let Answer::Part { first, end } = answer("GET", &format!("Range: \
            {range}\r\n"), length, 0) {
            prop_assert!(first < end && end <= length);
        }
    }

    #[test]
    fn any_condition_is_answered(
        name in "(If-None-Match|If-Modified-Since|If-Range|Range)",
        value in "[\"W/a-c,*=0-9 btyes]{0,30}",
    ) {
        answer("GET", &format!("{name}: {value}\r\nRange: bytes=1-2\r\n"), 10, 0);
    }
}
