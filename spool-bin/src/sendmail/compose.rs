//! The envelope and the message that `sendmail` submits.

use super::arguments::Sending;
use super::exit::{Exit, SendmailError};
use super::message::{Letter, from_value};
use crate::config::Config;
use nix::unistd::{Uid, User};
use spool_core::{
    Address, BodyKind, Clock, Envelope, FlowId, MailParameters, Recipient, ReversePath, SystemClock,
};
use spool_smtp::submission::{Completion, addresses};
use std::collections::HashSet;

/// The reverse-path, and the address for a From that is missing.
pub(super) fn sender(sending: &Sending, config: &Config) -> Result<(ReversePath, Address), SendmailError> {
    let uid = Uid::current();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| format!("uid-{uid}"), |user| user.name);
    let own = Address::parse(&format!("{user}@{}", config.hostname))
        .or_else(|_| Address::parse(&format!("uid-{uid}@{}", config.hostname)))
        .map_err(|error| SendmailError::new(Exit::Config, format!("{user}@{}: {error}", config.hostname)))?;
    match sending.from.as_deref().map(str::trim) {
        None => Ok((ReversePath::Mailbox(own.clone()), own)),
        Some("" | "<>") => Ok((ReversePath::Null, own)),
        Some(text) => {
            let found = addresses(text, &config.hostname).map_err(SendmailError::usage)?;
            match found.as_slice() {
                [one] => Ok((ReversePath::Mailbox(one.clone()), one.clone())),
                _ => Err(SendmailError::usage(format!("-f {text}: must be one address"))),
            }
        }
    }
}

/// The recipients of the command line; each argument is an address or a list of addresses.
pub(super) fn named(sending: &Sending, config: &Config) -> Result<Vec<Address>, SendmailError> {
    let mut found = Vec::new();
    for word in &sending.recipients {
        let read = addresses(word, &config.hostname).map_err(SendmailError::usage)?;
        if read.is_empty() {
            return Err(SendmailError::usage(format!("{word:?}: is not an address")));
        }
        found.extend(read);
    }
    Ok(found)
}

/// The envelope, and the message as it is submitted.
pub(super) fn compose(
    sending: &Sending,
    (reverse_path, from): (ReversePath, Address),
    mut recipients: Vec<Address>,
    letter: &Letter<'_>,
    config: &Config,
) -> Result<(Envelope, Vec<u8>), SendmailError> {
    if sending.extract {
        recipients.extend(letter.recipients(&config.hostname)?);
    }
    let mut seen = HashSet::new();
    recipients.retain(|address| seen.insert(address.clone()));
    let most = config.server.recipients;
    let count = recipients.len();
    if count == 0 {
        let text = "neither the command line nor the header names a recipient";
        return Err(SendmailError::data(text));
    }
    if count > most {
        let text = format!("{count} recipients are more than the {most} that a message may have");
        return Err(SendmailError::data(text));
    }
    let completion = Completion {
        now: SystemClock.now(),
        message_id: &format!("{}@{}", FlowId::random(), config.hostname),
    };
    let message = letter.completed(&from_value(sending.name.as_deref(), &from), &completion);
    let recipient = |address| Recipient {
        notify: sending.notify,
        ..Recipient::new(address)
    };
    let body = match sending.body {
        // Declared by mistake, it would let a hop clear the eighth bits.
        Some(BodyKind::SevenBit) | None if message.is_ascii() => BodyKind::SevenBit,
        _ => BodyKind::EightBitMime,
    };
    let mut envelope = Envelope {
        reverse_path,
        recipients: recipients.into_iter().map(recipient).collect(),
        parameters: MailParameters {
            body,
            ..sending.parameters.clone()
        },
    };
    envelope.parameters.smtputf8 = envelope.needs_smtputf8();
    Ok((envelope, message))
}
