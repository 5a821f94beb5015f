//! The HTTP codec from outside: through its public interface only, both roles.

mod answers;
mod oracle;
mod paths;
mod requests;
mod responses;
mod support;
