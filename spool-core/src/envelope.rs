//! The envelope: who sends, who receives, and with which SMTP parameters. It never looks into the message text.

use crate::address::{Address, AddressError};
use crate::attempt::RecipientIndex;
use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The sender of RFC 5321: a mailbox, or the null path `<>` of bounces and other notices.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[display("<{}>", self.as_str())]
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
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text {
            "" | "<>" => Ok(Self::Null),
            text => Address::parse(text).map(Self::Mailbox),
        }
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

/// The RET parameter of RFC 3461: how much of the message a bounce carries. Displayed as in the parameter.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ret {
    /// The whole message.
    #[display("FULL")]
    Full,
    /// Its headers.
    #[display("HDRS")]
    Headers,
}

impl Ret {
    /// Reads the value of the RET parameter, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Some(Self::Full),
            "HDRS" => Some(Self::Headers),
            _ => None,
        }
    }
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

impl Notify {
    /// Reads the value of the NOTIFY parameter, in any case: NEVER alone, or a list of the other three.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut notify = Self::default();
        let never = text.eq_ignore_ascii_case("NEVER");
        for word in text.split(',').filter(|_| !never) {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

/// As in the NOTIFY parameter: `SUCCESS,FAILURE`, or `NEVER`.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let words: Vec<&str> = words
            .iter()
            .filter_map(|(set, word)| set.then_some(*word))
            .collect();
        f.write_str(&match words.is_empty() {
            true => "NEVER".to_owned(),
            false => words.join(","),
        })
    }
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

/// Why an envelope cannot be made of the texts that were given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The sender is neither empty, nor `<>`, nor an address.
    #[error("sender {text:?}: {source}")]
    Sender {
        /// The text that was given.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A recipient is not an address.
    #[error("recipient {text:?}: {source}")]
    Recipient {
        /// The text that was given.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// There is no recipient.
    #[error("an envelope needs at least one recipient")]
    NoRecipient,
}

impl Envelope {
    /// An envelope without parameters, from texts. An empty sender, or `<>`, is the null path.
    ///
    /// ```
    /// use spool_core::{Envelope, EnvelopeError};
    ///
    /// let envelope = Envelope::new("ada@example.org", ["bob@example.net"])?;
    /// assert_eq!(envelope.recipients.len(), 1);
    /// let error = Envelope::new("ada@example.org", ["bob"]).unwrap_err();
    /// assert_eq!(error.to_string(), "recipient \"bob\": an address needs the form local@domain");
    /// # Ok::<(), EnvelopeError>(())
    /// ```
    ///
    /// # Errors
    /// [`EnvelopeError`] names the text that is not an address, or says that there is no recipient.
    pub fn new<R: AsRef<str>>(
        sender: &str,
        recipients: impl IntoIterator<Item = R>,
    ) -> Result<Self, EnvelopeError> {
        let reverse_path = ReversePath::parse(sender).map_err(|source| EnvelopeError::Sender {
            text: sender.to_owned(),
            source,
        })?;
        let parse = |recipient: R| {
            let text = recipient.as_ref();
            Address::parse(text).map_err(|source| EnvelopeError::Recipient {
                text: text.to_owned(),
                source,
            })
        };
        let recipients = recipients.into_iter().map(parse);
        let recipients = recipients.collect::<Result<Vec<Address>, _>>()?;
        match recipients.is_empty() {
            true => Err(EnvelopeError::NoRecipient),
            false => Ok(Self::of(reverse_path, recipients)),
        }
    }

    /// An envelope without parameters, from addresses that are parsed already.
    pub fn of(reverse_path: ReversePath, recipients: impl IntoIterator<Item = Address>) -> Self {
        Self {
            reverse_path,
            recipients: recipients.into_iter().map(Recipient::new).collect(),
            parameters: MailParameters::default(),
        }
    }

    /// The recipient with this index.
    #[must_use]
    pub fn recipient(&self, index: RecipientIndex) -> Option<&Recipient> {
        self.recipients.get(usize::try_from(index).ok()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_error_names_the_text() {
        let envelope = Envelope::new("<>", ["b@y", "c@z"]).unwrap();
        assert!(envelope.reverse_path.is_null() && envelope.recipients.len() == 2);
        let none: [&str; 0] = [];
        assert_eq!(Envelope::new("a@x", none), Err(EnvelopeError::NoRecipient));
        let told = |error: Result<Envelope, EnvelopeError>| error.unwrap_err().to_string();
        assert!(told(Envelope::new("a", ["b@y"])).starts_with("sender \"a\": "));
        assert!(told(Envelope::new("a@x", ["b@y", "c\r\n@z"])).starts_with("recipient \"c\\r\\n@z\": "));
    }
}
