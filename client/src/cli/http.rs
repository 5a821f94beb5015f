//! The options of `http://`.

use clap::Args;
use measure::units::{parse_count, parse_size};
use report::statuses::Expected;
use std::path::PathBuf;
use wire::http::{HeadLimits, is_token_text};

/// What HTTP asks for, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct HttpArgs {
    /// The method: any word, as it is to be sent (case counts) [default: GET, or POST with a body]
    #[arg(
        long,
        value_name = "METHOD",
        value_parser = parse_method,
        help_heading = "HTTP (http:// only)"
    )]
    pub method: Option<String>,
    /// The body of each request
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "body_file",
        help_heading = "HTTP (http:// only)"
    )]
    pub body: Option<String>,
    /// A file that is the body of each request
    #[arg(long, value_name = "FILE", help_heading = "HTTP (http:// only)")]
    pub body_file: Option<PathBuf>,
    /// A file with the paths to ask for in turn instead of the URL's own, one a line; empty lines
    /// and those that begin with # are passed over. Each connection starts at another one
    #[arg(long, value_name = "FILE", help_heading = "HTTP (http:// only)")]
    pub paths: Option<PathBuf>,
    /// The most requests that a connection has on their way [default: 1]. In the closed model it
    /// keeps so many (there it is another name for --in-flight); in the open model one that has so
    /// many is passed over
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "HTTP (http:// only)")]
    pub pipeline: Option<u64>,
    /// Open a connection for each request and close it behind the response; --connections is how
    /// many may be open at a time. Times of a request then begin with its connect
    #[arg(long, help_heading = "HTTP (http:// only)")]
    pub close: bool,
    /// The largest head of a response (status line and headers); a larger one breaks the protocol
    /// [default: 64k]
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = parse_head_max,
        help_heading = "HTTP (http:// only)"
    )]
    pub head_max: Option<usize>,
    /// The most header lines in a response; more of them break the protocol [default: 256]
    #[arg(
        long,
        value_name = "N",
        value_parser = parse_headers_max,
        help_heading = "HTTP (http:// only)"
    )]
    pub headers_max: Option<usize>,
    /// The statuses that count as served, and classes of them, like 200,429 or 2xx [default:
    /// 2xx,3xx]
    #[arg(long, value_name = "STATUSES", help_heading = "HTTP (http:// only)")]
    pub expect: Option<Expected>,
}

impl HttpArgs {
    /// The first option that was given, if any was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let Self { method, body, body_file, paths, pipeline, close, .. } = self;
        let Self { head_max, headers_max, expect, .. } = self;
        let given = [
            ("--method", method.is_some()),
            ("--body", body.is_some()),
            ("--body-file", body_file.is_some()),
            ("--paths", paths.is_some()),
            ("--pipeline", pipeline.is_some()),
            ("--close", *close),
            ("--head-max", head_max.is_some()),
            ("--headers-max", headers_max.is_some()),
            ("--expect", expect.is_some()),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

fn parse_method(text: &str) -> Result<String, String> {
    match text {
        "CONNECT" => Err("behind CONNECT no HTTP is spoken: give another method".to_owned()),
        _ if is_token_text(text.as_bytes()) => Ok(text.to_owned()),
        _ => Err("a method is one word, such as GET or PURGE".to_owned()),
    }
}

fn parse_head_max(text: &str) -> Result<usize, String> {
    HeadLimits::checked_bytes(parse_size(text).map_err(|error| error.to_string())?)
}

fn parse_headers_max(text: &str) -> Result<usize, String> {
    HeadLimits::checked_headers(parse_count(text).map_err(|error| error.to_string())?)
}
