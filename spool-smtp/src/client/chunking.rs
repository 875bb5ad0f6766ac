//! When a message goes out in one write with its envelope: MAIL, RCPT and BDAT at once (RFC 3030 with RFC 2920), one round trip
//! in place of two.
//!
//! Only where the peer is known to be there and to take our mail, so that little is lost by it: a body that nobody takes costs
//! its bytes, and one whose replies never come may have been taken.

use super::session::Session;
use spool_core::Job;
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
    session.may_chunk && just_took && !session.needs_reset && job.body.len() <= MOST && whole
}

/// The last command of such a transaction; the body follows it as it is.
pub(super) fn bdat(job: &Job) -> String {
    format!("BDAT {} LAST\r\n", job.body.len())
}
