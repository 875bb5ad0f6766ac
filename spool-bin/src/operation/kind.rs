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

    /// Its name, and the state of its messages afterwards.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Freeze => ("freeze", "frozen"),
            Self::Send => ("send", "released for sending"),
            Self::Remove => ("remove", "removed"),
            Self::Recover => ("recover", "recovered"),
            Self::Purge => ("purge", "purged"),
            Self::Reroute => ("reroute", "rerouted"),
            Self::Bounce => ("bounce", "bounced"),
            Self::Expire => ("expire", "expired"),
        }
    }

    /// The name of the command and in the path.
    pub(crate) const fn name(self) -> &'static str {
        self.words().0
    }

    /// The state of its messages afterwards: `3 frozen`, `3 would be frozen`.
    pub(crate) const fn done(self) -> &'static str {
        self.words().1
    }
}
