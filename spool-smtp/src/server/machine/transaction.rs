//! A mail transaction: MAIL and RCPT, their memory, and the message that is passed on at the end.

use super::{Machine, Phase};
use crate::server::clients::Kind;
use crate::server::data::{Decoder, Ending};
use crate::server::parameters::OfMail;
use crate::server::reply::{self, ServerReply};
use crate::server::trace::{Trace, count_received};
use spool_core::{
    Address, Budget, Envelope, FlowId, Held, MAX_SECTIONS, Mail, MailParameters, Notify, Recipient,
    ReversePath, Source,
};
use std::collections::HashSet;

/// The most memory that is reserved for a message before its first byte arrives, whatever size was announced.
const FIRST_RESERVE: usize = 64 << 10;
/// The memory that is reserved when no size was announced, and for the trace header.
const LEAST_RESERVE: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) flow: FlowId,
    pub(super) sender: ReversePath,
    pub(super) recipients: Vec<Recipient>,
    pub(super) parameters: MailParameters,
    pub(super) size: u64,
    /// The memory of the recipients; from DATA on the decoder has it.
    pub(super) held: Option<Held>,
    /// The message, between two of its chunks.
    pub(super) chunks: Option<Box<Decoder>>,
    /// The domains of the recipients, once there are enough recipients to reach the limit.
    pub(super) domains: HashSet<String>,
}

impl Transaction {
    /// Charges one more recipient; `false`: there is no memory for it, and nothing was charged.
    fn charge(&mut self, memory: &Budget, recipient: &Recipient) -> bool {
        let bytes = recipient.footprint();
        match &mut self.held {
            Some(held) => held.grow(bytes),
            none => {
                *none = memory.hold_first(bytes);
                none.is_some()
            }
        }
    }

    /// Whether another recipient fits into one add, in which each domain may need a section of its own.
    fn has_room_for(&mut self, address: &Address) -> bool {
        if self.recipients.len() < MAX_SECTIONS {
            return true;
        }
        if self.domains.is_empty() {
            let all = self.recipients.iter();
            self.domains = all.map(|recipient| domain(&recipient.address)).collect();
        }
        self.domains.len() < MAX_SECTIONS || self.domains.contains(&domain(address))
    }

    /// Adds a recipient that fits and is charged.
    fn push(&mut self, recipient: Recipient) {
        if !self.domains.is_empty() {
            self.domains.insert(domain(&recipient.address));
        }
        self.recipients.push(recipient);
    }
}

fn domain(address: &Address) -> String {
    address.domain().to_ascii_lowercase()
}

impl Machine {
    pub(super) fn mail(
        &mut self,
        sender: ReversePath,
        OfMail {
            known: parameters,
            size,
            ..
        }: OfMail,
    ) -> Result<(), ServerReply> {
        let Some(hello) = &self.hello else {
            return Err(reply::HELLO_FIRST);
        };
        // Without EHLO the client was not offered DSN.
        if !hello.extended && (parameters.ret.is_some() || parameters.envid.is_some()) {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if self.transaction.is_some() {
            return Err(reply::NESTED_MAIL);
        }
        if parameters.requiretls && self.tls.session().is_none() && self.local.is_none() {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if usize::try_from(size).map_or(true, |size| size > self.config.message_size) {
            return Err(reply::TOO_BIG);
        }
        self.check_sender(&sender)?;
        self.has_left(Kind::Messages)?;
        self.transaction = Some(Transaction {
            flow: FlowId::random(),
            sender,
            recipients: Vec::new(),
            parameters,
            size,
            held: None,
            chunks: None,
            domains: HashSet::new(),
        });
        Ok(())
    }

    pub(super) fn rcpt(
        &mut self,
        recipient: Option<Address>,
        notify: Option<Notify>,
        orcpt: Option<String>,
    ) -> Result<(), ServerReply> {
        let may_relay = self.may_relay();
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        if open.chunks.is_some() {
            return Err(reply::IN_CHUNKS);
        }
        let dsn = notify.is_some() || orcpt.is_some();
        if dsn && !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if open.recipients.len() >= self.config.recipients {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let address = match recipient {
            Some(address) if !open.parameters.smtputf8 && !address.is_ascii() => {
                return Err(reply::NEEDS_SMTPUTF8);
            }
            Some(address) if may_relay || self.config.relay.serves(&address) => address,
            Some(_) => return Err(reply::RELAYING_DENIED),
            // RFC 5321 section 4.5.1: anyone may send to the postmaster of this host.
            None => Address::parse(&format!("postmaster@{}", self.config.hostname))
                .map_err(|_| reply::BAD_RECIPIENT)?,
        };
        if !open.has_room_for(&address) {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let recipient = Recipient {
            address,
            notify,
            orcpt,
        };
        // The limit comes first: memory is charged only for accepted recipients.
        self.takes(Kind::Recipients)?;
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        if !open.charge(&self.config.memory, &recipient) {
            self.give_back(Kind::Recipients);
            return Err(reply::NO_MEMORY);
        }
        open.push(recipient);
        self.say(reply::RECIPIENT_OK);
        Ok(())
    }

    /// The decoder of the open transaction's message, with the trace header written, or the refusal.
    pub(super) fn decoder(&mut self, ending: Ending) -> Result<Decoder, ServerReply> {
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        let announced = usize::try_from(open.size)
            .unwrap_or(FIRST_RESERVE)
            .min(FIRST_RESERVE);
        let capacity = announced + LEAST_RESERVE;
        let mut held = open.held.take().ok_or(reply::NO_RECIPIENTS)?;
        if !held.grow(u64::try_from(capacity).unwrap_or(u64::MAX)) {
            open.held = Some(held);
            self.give_message_back();
            return Err(reply::BUSY);
        }
        let mut body = Vec::with_capacity(capacity);
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        Trace {
            helo: self.hello.as_ref().map_or("", |hello| hello.name.as_str()),
            client: self.client,
            local: self.local,
            hostname: &self.config.hostname,
            // RFC 3848 and RFC 6531 section 4.3; there is no name for SMTP under TLS.
            protocol: protocol(
                open.parameters.smtputf8,
                extended,
                self.tls.session().is_some(),
                self.user.is_some(),
            ),
            tls: self.tls.session(),
            id: &open.flow.to_string(),
            date: &self.config.clock.now().rfc5322(),
        }
        .write(&mut body);
        let (size, bare) = (self.config.message_size, self.config.bare_newline);
        Ok(Decoder::new(body, held, size, bare, ending))
    }

    /// The message ended, or will not end: it is passed on, or refused.
    pub(super) fn end_data(&mut self) -> Option<Mail> {
        self.progress = true;
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let (Phase::Data(decoder), Some(open)) = (phase, self.transaction.take()) else {
            return None;
        };
        self.hand_over(open, *decoder)
    }

    /// A complete message is passed to the intake or refused.
    pub(super) fn hand_over(&mut self, open: Transaction, decoder: Decoder) -> Option<Mail> {
        let body = decoder.finish().and_then(|(body, held)| {
            // The header added here is not counted.
            let looped = count_received(&body) > self.config.received_headers.saturating_add(1);
            if looped {
                Err(reply::MAIL_LOOP)
            } else {
                Ok((body, held))
            }
        });
        let (body, held) = match body {
            Ok(body) => body,
            Err(refusal) => {
                self.refuse_message(refusal);
                return None;
            }
        };
        self.phase = Phase::Accepting(held);
        Some(Mail {
            source: Source {
                admission: self.admission(),
                client: self.local.is_none().then_some(self.client),
                uid: self.local,
                tls: self.tls.session().cloned(),
            },
            envelope: Envelope {
                reverse_path: open.sender,
                recipients: open.recipients,
                parameters: open.parameters,
            },
            body,
            flows: vec![self.session, open.flow],
        })
    }
}

/// The name of the protocol that IANA registered (RFC 3848, RFC 6531 section 4.3). The user is not included.
const fn protocol(utf8: bool, extended: bool, tls: bool, user: bool) -> &'static str {
    match (utf8, extended, tls, user) {
        (true, _, true, true) => "UTF8SMTPSA",
        (true, _, true, false) => "UTF8SMTPS",
        (true, _, false, true) => "UTF8SMTPA",
        (true, _, false, false) => "UTF8SMTP",
        (false, true, true, true) => "ESMTPSA",
        (false, true, true, false) => "ESMTPS",
        (false, true, false, true) => "ESMTPA",
        (false, true, false, false) => "ESMTP",
        (false, false, _, _) => "SMTP",
    }
}
