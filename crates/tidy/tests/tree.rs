//! Whether the tree keeps to its own rules.

use c1000k_tidy::{Uses, rows, workspace};
use std::fs;

/// The crates that are large enough to have floors of their own.
const CRATES: [(&str, &str); 3] =
    [("bench", "bench"), ("report", "crates/report"), ("server", "server")];

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
