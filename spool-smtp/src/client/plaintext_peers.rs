//! The peers whose TLS failed, for a while: until then they are sent mail in plaintext at once. Never more than a fixed
//! number of them.

use super::session::Protection;
use spool_core::{AttemptReport, AttemptResult, EnhancedCode, NextHop, Reply, harmless};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most that are remembered. Of one more, the oldest is forgotten: it is tried with TLS again, which is no harm.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct PlaintextPeers(Mutex<HashMap<NextHop, (Instant, String)>>);

impl PlaintextPeers {
    /// Why `hop` is to be spoken to in plaintext, if it is.
    pub(super) fn reason(&self, hop: &NextHop) -> Option<String> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, reason) = peers.get(hop)?;
        if *until > Instant::now() {
            return Some(reason.clone());
        }
        peers.remove(hop);
        None
    }

    /// Remembers `reason` for `span`.
    pub(super) fn note(&self, hop: &NextHop, reason: &str, span: Duration) {
        let now = Instant::now();
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MOST && !peers.contains_key(hop) {
            peers.retain(|_, (until, _)| *until > now);
            let oldest = peers.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(oldest) = oldest.map(|(hop, _)| hop.clone()).filter(|_| peers.len() >= MOST) {
                peers.remove(&oldest);
            }
        }
        peers.insert(hop.clone(), (now + span, reason.to_owned()));
    }

    /// From now on its TLS is tried again.
    pub(super) fn forget(&self, hop: &NextHop) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.remove(hop);
    }
}

/// What a peer said that takes no mail in plaintext, and was sent it only because its TLS had failed.
pub(super) fn no_mail_in_plaintext(protection: &Protection, report: &AttemptReport) -> Option<Reply> {
    let Protection::Plaintext(Some(why)) = protection else {
        return None;
    };
    let reply = match &report.result {
        AttemptResult::Refused { reply, .. } => reply,
        AttemptResult::AllRefused => &report.refused.first()?.reply,
        AttemptResult::Accepted(_)
        | AttemptResult::NoConnection { .. }
        | AttemptResult::Broken { .. }
        | AttemptResult::Interrupted
        | AttemptResult::Panicked { .. }
        | _ => return None,
    };
    let mut told = reply.clone();
    told.text = harmless(&format!(
        "{} (in plaintext, because TLS failed: {why})",
        reply.text
    ));
    asks_for_tls(reply).then_some(told)
}

/// By its code (RFC 3207 section 4), its enhanced code (RFC 8689 section 4.2.1, RFC 5248) or its words.
fn asks_for_tls(reply: &Reply) -> bool {
    let text = reply.text.to_ascii_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    reply.code == 530
        || matches!(reply.enhanced, Some(EnhancedCode(_, 7, 10 | 11)))
        || text.contains("encrypt")
        || words.any(|word| matches!(word, "tls" | "starttls"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_is_about_tls_is_known_by_code_or_words() {
        for (code, text, expected) in [
            (530, "5.7.0 Must issue a STARTTLS command first", true),
            (554, "5.7.10 no", true),
            (550, "5.7.1 TLS is required here", true),
            (451, "4.7.1 session encryption is required", true),
            (550, "5.1.1 <battlship@x> no such user", false),
            (554, "5.7.1 spam", false),
        ] {
            assert_eq!(asks_for_tls(&Reply::new(code, text)), expected, "{code} {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peers_are_forgotten_in_time_and_when_there_are_too_many() {
        let peers = PlaintextPeers::default();
        let hop = |n: usize| -> NextHop { format!("h{n}.test:25").parse().unwrap() };
        let span = Duration::from_secs(600);
        peers.note(&hop(0), "no cipher", span);
        assert_eq!(peers.reason(&hop(0)).as_deref(), Some("no cipher"));
        assert_eq!(peers.reason(&hop(1)), None);
        tokio::time::advance(span).await;
        assert_eq!(peers.reason(&hop(0)), None);
        for n in 0..=MOST {
            peers.note(
                &hop(n),
                "x",
                span + Duration::from_secs(u64::try_from(n).unwrap()),
            );
        }
        assert_eq!(peers.reason(&hop(0)), None, "the oldest");
        assert_eq!(peers.reason(&hop(MOST)).as_deref(), Some("x"));
        assert_eq!(peers.0.lock().unwrap().len(), MOST);
    }
}
