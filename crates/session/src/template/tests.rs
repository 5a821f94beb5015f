//! Templates against what `format!` makes of the same, and by their longest size.

use super::*;
use proptest::prelude::*;

fn data() -> Data {
    let csv = "user,token,odd:name\nann,\"t\"\"1\",x\nbob & co,tok/en 2,\u{e9}\u{1}\\\n";
    Data::read(csv.as_bytes()).expect("right")
}

fn variables() -> (Variables, Vec<u8>) {
    let mut variables = Variables::default();
    variables.add("sid".to_owned(), 8);
    variables.add("cursor".to_owned(), 4);
    let mut captured = vec![0; variables.bytes()];
    assert!(variables.append(0, &mut captured, b"a\"b"));
    assert!(variables.append(0, &mut captured, b"/c"));
    assert!(!variables.append(0, &mut captured, b"1234"), "no room");
    assert!(variables.append(1, &mut captured, b"0"));
    variables.clear(1, &mut captured);
    assert!(variables.append(1, &mut captured, b"\xff\x007"));
    (variables, captured)
}

const STAMP: [u8; STAMP_BYTES] = [0xfb; STAMP_BYTES];

fn fill(captured: &[u8]) -> Fill<'_> {
    Fill {
        row: 1,
        captured,
        connection: 12_345,
        sequence: 70_001,
        count: 9,
        now_ms: 1_700_000_000_123,
        random: 7,
        stamp: &STAMP,
    }
}

type Parse = fn(&str, Names<'_>) -> Result<Template, TemplateError>;

fn filled_by(parse: Parse, text: &str) -> Result<Vec<u8>, String> {
    let (data, (variables, captured)) = (data(), variables());
    let template = parse(text, Names { data: &data, variables: &variables });
    let template = template.map_err(|error| error.to_string())?;
    let mut out = b"before".to_vec();
    template.write(&data, &variables, &fill(&captured), &mut out);
    assert!(out.len() - 6 <= template.longest(), "{text}");
    Ok(out.split_off(6))
}

fn text(template: &str) -> String {
    String::from_utf8(filled_by(parse_text, template).expect(template)).expect("text")
}

fn binary(template: &str) -> Vec<u8> {
    filled_by(parse_binary, template).expect(template)
}

#[test]
fn text_is_filled_with_what_it_names() {
    assert_eq!(text("plain $ and $$ and {x}"), "plain $ and $$ and {x}");
    assert_eq!(text("a $${user} b"), "a ${user} b");
    assert_eq!(text("${user}|${user:url}|${token:url}"), "bob & co|bob%20%26%20co|tok%2Fen%202");
    assert_eq!(text("${odd:name}|${odd:name:json}"), "\u{e9}\u{1}\\|\u{e9}\\u0001\\\\");
    assert_eq!(text("${odd:name:url}|${user:base64}"), "%C3%A9%01%5C|Ym9iICYgY28=");
    assert_eq!(text("${sid}|${sid:json}|${sid:url}"), "a\"b/c|a\\\"b/c|a%22b%2Fc");
    assert_eq!(text("${conn} ${conn%1000} ${conn/100} ${seq} ${n}"), "12345 345 123 70001 9");
    assert_eq!(text("${now_ms}${pad:3}"), "1700000000123xxx");
    assert_eq!(text(""), "");
}

#[test]
fn random_numbers_differ_and_stay_within_their_range() {
    let drawn = text(
        "${rand:1-9} ${rand:1-9} ${rand:1-9} ${rand:1-9} ${rand:5-5} \
         ${rand:0-18446744073709551615}",
    );
    let drawn: Vec<u64> = drawn.split(' ').map(|one| one.parse().expect("a number")).collect();
    assert!(drawn[..4].iter().all(|one| (1..=9).contains(one)) && drawn[4] == 5);
    assert!(drawn[..4].iter().any(|one| *one != drawn[0]), "{drawn:?}");
    assert_eq!(text("${rand:1-1000000}"), text("${rand:1-1000000}"), "the same for one seed");
}

#[test]
fn a_stamp_is_found_wherever_it_lies() {
    for around in ["${stamp}", "{\"text\":\"${stamp} hi\"}", "c1k.no c1k.${stamp}${stamp}"] {
        let message = text(around);
        assert_eq!(find_stamp(message.as_bytes()), Some(STAMP), "{message}");
        assert_eq!(find_stamp(&message.as_bytes()[..STAMP_TEXT_BYTES - 1]), None);
    }
    assert_eq!(find_stamp(b""), None);
}

#[test]
fn bytes_are_hexadecimal_text_and_groups() {
    assert_eq!(binary("c0 00"), [0xc0, 0]);
    assert_eq!(binary("  003C'a b'Ff "), *b"\x00\x3ca b\xff");
    assert_eq!(binary("u8('abc') u16('') u16le('a') u32('b')"), *b"\x03abc\0\0\x01\0a\0\0\0\x01b");
    assert_eq!(binary("varint(00 str16('MQTT'))"), *b"\x07\0\0\x04MQTT");
    assert_eq!(
        binary("u16(${conn}) u16le(${conn}) u8(${n}) u32(${seq})"),
        *b"\x30\x39\x39\x30\x09\0\x01\x11\x71"
    );
    // 70,001 is more than 16 bits hold: 1 to 65,535 and again from 1.
    assert_eq!(binary("u16(${seq})"), 4_466_u16.to_be_bytes());
    assert_eq!(binary("str16('${user:url}')"), *b"\0\x0ebob%20%26%20co");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_write() {
    let cases: &[(Parse, &str, &str)] = &[
        (
            parse_text,
            "${usr}",
            "'${usr}' is not known: columns are user, token, odd:name, variables are sid, cursor",
        ),
        (parse_text, "${user:xml}", "has an ending that is none of :json, :url and :base64"),
        (parse_text, "a ${user", "'${user' has no '}'"),
        (parse_text, "${rand}", "'${rand:1-9}'"),
        (parse_text, "${rand:9-1}", "the lower first"),
        (parse_text, "${pad:x}", "needs a length"),
        (parse_text, "${pad:70000}", "it may take 70000 bytes, and 65536 are the most"),
        (parse_text, "${conn%0}", "'${conn%1000}'"),
        (parse_text, "${conn/}", "'${conn/100}'"),
        (parse_text, "${}", "'${}' is not known"),
        (parse_binary, "1", "'1' is neither pairs of hexadecimal digits nor a group"),
        (parse_binary, "\u{e9}", "is neither"),
        (parse_binary, "xy", "'xy' is neither"),
        (parse_binary, "'abc", "has no quote at its end"),
        (parse_binary, "u24(00)", "'u24( )' is no group"),
        (parse_binary, "u16(00", "does not end with ')'"),
        (parse_binary, "00)", "has no '(' before it"),
        (parse_binary, "${seq}", "'${seq}' stands alone"),
        (parse_binary, "u16(${user})", "is no number"),
        (
            parse_binary,
            "u8('${pad:256}')",
            "a group u8( ) may hold 256 bytes, and its length holds 255",
        ),
        (parse_binary, "u8(u8(u8(u8(u8(u8(u8(u8(u8(00)))))))))", "more than 8 groups"),
    ];
    for (parse, template, why) in cases {
        let said = filled_by(*parse, template).expect_err(template);
        assert!(said.contains(why), "{template}: {said}");
    }
}

/// A part, as it is written in a template, and what comes of it.
fn any_part() -> impl Strategy<Value = (String, Vec<u8>)> {
    let said = |written: &str, comes: &str| Just((written.to_owned(), comes.as_bytes().to_vec()));
    prop_oneof![
        "[a-z{}: é]{0,8}".prop_map(|text| (text.clone(), text.into_bytes())),
        said("${user}", "bob & co"),
        said("${token:url}", "tok%2Fen%202"),
        said("${sid:json}", "a\\\"b/c"),
        said("${conn%7}", "4"),
        said("${seq}", "70001"),
        (0..40_u32).prop_map(|count| (format!("${{pad:{count}}}"), vec![b'x'; count as usize])),
    ]
}

/// The same for bytes, groups among them.
fn any_item() -> impl Strategy<Value = (String, Vec<u8>)> {
    let hex = prop::collection::vec(any::<u8>(), 1..4)
        .prop_map(|bytes| (bytes.iter().map(|byte| format!("{byte:02x}")).collect(), bytes));
    let number = any::<bool>().prop_map(|big| {
        if big {
            ("u32(${conn})".to_owned(), 12_345_u32.to_be_bytes().to_vec())
        } else {
            ("varint(${conn})".to_owned(), vec![0xb9, 0x60])
        }
    });
    let quoted = any_part().prop_map(|(written, comes)| (format!("'{written}'"), comes));
    prop_oneof![hex, number, quoted].prop_recursive(5, 30, 4, |inner| {
        (0..6_usize, prop::collection::vec(inner, 0..4)).prop_map(|(which, items)| {
            let written: Vec<_> = items.iter().map(|(written, _)| written.as_str()).collect();
            let inside: Vec<u8> = items.iter().flat_map(|(_, comes)| comes.clone()).collect();
            // An empty text first: a group around a number alone would be that number.
            let written = format!("'' {}", written.join(" "));
            let length = inside.len();
            let (word, mut comes) = match which {
                0 if length < 256 => ("u8", vec![length as u8]),
                1 => ("u16", (length as u16).to_be_bytes().to_vec()),
                2 => ("u16le", (length as u16).to_le_bytes().to_vec()),
                3 => ("u32", (length as u32).to_be_bytes().to_vec()),
                4 => ("str16", (length as u16).to_be_bytes().to_vec()),
                _ if length < 128 => ("varint", vec![length as u8]),
                _ => ("varint", vec![length as u8 | 0x80, (length >> 7) as u8]),
            };
            comes.extend(inside);
            (format!("{word}({written})"), comes)
        })
    })
}

proptest! {
    #[test]
    fn text_is_what_its_parts_are(parts in prop::collection::vec(any_part(), 0..8)) {
        let written: String = parts.iter().map(|(written, _)| written.as_str()).collect();
        let comes: Vec<u8> = parts.into_iter().flat_map(|(_, comes)| comes).collect();
        prop_assert_eq!(filled_by(parse_text, &written), Ok(comes));
    }

    #[test]
    fn bytes_are_what_their_parts_are(items in prop::collection::vec(any_item(), 0..6)) {
        let written: Vec<_> = items.iter().map(|(written, _)| written.as_str()).collect();
        let comes: Vec<u8> = items.iter().flat_map(|(_, comes)| comes.clone()).collect();
        match filled_by(parse_binary, &written.join(" ")) {
            Ok(made) => prop_assert_eq!(made, comes),
            Err(said) => prop_assert!(said.contains("may hold"), "{}", said),
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(text in "[a-z0-9 ${}:%/()']{0,40}") {
        let _ = filled_by(parse_text, &text);
        let _ = filled_by(parse_binary, &text);
    }
}
