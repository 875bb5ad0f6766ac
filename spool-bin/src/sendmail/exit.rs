//! The exit status of `sendmail` by sysexits.h, with its text.

/// An exit status other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_DATAERR: the message cannot be sent.
    Data = 65,
    /// EX_NOUSER: a recipient is refused.
    NoUser = 67,
    /// EX_UNAVAILABLE: the service refuses the message for another reason.
    Unavailable = 69,
    /// EX_IOERR: standard input cannot be read.
    Io = 74,
    /// EX_TEMPFAIL: the message was not accepted now, and nothing was kept.
    TryAgain = 75,
    /// EX_NOPERM: the caller may not send this.
    NoPermission = 77,
    /// EX_CONFIG: the configuration cannot be read.
    Config = 78,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendmailError {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl SendmailError {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
        }
    }

    /// The command line is wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// The message is wrong.
    pub(super) fn data(text: impl Into<String>) -> Self {
        Self::new(Exit::Data, text)
    }
}
