//! Checkpoints: while a run goes on, what it has measured so far is written beside the place of its
//! result every few seconds (`OUT.part`), so that a client that is killed leaves it.
//!
//! The conductor hands over what is new, and a thread of its own, which gives way to all others,
//! lays it out and writes it: a slow disk holds up nothing. Nothing of this reaches the reactors.

use crate::books::totals::Totals;
use crate::plan::Plan;
use control::spawn::{STACK_BYTES, spawn_named};
use crossbeam_channel::{Receiver, Sender, bounded};
use measure::{IntervalHistogram, Nanos, Stage};
use report::part::{self, Part};
use report::schema::{self, Model, ResultFile, Warning, timestamp};
use report::{hist, store};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// From one to the next. The readings between phases may take two seconds, in which none is made,
/// and no five are to pass.
pub(crate) const EVERY: Nanos = Nanos::from_secs(2);
/// How long is waited for the last one at the end of a run.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is new since the last one, and what stands now.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// How long the run has lasted.
    pub(crate) elapsed: Nanos,
    /// Seconds that will not change any more.
    pub(crate) closed: Vec<schema::Second>,
    /// Those that may.
    pub(crate) open: Vec<schema::Second>,
    pub(crate) totals: Totals,
    /// Of all seconds together.
    pub(crate) response: IntervalHistogram,
    pub(crate) service: IntervalHistogram,
    pub(crate) send_lag: IntervalHistogram,
    /// How long connections have been opened.
    pub(crate) opening: Nanos,
    /// How long messages have been sent.
    pub(crate) traffic: Nanos,
}

/// The writing of checkpoints, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    path: PathBuf,
    snapshots: Sender<Snapshot>,
    /// Why the first that could not be written was not.
    troubles: Receiver<String>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// Whether checkpoints can lie beside this: a file, or one that will be; not a stream or a device.
fn has_room_beside(output: &Path) -> bool {
    let special = ["/dev", "/proc"].iter().any(|folder| output.starts_with(folder));
    !store::is_stdout(output) && !special && (output.is_file() || !output.exists())
}

impl Checkpoints {
    /// Begins with `frame`, which says what is known before a run. `None` where the result goes to
    /// no file, or the thread cannot be had: then the run has none.
    pub(crate) fn start(plan: &Plan, frame: ResultFile) -> Option<Self> {
        let output = plan.output.file.as_deref().filter(|output| has_room_beside(output))?;
        let path = part::path_beside(output);
        let (snapshots, taken) = bounded::<Snapshot>(1);
        let (tell, troubles) = bounded(1);
        let (done, ended) = bounded(0);
        let mut writer = Writer {
            part: Part::new(path.clone(), frame),
            size: plan.load.size as u64,
            http: plan.record.http.is_some(),
        };
        let write = move || {
            // Where that is not allowed it goes on as it is.
            let _ = host::schedule::give_way();
            for snapshot in taken {
                if let Err(error) = writer.write(snapshot) {
                    // The first is told; the next may succeed again.
                    let _ = tell.try_send(error.to_string());
                }
            }
            drop(done);
        };
        spawn_named("checkpoints", STACK_BYTES, write).ok()?;
        Some(Self { path, snapshots, troubles, ended })
    }

    /// Whether the next one would wait: the disk is slow.
    pub(crate) fn is_busy(&self) -> bool {
        self.snapshots.is_full()
    }

    pub(crate) fn hand_over(&self, snapshot: Snapshot) {
        // There is room, as nobody else sends; and the thread lives as long as this.
        let _ = self.snapshots.try_send(snapshot);
    }

    /// Why one could not be written, if that is news.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.troubles.try_recv().ok()
    }

    /// Writes no more, and returns where the last one lies.
    pub(crate) fn end(self) -> PathBuf {
        drop(self.snapshots);
        // A disk that takes longer keeps the file, at worst: the result is not held up.
        let _ = self.ended.recv_timeout(PATIENCE);
        self.path
    }
}

/// What is said of checkpoints that could not be written.
pub(crate) fn warning(error: &str) -> Warning {
    Warning {
        code: "checkpoint".to_owned(),
        text: format!("a checkpoint could not be written: {error}"),
        remedy: "the run went on without, and would have left nothing if it had been killed"
            .to_owned(),
    }
}

struct Writer {
    part: Part,
    size: u64,
    http: bool,
}

impl Writer {
    fn write(&mut self, snapshot: Snapshot) -> Result<(), store::StoreError> {
        self.part.add(&snapshot.closed);
        self.fill(&snapshot);
        self.part.write(&snapshot.open, snapshot.elapsed)
    }

    fn fill(&mut self, snapshot: &Snapshot) {
        let (totals, result) = (&snapshot.totals, &mut self.part.result);
        result.run.ended = timestamp(SystemTime::now());
        result.failures = totals.failures.into();
        let seconds = snapshot.closed.iter().chain(&snapshot.open);
        let peak = seconds.map(|second| second.open).max().unwrap_or(0);
        result.connections = schema::Connections {
            planned: result.connections.planned,
            open_peak: result.connections.open_peak.max(peak).max(totals.open()),
            open_seconds: snapshot.opening.as_secs_f64(),
            ..totals.connections()
        };
        result.messages = schema::Messages {
            planned: result.messages.planned,
            rate_planned: result.messages.rate_planned,
            seconds: snapshot.traffic.as_secs_f64(),
            ..totals.messages(self.size, self.http)
        };
        result.stages.set(Stage::Service, hist::entry(&snapshot.service));
        result.stages.set(Stage::Response, hist::entry(&snapshot.response));
        if result.plan.model == Model::Open {
            result.stages.set(Stage::SendLag, hist::entry(&snapshot.send_lag));
        }
        result.fill_derived();
    }
}
