//! The envelope: who sends, who receives, and with which SMTP parameters. It never looks into the message text.

use crate::address::Address;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The sender of RFC 5321: a mailbox, or the null path `<>` of bounces and other notices.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: never bounce this.
    Null,
    /// A mailbox that takes bounces.
    Mailbox(Address),
}

impl ReversePath {
    /// The address, empty for the null path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(address) => address.as_str(),
        }
    }

    /// Whether this is `<>`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Reads an address; the empty text and `<>` are the null path.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse(text: &str) -> Result<Self, crate::address::AddressError> {
        match text {
            "" | "<>" => Ok(Self::Null),
            text => Address::parse(text).map(Self::Mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// The BODY parameter of RFC 6152 and RFC 3030.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BodyKind {
    /// Not given, or 7BIT.
    #[default]
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// The RET parameter of RFC 3461: how much of the message a bounce carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its headers.
    Headers,
}

/// The NOTIFY parameter of RFC 3461. All false means NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailParameters {
    /// BODY.
    pub body: BodyKind,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, decoded from xtext: printable ASCII, at most 100 octets.
    pub envid: Option<String>,
}

/// One forward path with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Where to.
    pub address: Address,
    /// NOTIFY, when given.
    pub notify: Option<Notify>,
    /// ORCPT, decoded from xtext, when given.
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without parameters.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            notify: None,
            orcpt: None,
        }
    }
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self::new(address)
    }
}

/// Sender, recipients and parameters of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// Parameters of MAIL.
    pub parameters: MailParameters,
}

impl Envelope {
    /// An envelope without parameters.
    pub fn new(reverse_path: ReversePath, recipients: impl IntoIterator<Item = Address>) -> Self {
        Self {
            reverse_path,
            recipients: recipients.into_iter().map(Recipient::new).collect(),
            parameters: MailParameters::default(),
        }
    }

    /// Whether an address in it needs SMTPUTF8.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        let sender = match &self.reverse_path {
            ReversePath::Null => true,
            ReversePath::Mailbox(address) => address.is_ascii(),
        };
        !sender
            || self
                .recipients
                .iter()
                .any(|recipient| !recipient.address.is_ascii())
    }
}
