//! What an `http://` run asks for.

use super::{authorization, usage};
use crate::cli::RunArgs;
use crate::load::Load;
use crate::protocol::HttpSetup;
use control::Error;
use measure::Nanos;
use measure::units::{format_grouped, format_size};
use report::schema;
use std::io::Read;
use std::path::Path;
use wire::http::{self, Composer, HeadLimits, RequestSpecError};
use wire::{Url, UrlError};

/// Paths that are asked for in turn: each has a request laid out for it.
const PATHS_MAX: usize = 100_000;
/// Bytes of a file that is a body, or names paths.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The first of the options that only `http://` has, if one is given.
pub(super) fn option_given(args: &RunArgs) -> Option<&'static str> {
    args.http.given()
}

/// Options that contradict each other, and those that `http://` has not.
fn check(args: &RunArgs) -> Result<(), Error> {
    let refuse = |text: &str| Err(usage(text.to_owned()));
    let traffic = args.rate.is_some() || args.closed;
    match args.http.pipeline {
        _ if args.strict => refuse(
            "--strict means nothing to http://, where a response that was not asked for always \
             breaks a rule: leave it out",
        ),
        _ if args.size.is_some() => refuse(
            "--size means nothing to http://, where the server decides how long its responses are: \
             leave it out, or give --body",
        ),
        Some(n) if !(1..=1_000_000).contains(&n) => {
            refuse("--pipeline takes a number from 1 to 1,000,000")
        }
        Some(_) if args.in_flight > 1 => {
            refuse("--pipeline and --in-flight say the same for http://: give one of them")
        }
        Some(_) if !traffic => refuse("--pipeline needs traffic: give --closed or --rate"),
        pipeline if args.http.close && (pipeline.is_some() || args.in_flight > 1) => refuse(
            "--close leaves one request on each connection: leave out --pipeline and --in-flight",
        ),
        _ if args.http.close && !traffic => refuse(
            "--close opens connections for requests: say how many with --rate, or give --closed",
        ),
        _ if args.http.close && args.connect_rate.is_some() => refuse(
            "--close opens a connection for each request: give --rate instead of --connect-rate",
        ),
        _ if args.http.close && args.hold > Nanos::ZERO => {
            refuse("--close leaves no connection to be held: leave out --hold")
        }
        _ => Ok(()),
    }
}

/// What an `http://` run asks for, apart from the targets.
pub(super) struct Asked {
    /// Everything but the host. Without `--paths` the path is that of each URL.
    pub(super) spec: http::RequestSpec,
    /// How large the heads of responses may be.
    heads: HeadLimits,
}

impl Asked {
    pub(super) fn new(args: &RunArgs) -> Result<Self, Error> {
        check(args)?;
        let body = match (&args.http.body, &args.http.body_file) {
            (_, Some(file)) => read_file("--body-file", file)?,
            (Some(text), None) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
        };
        let default = if body.is_empty() { "GET" } else { "POST" };
        let paths = args.http.paths.as_deref();
        let targets = paths.map(|file| read_paths(file, &args.urls)).transpose()?;
        let spec = http::RequestSpec {
            method: args.http.method.clone().unwrap_or_else(|| default.to_owned()),
            agent: concat!("c1000k/", env!("CARGO_PKG_VERSION")).to_owned(),
            targets: targets.unwrap_or_default(),
            headers: args.handshake.header.clone(),
            body,
            close: args.http.close,
            ..http::RequestSpec::default()
        };
        let usual = HeadLimits::default();
        let heads = HeadLimits {
            bytes: args.http.head_max.unwrap_or(usual.bytes),
            headers: args.http.headers_max.unwrap_or(usual.headers),
        };
        Ok(Self { spec, heads })
    }

    /// How many paths are asked for in turn.
    fn paths(&self) -> u64 {
        self.spec.targets.len().max(1) as u64
    }

    pub(super) fn setup(&self, args: &RunArgs, load: &Load) -> Result<HttpSetup, Error> {
        let mut requests = Vec::with_capacity(args.urls.len());
        for url in &args.urls {
            let mut spec = self.spec.clone();
            (spec.host, spec.port) = (url.host_without_zone().to_owned(), url.port);
            spec.headers.extend(authorization(url, &args.handshake)?);
            if spec.targets.is_empty() {
                spec.targets.push(url.target.clone());
            }
            let composer = Composer::new(&spec).map_err(|error| {
                let file = args.http.paths.as_deref();
                let file = file.filter(|_| matches!(error, RequestSpecError::Target(_)));
                usage(match file {
                    Some(file) => format!("--paths {}: {error}", file.display()),
                    None => format!("{url}: {error}"),
                })
            })?;
            requests.push(composer);
        }
        let in_flight = load.in_flight_max;
        let setup = HttpSetup {
            requests,
            paths: self.paths(),
            in_flight,
            close: load.churn,
            heads: self.heads,
            expected: args.http.expect.clone().unwrap_or_default(),
        };
        if load.size.saturating_mul(in_flight as usize) > 1 << 30 {
            return Err(usage(
                "the body times --pipeline is more than 1 GiB for each connection: lower one"
                    .into(),
            ));
        }
        Ok(setup)
    }
}

/// The paths that a file names; whole URLs of the service that is asked are paths, too.
fn read_paths(file: &Path, urls: &[Url]) -> Result<Vec<String>, Error> {
    let bytes = read_file("--paths", file)?;
    parse_paths(&bytes, urls)
        .map_err(|problem| usage(format!("--paths {}: {problem}", file.display())))
}

fn parse_paths(bytes: &[u8], urls: &[Url]) -> Result<Vec<String>, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it begins with a byte order mark (BOM) of UTF-16: save it as UTF-8".to_owned());
    }
    // Of UTF-8 it says nothing, and is no part of the first path.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let paths = lines.take(PATHS_MAX + 1).map(|(number, line)| {
        path_of(line, urls).map_err(|problem| format!("line {number}: {problem}"))
    });
    let paths: Vec<String> = paths.collect::<Result<_, _>>()?;
    match paths.len() {
        0 => Err("it names no path: write one a line, such as /index.html".to_owned()),
        1..=PATHS_MAX => Ok(paths),
        _ => {
            Err(format!("it names more than {} paths: give less", format_grouped(PATHS_MAX as u64)))
        }
    }
}

/// The path that a line names.
fn path_of(line: &str, urls: &[Url]) -> Result<String, String> {
    if line.starts_with('/') {
        return Ok(line.to_owned());
    }
    if line.starts_with('\u{feff}') {
        return Err("a byte order mark (BOM) stands before the path: take it out".to_owned());
    }
    let url: Url = match line.parse() {
        Ok(url) => url,
        Err(UrlError::NoScheme(_)) => {
            return Err(format!(
                "'{line}' cannot be requested: write a path, such as /index.html, or a URL of the \
                 target"
            ));
        }
        Err(error) => return Err(error.to_string()),
    };
    // All paths are asked of all targets.
    match urls.iter().find(|target| !target.is_same_service(&url)) {
        None => Ok(url.target),
        Some(target) => Err(format!(
            "{url} is no URL of {target}, which is asked: leave it out, or give it a run of its own"
        )),
    }
}

/// All of a file that an option names.
fn read_file(option: &str, file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let problem = match read {
        Err(error) => format!("it cannot be read ({error}): check its name"),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            format!("it is larger than {}: give a smaller one", format_size(FILE_BYTES_MAX))
        }
        Ok(_) => return Ok(bytes),
    };
    Err(usage(format!("{option} {}: {problem}", file.display())))
}

/// The same as it goes into the result.
pub(super) fn record(args: &RunArgs, load: &Load, asked: &Asked) -> schema::Http {
    let headers = args.handshake.header.iter();
    schema::Http {
        method: asked.spec.method.clone(),
        headers: headers.map(|(name, value)| format!("{name}: {value}")).collect(),
        paths_file: args.http.paths.as_ref().map(|file| file.display().to_string()),
        paths: asked.paths(),
        pipeline: load.in_flight_max.into(),
        close: load.churn,
        head_max_bytes: asked.heads.bytes as u64,
        headers_max: asked.heads.headers as u64,
        expect: args.http.expect.clone().unwrap_or_default().names(),
    }
}

/// What is sent, in words; a body has `size` bytes.
pub(super) fn messages(http: &schema::Http, size: usize) -> String {
    let mut text = http.method.clone();
    if http.paths_file.is_some() {
        text.push_str(&format!(" of {} paths", format_grouped(http.paths)));
    }
    if size > 0 {
        text.push_str(&format!(" with {}", format_size(size as u64)));
    }
    if http.close {
        text.push_str(", a connection for each request");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &[u8]) -> Result<Vec<String>, String> {
        let urls = ["http://u:secret@Host/a".parse().expect("fine")];
        parse_paths(text, &urls)
    }

    #[test]
    fn paths_are_lines_and_urls_of_the_target() {
        let text = b"\xef\xbb\xbf/a\r\n\n# no\nhttp://host/b?c\nHTTP://HOST:80\n";
        assert_eq!(paths(text).expect("fine"), ["/a", "/b?c", "/"]);
        for (text, problem) in [
            (&b"/a\nhttp://other/b\n"[..], "line 2: http://other:80/b is no URL of"),
            (b"http://host:81/", "line 1: http://host:81 is no URL of http://u:***@Host:80/a"),
            (b"\n#\nb c\n", "line 3: 'b c' cannot be requested"),
            (b"http://host/#a", "line 1: 'http://host/#a' has a fragment"),
            (b"/a\n\xef\xbb\xbf/b", "line 2: a byte order mark (BOM)"),
            (b"\xff\xfe/\0", "byte order mark (BOM) of UTF-16"),
            (b"# none", "it names no path"),
        ] {
            let error = paths(text).expect_err("refused");
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
    }
}
