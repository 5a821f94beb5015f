//! Comparisons that can be believed: repeats of the same run raise no alarm, a real difference
//! does, and what cannot be compared is refused by name.
//!
//! `fixtures/repeats` are runs of one plan, recorded one after another on a machine with other work
//! to do: 1,000 connections, 3,000 messages per second. Its median response varies by a tenth and
//! its tail severalfold, as it does where people measure.
//!
//! `fixtures/slower` are five runs a side, recorded in turns on a quiet machine: 200 connections,
//! 10,000 messages per second, against a server whose replies wait for 1 ms (`--delay 1ms`), and
//! for 1.12 ms.

use c1000k_report::compare::side::{RunFile, Side};
use c1000k_report::compare::statistics::{from_logarithm, logarithm};
use c1000k_report::compare::{Comparison, Options, Verdict, compare, show};
use c1000k_report::schema::{Generator, Outcome, ResultFile, StageEntry, Warning};
use measure::Stage;
use std::path::{Path, PathBuf};

fn recorded() -> Vec<RunFile> {
    recorded_in("repeats")
}

fn recorded_in(folder: &str) -> Vec<RunFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    Side::read(&folder).expect("recorded runs").runs
}

/// Numbers that look drawn by lot and are the same each time (a linear congruential generator).
struct Lot(u64);

impl Lot {
    /// From 0 to 1.
    fn draw(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.draw() * (last + 1) as f64) as usize);
        }
    }
}

fn side(runs: Vec<RunFile>) -> Side {
    Side { runs, left_out: Vec::new() }
}

fn compared(base: Vec<RunFile>, new: Vec<RunFile>) -> Comparison {
    compare(&side(base), &side(new), &Options::default()).expect("comparable")
}

fn verdict(comparison: &Comparison, metric: &str) -> Verdict {
    comparison.rows.iter().find(|row| row.metric == metric).expect(metric).verdict
}

/// Every time of every stage, times `factor`: as if the whole run had been slower.
fn slower(run: &mut RunFile, factor: f64) {
    // The generator stays as punctual as it was: else it would be the bottleneck.
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::SendLag) {
        let entry = run.result.stages.get(stage).map(|entry| {
            let scaled = |value: u64| (value as f64 * factor) as u64;
            StageEntry {
                p50: scaled(entry.p50),
                p90: scaled(entry.p90),
                p95: entry.p95().map(scaled),
                p99: scaled(entry.p99),
                p999: scaled(entry.p999),
                ..entry.clone()
            }
        });
        run.result.stages.set(stage, entry);
    }
}

#[test]
fn twenty_comparisons_of_recorded_repeats_raise_one_false_alarm_at_most() {
    let mut runs = recorded();
    let mut lot = Lot(1);
    let alarms = (0..20).filter(|_| {
        lot.shuffle(&mut runs);
        let (base, new) = runs.split_at(runs.len() / 2);
        compared(base.to_vec(), new.to_vec()).regression
    });
    assert!(alarms.count() <= 1);
}

#[test]
fn twenty_pairs_of_single_recorded_repeats_raise_one_false_alarm_at_most() {
    let mut runs = recorded();
    let mut lot = Lot(4);
    let alarms = (0..20).filter(|_| {
        lot.shuffle(&mut runs);
        compared(vec![runs[0].clone()], vec![runs[1].clone()]).regression
    });
    assert!(alarms.count() <= 1);
}

/// Runs whose noise is `noise` (a share) about those of a recorded one, each figure on its own.
fn synthetic(lot: &mut Lot, runs: usize, noise: f64) -> Vec<RunFile> {
    let model = recorded().swap_remove(0);
    let run = |index: usize| {
        let mut run = model.clone();
        run.result.run.id = format!("{index}-{}", lot.draw());
        for stage in Stage::ALL {
            let Some(mut entry) = run.result.stages.get(stage).cloned() else { continue };
            // The sum of twelve is as good as normal.
            let mut noisy = |value: u64| {
                let normal = (0..12).map(|_| lot.draw()).sum::<f64>() - 6.0;
                from_logarithm(logarithm(value as f64) + noise * normal) as u64
            };
            entry.p50 = noisy(entry.p50);
            entry.p90 = noisy(entry.p90);
            entry.p95 = entry.p95().map(&mut noisy);
            entry.p99 = noisy(entry.p99);
            entry.p999 = noisy(entry.p999);
            run.result.stages.set(stage, Some(entry));
        }
        run
    };
    (0..runs).map(run).collect()
}

#[test]
fn twenty_comparisons_of_synthetic_repeats_raise_one_false_alarm_at_most() {
    let mut lot = Lot(2);
    let alarms = (0..20).filter(|_| {
        compared(synthetic(&mut lot, 5, 0.05), synthetic(&mut lot, 5, 0.05)).regression
    });
    assert!(alarms.count() <= 1);
}

#[test]
fn a_median_that_is_ten_percent_slower_is_found_in_five_runs_a_side() {
    let mut lot = Lot(3);
    let found = (0..20).filter(|_| {
        let (base, mut new) = (synthetic(&mut lot, 5, 0.015), synthetic(&mut lot, 5, 0.015));
        for run in &mut new {
            let response = run.result.stages.get_mut(Stage::Response).expect("measured");
            response.p50 = response.p50 * 11 / 10;
        }
        verdict(&compared(base, new), "response.p50") == Verdict::Worse
    });
    assert!(found.count() >= 19);
}

/// The noise of the recorded runs is about a tenth: what is lost in it is not found, what is not
/// is. A median that is a tenth slower, five runs a side: found in runs as they were recorded, and
/// nothing is said of what the delay does not touch.
#[test]
fn a_tenth_is_found_in_recorded_runs_of_a_slower_server() {
    let (base, new) = (recorded_in("slower/base"), recorded_in("slower/new"));
    assert_eq!((base.len(), new.len()), (5, 5));
    let comparison = compared(base.clone(), new.clone());
    let row = comparison.rows.iter().find(|row| row.metric == "response.p50").expect("judged");
    let ratio = row.new.expect("measured") / row.base.expect("measured");
    assert!((1.08..1.11).contains(&ratio), "{ratio}");
    assert_eq!(row.verdict, Verdict::Worse);
    assert!(comparison.regression);
    for metric in ["connect.p50", "messages.rate_achieved", "send_lag.p50"] {
        assert_eq!(verdict(&comparison, metric), Verdict::Same, "{metric}");
    }
    let back = compared(new, base);
    assert_eq!(verdict(&back, "response.p50"), Verdict::Better);
    assert!(!back.regression);
}

#[test]
fn a_difference_is_found_in_recorded_runs_where_it_is_more_than_their_noise() {
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for (index, run) in recorded().into_iter().enumerate() {
        if index % 2 == 0 { base.push(run) } else { new.push(run) }
    }
    new.iter_mut().for_each(|run| slower(run, 2.0));
    let comparison = compared(base.clone(), new.clone());
    assert_eq!(
        verdict(&comparison, "response.p50"),
        Verdict::Worse,
        "{}",
        show::table(&comparison)
    );
    assert!(comparison.regression);
    let the_other_way = compared(new, base);
    assert_eq!(verdict(&the_other_way, "response.p50"), Verdict::Better);
    assert!(!the_other_way.regression, "{}", show::table(&the_other_way));
}

#[test]
fn with_one_run_a_side_noise_is_unknown_and_says_so() {
    let mut runs = recorded();
    let (base, mut new) = (runs.remove(0), runs.remove(0));
    new.result = base.result.clone();
    new.result.run.id = "other".to_owned();
    let same = compared(vec![base.clone()], vec![new.clone()]);
    assert_eq!((same.method.name, same.regression), ("limits", false));
    assert!(
        same.method.text.starts_with("noise is unknown: 2 runs in all do not show it"),
        "{}",
        same.method.text
    );
    assert_eq!(same.count(Verdict::Worse) + same.count(Verdict::Better), 0);
    let mut a_little = new.clone();
    slower(&mut a_little, 1.15);
    assert!(!compared(vec![base.clone()], vec![a_little]).regression, "below the limits");
    slower(&mut new, 2.5);
    let worse = compared(vec![base], vec![new]);
    assert_eq!(verdict(&worse, "response.p90"), Verdict::Worse);
    assert!(worse.regression && show::table(&worse).contains("noise is unknown"));
}

#[test]
fn one_new_run_is_judged_by_the_noise_of_several_base_runs() {
    let mut base = recorded();
    let new = base.remove(0);
    let comparison = compared(base, vec![new]);
    assert_eq!(comparison.method.name, "bootstrap");
}

fn obstacles(change: impl Fn(&mut ResultFile)) -> Vec<String> {
    let mut runs = recorded();
    change(&mut runs[0].result);
    let new = vec![runs.remove(0)];
    compare(&side(runs), &side(new), &Options::default()).expect_err("refused").0
}

#[test]
fn what_is_not_comparable_is_refused_and_each_difference_named() {
    assert_eq!(
        obstacles(|result| {
            result.plan.size_bytes = 64;
            result.plan.connections = 7;
        }),
        [
            "plan.connections differs: 1000 in base, 7 in new",
            "plan.size_bytes differs: 32 in base, 64 in new"
        ]
    );
    assert_eq!(
        obstacles(|result| result.plan.targets = vec!["ws://127.0.0.1:1/".to_owned()]),
        ["plan.targets (protocols) differs: tcp in base, ws in new"]
    );
    let machine = obstacles(|result| result.host["cpu_model"] = "another".into());
    assert!(machine.len() == 1 && machine[0].ends_with(" in base, another in new"), "{machine:?}");
    let cut = obstacles(|result| result.run.outcome = Outcome::Interrupted);
    assert!(cut[0].ends_with("ended as 'interrupted', not as planned"), "{cut:?}");
    let busy = obstacles(|result| {
        result.reactors[0].busy_ratio = 0.97;
    });
    assert!(busy[0].contains("was at its end: reactor #0 of the client on core"), "{busy:?}");
    assert!(busy[0].ends_with("(client_busy)"), "{busy:?}");
    // What a run was judged when it was made stands.
    let judged = obstacles(|result| {
        let reason = Warning {
            code: "late_generator".to_owned(),
            text: "it was late".to_owned(),
            remedy: String::new(),
        };
        let (limited, reasons) = (true, vec![reason]);
        result.generator = Some(Generator { limited, reasons, ..Generator::default() });
    });
    assert!(judged[0].contains("was at its end: it was late (late_generator)"), "{judged:?}");
}

#[test]
fn what_is_not_comparable_can_be_compared_by_force_and_says_so() {
    let mut runs = recorded();
    runs[0].result.plan.size_bytes = 64;
    let new = vec![runs.remove(0)];
    let options = Options { force: true, ..Options::default() };
    let comparison = compare(&side(runs), &side(new), &options).expect("forced");
    assert_eq!(comparison.obstacles.len(), 1);
    assert!(show::table(&comparison).contains("forced: plan.size_bytes differs"));
    assert!(show::markdown(&comparison).contains("**compared by force**"));
}

#[test]
fn a_condition_fails_on_more_than_noise_and_only_on_what_it_names() {
    let mut base = recorded();
    let new = base.split_off(base.len() / 2);
    let mut slow = new.clone();
    slow.iter_mut().for_each(|run| slower(run, 2.0));
    let failed = |new: &[RunFile], condition: &str| {
        let fail_on = vec![condition.parse().expect(condition)];
        let options = Options { fail_on, ..Options::default() };
        compare(&side(base.clone()), &side(new.to_vec()), &options).expect("comparable").regression
    };
    assert!(failed(&slow, "response.p50>+20%"));
    assert!(!failed(&slow, "response.p50>+500%"), "not by so much");
    assert!(!failed(&slow, "connections.failed>+0"), "this is no worse");
    assert!(!failed(&slow, "messages.rate_achieved<-5%"), "nor is this");
    assert!(!failed(&new, "response.p50>+0%"), "that much is chance");
    assert!(failed(&new, "tls.p50>+10%"), "what was not measured is not a pass");
    assert!(!failed(&new, "response.mean>+1000%"), "not in the table by itself");
}

#[test]
fn runs_are_counted_once_and_what_is_no_run_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path: PathBuf = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let runs = recorded();
    let text = |run: &RunFile| serde_json::to_string(&run.result).expect("JSON");
    write("first.json", &text(&runs[0]));
    write("copy.json", &text(&runs[0]));
    write("second/result.json", &text(&runs[1]));
    write("comparison.json", "{\"schema\": \"c1000k.comparison/1\"}");
    write("notes.txt", "no JSON");
    let two: Vec<_> = runs[..2].iter().map(|run| run.result.clone()).collect();
    let merged = c1000k_report::merge::merge(&two).expect("repeats");
    write("merged.json", &serde_json::to_string(&merged).expect("JSON"));
    let side = Side::read(folder.path()).expect("runs");
    assert_eq!(side.runs.len(), 2);
    assert_eq!(side.left_out.len(), 3, "{:?}", side.left_out);
    let empty = tempfile::tempdir().expect("a folder");
    let nothing = Side::read(empty.path()).expect_err("nothing").to_string();
    assert!(nothing.starts_with("no result in '"), "{nothing}");
}

#[test]
fn sides_that_were_run_one_after_the_other_are_told_of() {
    let mut base = recorded();
    let new = base.split_off(base.len() / 2);
    let told = |base: Vec<RunFile>, new: Vec<RunFile>| {
        compared(base, new).notes.iter().any(|note| note.contains("run them in turns"))
    };
    assert!(told(base.clone(), new.clone()));
    let mut turns = (Vec::new(), Vec::new());
    for (index, run) in recorded().into_iter().enumerate() {
        if index % 2 == 0 { turns.0.push(run) } else { turns.1.push(run) }
    }
    assert!(!told(turns.0, turns.1));
}

/// Marks a run as one whose generator was at its end.
fn limited(run: &mut RunFile) {
    let reason = Warning { code: "client_busy".to_owned(), ..Warning::default() };
    let (limited, reasons) = (true, vec![reason]);
    run.result.generator = Some(Generator { limited, reasons, ..Generator::default() });
}

fn noisy(run: &mut RunFile) {
    run.result.generator = Some(Generator { noisy_host: true, ..Generator::default() });
}

#[test]
fn runs_at_the_generators_end_are_left_out_and_named_as_long_as_half_of_a_side_is_left() {
    let mut base = recorded();
    let mut new = base.split_off(base.len() / 2);
    new.truncate(4);
    limited(&mut new[1]);
    let spoilt = new[1].path.display().to_string();
    let comparison = compared(base.clone(), new.clone());
    let told = format!(
        "1 of the 4 runs of new left out, since the generator was at its end there; run again: \
         '{spoilt}'"
    );
    assert_eq!(comparison.notes[0], told);
    assert_eq!(comparison.new.files.len(), 3);
    assert!(!comparison.new.files.contains(&spoilt));
    // By force it counts.
    let options = Options { force: true, ..Options::default() };
    let forced = compare(&side(base.clone()), &side(new.clone()), &options).expect("forced");
    assert_eq!((forced.new.files.len(), forced.obstacles.len()), (4, 2));
    // A run that went wrong is not passed over: that may be its server's doing.
    let mut lost = new.clone();
    lost[1].result.run.outcome = Outcome::NotReached;
    let refused =
        compare(&side(base.clone()), &side(lost), &Options::default()).expect_err("refused");
    assert!(refused.0[0].contains("ended as 'not reached'"), "{refused:?}");
    // With most runs at their end the plan is too much; the files are named all the same.
    limited(&mut new[0]);
    limited(&mut new[2]);
    let refused =
        compare(&side(base), &side(new.clone()), &Options::default()).expect_err("refused");
    let again = refused.0.last().expect("advice");
    assert!(again.starts_with("run again: '") && again.matches(", ").count() == 2, "{again}");
    assert!(!again.contains(&new[3].path.display().to_string()), "{again}");
}

#[test]
fn a_noisy_machine_widens_the_intervals_twofold_and_its_files_are_named() {
    let (base, new) = (recorded_in("slower/base"), recorded_in("slower/new"));
    let calm = compared(base.clone(), new.clone());
    let mut disturbed = new.clone();
    noisy(&mut disturbed[0]);
    let wide = compared(base.clone(), disturbed.clone());
    let path = disturbed[0].path.display();
    let told = format!(
        "the machine was noisy in 1 of 10 runs: intervals and limits are 2 times as wide; for \
         narrower \
         ones run again: '{path}'"
    );
    assert!(wide.notes.contains(&told), "{:?}", wide.notes);
    assert!(show::markdown(&wide).contains("the machine was noisy in 1 of 10 runs"));
    let width = |comparison: &Comparison| {
        let row = comparison.rows.iter().find(|row| row.metric == "response.p50").expect("it");
        row.ratio_high.expect("known").ln() - row.ratio_low.expect("known").ln()
    };
    assert!((width(&wide) / width(&calm) - 2.0).abs() < 1e-6);
    assert!(calm.notes.iter().all(|note| !note.contains("noisy")));
    // With one run a side the limit is twice as far away: half as long again and more, less than
    // twice.
    let (one, mut other) = (vec![base[0].clone()], vec![base[0].clone()]);
    other[0].result.run.id = "other".to_owned();
    let response = other[0].result.stages.get_mut(Stage::Response).expect("it");
    response.p50 = response.p50 * 7 / 4;
    assert_eq!(verdict(&compared(one.clone(), other.clone()), "response.p50"), Verdict::Worse);
    noisy(&mut other[0]);
    assert_eq!(verdict(&compared(one, other), "response.p50"), Verdict::Same);
}

#[test]
fn the_headline_says_that_nothing_was_measured_where_that_is_why_it_fails() {
    let mut base = recorded();
    let new = base.split_off(base.len() / 2);
    let headline = |conditions: &[&str]| {
        let fail_on = conditions.iter().map(|one| one.parse().expect(one)).collect();
        let options = Options { fail_on, ..Options::default() };
        let comparison = compare(&side(base.clone()), &side(new.clone()), &options).expect("it");
        assert!(comparison.regression);
        show::markdown(&comparison).lines().next().expect("a line").to_owned()
    };
    let alone = headline(&["tls.p50>+10%"]);
    assert!(alone.starts_with("### not measured: "), "{alone}");
    assert!(alone.ends_with("; 1 of 1 conditions failed"), "{alone}");
}
