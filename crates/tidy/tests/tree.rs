//! Whether the tree keeps to its own rules.

use c1000k_tidy::{Uses, files, rows, workspace};
use std::fs;
use std::path::PathBuf;

/// The crates that are large enough to have floors of their own.
const CRATES: [(&str, &str); 4] =
    [("bench", "bench"), ("client", "client"), ("report", "crates/report"), ("server", "server")];

#[test]
fn files_use_rows_below_their_own_and_go_in_no_circles() {
    let map = fs::read_to_string(workspace().join("docs/ARCHITECTURE.md")).expect("the map");
    let mut wrong = Vec::new();
    for (name, folder) in CRATES {
        let rows = rows(&map, name).unwrap_or_else(|| panic!("the map has no rows for {name}"));
        let uses = Uses::read(&workspace().join(folder).join("src"));
        assert!(uses.0.len() > 5, "{name} was read");
        let circles = uses.circles().into_iter().map(|circle| format!("a circle of {circle}"));
        wrong.extend(
            uses.against(&rows).into_iter().chain(circles).map(|it| format!("{name}: {it}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Columns of a line of Rust, comments and strings too.
const RUST_COLUMNS: usize = 100;

/// Folders whose Rust is held to that: all there are.
const RUST: [&str; 4] = ["bench", "client", "crates", "server"];

/// Columns of a line of a document. A row of a table is one line, however long it is.
const DOCUMENT_COLUMNS: usize = 150;

/// Every line of these files that is too long and may not be, with its place.
fn too_long(files: &[PathBuf], columns: usize, may: impl Fn(&str) -> bool) -> Vec<String> {
    assert!(!files.is_empty(), "nothing was read");
    let of = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("text");
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned()));
        let long = lines.filter(|(_, line)| line.chars().count() > columns && !may(line));
        let name = path.display().to_string();
        long.map(|(at, _)| format!("{name}:{at}")).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

#[test]
fn lines_fit() {
    let rust: Vec<_> =
        RUST.iter().flat_map(|folder| files(&workspace().join(folder), ".rs")).collect();
    let mut wrong = too_long(&rust, RUST_COLUMNS, |_| false);
    let mut documents = files(&workspace().join("docs"), ".md");
    let others = ["README.md", "scripts/README.md", "results/README.md"];
    documents.extend(others.map(|name| workspace().join(name)));
    wrong.extend(too_long(&documents, DOCUMENT_COLUMNS, |line| line.starts_with('|')));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_decision_is_in_the_index_and_short() {
    let folder = workspace().join("docs/decisions");
    let index = fs::read_to_string(folder.join("README.md")).expect("the index");
    for path in files(&folder, ".md").iter().filter(|path| !path.ends_with("README.md")) {
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(index.contains(&format!("]({name})")), "the index has no row for {name}");
        let lines = fs::read_to_string(path).expect("text").lines().count();
        assert!(lines <= 25, "{name} has {lines} lines");
    }
}

#[test]
fn documents_name_files_that_are_there() {
    let top = ["bench/", "client/", "crates/", "docs/", "results/", "scripts/", "server/"];
    let mut documents = files(&workspace().join("docs"), ".md");
    let others = ["README.md", "scripts/README.md", "results/README.md"];
    documents.extend(others.map(|name| workspace().join(name)));
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("text");
        let folder = document.parent().expect("it is in one");
        let is_file = |name: &&str| !name.contains("://") && !name.is_empty();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(is_file).map(|name| folder.join(name));
        // Without a placeholder in it (`NAME` is one), and no command.
        let is_path = |name: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let known = top.iter().any(|top| name.starts_with(top));
            known && name.chars().all(plain) && !name.contains("NAME")
        };
        let paths = text.split('`').filter(is_path).map(|name| workspace().join(name));
        for path in links.chain(paths) {
            looked_at += 1;
            if !path.exists() {
                wrong.push(format!("{}: {}", document.display(), path.display()));
            }
        }
    }
    assert!(looked_at > 120, "only {looked_at} were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
