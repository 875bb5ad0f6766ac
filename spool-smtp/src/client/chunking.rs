//! When a message goes out in one write with its envelope: MAIL, RCPT and BDAT at once (RFC 3030 with RFC 2920), one round trip
//! in place of two.
//!
//! Only where the peer is known to be there and to take our mail, so that little is lost by it: a body that nobody takes costs
//! its bytes, and one whose replies never come may have been taken.

use super::session::Session;
use spool_core::Job;
use std::fmt::Write;
use std::time::Duration;

/// The largest body: both sides' buffers hold as much.
const MOST: usize = 64 * 1024;
/// How long a session counts as alive after it took a message. A peer ends sessions that are idle for longer, or says 421.
const ALIVE: Duration = Duration::from_secs(1);
/// How long a peer that went wrong over it is sent no BDAT.
pub(super) const SHUNNED: Duration = Duration::from_secs(3600);

/// Whether `job` is sent so.
pub(super) fn goes_at_once(session: &Session, job: &Job) -> bool {
    let just_took = session.took_at.is_some_and(|at| at.elapsed() < ALIVE);
    // DATA would end the last line; by BDAT it would stay as it is.
    let whole = job.body.is_empty() || job.body.ends_with(b"\r\n");
    let fits = whole && job.body.len() <= MOST;
    // The whole body is looked through last.
    session.may_chunk && just_took && !session.needs_reset && fits && !has_commands(&job.body)
}

/// Whether a line of `body` could begin a transaction, or give it recipients or a body, where the octets of a refused BDAT are taken for
/// commands. There are servers that do so when no recipient was accepted.
fn has_commands(body: &[u8]) -> bool {
    let behind_ends = memchr::memchr_iter(b'\n', body).map(|end| end + 1);
    let mut starts = std::iter::once(0).chain(behind_ends);
    starts.any(|start| body.get(start..).is_some_and(begins_with_command))
}

/// Whether the first line of `text` is such a command.
fn begins_with_command(text: &[u8]) -> bool {
    // Not beyond the end of the line.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() && *byte != b'\n';
    let indent = text.iter().take_while(|byte| is_space(byte)).count();
    let Some((verb, rest)) = text.get(indent..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return false;
    };
    let commands = [b"MAIL", b"RCPT", b"DATA", b"BDAT"];
    commands.iter().any(|command| verb.eq_ignore_ascii_case(*command))
        && rest.first().is_none_or(u8::is_ascii_whitespace)
}

/// Appends the last command of such a transaction; the body follows it as it is.
pub(super) fn bdat(line: &mut String, job: &Job) {
    // Writing to a String cannot fail.
    let _ = write!(line, "BDAT {} LAST\r\n", job.body.len());
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
