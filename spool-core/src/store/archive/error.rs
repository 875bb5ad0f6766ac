//! What is wrong with an archived message.

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum PairError {
    /// It cannot be read as a message.
    Unreadable(String),
    /// It can be read, but is not what was written, or has another id than its name.
    Mismatched(String),
}

impl PairError {
    pub(in crate::store) fn reason(self) -> String {
        match self {
            Self::Unreadable(reason) | Self::Mismatched(reason) => reason,
        }
    }
}
