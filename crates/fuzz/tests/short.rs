//! The run that every test run makes: all seeds, and a fixed number of mutations of each target.

use c1000k_fuzz::driver::{Driver, Failure, seed_folder, seeds};
use c1000k_fuzz::{TARGETS, Target, Verdict};

/// Mutations per target.
const STEPS: usize = 3_000;

#[test]
fn every_target_holds() {
    for target in TARGETS {
        let seeds = seeds(target).expect("the folder of seeds");
        assert!(!seeds.is_empty(), "no seeds in {}", seed_folder(target).display());
        let mut driver = Driver::new(*target, seeds, 0x5eed).unwrap_or_else(|failure| {
            panic!("{}: a seed fails: {failure:?}", target.name);
        });
        for _ in 0..STEPS {
            driver.step().unwrap_or_else(|failure| panic!("{}: {failure:?}", target.name));
        }
    }
}

#[test]
fn every_folder_of_seeds_has_its_target() {
    let folder = seed_folder(&TARGETS[0]);
    let folders = std::fs::read_dir(folder.parent().expect("seeds")).expect("the seeds");
    let mut folders: Vec<_> = folders
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    assert_eq!(folders, names);
}

/// What a target with a mistake in it would be.
fn planted(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    assert!(!(text.contains("ab") && text.contains("xyz")), "found it");
    Verdict::of((text.contains("ab"), text.contains('x'), text.contains("xy")))
}

#[test]
fn a_mistake_is_found_made_small_and_found_again() {
    let find = || {
        let target = Target { name: "planted", words: &["ab"], run: planted };
        let seeds = vec![b"a seed of no interest".to_vec()];
        let mut driver = Driver::new(target, seeds, 1).expect("the seed holds");
        (0..1_000_000).find_map(|_| driver.step().err()).expect("found")
    };
    let failure = find();
    assert_eq!(failure.message, "found it");
    let mut bytes = failure.input.clone();
    bytes.sort_unstable();
    assert_eq!(bytes, b"abxyz", "nothing is left that is not needed");
    assert_eq!(find(), failure, "the same seed finds the same");
}

#[test]
fn a_seed_that_fails_is_named_as_it_is() {
    let target = Target { name: "planted", words: &[], run: planted };
    let seed = b"ab and xyz".to_vec();
    let failure = Driver::new(target, vec![seed.clone()], 1).map(|_| ());
    assert_eq!(failure, Err(Failure { input: seed, message: "found it".to_owned() }));
}
