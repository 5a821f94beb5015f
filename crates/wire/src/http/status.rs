//! Methods and status codes (RFC 9110 9 and 15), as far as either end has a use for them.

/// A request's method.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Method {
    /// CONNECT, for which there is no use here.
    Connect,
    /// DELETE.
    Delete,
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// One that is not known.
    Other,
    /// PATCH (RFC 5789).
    Patch,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// TRACE.
    Trace,
}

impl Method {
    const ALL: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Options,
        Self::Patch,
        Self::Connect,
        Self::Trace,
    ];

    /// Its name; empty for one that is not known.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Other => "",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Trace => "TRACE",
        }
    }

    /// Whether asking twice does no more than asking once (RFC 9110 9.2.2): such a request may be
    /// sent again without anybody saying so.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }

    /// The method of this name. Names have a case (RFC 9110 9.1).
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|method| method.name() == name).unwrap_or(Self::Other)
    }

    /// Why files cannot be asked for with this method; `None` if they can.
    #[must_use]
    pub const fn refusal(self) -> Option<Status> {
        match self {
            Self::Get | Self::Head => None,
            Self::Other => Some(Status::NOT_IMPLEMENTED),
            _ => Some(Status::METHOD_NOT_ALLOWED),
        }
    }
}

/// The methods with which files can be asked for, as `Allow` lists them.
pub const ALLOWED: &str = "GET, HEAD";

/// A status code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($name:ident $code:literal $reason:literal,)*) => {
        impl Status {
            $(#[doc = concat!($reason, ".")] pub const $name: Self = Self($code);)*

            /// The words behind the code; none for a code that is not used here.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }
        }
    };
}

statuses! {
    OK 200 "OK",
    PARTIAL_CONTENT 206 "Partial Content",
    MOVED_PERMANENTLY 301 "Moved Permanently",
    NOT_MODIFIED 304 "Not Modified",
    BAD_REQUEST 400 "Bad Request",
    NOT_FOUND 404 "Not Found",
    METHOD_NOT_ALLOWED 405 "Method Not Allowed",
    REQUEST_TIMEOUT 408 "Request Timeout",
    PRECONDITION_FAILED 412 "Precondition Failed",
    CONTENT_TOO_LARGE 413 "Content Too Large",
    URI_TOO_LONG 414 "URI Too Long",
    RANGE_NOT_SATISFIABLE 416 "Range Not Satisfiable",
    EXPECTATION_FAILED 417 "Expectation Failed",
    HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large",
    NOT_IMPLEMENTED 501 "Not Implemented",
    SERVICE_UNAVAILABLE 503 "Service Unavailable",
    VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported",
}
