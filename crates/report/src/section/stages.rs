//! Latency by stage: an open, ordered map.

use super::parts::{MergeError, entry_of_all};
use super::{Doubts, ResultFile};
use crate::hist::StageEntry;
use measure::Stage;
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Latency by stage, in the order of a connection's life.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Stages {
    /// From the start of `connect` to an established TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<StageEntry>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<StageEntry>,
    /// The protocol upgrade: WebSocket opening handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<StageEntry>,
    /// From the start of `connect` to a usable connection: TCP, TLS and upgrade together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<StageEntry>,
    /// The first message of a connection and its reply, from the actual send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_echo: Option<StageEntry>,
    /// The first byte of a reply, counted from the time at which its message was sent (HTTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<StageEntry>,
    /// A reply, counted from the time at which its message was meant to be sent: what a user feels,
    /// free of coordinated omission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<StageEntry>,
    /// The replies whose status was 2xx, as `response` (HTTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_2xx: Option<StageEntry>,
    /// Those whose status was 3xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_3xx: Option<StageEntry>,
    /// Those whose status was 4xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_4xx: Option<StageEntry>,
    /// Those whose status was 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_5xx: Option<StageEntry>,
    /// The same reply, counted from the time at which its message was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<StageEntry>,
    /// Actual minus intended send time: how late the generator was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lag: Option<StageEntry>,
    /// From the client's sending of a message to its kernel's receipt of the reply: the server, the
    /// network and the kernels on the way. Of audited connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<StageEntry>,
    /// From the kernel's receipt of a reply to the client's reading of it. Of audited connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_lag: Option<StageEntry>,
    /// A ping of the client's and its pong (WebSocket).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<StageEntry>,
    /// The closing handshake: from the client's close frame to the server's (WebSocket).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<StageEntry>,
}

impl Stages {
    /// What was measured in a stage, if anything was.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<&StageEntry> {
        match stage {
            Stage::Connect => self.connect.as_ref(),
            Stage::Tls => self.tls.as_ref(),
            Stage::Upgrade => self.upgrade.as_ref(),
            Stage::Handshake => self.handshake.as_ref(),
            Stage::FirstEcho => self.first_echo.as_ref(),
            Stage::FirstByte => self.first_byte.as_ref(),
            Stage::Response => self.response.as_ref(),
            Stage::Response2xx => self.response_2xx.as_ref(),
            Stage::Response3xx => self.response_3xx.as_ref(),
            Stage::Response4xx => self.response_4xx.as_ref(),
            Stage::Response5xx => self.response_5xx.as_ref(),
            Stage::Service => self.service.as_ref(),
            Stage::SendLag => self.send_lag.as_ref(),
            Stage::Outside => self.outside.as_ref(),
            Stage::ReceiveLag => self.receive_lag.as_ref(),
            Stage::Ping => self.ping.as_ref(),
            Stage::Close => self.close.as_ref(),
        }
    }

    /// Puts in what was measured in a stage; takes the result of [`crate::hist::entry`] as it is.
    pub fn set(&mut self, stage: Stage, entry: Option<StageEntry>) {
        *match stage {
            Stage::Connect => &mut self.connect,
            Stage::Tls => &mut self.tls,
            Stage::Upgrade => &mut self.upgrade,
            Stage::Handshake => &mut self.handshake,
            Stage::FirstEcho => &mut self.first_echo,
            Stage::FirstByte => &mut self.first_byte,
            Stage::Response => &mut self.response,
            Stage::Response2xx => &mut self.response_2xx,
            Stage::Response3xx => &mut self.response_3xx,
            Stage::Response4xx => &mut self.response_4xx,
            Stage::Response5xx => &mut self.response_5xx,
            Stage::Service => &mut self.service,
            Stage::SendLag => &mut self.send_lag,
            Stage::Outside => &mut self.outside,
            Stage::ReceiveLag => &mut self.receive_lag,
            Stage::Ping => &mut self.ping,
            Stage::Close => &mut self.close,
        } = entry;
    }

    /// The stages in which something was measured, in the order of a connection's life.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, &StageEntry)> {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.get(stage)?)))
    }
}

/// The histograms of each stage added, and the numbers beside them taken anew.
pub(crate) fn merge(results: &[&ResultFile]) -> Result<Stages, MergeError> {
    let mut merged = Stages::default();
    for stage in Stage::ALL {
        let parts = results.iter().filter_map(|result| Some((result, result.stages.get(stage)?)));
        merged.set(stage, entry_of_all(stage.name(), parts)?);
    }
    Ok(merged)
}

/// The stages that tables show. Replies are told apart by the class of their status only where there was
/// more than one.
pub(crate) fn shown(result: &ResultFile) -> impl Iterator<Item = (Stage, &StageEntry)> {
    let classes = Stage::BY_CLASS.into_iter();
    let classes = classes.filter(|class| result.stages.get(*class).is_some()).count();
    result.stages.iter().filter(move |(stage, _)| classes > 1 || !Stage::BY_CLASS.contains(stage))
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
            assert!(stages.iter().map(|(stage, _)| stage).eq([stage]));
            let written = serde_json::to_value(&stages).expect("an object");
            let keys = written.as_object().into_iter().flatten().map(|(key, _)| key);
            assert!(keys.eq([stage.name()]), "{written}");
        }
        assert_eq!(serde_json::to_value(Stages::default()).expect("an object"), json!({}));
    }
}
