//! HTTP/1.1 as a pure machine, for both roles: RFC 9110 and RFC 9112.
//!
//! ```text
//!   server   bytes ──> Requests ──> Request ──> SafePath, choose ──> Prepared, write_… ──> bytes
//!                                      └─ or one Refusal, which writes its own answer
//!   client   Composer ──> bytes                bytes ──> Responses ──> ResponseEvent: Start,
//!                                                          Chunk …, End; or one ResponseError
//! ```
//!
//! The contract:
//! - The events do not depend on how the stream was cut into reads, but for where one chunk of a
//!   body ends and the next begins.
//! - All that a read completes is handed on in one go, so that the answers can leave in one write.
//! - Strict in what is accepted: wherever two readers could disagree about the end of a message, it
//!   is refused and the connection closed.
//! - A connection between two messages is [`Requests`] or [`Responses`] and nothing else: 8 or 12
//!   bytes. What is only partly here lies in a pool, one per reactor.
//! - Time is an argument. Bodies of requests are read and dropped; those of responses are handed on
//!   as they come.

mod body;
mod compose;
mod date;
pub(crate) mod fields;
mod file;
mod head;
mod memo;
mod path;
pub(crate) mod request;
mod requests;
mod responses;
mod status;
mod writer;

pub use crate::limits::{
    HTTP_BODY_BYTES_DEFAULT, HTTP_CHUNK_EXTRA_BYTES_MAX, HTTP_FRAMING_WORK, HTTP_HEAD_BYTES_LIMIT,
    HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_LIMIT, HTTP_HEADERS_MAX, HTTP_INFORMATIONAL_MAX,
    HTTP_LINE_WORK, HTTP_PATH_BYTES_MAX, HTTP_TARGET_BYTES_MAX,
};
pub use body::BodyError;
pub use compose::{Composer, RequestSpec, RequestSpecError};
pub use date::{DateCache, DateText, add_date, date_text};
pub use fields::is_token_text;
pub use file::{Answer, File, choose};
pub use head::{Head, HeadError, HeadLimits, HeadPool};
pub use path::{PathError, SafePath};
pub use request::{Refusal, Request};
pub use requests::{RequestEvent, RequestPool, Requests};
pub use responses::{Response, ResponseError, ResponseEvent, ResponsePool, Responses};
pub use status::{ALLOWED, Method, Status};
pub use writer::{
    CONTINUE, Persistence, Prepared, write_file_head, write_redirect, write_status, write_text,
};
