//! Whether a message is sent in one write with its envelope: MAIL, RCPT and BDAT at once (RFC 3030 with RFC 2920), which saves a round
//! trip.
//!
//! Only for a peer that has just accepted mail: a refused body costs its bytes, and a message without a reply is in doubt.

use super::session::Session;
use spool_core::Job;
use std::time::Duration;

/// The largest body; the buffers of both sides hold it.
const MAX_BODY: usize = 64 * 1024;
/// For how long after a message a session counts as alive. A peer may end one that is idle for longer.
const ALIVE: Duration = Duration::from_secs(1);
/// For how long BDAT is not used with a peer after it failed.
pub(super) const CHUNKING_PAUSE: Duration = Duration::from_secs(3600);

/// Whether `job` is sent in one write.
pub(super) fn goes_at_once(session: &Session, job: &Job) -> bool {
    let just_took = session.took_at.is_some_and(|at| at.elapsed() < ALIVE);
    // BDAT does not complete a last line without CRLF, as DATA does.
    let whole = job.body.is_empty() || job.body.ends_with(b"\r\n");
    let fits = whole && job.body.len() <= MAX_BODY;
    // Last, because it reads the whole body.
    session.may_chunk && just_took && !session.needs_reset && fits && !has_commands(&job.body)
}

/// Whether a line of `body` is a command of a transaction. Some servers read the octets of a refused BDAT as commands when no recipient was
/// accepted.
fn has_commands(body: &[u8]) -> bool {
    let line_starts = memchr::memchr_iter(b'\n', body).map(|end| end + 1);
    let mut starts = std::iter::once(0).chain(line_starts);
    starts.any(|start| body.get(start..).is_some_and(begins_with_command))
}

/// Whether the first line of `text` is such a command.
fn begins_with_command(text: &[u8]) -> bool {
    // The end of the line excluded.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() && *byte != b'\n';
    let indent = text.iter().take_while(|byte| is_space(byte)).count();
    let Some((verb, rest)) = text.get(indent..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return false;
    };
    let commands = [b"MAIL", b"RCPT", b"DATA", b"BDAT"];
    commands.iter().any(|command| verb.eq_ignore_ascii_case(*command))
        && rest.first().is_none_or(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_could_be_commands_are_known() {
        for (body, expected) in [
            ("", false),
            (
                "Received: x\r\n\r\nMail-Id: x\r\nMailing, database\r\ndat\r\n",
                false,
            ),
            ("x MAIL FROM:<a@b>\r\n", false),
            ("x\r\nMAIL FROM:<a@b>\r\n", true),
            ("rcpt to:<a@b>\r\n", true),
            ("x\r\n \tData\r\n", true),
            ("BDAT 3\r\n", true),
            ("\n\n \n\n rcpt", true),
            ("rcp\nt\n dat\na\nBDAT\n", true),
            ("rcp\nt\n dat\na\n bda", false),
        ] {
            assert_eq!(has_commands(body.as_bytes()), expected, "{body:?}");
        }
    }
}
