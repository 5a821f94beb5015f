//! Paths: the traversal table, and what must hold for any path.

use c1000k_wire::http::{PathError, SafePath};
use proptest::prelude::*;

fn decode(path: &str) -> Result<(String, bool), PathError> {
    let mut room = b"old".to_vec();
    let safe = SafePath::decode(path.as_bytes(), &mut room)?;
    Ok((String::from_utf8_lossy(safe.as_bytes()).into_owned(), safe.is_folder()))
}

#[test]
fn paths_are_decoded_once() {
    for (path, decoded, folder) in [
        ("/", "", true),
        ("/?q=/../x", "", true),
        ("/index.html", "index.html", false),
        ("/a/b/", "a/b", true),
        ("/a%20b/c?d%2f..", "a b/c", false),
        ("/%41%62", "Ab", false),
        ("/a..b/c.", "a..b/c.", false),
        ("/a+b=c&d;e", "a+b=c&d;e", false),
        ("/%252e%252e/x", "%2e%2e/x", false),
        ("/caf%C3%A9", "caf\u{e9}", false),
        ("/~user", "~user", false),
    ] {
        assert_eq!(decode(path), Ok((decoded.to_owned(), folder)), "{path}");
    }
}

#[test]
fn nothing_leads_out() {
    use PathError as E;
    let long = format!("/{}", "a/".repeat(3000));
    for (path, error, status) in [
        ("/..", E::Dots, 400),
        ("/../etc/passwd", E::Dots, 400),
        ("/a/../../etc/passwd", E::Dots, 400),
        ("/a/..", E::Dots, 400),
        ("/./a", E::Dots, 400),
        ("/a/.", E::Dots, 400),
        ("/%2e%2e/etc/passwd", E::Dots, 400),
        ("/%2E./etc/passwd", E::Dots, 400),
        ("/.%2e/etc/passwd", E::Dots, 400),
        ("/a/%2e%2e/%2e%2e/etc/passwd", E::Dots, 400),
        ("/..%2fetc/passwd", E::Separator, 400),
        ("/..%5cwindows", E::Separator, 400),
        ("/..\\windows", E::Separator, 400),
        ("/a%2Fb", E::Separator, 400),
        ("/a\\b", E::Separator, 400),
        ("/a%00.html", E::Control, 400),
        ("/a%0d%0aX:", E::Control, 400),
        ("/a%7f", E::Control, 400),
        ("/%", E::Encoding, 400),
        ("/%4", E::Encoding, 400),
        ("/%4g", E::Encoding, 400),
        ("/%+1", E::Encoding, 400),
        ("/%u002e", E::Encoding, 400),
        ("", E::NoSlash, 400),
        ("etc/passwd", E::NoSlash, 400),
        ("?x", E::NoSlash, 400),
        ("//etc/passwd", E::Empty, 404),
        ("//", E::Empty, 404),
        ("/a//b", E::Empty, 404),
        ("/a//", E::Empty, 404),
        ("/.git/config", E::Hidden, 404),
        ("/a/.htaccess", E::Hidden, 404),
        ("/%2egit", E::Hidden, 404),
        ("/...", E::Hidden, 404),
        ("/..a/b", E::Hidden, 404),
        (&long, E::TooLong, 404),
    ] {
        assert_eq!(decode(path), Err(error), "{path}");
        assert_eq!(error.status().0, status, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_let_pass_is_safe(
        path in "/?((%2[eEfF]|%5c|%00|%[0-9a-f]{0,2}|[./\\\\ab?~]){0,20})",
    ) {
        let mut room = Vec::new();
        if let Ok(safe) = SafePath::decode(path.as_bytes(), &mut room) {
            let path = safe.as_bytes();
            prop_assert!(!path.starts_with(b"/") && !path.ends_with(b"/"));
            prop_assert!(!path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
            for segment in path.split(|byte| *byte == b'/') {
                prop_assert!(path.is_empty() || !segment.is_empty());
                prop_assert!(!segment.starts_with(b"."));
            }
        }
    }

    #[test]
    fn any_bytes_come_back_from_their_encoding(name in prop::collection::vec(any::<u8>(), 1..40)) {
        let encoded: String = name.iter().map(|byte| format!("%{byte:02X}")).collect();
        let mut room = Vec::new();
        let odd = |byte: &u8| byte.is_ascii_control() || b"/\\".contains(byte);
        let safe = SafePath::decode(format!("/{encoded}").as_bytes(), &mut room);
        match safe {
            Ok(safe) => prop_assert_eq!(safe.as_bytes(), &name[..]),
            Err(_) => prop_assert!(name[0] == b'.' || name.iter().any(odd)),
        }
    }
}
