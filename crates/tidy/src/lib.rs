//! The tree reads itself: which file of a crate uses which, by the paths written in it, and whether
//! that keeps to the rows that `docs/ARCHITECTURE.md` gives.
//!
//! What only tests see (`#[cfg(test)]`, files named `…tests.rs`) is left out: a test may look
//! anywhere.

#![forbid(unsafe_code)]

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path from the crate's root: `driver::ramp` is `["driver", "ramp"]`; the root
/// itself is empty.
pub type Module = Vec<String>;

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below a folder whose names end so, in order; folders that are built or fetched are
/// left out.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.')
            {
                folders.push(path);
            } else if path.is_file() && name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Which file of a crate uses which others, by module. Items in a module without a file of its own
/// belong to the file that they are in.
#[derive(Debug)]
pub struct Uses(pub BTreeMap<Module, BTreeSet<Module>>);

impl Uses {
    /// Reads all files below the `src` of a crate.
    ///
    /// # Panics
    /// If one cannot be read, or is not Rust.
    #[must_use]
    pub fn read(src: &Path) -> Self {
        let is_test = |path: &PathBuf| path.to_string_lossy().ends_with("tests.rs");
        let sources = files(src, ".rs").into_iter().filter(|path| !is_test(path)).map(|path| {
            let inside = path.strip_prefix(src).expect("below it");
            (module_of(inside), fs::read_to_string(&path).expect("text"))
        });
        Self::of(&sources.collect())
    }

    /// The same for sources by their modules.
    ///
    /// # Panics
    /// If one is not Rust.
    #[must_use]
    pub fn of(sources: &BTreeMap<Module, String>) -> Self {
        let used_by = |module: &Module, text: &str| {
            let file = syn::parse_file(text);
            let file = file.unwrap_or_else(|error| panic!("{}: {error}", name(module)));
            let targets = paths::in_file(&file, module).into_iter();
            let targets = targets.filter_map(|path| {
                // The longest part of a path that is a file: the rest is what is taken from it.
                let lengths = (0..=path.len()).rev();
                let mut prefixes = lengths.map(|length| path[..length].to_vec());
                prefixes.find(|prefix| sources.contains_key(prefix))
            });
            targets.filter(|target| target != module).collect()
        };
        Self(sources.iter().map(|(module, text)| (module.clone(), used_by(module, text))).collect())
    }

    /// Modules at the top of the crate.
    #[must_use]
    pub fn tops(&self) -> BTreeSet<&str> {
        self.0.keys().filter_map(|module| module.first()).map(String::as_str).collect()
    }

    /// Every use that does not go down the rows, a sentence each, and every module without a row.
    /// The first row is the highest; modules of one row do not use each other, and nobody uses the
    /// root.
    #[must_use]
    pub fn against(&self, rows: &[Vec<String>]) -> Vec<String> {
        let row = |top: &str| rows.iter().position(|row| row.iter().any(|name| name == top));
        let mut wrong = Vec::new();
        for top in self.tops() {
            match rows.iter().flatten().filter(|name| *name == top).count() {
                0 => wrong.push(format!("{top} has no row")),
                1 => {}
                _ => wrong.push(format!("{top} has more than one row")),
            }
        }
        for listed in rows.iter().flatten().filter(|listed| !self.tops().contains(listed.as_str()))
        {
            wrong.push(format!("{listed} has a row, and is not there"));
        }
        for (from, targets) in &self.0 {
            let Some(own) = from.first() else { continue };
            for to in targets {
                let down = to.first().is_some_and(|top| top == own || row(top) > row(own));
                if !down {
                    wrong.push(format!("{} uses {}, which is not below it", name(from), name(to)));
                }
            }
        }
        wrong
    }

    /// Files that use each other in a circle, but for a parent and its own children.
    #[must_use]
    pub fn circles(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.0.keys() {
            if seen.contains(module) {
                continue;
            }
            let back = |other: &&Module| self.reach(other).contains(module);
            let reached = self.reach(module);
            let mut circle: BTreeSet<&Module> = reached.into_iter().filter(back).collect();
            circle.insert(module);
            seen.extend(circle.iter().copied());
            let is_parent = |one: &&&Module| circle.iter().all(|other| other.starts_with(one));
            if circle.iter().find(is_parent).is_none() {
                let names: Vec<String> = circle.iter().map(|module| name(module)).collect();
                circles.push(names.join(", "));
            }
        }
        circles
    }

    /// All that a module uses, over others too.
    fn reach(&self, from: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in self.0.get(module).into_iter().flatten() {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        reached
    }
}

/// The module that a file below `src` is.
fn module_of(inside: &Path) -> Module {
    let stem = inside.with_extension("");
    let mut module: Module = stem.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod")
        || matches!(&module[..], [only] if only == "lib" || only == "main")
    {
        module.pop();
    }
    module
}

/// As it is written in a path.
fn name(module: &[String]) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// The rows that a document gives a crate: the first table below the heading "Inside `NAME`", of
/// which the first column names modules in backticks; top to bottom. `None`: it gives it none.
#[must_use]
pub fn rows(document: &str, krate: &str) -> Option<Vec<Vec<String>>> {
    let heading = format!("### Inside `{krate}`");
    let below = document.lines().skip_while(|line| *line != heading).skip(1);
    let table = below.skip_while(|line| !line.starts_with('|')).take_while(|l| l.starts_with('|'));
    let first = |line: &str| {
        let cell = line.split('|').nth(1).unwrap_or_default();
        let names = cell.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let rows: Vec<_> = table.map(first).filter(|row| !row.is_empty()).collect();
    (!rows.is_empty()).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(files: &[(&str, &str)]) -> Uses {
        let sources = files.iter().map(|(path, text)| (module_of(Path::new(path)), (*text).into()));
        Uses::of(&sources.collect())
    }

    fn used(uses: &Uses, module: &str) -> Vec<String> {
        let module: Module = module.split("::").map(str::to_owned).collect();
        uses.0[&module].iter().map(|module| name(module)).collect()
    }

    #[test]
    fn each_way_to_name_another_file_is_found() {
        let uses = krate(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e; pub use a::Thing;"),
            (
                "a.rs",
                "use crate::b::{self, c::{Deep, Other}}; fn f() -> crate::c::T { crate::d::g() }",
            ),
            (
                "b/mod.rs",
                "mod c; use super::e::X; pub use self::c::Deep; impl super::d::T for Y {}",
            ),
            (
                "b/c.rs",
                "fn f() { println!(\"{}\", crate::e::NAME); } use super::Up; use crate::Thing;",
            ),
            (
                "c.rs",
                "#[cfg(test)] mod tests { use crate::a::Thing; } #[cfg(test)] use crate::b::D;",
            ),
            ("d.rs", "mod inner { use super::super::c::T; use super::Own; } use std::fmt;"),
            (
                "e.rs",
                "// use crate::a::Thing;\nconst TEXT: &str = \"crate::a::Thing\"; m! { pub(crate) \
                 x }",
            ),
        ]);
        assert_eq!(used(&uses, "a"), ["b", "b::c", "c", "d"]);
        assert_eq!(used(&uses, "b"), ["b::c", "d", "e"]);
        assert_eq!(used(&uses, "b::c"), ["the root", "b", "e"]);
        assert_eq!(used(&uses, "c"), [""; 0]);
        assert_eq!(used(&uses, "d"), ["c"]);
        assert_eq!(used(&uses, "e"), [""; 0]);
    }

    #[test]
    fn what_goes_up_or_sideways_or_in_circles_is_named() {
        let uses = krate(&[
            ("main.rs", "mod high; mod low; mod side;"),
            ("high.rs", "use crate::low::A; use crate::side::B;"),
            ("low/mod.rs", "mod child; pub use child::A;"),
            ("low/child.rs", "use super::T; use crate::high::U;"),
            ("side.rs", "use crate::Error;"),
        ]);
        let rows = |rows: &[&[&str]]| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(|name| (*name).to_owned()).collect()).collect()
        };
        assert_eq!(
            uses.against(&rows(&[&["high", "side"], &["low"], &["gone"]])),
            [
                "gone has a row, and is not there",
                "high uses side, which is not below it",
                "low::child uses high, which is not below it",
                "side uses the root, which is not below it",
            ]
        );
        assert_eq!(
            uses.against(&rows(&[&["high"], &["high", "side"]]))[..2],
            ["high has more than one row", "low has no row",]
        );
        // A parent and its child alone are none.
        assert_eq!(uses.circles(), ["high, low, low::child"]);
    }

    #[test]
    fn rows_are_read_from_the_document() {
        let document = "# A\n\n### Inside `one`\n\nWords.\n\n| row | what |\n|---|---|\n\
            | `a`, `b` | high |\n| `c` | `low` |\n\n| `not` | these |\n";
        assert_eq!(
            rows(document, "one"),
            Some(vec![vec!["a".into(), "b".into()], vec!["c".into()]])
        );
        assert_eq!(rows(document, "two"), None);
    }
}
