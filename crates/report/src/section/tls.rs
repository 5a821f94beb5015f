//! What became of TLS handshakes, and of connections with TLS.

use super::{Doubts, Number, ResultFile, less, more};
use crate::figure::{Unit, saturating};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by name.
type Counts = BTreeMap<String, u64>;

/// What became of TLS handshakes, and of connections with TLS.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Tls {
    /// Handshakes that were done.
    pub handshakes: u64,
    /// Those of them that went on from an earlier connection's session.
    pub resumed: u64,
    /// Those of them whose server was verified; 0 with `-k`.
    pub verified: u64,
    /// Handshakes and connections that failed: all of `failures` together.
    pub failed: u64,
    /// Handshakes by version, as OpenSSL names it.
    pub versions: Counts,
    /// By cipher suite, as IANA names it.
    pub suites: Counts,
    /// By group of the key exchange, as IANA names it.
    pub groups: Counts,
    /// By the protocol that ALPN chose.
    pub alpn: Counts,
    /// Handshakes and connections that failed, by cause. They are the failures of kind `tls`, but
    /// that an attempt that went on at another address is here, too.
    pub failures: Counts,
    /// Alerts that the client sent, by name, `close_notify` left out.
    pub alerts_sent: Counts,
    /// Alerts that came, by name, `close_notify` left out.
    pub alerts_received: Counts,
    /// Streams that ended without `close_notify`; those of kind `tls_truncated` among the failures
    /// did so in the middle of something.
    pub truncated: u64,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    more("tls.handshakes", Unit::Count, |r| Some(r.tls.as_ref()?.handshakes as f64)),
    more("tls.resumed", Unit::Count, |r| Some(r.tls.as_ref()?.resumed as f64)),
    more("tls.verified", Unit::Count, |r| Some(r.tls.as_ref()?.verified as f64)),
    less("tls.failed", Unit::Count, |r| Some(r.tls.as_ref()?.failed as f64)),
    less("tls.truncated", Unit::Count, |r| Some(r.tls.as_ref()?.truncated as f64)),
];

/// The counts of all parts; `None` where none had TLS.
pub(crate) fn merge(results: &[&ResultFile]) -> Option<Tls> {
    let all: Vec<&Tls> = results.iter().filter_map(|result| result.tls.as_ref()).collect();
    if all.is_empty() {
        return None;
    }
    let number = |of: fn(&Tls) -> u64| saturating(all.iter().map(|tls| of(tls)));
    let counts = |of: fn(&Tls) -> &Counts| {
        let mut sum = Counts::new();
        for (name, count) in all.iter().flat_map(|tls| of(tls)) {
            let one = sum.entry(name.clone()).or_default();
            *one = one.saturating_add(*count);
        }
        sum
    };
    Some(Tls {
        handshakes: number(|tls| tls.handshakes),
        resumed: number(|tls| tls.resumed),
        verified: number(|tls| tls.verified),
        failed: number(|tls| tls.failed),
        versions: counts(|tls| &tls.versions),
        suites: counts(|tls| &tls.suites),
        groups: counts(|tls| &tls.groups),
        alpn: counts(|tls| &tls.alpn),
        failures: counts(|tls| &tls.failures),
        alerts_sent: counts(|tls| &tls.alerts_sent),
        alerts_received: counts(|tls| &tls.alerts_received),
        truncated: number(|tls| tls.truncated),
    })
}

/// The names of counts, each with its count if there are several: the most frequent first.
pub(crate) fn listed(counts: &Counts) -> String {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    match all[..] {
        [(name, _)] => name.clone(),
        _ => {
            let each =
                all.iter().map(|(name, count)| format!("{name} {}", format_grouped(**count)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What was agreed on, how often, and how much of it was verified.
pub(super) fn words(result: &ResultFile) -> String {
    let Some(tls) = &result.tls else { return String::new() };
    if tls.handshakes == 0 {
        return "no handshake was done".to_owned();
    }
    let agreed = [&tls.versions, &tls.suites, &tls.groups, &tls.alpn];
    let agreed: Vec<_> =
        agreed.into_iter().filter(|counts| !counts.is_empty()).map(listed).collect();
    let verified = match tls.verified {
        0 => "not verified (-k)".to_owned(),
        all if all == tls.handshakes => "all verified".to_owned(),
        some => format!("{} verified", format_grouped(some)),
    };
    let resumed = match tls.resumed {
        0 => String::new(),
        some => format!(", {} resumed", format_grouped(some)),
    };
    let handshakes = format_grouped(tls.handshakes);
    format!("{handshakes} handshakes, {verified}{resumed}: {}", agreed.join(" "))
}

/// What each cause of failure means, and what helps.
const CAUSES: &[(&str, &str, &str)] = &[
    (
        "expired",
        "the server's certificate has expired",
        "renew it on the server, or look at this machine's clock (date)",
    ),
    (
        "not_valid_yet",
        "the server's certificate is not valid yet",
        "look at this machine's clock (date), and at the server's when the certificate was made",
    ),
    (
        "wrong_name",
        "the server's certificate is for another name",
        "write the URL with a name of the certificate, or give it with --servername \
         (openssl s_client -connect HOST:PORT shows them)",
    ),
    (
        "unknown_issuer",
        "nobody trusted vouches for the server's certificate",
        "give its authority with --cacert FILE (that of c1000k-server: --write-ca FILE), have the \
         server send its whole chain, or trust whoever answers with -k",
    ),
    ("revoked", "the server's certificate was revoked", "the server needs a new one"),
    (
        "bad_signature",
        "a signature is wrong: the server has not the key of its certificate",
        "give the server the key that belongs to its certificate",
    ),
    (
        "wrong_purpose",
        "the server's certificate is not for servers",
        "it needs the extended key usage serverAuth",
    ),
    (
        "ca_as_leaf",
        "the server shows the certificate of an authority as its own",
        "have the authority issue one for the server (basicConstraints CA:FALSE)",
    ),
    (
        "bad_encoding",
        "the server's certificate cannot be read",
        "make a new one; certificates of version 1 are not taken",
    ),
    (
        "not_tls",
        "what came was no TLS",
        "the server speaks without TLS there: write tcp://, ws:// or http://, or give the port \
         where it speaks TLS",
    ),
    (
        "echoed",
        "the server sent our own first message back: it echoes, without TLS",
        "write tcp:// for that port, or give the one where it speaks TLS",
    ),
    (
        "no_common_version",
        "the server speaks none of the versions asked for",
        "leave out --tls-min and --tls-max, or set what the server speaks; versions before 1.2 \
         are not spoken here",
    ),
    (
        "no_common_suite",
        "no cipher suite is known to both ends",
        "leave out --ciphers, or name one that the server has",
    ),
    (
        "no_common_group",
        "no group for the key exchange is known to both ends",
        "leave out --tls-groups, or name one that the server has",
    ),
    (
        "no_common_alpn",
        "the server speaks none of the protocols of ALPN",
        "name one that it speaks with --alpn, or none with --alpn none",
    ),
    (
        "no_common_signature",
        "no kind of signature is known to both ends",
        "have the server show a certificate with a key of P-256, P-384, Ed25519 or RSA",
    ),
    (
        "certificate",
        "the server's certificate was refused",
        "look at it with openssl s_client -connect HOST:PORT -showcerts, or trust whoever answers \
         with -k",
    ),
    (
        "incompatible",
        "the server asks for something, or leaves something out, without which TLS is not spoken \
         here",
        "a server that keeps to RFC 8446, or to RFC 5246 with RFC 7627",
    ),
    (
        "unsupported",
        "both ends agreed on something that cannot be carried on",
        "leave out --ciphers, and tell us with which server",
    ),
    (
        "key_used_up",
        "a key of TLS 1.2 has sealed as many records as it may",
        "TLS 1.3 changes keys by itself: leave out --tls-max, or enable it on the server",
    ),
    (
        "no_room",
        "more records were only partly here than there is room for",
        "the server stops in the middle of many records, or the machine has no time to read on",
    ),
    (
        "broken_rule",
        "a rule of TLS was broken",
        "the server, or something on the way to it, is at fault: alerts_sent and alerts_received \
         say which",
    ),
    ("certificate_required", "the other end shows no certificate, and has to", "give it one"),
    (
        "alert",
        "the server refused with an alert",
        "see which under alerts_received: certificate_required asks for --cert and --key, \
         unknown_ca does not know the authority of yours, handshake_failure has no suite or \
         version in common with you, unrecognized_name does not know the --servername",
    ),
];

/// The doubts about handshakes that failed, and about sessions that nobody went on from.
pub(super) fn doubts(result: &ResultFile, doubts: &mut Doubts) {
    let Some(tls) = &result.tls else { return };
    let mut failures: Vec<_> = tls.failures.iter().collect();
    failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (cause, count) in failures {
        let known = CAUSES.iter().find(|(name, ..)| name == cause);
        let (meaning, remedy) = known.map_or(
            ("this version does not know what that means", "see TLS.md of the one that wrote it"),
            |(_, meaning, remedy)| (*meaning, *remedy),
        );
        let mut text = format!("{} times {cause}: {meaning}", format_grouped(*count));
        if cause == "alert" {
            text = format!("{text} ({})", listed(&tls.alerts_received));
        }
        doubts.add(&format!("tls_{cause}"), text, remedy);
    }
    // Those that ended so between two replies have lost nothing.
    let truncated = result.failures.tls_truncated;
    if truncated > 0 {
        doubts.add(
            "tls_truncated",
            format!(
                "{} streams ended without close_notify: what came before may not be all",
                format_grouped(truncated)
            ),
            "the server, or something on the way to it, cut them: it closes without saying so, or \
             it crashed",
        );
    }
    let asked = result.plan.tls.as_ref().is_some_and(|plan| plan.resume_ratio > 0.0);
    if asked && tls.resumed == 0 && tls.handshakes > 1 {
        doubts.add(
            "tls_not_resumed",
            "no handshake went on from an earlier session, which --tls-resume asks for",
            "the server hands out no tickets (c1000k-server: --tls-tickets 2), or does not take \
             them back",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(tls: Tls) -> ResultFile {
        ResultFile { tls: Some(tls), ..ResultFile::default() }
    }

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_was_agreed_on_is_said_in_one_line() {
        let tls = Tls {
            handshakes: 3,
            verified: 3,
            resumed: 1,
            versions: counts(&[("TLSv1.3", 3)]),
            suites: counts(&[("TLS_AES_128_GCM_SHA256", 1), ("TLS_AES_256_GCM_SHA384", 2)]),
            ..Tls::default()
        };
        assert_eq!(
            words(&result(tls.clone())),
            "3 handshakes, all verified, 1 resumed: TLSv1.3 TLS_AES_256_GCM_SHA384 2, \
             TLS_AES_128_GCM_SHA256 1"
        );
        assert!(words(&result(Tls { verified: 0, ..tls })).contains("not verified (-k)"));
        assert_eq!(words(&ResultFile::default()), "");
    }

    #[test]
    fn each_cause_has_its_doubt_and_remedy() {
        for (cause, meaning, remedy) in CAUSES {
            let mut all = Doubts::default();
            let tls = Tls { failures: counts(&[(cause, 7)]), ..Tls::default() };
            doubts(&result(tls), &mut all);
            let [warning] = &all.0[..] else { panic!("one doubt of {cause}") };
            assert_eq!(warning.code, format!("tls_{cause}"));
            assert!(warning.text.contains(meaning) && warning.remedy == **remedy, "{warning:?}");
        }
        let mut all = Doubts::default();
        let tls = Tls { failures: counts(&[("of tomorrow", 1)]), truncated: 2, ..Tls::default() };
        let mut result = result(tls);
        doubts(&result, &mut all);
        assert_eq!(all.0.len(), 1, "streams that ended between replies lost nothing");
        result.failures.tls_truncated = 1;
        all = Doubts::default();
        doubts(&result, &mut all);
        assert_eq!(all.0.len(), 2);
    }

    #[test]
    fn parts_are_added() {
        let one = result(Tls { handshakes: 1, alpn: counts(&[("a", 1)]), ..Tls::default() });
        let two =
            result(Tls { handshakes: 2, alpn: counts(&[("a", 1), ("b", 3)]), ..Tls::default() });
        let plain = ResultFile::default();
        let sum = merge(&[&one, &plain, &two]).expect("two have some");
        assert_eq!((sum.handshakes, sum.alpn), (3, counts(&[("a", 2), ("b", 3)])));
        assert_eq!(merge(&[&plain]), None);
    }
}
