//! Why a program could not do what it was asked to, and the exit code that says which kind of
//! reason it was.

/// The reasons that end a program before or in its work. Each is a sentence for people: what is
/// wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options do not make sense, alone, together or on this machine.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks what they ask for.
    #[error("{0}")]
    Refused(String),
    /// Something failed.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The exit code: 1 failed, 2 usage, 3 refused by preflight.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
        }
    }
}
