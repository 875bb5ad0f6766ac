//! Peers that take no mail in plaintext, and were sent it only because their TLS had failed: what they say is not about the message.

use super::session::Protection;
use spool_core::{AttemptReport, AttemptResult, EnhancedCode, Reply, harmless};

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
        | AttemptResult::NotBegun { .. }
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
}
