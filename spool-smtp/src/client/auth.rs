//! AUTH (RFC 4954): one bounded exchange on an open session. No error contains a part of it.

use super::config::SmtpConfig;
use super::connect_error::ConnectError;
use super::credentials::Credentials;
use super::reply_filter::RawReply;
use super::session::Session;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::authentication::Mechanism;
use spool_core::Stage;

/// The longest AUTH line with an initial response, CRLF included (RFC 4954 section 4).
const MAX_LINE: usize = 512;

/// Authenticates with `credentials`. The caller has checked that they may be sent in this session.
pub(super) async fn authenticate(
    session: &mut Session,
    credentials: &Credentials,
    config: &SmtpConfig,
) -> Result<(), ConnectError> {
    let mechanism = choose(credentials, &session.capabilities.auth)?;
    let mut line = format!("AUTH {mechanism}");
    let mut sent = Vec::new();
    if let Some(answer) = initial(credentials, mechanism, line.len()) {
        line = format!("{line} {answer}");
        sent.push(answer);
    }
    loop {
        line.push_str("\r\n");
        let reply = session.ask(&line, config.command_timeout).await.map_err(broken)?;
        match reply.code {
            200..=299 => return Ok(()),
            334 => {}
            400..=599 => return Err(refused(&reply, credentials, &sent)),
            code => return Err(broken(format!("the peer answered AUTH with {code}"))),
        }
        let Some(answer) = credentials.response(mechanism, sent.len()) else {
            // Cancels the exchange; the peer answers 501 (RFC 4954 section 4).
            let _ = session.ask("*\r\n", config.command_timeout).await;
            return Err(broken(format!(
                "the peer asks for more than AUTH {mechanism} has to say"
            )));
        };
        line = STANDARD.encode(answer);
        sent.push(line.clone());
    }
}

/// The initial response, if there is one and it fits behind `before` bytes and a space.
fn initial(credentials: &Credentials, mechanism: Mechanism, before: usize) -> Option<String> {
    // Not every peer accepts an initial response for LOGIN.
    let answer = mechanism
        .supports_initial_response()
        .then(|| credentials.response(mechanism, 0));
    let answer = STANDARD.encode(answer.flatten()?);
    (before + 1 + answer.len() + 2 <= MAX_LINE).then_some(answer)
}

fn choose(credentials: &Credentials, offered: &[String]) -> Result<Mechanism, ConnectError> {
    let ours = credentials.mechanisms();
    let offers = |mechanism: &&Mechanism| offered.contains(&mechanism.to_string());
    ours.iter().find(offers).copied().ok_or_else(|| {
        let ours: Vec<_> = ours.iter().map(Mechanism::to_string).collect();
        let offered = match offered {
            [] => "no AUTH".to_owned(),
            offered => format!("AUTH {}", offered.join(" ")),
        };
        broken(format!(
            "the peer offers {offered}, and not {}",
            ours.join(" or ")
        ))
    })
}

fn broken(error: String) -> ConnectError {
    ConnectError::broken(Stage::Auth, &error)
}

/// The refusal for the record. A reply that repeats the credentials is not recorded.
fn refused(reply: &RawReply, credentials: &Credentials, sent: &[String]) -> ConnectError {
    let repeats = reply.lines().any(|line| {
        credentials.is_in(line) || sent.iter().any(|sent| !sent.is_empty() && line.contains(sent))
    });
    let mut reply = reply.to_reply();
    if repeats {
        reply.text = "(the peer repeated the credentials)".to_owned();
    }
    ConnectError::refused(Stage::Auth, reply)
}
