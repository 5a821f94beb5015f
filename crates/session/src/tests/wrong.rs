//! Session files that are wrong: each is refused in one sentence that says where, and what to
//! write.

use super::*;

fn refused(file: &str) -> String {
    let data = |name: &str| match name {
        "users.csv" => Data::read(&b"user,token\na,b\n"[..]).map_err(|error| error.to_string()),
        "seq.csv" => Data::read(&b"seq\n1\n"[..]).map_err(|error| error.to_string()),
        "ragged.csv" => Data::read(&b"a,b\n1\n"[..]).map_err(|error| error.to_string()),
        _ => Err("No such file or directory".to_owned()),
    };
    match Program::compile("s.toml", file, data) {
        Ok(program) => panic!("{file} is taken: {program:?}"),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let kinds = |kinds: &str| format!("loop = [{{ expect = \"a\" }}]\n[messages]\n{kinds}\n");
    let step = |step: &str| format!("loop = [{step}]\n[messages]\na = {{ is = \"a\" }}\n");
    let cases: &[(String, &str)] = &[
        ("loop = [".into(), "s.toml:1:"),
        (
            "x = 1".into(),
            "s.toml:1:1: a session has no word 'x': its words are data, rows, vars, path",
        ),
        ("setup = 1".into(), "s.toml:1:9: `setup` is written [ { … }, … ]"),
        ("setup = [1]".into(), "a step is written { … }"),
        (String::new(), "s.toml: nothing is done: a session needs `setup`, `loop` or `timers`"),
        ("data = \"nobody.csv\"".into(), "s.toml:1:8: nobody.csv: No such file or directory"),
        ("data = \"ragged.csv\"".into(), "ragged.csv: line 2 has 1 cells, the header has 2"),
        ("data = \"seq.csv\"".into(), "a column is named 'seq', which stands for something else"),
        ("rows = \"cycle\"".into(), "there are none"),
        (
            "data = \"users.csv\"\nrows = \"all\"".into(),
            "s.toml:2:8: `rows` is \"unique\", \"cycle\" or \"random\"",
        ),
        ("frame = \"lines\"".into(), "`frame` is one of message, line, nul, rs, u16, u32, mqtt"),
        ("every = \"0s\"".into(), "`every` has to be more than 0"),
        ("every = \"often\"".into(), "'often' does not start with a number"),
        (
            "vars = { seq = 4 }".into(),
            "the variable 'seq' has a name that stands for something else",
        ),
        (
            "data = \"users.csv\"\nvars = { user = 4 }".into(),
            "the variable 'user' has the name of a column",
        ),
        ("vars = { a = 0 }".into(), "has room for 0 bytes: 1 to 4096 are allowed"),
        ("vars = { a = \"x\" }".into(), "`vars` is a size"),
        ("vars = { a = { start = \"b\" } }".into(), "a variable needs its `size`"),
        (
            "vars = { a = { size = 1, start = \"bc\" } }".into(),
            "starts with more than it has room for",
        ),
        (
            "header = [\"A: ${b}\"]".into(),
            "s.toml:1:11: '${b}' is not known: there are no columns, there are no variables",
        ),
        (step("{}"), "a step does something: send, binary, request, expect, think or close"),
        (step("{ sends = \"a\" }"), "a step has no word 'sends'"),
        (step("{ send = 5 }"), "`send` is a text in quotes"),
        (step("{ send = \"a\", binary = \"00\" }"), "a step has one of send, binary and request"),
        (step("{ send = \"a\", body = \"b\" }"), "`header` and `body` belong to a `request`"),
        (step("{ request = \"get /\" }"), "`request` is a method and a path"),
        (
            step("{ send = \"a\" }, { request = \"GET /\" }"),
            "a session speaks either HTTP, or messages",
        ),
        (
            step("{ send = \"a\", expect = \"b\" }"),
            "no message is of the kind 'b': [messages] has a",
        ),
        (step("{ send = \"a\", within = \"1s\" }"), "`expect` is missing"),
        (step("{ think = \"long\" }"), "'long' is no time"),
        (step("{ close = 1005 }"), "`close` is 1000, 1001, or from 3000 to 4999"),
        (step("{ name = \"x\", think = \"1s\" }"), "this step sends and expects nothing"),
        (step("{ name = \"X y\", send = \"a\" }"), "a name is of small letters, digits and _"),
        (
            step("{ name = \"x\", send = \"a\" }, { name = \"x\", send = \"a\" }"),
            "two steps are named 'x'",
        ),
        (format!("every = \"1s\"\n{}", step("{ think = \"1s\" }")), "leave one out"),
        (
            format!("frame = \"u16\"\n{}", step("{ send = \"${pad:65536}\" }")),
            "longer than a frame of u16 can say",
        ),
        (kinds("a = {}"), "the kind 'a' has no test"),
        (kinds("a = 1"), "a kind of message is written { … }"),
        (kinds("a = { if = 1 }"), "the kind 'a' has no test"),
        (kinds("a = { is = \"a\", if = 1 }"), "a kind of message has no word 'if'"),
        (kinds("a = { status = 99 }"), "`status` is from 100 to 599"),
        (kinds("a = { bytes = \"0\" }"), "`bytes` are pairs of hexadecimal digits"),
        (kinds("a = { is = \"a\", at = 1 }"), "`at` belongs to `bytes`"),
        (kinds("a = { has = \"${seq}\" }"), "`has` is always the same"),
        (kinds("a = { json = { \"type\" = 1 } }"), "'type' is no pointer: write '/key'"),
        (kinds("a = { json = { \"/type\" = [1] } }"), "what is expected is a text, a number"),
        (kinds("a = { regex = \"(\" }"), "'(' is no regular expression: unclosed group"),
        (kinds("a = { regex = '(a|b)*a(a|b){18}' }"), "needs an automaton of more than 1 MiB"),
        (kinds("a = { regex = '.*([0-9]+)', id = \"re:1\" }"), "cannot be taken in one pass"),
        (kinds("a = { is = \"a\", id = \"re:1\" }"), "a group needs a `regex` of the same kind"),
        (kinds("a = { is = \"a\", id = \"ref\" }"), "'ref' is no place: write '/json/pointer'"),
        (
            kinds("a = { is = \"a\", take = { b = \"/b\" } }"),
            "there is no variable 'b': give it room, vars = { b = 24 }",
        ),
        (kinds("a = { is = \"a\", close = \"bad\" }"), "`close` is \"ok\""),
        (kinds("a = { is = \"a\", fail = 1 }"), "`fail` is true or false"),
        (
            kinds(&(0..33).map(|n| format!("a{n} = {{ is = \"a\" }}\n")).collect::<String>()),
            "more than 32 kinds",
        ),
    ];
    for (file, why) in cases {
        let said = refused(file);
        assert!(said.contains(why), "{file}\n{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn lines_and_columns_are_those_of_an_editor() {
    let file = "# é\nloop = [\n  { send = \"ä\", expect = \"nobody\" },\n]\n";
    assert!(refused(file).starts_with("s.toml:3:26: no message is of the kind 'nobody'"));
}
