//! TLS from the outside: what works plain works over it, what was agreed on is counted, and what
//! fails is named by its cause.

use crate::common::{Running, Server, TLS, client, measure, parse, peer, run};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use report::ResultFile;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Runs that go well, and what they measure, once more with every server behind TLS.
#[test]
fn all_of_these_hold_over_tls() {
    if std::env::var_os(TLS).is_some() {
        // This is the second time.
        return;
    }
    let program = std::env::current_exe().expect("a test has a program");
    let mut again = std::process::Command::new(program);
    // What they say of the scheme, or of bytes as they travel, is what differs.
    let skipped = ["sources_and_targets", "names_"];
    again.args(["runs::", "websocket::", "http::", "audit::"]).env(TLS, "1");
    again.args(skipped.iter().flat_map(|name| ["--skip", name]));
    let output = again.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failures = said.split_once("failures:").map_or(&*said, |(_, failures)| failures);
    assert!(output.status.success(), "over TLS:{failures}");
    let passed = said.rsplit("test result: ok. ").next().and_then(|rest| rest.split(' ').next());
    let passed: u32 = passed.and_then(|count| count.parse().ok()).expect("a count");
    assert!(passed >= 20, "only {passed} were run");
}

/// Files that are gone with the test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }
}

/// PEM of a certificate or key.
fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// An authority, and the option that trusts it.
fn authority(files: &Files, name: &str) -> (CertifiedIssuer<'static, KeyPair>, String) {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let issuer = issuer.expect("an authority");
    let file = files.write(name, &pem("CERTIFICATE", issuer.der()));
    (issuer, file)
}

/// A certificate of its, changed like that: the options `--cert` and `--key`.
fn certificate(
    files: &Files,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> [String; 2] {
    let key = KeyPair::generate().expect("a key");
    let mut params = named(name);
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let cert = files.write(&format!("{name}.pem"), &pem("CERTIFICATE", certificate.der()));
    let key = files.write(&format!("{name}.key"), &pem("PRIVATE KEY", &key.serialize_der()));
    [cert, key]
}

/// The URL of a server by the name that certificates have here.
fn at_localhost(url: &str) -> String {
    url.replace("127.0.0.1", "localhost")
}

fn tls(result: &ResultFile) -> &report::schema::Tls {
    result.tls.as_ref().expect("a run with TLS")
}

fn only(counts: &std::collections::BTreeMap<String, u64>) -> (&str, u64) {
    let [(name, count)] = counts.iter().collect::<Vec<_>>()[..] else { panic!("one: {counts:?}") };
    (name, *count)
}

#[test]
fn what_both_ends_agree_on_is_what_was_asked_for_and_counted() {
    let files = Files::new();
    let ca = files.text("ca.pem");
    let server = Server::start(&["tls://127.0.0.1:0", "--reactors", "1", "--write-ca", &ca]);
    for (options, version, suite, group) in [
        (&[][..], "TLSv1.3", "TLS_AES_128_GCM_SHA256", "x25519"),
        (
            &["--tls-groups", "X25519MLKEM768"],
            "TLSv1.3",
            "TLS_AES_128_GCM_SHA256",
            "X25519MLKEM768",
        ),
        (
            &["--ciphers", "TLS_CHACHA20_POLY1305_SHA256", "--tls-groups", "P-384"],
            "TLSv1.3",
            "TLS_CHACHA20_POLY1305_SHA256",
            "secp384r1",
        ),
        (
            &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "x25519",
        ),
    ] {
        let args = [&[server.url(), "--cacert", &ca, "-c", "20"], options].concat();
        let (ran, result) = measure(&args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let tls = tls(&result);
        assert_eq!((tls.handshakes, tls.verified, tls.resumed, tls.failed), (20, 20, 0, 0));
        assert_eq!(only(&tls.versions), (version, 20));
        assert_eq!(only(&tls.suites), (suite, 20));
        assert_eq!(only(&tls.groups), (group, 20));
        assert_eq!(result.stages.named("tls").map(|stage| stage.count), Some(20));
        assert_eq!(result.stages.named("tls_wait").map(|stage| stage.count), Some(20));
        assert!(result.plan.tls.as_ref().is_some_and(|plan| plan.verified));
    }
    let (_, result) = measure(&[server.url(), "-k", "-c", "5"]);
    assert_eq!((tls(&result).handshakes, tls(&result).verified), (5, 0));
}

#[test]
fn connections_go_on_from_earlier_sessions_where_tickets_are_handed_out() {
    let server = Server::start(&["tls://127.0.0.1:0", "--reactors", "2", "--tls-tickets", "2"]);
    for version in ["1.2", "1.3"] {
        let one = ["-k", "-c", "60", "--connect-rate", "100", "--reactors", "1"];
        let versions = ["--tls-min", version, "--tls-max", version];
        for (resume, least, most) in
            [("--tls-resume", 40, 59), ("--tls-resume=50%", 15, 30), ("--no", 0, 0)]
        {
            let resume: &[&str] = if resume == "--no" { &[] } else { &[resume] };
            let (ran, result) = measure(&[&[server.url()], &one[..], &versions, resume].concat());
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let resumed = tls(&result).resumed;
            assert!((least..=most).contains(&resumed), "{version} {resume:?}: {resumed}");
        }
    }
    let none = Server::start(&["tls://127.0.0.1:0", "--reactors", "1"]);
    let (_, result) = measure(&[none.url(), "-k", "-c", "5", "--tls-resume"]);
    assert_eq!(tls(&result).resumed, 0);
    assert!(result.run.warnings.iter().any(|warning| warning.code == "tls_not_resumed"));
}

#[test]
fn a_certificate_that_is_not_right_fails_by_its_cause() {
    let files = Files::new();
    let (issuer, ca) = authority(&files, "authority");
    let (stranger, _) = authority(&files, "stranger");
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, bool); 7] = [
        ("expired", |params| params.not_after = date_time_ymd(2020, 1, 1), true),
        ("not_valid_yet", |params| params.not_before = date_time_ymd(2090, 1, 1), true),
        ("wrong_name", |params| params.subject_alt_names = Vec::new(), true),
        ("unknown_issuer", |_| {}, false),
        (
            "wrong_purpose",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            true,
        ),
        ("ca_as_leaf", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), true),
        ("right", |_| {}, true),
    ];
    for (cause, change, known) in cases {
        let issuer = if known { &issuer } else { &stranger };
        let [cert, key] = certificate(&files, issuer, cause, change);
        let args = ["tls://127.0.0.1:0", "--reactors", "1", "--cert", &cert, "--key", &key];
        let server = Server::start(&args);
        let url = at_localhost(server.url());
        let (ran, result) = measure(&[&url, "--cacert", &ca, "-c", "3"]);
        if cause == "right" {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            // By its address it is another's, unless the name is given.
            let address = server.url();
            let (ran, result) = measure(&[address, "--cacert", &ca, "-c", "3"]);
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert_eq!(only(&tls(&result).failures), ("wrong_name", 3));
            let named = ["--servername", "localhost"];
            let (ran, _) = measure(&[&[address, "--cacert", &ca, "-c", "3"], &named[..]].concat());
            assert_eq!(ran.code, Some(0), "{ran:?}");
            continue;
        }
        assert_eq!((ran.code, result.failures.tls), (Some(1), 3), "{cause}: {ran:?}");
        assert_eq!(only(&tls(&result).failures), (cause, 3));
        let code = format!("tls_{cause}");
        let warning = result.run.warnings.iter().find(|warning| warning.code == code);
        assert!(!warning.expect("it is told").remedy.is_empty());
        // Who trusts anybody trusts this one.
        let (ran, _) = measure(&[&url, "-k", "-c", "3"]);
        assert_eq!(ran.code, Some(0), "{cause}: {ran:?}");
    }
}

/// Chains that do not lead to who is trusted, or lead there through somebody who may not vouch.
#[test]
fn a_chain_that_does_not_lead_to_trust_fails_by_its_cause() {
    let files = Files::new();
    let (root, ca) = authority(&files, "root");
    let between = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::signed_by(params, key, &root).expect("an authority")
    };
    let whole = between("between", &|_| {});
    let expired = between("old", &|params| params.not_after = date_time_ymd(2020, 1, 1));
    let nobody = between("nobody", &|params| params.is_ca = IsCa::NoCa);
    for (name, issuer, shown, cause) in [
        ("complete", &whole, true, None),
        ("incomplete", &whole, false, Some("unknown_issuer")),
        ("through one that has expired", &expired, true, Some("expired")),
        ("through one that is no authority", &nobody, true, Some("certificate")),
    ] {
        let [cert, key] = certificate(&files, issuer, "leaf", |_| {});
        if shown {
            let chain = fs::read_to_string(&cert).expect("it was written");
            files.write("leaf.pem", &(chain + &pem("CERTIFICATE", issuer.der())));
        }
        let args = ["tls://127.0.0.1:0", "--reactors", "1", "--cert", &cert, "--key", &key];
        let server = Server::start(&args);
        let url = at_localhost(server.url());
        let (ran, result) = measure(&[&url, "--cacert", &ca, "-c", "3"]);
        let found = tls(&result).failures.keys().next().map(String::as_str);
        assert_eq!(found, cause, "{name}: {ran:?}");
        assert_eq!(ran.code == Some(0), cause.is_none(), "{name}: {ran:?}");
    }
    // One that vouches for itself is trusted by whoever trusts just it.
    let key = KeyPair::generate().expect("a key");
    let itself = named("itself").self_signed(&key).expect("a certificate");
    let cert = files.write("self.pem", &pem("CERTIFICATE", itself.der()));
    let key = files.write("self.key", &pem("PRIVATE KEY", &key.serialize_der()));
    let server =
        Server::start(&["tls://127.0.0.1:0", "--reactors", "1", "--cert", &cert, "--key", &key]);
    let url = at_localhost(server.url());
    let (ran, result) = measure(&[&url, "--cacert", &ca, "-c", "3"]);
    assert_eq!((ran.code, only(&tls(&result).failures)), (Some(1), ("unknown_issuer", 3)));
    let (ran, _) = measure(&[&url, "--cacert", &cert, "-c", "3"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_server_that_asks_for_certificates_takes_those_of_its_authority() {
    let files = Files::new();
    let (issuer, ca) = authority(&files, "authority");
    let (stranger, _) = authority(&files, "stranger");
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let [cert, key] = certificate(&files, &issuer, "client", client);
    let [other_cert, other_key] = certificate(&files, &stranger, "other", client);
    let server = Server::start(&["tls://127.0.0.1:0", "--reactors", "1", "--client-ca", &ca]);
    let with = |options: &[&str]| measure(&[&[server.url(), "-k", "-c", "4"], options].concat());
    let (ran, result) = with(&["--cert", &cert, "--key", &key]);
    assert_eq!((ran.code, tls(&result).handshakes), (Some(0), 4), "{ran:?}");
    assert!(result.plan.tls.as_ref().is_some_and(|plan| plan.client_certificate));
    // By TLS 1.3 the server refuses when the client is done already: the connection stood.
    for (options, alert) in [
        (&[][..], "certificate_required"),
        (&["--cert", &other_cert, "--key", &other_key][..], "unknown_ca"),
    ] {
        let (ran, result) = with(options);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert_eq!(only(&tls(&result).alerts_received), (alert, 4), "{options:?}");
        assert_eq!(only(&tls(&result).failures), ("alert", 4));
    }
}

#[test]
fn a_port_without_tls_and_a_port_with_it_are_told_apart() {
    let server = Server::start(&[
        "tcp://127.0.0.1:0",
        "ws://127.0.0.1:0",
        "http://127.0.0.1:0",
        "tls://127.0.0.1:0",
        "wss://127.0.0.1:0",
        "https://127.0.0.1:0",
        "--reactors",
        "1",
    ]);
    for (plain, secured, cause) in [
        ("tcp://", "tls://", "echoed"),
        ("ws://", "wss://", "not_tls"),
        ("http://", "https://", "not_tls"),
    ] {
        let at = |scheme| server.urls.iter().find(|url| url.starts_with(scheme)).expect("one");
        let (ran, result) = measure(&[&at(plain).replace(plain, secured), "-k", "-c", "2"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(only(&tls(&result).failures), (cause, 2), "{plain}");
        let (ran, result) = measure(&[&at(secured).replace(secured, plain), "-c", "2"]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        let told = match plain {
            "tcp://" => result.violations.keys().any(|rule| rule.contains("TLS")),
            _ => result.http_statuses.contains_key("400"),
        };
        assert!(told, "{plain}: {:?} {:?}", result.violations, result.http_statuses);
    }
}

#[test]
fn secrets_are_written_where_that_is_asked_for_and_nowhere_else() {
    let files = Files::new();
    let server = Server::start(&["tls://127.0.0.1:0", "--reactors", "1"]);
    let (log, out) = (files.text("keys.log"), files.text("result.json"));
    let args = ["run", "-q", server.url(), "-k", "-c", "3", "-o", &out];
    assert_eq!(run(&args).code, Some(0));
    assert!(!Path::new(&log).exists());
    assert_eq!(run(&[&args[..], &["--keylog", &log]].concat()).code, Some(0));
    let text = fs::read_to_string(&log).expect("secrets");
    let of = |label: &str| text.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!((of("CLIENT_TRAFFIC_SECRET_0 "), of("SERVER_TRAFFIC_SECRET_0 ")), (3, 3), "{text}");
    // The variable that other programs know does the same.
    let other = files.text("other.log");
    let mut command = client(&args);
    command.env("SSLKEYLOGFILE", &other);
    assert_eq!(Running::start(command).finish().code, Some(0));
    let text_of_other = fs::read_to_string(&other).expect("secrets");
    assert_eq!(text_of_other.lines().count(), text.lines().count());
    let secret = text.lines().find_map(|line| line.split(' ').nth(2)).expect("a secret");
    assert_eq!(secret.len(), 64, "of SHA-256");
    let result = fs::read_to_string(&out).expect("a result");
    assert!(!result.contains(secret));
    parse(&result).expect("a result");
}

#[test]
fn both_ends_speak_what_both_know_or_say_that_there_is_nothing() {
    let server = |options: &[&str]| {
        Server::start(&[&["tls://127.0.0.1:0", "--reactors", "1"], options].concat())
    };
    let alpn = server(&["--alpn", "one,two"]);
    for (asked, chosen) in [(&["--alpn", "two,one"][..], Some("one")), (&[], None)] {
        let (ran, result) = measure(&[&[alpn.url(), "-k", "-c", "3"], asked].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let found = tls(&result).alpn.iter().map(|(name, count)| (name.as_str(), *count)).next();
        assert_eq!(found, chosen.map(|name| (name, 3)));
    }
    let new = server(&["--tls-min", "1.3"]);
    let old = server(&["--tls-max", "1.2"]);
    let group = ["--tls-groups", "MLKEM768"];
    let of_1_3 = ["--tls-min", "1.3"];
    let of_1_2 = ["--tls-max", "1.2"];
    for (server, options, alert) in [
        (&alpn, &["--alpn", "three"][..], "no_application_protocol"),
        (&new, &of_1_2, "protocol_version"),
        (&old, &of_1_3, "protocol_version"),
        (&old, &group, "handshake_failure"),
    ] {
        let (ran, result) = measure(&[&[server.url(), "-k", "-c", "3"], options].concat());
        assert_eq!((ran.code, result.failures.tls), (Some(1), 3), "{options:?}: {ran:?}");
        assert_eq!(only(&tls(&result).failures), ("alert", 3), "{options:?}");
        assert_eq!(only(&tls(&result).alerts_received), (alert, 3), "{options:?}");
    }
    // HTTP is what browsers ask for by itself, and only there.
    let http = Server::start(&["https://127.0.0.1:0", "--reactors", "1"]);
    let (_, result) = measure(&[http.url(), "-k", "-c", "3"]);
    assert_eq!(only(&tls(&result).alpn), ("http/1.1", 3));
    let (_, result) = measure(&[http.url(), "-k", "-c", "3", "--alpn", "none"]);
    assert!(tls(&result).alpn.is_empty());
}

#[test]
fn options_of_tls_that_make_no_sense_are_refused() {
    let files = Files::new();
    let text = files.write("no.pem", "nothing");
    let (issuer, ca) = authority(&files, "authority");
    let [cert, _] = certificate(&files, &issuer, "one", |_| {});
    let [_, key] = certificate(&files, &issuer, "two", |_| {});
    let url = "tls://127.0.0.1:9";
    for (args, sentence) in [
        (&["tcp://127.0.0.1:9", "-k"][..], "--insecure is for TLS and means nothing to tcp://"),
        (&["ws://127.0.0.1:9", "--tls-resume"], "--tls-resume is for TLS"),
        (&[url, "--cacert", &text], "there is no certificate in it"),
        (&[url, "--cacert", "/nowhere"], "--cacert /nowhere: No such file"),
        (&[url, "--cacert", &ca, "--cert", &cert, "--key", &key], "is not that of the certificate"),
        (&[url, "-k", "--cert", &cert, "--key", &ca], "there is no private key in it"),
        (&[url, "-k", "--ciphers", "RC4-SHA"], "--ciphers: 'RC4-SHA' is not known here: use TLS_"),
        (&[url, "-k", "--tls-groups", "sect283k1"], "--tls-groups: 'sect283k1' is not known"),
        (&[url, "-k", "--tls-min", "1.3", "--tls-max", "1.2"], "--tls-min is newer"),
        (
            &[url, "-k", "--tls-max", "1.2", "--ciphers", "TLS_AES_128_GCM_SHA256"],
            "none of these suites is one of the versions",
        ),
        (&[url, "-k", "--servername", "a b"], "--servername: 'a b' is no name"),
        (&[url, "-k", "--keylog", "/nowhere/keys"], "--keylog /nowhere/keys: No such file"),
        (&["tls://127.0.0.1:9", "wss://127.0.0.1:9", "-k"], "speaks another protocol"),
    ] {
        let ran = run(&[&["run"], args].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(sentence), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn check_predicts_the_ramp_and_counts_the_memory() {
    let ran = run(&["check", "tls://127.0.0.1:9", "-k", "-c", "1k"]);
    assert!(ran.stdout.contains("tls") && ran.stdout.contains("a handshake"), "{}", ran.stdout);
    let plain = run(&["check", "tcp://127.0.0.1:9", "-c", "1k"]);
    assert!(!plain.stdout.contains("a handshake"), "{}", plain.stdout);
}

/// Answers of a server by rustls alone, which closes without `close_notify` behind the last.
fn closing_without_a_word(answers: &'static [&'static str]) -> String {
    use tls::rustls::crypto::aws_lc_rs::default_provider;
    use tls::rustls::pki_types::PrivateKeyDer;
    use tls::rustls::{ServerConfig, ServerConnection, StreamOwned};
    let key = KeyPair::generate().expect("a key");
    let certificate = named("other").self_signed(&key).expect("a certificate");
    let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], der);
    let config = Arc::new(config.expect("a certificate"));
    let url = peer(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        for answer in answers {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                request.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url.replace("tcp://", "https://")
}

#[test]
fn an_end_without_close_notify_is_a_loss_only_within_a_reply() {
    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let load = ["-k", "-c", "5", "--reactors", "1", "--rate", "100", "-d", "500ms"];
    let url = closing_without_a_word(&[SIZED, SIZED, SIZED]);
    let (ran, result) = measure(&[&[url.as_str()][..], &load].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let connections = &result.connections;
    assert_eq!((connections.lost, result.failures.tls_truncated), (0, 0));
    assert!(connections.ended_idle > 3 && tls(&result).truncated > 3, "{connections:?}");
    // A body that lasts up to the end of the stream may have lost some of itself.
    let url = closing_without_a_word(&["HTTP/1.1 200 OK\r\n\r\nhello"]);
    let (ran, result) = measure(&[&[url.as_str()][..], &load].concat());
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(result.failures.tls_truncated > 0, "{:?}", result.failures);
    assert!(result.run.warnings.iter().any(|warning| warning.code == "tls_truncated"));
}
