//! What a run asks of the protocol that it speaks: the one place of the plan that lists them all.
//! Each has its own checks, setup, record and words in its file.

use super::checks::{check_size, one_scheme};
use super::{http, usage, websocket};
use crate::cli::RunArgs;
use crate::load::Load;
use crate::protocol::{Http, HttpSetup, Raw, Setup, WebSocket, bytes_per_connection};
use control::Error;
use measure::units::format_size;
use report::schema;
use std::sync::Arc;
use wire::Protocol;

/// What is asked for, before the load is known.
pub(super) enum Asked {
    Tcp,
    WebSocket,
    Http(http::Asked),
}

impl Asked {
    /// Reads the options of the protocol that the URLs name.
    ///
    /// # Errors
    /// If they make no sense, or are another protocol's.
    pub(super) fn new(args: &RunArgs) -> Result<Self, Error> {
        let protocol = one_scheme(args)?;
        let (is_ws, is_http) = (protocol == Protocol::Ws, protocol == Protocol::Http);
        let foreign = [
            ("ws", websocket::option_given(args, is_http).filter(|_| !is_ws)),
            ("http", http::option_given(args).filter(|_| !is_http)),
        ];
        if let Some((whose, option)) =
            foreign.into_iter().find_map(|(whose, option)| Some((whose, option?)))
        {
            let name = protocol.name();
            return Err(usage(format!(
                "{option} is for {whose}:// and means nothing to {name}://: leave it out"
            )));
        }
        Ok(match protocol {
            Protocol::Tcp => {
                check_size(args)?;
                Self::Tcp
            }
            Protocol::Ws => {
                websocket::check(args)?;
                Self::WebSocket
            }
            Protocol::Http => Self::Http(http::Asked::new(args)?),
        })
    }

    /// Bytes of a message: of HTTP the body.
    pub(super) fn size(&self, args: &RunArgs) -> usize {
        match self {
            Self::Tcp | Self::WebSocket => args.size_bytes() as usize,
            Self::Http(asked) => asked.spec.body.len(),
        }
    }

    /// Messages that may be on their way on a connection in the open model.
    pub(super) fn in_flight_max(&self, pipeline: u32) -> u32 {
        match self {
            Self::Tcp | Self::WebSocket => u32::MAX,
            Self::Http(_) => pipeline,
        }
    }

    /// What the reactors have in common.
    ///
    /// # Errors
    /// If something that is asked for cannot be sent.
    pub(super) fn setup(&self, args: &RunArgs, load: &Load) -> Result<ProtocolPlan, Error> {
        Ok(match self {
            Self::Tcp => ProtocolPlan::Tcp,
            Self::WebSocket => ProtocolPlan::WebSocket(Arc::new(websocket::setup(args, load)?)),
            Self::Http(asked) => ProtocolPlan::Http(Arc::new(asked.setup(args, load)?)),
        })
    }

    /// The same as it goes into the result.
    pub(super) fn record(&self, args: &RunArgs, load: &Load) -> schema::Plan {
        let plain = schema::Plan::default();
        match self {
            Self::Tcp => plain,
            Self::WebSocket => schema::Plan { websocket: Some(websocket::record(args)), ..plain },
            Self::Http(asked) => {
                schema::Plan { http: Some(http::record(args, load, asked)), ..plain }
            }
        }
    }
}

/// What is spoken on the connections of a run.
#[derive(Clone, Debug)]
pub(crate) enum ProtocolPlan {
    /// Nothing but the messages themselves.
    Tcp,
    /// WebSocket.
    WebSocket(Arc<Setup>),
    /// HTTP/1.1.
    Http(Arc<HttpSetup>),
}

impl ProtocolPlan {
    /// Bytes that a message has on the wire, at the most.
    pub(super) fn message_bytes(&self, load: &Load) -> usize {
        match self {
            Self::Tcp => load.size,
            Self::WebSocket(setup) => setup.message_bytes(),
            Self::Http(setup) => setup.message_bytes(),
        }
    }

    /// What a connection may have waiting besides its messages, in bytes.
    pub(super) fn control_bytes(&self) -> usize {
        match self {
            Self::Tcp | Self::Http(_) => 0,
            Self::WebSocket(_) => websocket::CONTROL_BYTES,
        }
    }

    /// Memory of ours for an idle connection, in bytes.
    pub(super) fn bytes_per_connection(&self) -> u64 {
        match self {
            Self::Tcp => bytes_per_connection::<Raw>(),
            Self::WebSocket(_) => bytes_per_connection::<WebSocket>(),
            Self::Http(_) => bytes_per_connection::<Http>(),
        }
    }

    /// What is sent where there is no load.
    pub(super) fn first_messages(&self) -> &'static str {
        match self {
            Self::Tcp | Self::WebSocket(_) => "one echo each",
            Self::Http(_) => "one request each",
        }
    }
}

/// What is sent, in words: messages of so many bytes, as the record has them.
pub(super) fn messages(record: &schema::Plan, size: usize) -> String {
    if let Some(http) = &record.http {
        return http::messages(http, size);
    }
    let manner = record.websocket.as_ref().map_or_else(String::new, websocket::manner);
    format!("{} messages{manner}", format_size(size as u64))
}
