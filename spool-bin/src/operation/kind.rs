//! The operations and their names.

/// An operation on messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Freeze,
    Send,
    Remove,
    Recover,
    Purge,
    Reroute,
    Bounce,
    Expire,
}

impl Operation {
    pub(crate) const ALL: [Self; 8] = [
        Self::Freeze,
        Self::Send,
        Self::Remove,
        Self::Recover,
        Self::Purge,
        Self::Reroute,
        Self::Bounce,
        Self::Expire,
    ];

    /// The name of the command and in the path.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Send => "send",
            Self::Remove => "remove",
            Self::Recover => "recover",
            Self::Purge => "purge",
            Self::Reroute => "reroute",
            Self::Bounce => "bounce",
            Self::Expire => "expire",
        }
    }

    /// The state of its messages afterwards: `3 frozen`, `3 would be frozen`.
    pub(crate) const fn done(self) -> &'static str {
        match self {
            Self::Freeze => "frozen",
            Self::Send => "released for sending",
            Self::Remove => "removed",
            Self::Recover => "recovered",
            Self::Purge => "purged",
            Self::Reroute => "rerouted",
            Self::Bounce => "bounced",
            Self::Expire => "expired",
        }
    }
}
