//! Latency by stage: an open, ordered map. The stages that this version knows keep their order;
//! others (a step's, a phase's, a later version's) follow in theirs, and survive showing, merging,
//! comparing.

use super::parts::{MergeError, entry_of_all};
use super::{Doubts, ResultFile};
use crate::figure::Unit;
use crate::hist::StageEntry;
use measure::Stage;
use measure::units::format_grouped;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// Latency by stage, in the order of a connection's life. A stage in which nothing was measured is
/// absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages(Vec<(String, StageEntry)>);

impl Stages {
    /// What was measured in a stage, if anything was.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<&StageEntry> {
        self.named(stage.name())
    }

    /// The same by name, of any stage.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&StageEntry> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, entry)| entry)
    }

    /// The same to be changed.
    pub fn get_mut(&mut self, stage: Stage) -> Option<&mut StageEntry> {
        let mut all = self.0.iter_mut();
        all.find(|(known, _)| known == stage.name()).map(|(_, entry)| entry)
    }

    /// Puts in what was measured in a stage; takes the result of [`crate::hist::entry`] as it is.
    pub fn set(&mut self, stage: Stage, entry: Option<StageEntry>) {
        self.put(stage.name(), entry);
    }

    /// The same by name: of a step or a phase, for one.
    pub fn put(&mut self, name: &str, entry: Option<StageEntry>) {
        self.0.retain(|(known, _)| known != name);
        let Some(entry) = entry else { return };
        // Behind all that come no later: those that are not known come last, in the order of
        // arrival.
        let at = self.0.partition_point(|(known, _)| place(known) <= place(name));
        self.0.insert(at, (name.to_owned(), entry));
    }

    /// A number of a stage. How many there were is known even if there were none; the others only
    /// of what was measured.
    pub(crate) fn statistic(&self, stage: &str, statistic: &str) -> Option<f64> {
        match (self.named(stage), statistic) {
            (entry, "count") => Some(entry.map_or(0.0, |entry| entry.count as f64)),
            (entry, _) => entry.filter(|entry| entry.count > 0)?.statistic(statistic),
        }
    }

    /// The stages in which something was measured, by name: first those that are known, in the
    /// order of a connection's life.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StageEntry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}

/// Where a stage stands among the others.
fn place(name: &str) -> usize {
    Stage::from_name(name).map_or(Stage::COUNT, |stage| stage as usize)
}

/// What each stage is of.
const fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "From the start of `connect` to an established TCP connection.",
        Stage::Tls => {
            "The TLS handshake: from an established TCP connection to the end of the handshake."
        }
        Stage::TlsWait => {
            "Of that: how long work on it that was due waited for its turn in the client."
        }
        Stage::Upgrade => "The protocol upgrade: WebSocket opening handshake.",
        Stage::Handshake => {
            "From the start of `connect` to a usable connection: TCP, TLS and upgrade together."
        }
        Stage::FirstEcho => {
            "The first message of a connection and its reply, from the actual send."
        }
        Stage::FirstByte => {
            "The first byte of a reply, counted from the time at which its message was sent (HTTP)."
        }
        Stage::Response => {
            "A reply, counted from the time at which its message was meant to be sent: what a user \
             feels,\nfree of coordinated omission."
        }
        Stage::Response2xx => "The replies whose status was 2xx, as `response` (HTTP).",
        Stage::Response3xx => "Those whose status was 3xx.",
        Stage::Response4xx => "Those whose status was 4xx.",
        Stage::Response5xx => "Those whose status was 5xx.",
        Stage::Service => "The same reply, counted from the time at which its message was sent.",
        Stage::SendLag => "Actual minus intended send time: how late the generator was.",
        Stage::Outside => {
            "From the client's sending of a message to its kernel's receipt of the reply: the \
             server, \
             the\nnetwork and the kernels on the way. Of audited connections."
        }
        Stage::ReceiveLag => {
            "From the kernel's receipt of a reply to the client's reading of it. Of audited \
             connections."
        }
        Stage::Ping => "A ping of the client's and its pong (WebSocket).",
        Stage::Close => {
            "The closing handshake: from the client's close frame to the server's (WebSocket)."
        }
    }
}

/// What a message goes through.
pub(crate) const REPLIES: [Stage; 6] = [
    Stage::Response,
    Stage::Service,
    Stage::FirstByte,
    Stage::SendLag,
    Stage::Outside,
    Stage::ReceiveLag,
];

/// What a connection goes through until it is of use.
pub(crate) const OPENING: [Stage; 6] = [
    Stage::Connect,
    Stage::Tls,
    Stage::TlsWait,
    Stage::Upgrade,
    Stage::Handshake,
    Stage::FirstEcho,
];

/// What a WebSocket goes through beside its messages.
pub(crate) const BESIDES: [Stage; 2] = [Stage::Ping, Stage::Close];

/// Replies by the class of their status; drawn where more than one occurred.
pub(crate) const CLASSES: [Stage; 4] = Stage::BY_CLASS;

/// All of them, in the order in which they are drawn.
pub(crate) fn drawn() -> impl Iterator<Item = Stage> {
    REPLIES.into_iter().chain(OPENING).chain(BESIDES).chain(CLASSES)
}

/// What a stage is called; one that this version does not know by its name.
pub(crate) fn word(stage: &str) -> &str {
    let Some(known) = Stage::from_name(stage) else { return stage };
    match known {
        Stage::Connect => "connect",
        Stage::Tls => "TLS handshake",
        Stage::TlsWait => "TLS wait",
        Stage::Upgrade => "upgrade",
        Stage::Handshake => "handshake",
        Stage::FirstEcho => "first echo",
        Stage::Response => "response",
        Stage::Response2xx => "response 2xx",
        Stage::Response3xx => "response 3xx",
        Stage::Response4xx => "response 4xx",
        Stage::Response5xx => "response 5xx",
        Stage::Service => "service",
        Stage::SendLag => "send lag",
        Stage::Outside => "outside",
        Stage::ReceiveLag => "receive lag",
        Stage::FirstByte => "first byte",
        Stage::Ping => "ping",
        Stage::Close => "closing handshake",
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

/// Reads the object; a stage that is null is as good as absent.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Stages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of stages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stages, A::Error> {
        let (mut stages, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(Error::custom(format_args!("duplicate field `{name}`")));
            }
            let entry: Option<StageEntry> = match Stage::from_name(&name) {
                Some(_) => map.next_value()?,
                // What is no stage to this version is passed over, as fields that it does not know.
                None => serde_json::from_value(map.next_value()?).unwrap_or_default(),
            };
            stages.extend(entry.map(|entry| (name, entry)));
        }
        stages.sort_by_key(|(name, _)| place(name));
        Ok(Stages(stages))
    }
}

impl JsonSchema for Stages {
    fn schema_name() -> Cow<'static, str> {
        "Stages".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<Option<StageEntry>>();
        let known = Stage::ALL.map(|stage| {
            let mut described = entry.clone();
            described.insert("description".to_owned(), Value::from(meaning(stage)));
            (stage.name().to_owned(), described.to_value())
        });
        json_schema!({
            "type": "object",
            "description": "Latency by stage, in the order of a connection's life. Besides the \
                stages named here there may be others.",
            "properties": known.into_iter().collect::<Map<String, Value>>(),
            "additionalProperties": generator.subschema_for::<StageEntry>(),
        })
    }
}

/// What the names of numbers of stages begin with that this version does not know:
/// `stages.step.pay.p99`.
pub(super) const PREFIX: &str = "stages";

/// What a number of a stage is called: `response.p99`, or as its path in the file is.
pub(super) fn metric_name(stage: &str, statistic: &str) -> String {
    match Stage::from_name(stage) {
        Some(_) => format!("{stage}.{statistic}"),
        None => format!("{PREFIX}.{stage}.{statistic}"),
    }
}

/// The stage and its number that are called so.
pub(super) fn parse(name: &str) -> Option<(String, &'static str)> {
    let (stage, statistic) = name.rsplit_once('.')?;
    let statistic = StageEntry::STATISTICS.into_iter().find(|known| *known == statistic)?;
    let any = stage.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
    let stage = match any {
        Some(any) if !any.is_empty() => any,
        _ => Stage::from_name(stage)?.name(),
    };
    Some((stage.to_owned(), statistic))
}

/// The unit of a number of a stage.
pub(super) fn unit(statistic: &str) -> Unit {
    if statistic == "count" { Unit::Count } else { Unit::Nanoseconds }
}

/// The histograms of each stage added, and the numbers beside them taken anew.
pub(crate) fn merge(results: &[&ResultFile]) -> Result<Stages, MergeError> {
    let parts: Vec<_> = results.iter().map(|result| (*result, &result.stages)).collect();
    added("", &parts)
}

/// The same of any stages, each with the result that it is from; `path` is what their names stand
/// behind.
pub(super) fn added(path: &str, parts: &[(&ResultFile, &Stages)]) -> Result<Stages, MergeError> {
    let names = || parts.iter().flat_map(|(_, stages)| stages.iter().map(|(name, _)| name));
    let mut seen = BTreeSet::new();
    let mut merged: Vec<(String, StageEntry)> = Vec::new();
    for name in names().filter(|name| seen.insert(*name)) {
        let of = parts.iter().filter_map(|(result, stages)| Some((result, stages.named(name)?)));
        let entry = entry_of_all(&format!("{path}{name}"), of)?;
        merged.extend(entry.map(|entry| (name.to_owned(), entry)));
    }
    merged.sort_by_key(|(name, _)| place(name));
    Ok(Stages(merged))
}

/// Whether a stage is of the replies of one class of status.
pub(crate) fn is_class(name: &str) -> bool {
    Stage::from_name(name).is_some_and(|stage| Stage::BY_CLASS.contains(&stage))
}

/// The stages that tables show. Replies are told apart by the class of their status only where
/// there was more than one.
pub(crate) fn shown(result: &ResultFile) -> impl Iterator<Item = (&str, &StageEntry)> {
    let classes = result.stages.iter().filter(|(name, _)| is_class(name)).count();
    result.stages.iter().filter(move |(name, _)| classes > 1 || !is_class(name))
}

/// The doubt about times beyond what histograms tell apart.
pub(super) fn clipped(result: &ResultFile, doubts: &mut Doubts) {
    let clipped: u64 = result.stages.iter().map(|(_, entry)| entry.clipped).sum();
    if clipped > 0 {
        doubts.add(
            "clipped",
            format!("{} latencies were above 73 minutes", format_grouped(clipped)),
            "they count as the highest value; the maximum is exact",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stage_is_written_under_its_name_and_only_if_measured() {
        for stage in Stage::ALL {
            let mut stages = Stages::default();
            stages.set(stage, Some(StageEntry::default()));
            assert!(stages.iter().map(|(name, _)| name).eq([stage.name()]));
            assert_eq!(stages.get(stage), Some(&StageEntry::default()));
            let written = serde_json::to_value(&stages).expect("an object");
            let keys = written.as_object().into_iter().flatten().map(|(key, _)| key);
            assert!(keys.eq([stage.name()]), "{written}");
        }
        assert_eq!(serde_json::to_value(Stages::default()).expect("an object"), json!({}));
    }

    #[test]
    fn each_stage_is_drawn_once() {
        for stage in Stage::ALL {
            let count = drawn().filter(|drawn| *drawn == stage).count();
            assert_eq!(count, 1, "{}, which is called {}", stage.name(), word(stage.name()));
        }
        assert_eq!(drawn().count(), Stage::COUNT);
    }

    #[test]
    fn stages_that_are_not_known_survive_behind_those_that_are() {
        let entry = |count| StageEntry { count, ..StageEntry::default() };
        let mut stages = Stages::default();
        stages.put("step.pay", Some(entry(3)));
        stages.put("phase.storm.response", Some(entry(4)));
        stages.set(Stage::Close, Some(entry(2)));
        stages.set(Stage::Connect, Some(entry(1)));
        let names = |stages: &Stages| stages.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
        let order = ["connect", "close", "step.pay", "phase.storm.response"];
        assert_eq!(names(&stages), order);
        let written = serde_json::to_string(&stages).expect("an object");
        let read: Stages = serde_json::from_str(&written).expect("stages");
        assert_eq!(read, stages);
        // In whatever order a file has them, known ones come in theirs; what is no stage is passed
        // over.
        let text = written.replacen('{', "{\"step.x\":null,\"later\":[1],\"tls\":null,", 1);
        assert_eq!(serde_json::from_str::<Stages>(&text).expect("stages"), stages);
        for bad in ["{\"connect\":[1]}", "{\"a\":1,\"a\":2}", "[]"] {
            assert!(serde_json::from_str::<Stages>(bad).is_err(), "{bad}");
        }
        stages.put("step.pay", None);
        assert_eq!(names(&stages), ["connect", "close", "phase.storm.response"]);
    }
}
