//! Refusals of plaintext by peers that were sent mail in plaintext only because TLS had failed: they are not about the message.

use super::session::Protection;
use spool_core::{AttemptReport, AttemptResult, EnhancedCode, Reply, Stage, harmless};

/// The refusal of the whole message, if it is about plaintext and TLS had failed.
pub(super) fn plaintext_refusal(protection: &Protection, report: &AttemptReport) -> Option<Reply> {
    let Protection::Plaintext(Some(why)) = protection else {
        return None;
    };
    let reply = match (&report.result, report.refused.first()) {
        (AttemptResult::Refused { stage, reply }, _) if asks_for_tls(*stage, reply) => reply,
        (AttemptResult::AllRefused, Some(first)) => {
            let mut refused = report.refused.iter();
            let all = refused.all(|refused| asks_for_tls(Stage::Rcpt, &refused.reply));
            all.then_some(&first.reply)?
        }
        _ => return None,
    };
    let mut reply = reply.clone();
    reply.text = harmless(&format!(
        "{} (in plaintext, because TLS failed: {why})",
        reply.text
    ));
    Some(reply)
}

/// Makes the refusals of recipients temporary that are about plaintext. Returns whether there are any.
pub(super) fn defer_refused_in_plaintext(protection: &Protection, report: &mut AttemptReport) -> bool {
    let Protection::Plaintext(Some(why)) = protection else {
        return false;
    };
    let mut found = false;
    for refused in &mut report.refused {
        if asks_for_tls(Stage::Rcpt, &refused.reply) {
            found = true;
            let text = format!(
                "4.7.10 no TLS, for it failed ({why}), and without it: {}",
                refused.reply
            );
            refused.reply = Reply::new(451, &text);
        }
    }
    found
}

/// Whether a refusal is about missing TLS: by its code (RFC 3207 section 4), its enhanced code (RFC 8689 section 4.2.1, RFC 5248), or, if
/// those are not specific, its text. The text of a reply to a body may be about the content.
fn asks_for_tls(stage: Stage, reply: &Reply) -> bool {
    match reply.enhanced {
        Some(EnhancedCode(_, 7, 10 | 11)) => return true,
        None | Some(EnhancedCode(_, 0 | 7, 0) | EnhancedCode(_, 7, 1)) => {}
        // The code names another reason.
        Some(_) => return false,
    }
    let text = reply.text.to_ascii_lowercase();
    let parts = text.split_ascii_whitespace();
    // Addresses and links do not count.
    let parts = parts.filter(|part| !part.contains('@') && !part.contains("://"));
    let words = parts.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric()));
    let words: Vec<&str> = words.collect();
    let names_tls = words
        .iter()
        .any(|word| matches!(*word, "tls" | "starttls") || word.contains("encrypt"));
    match reply.code {
        // 530 may also ask for authentication (RFC 4954 section 6).
        530 => names_tls || !words.iter().any(|word| word.starts_with("auth")),
        _ => names_tls && !matches!(stage, Stage::Body | Stage::FinalReply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::RefusedRecipient;

    #[test]
    fn a_refusal_that_is_about_tls_is_known_by_code_or_words() {
        for (code, text, expected) in [
            (530, "5.7.0 Must issue a STARTTLS command first", true),
            (530, "no", true),
            (530, "5.7.0 Authentication required", false),
            (530, "5.5.1 Authentication Required", false),
            (530, "5.7.0 issue STARTTLS before authentication", true),
            (554, "5.7.10 no", true),
            (403, "4.7.0 encryption too weak", true),
            (550, "5.7.1 TLS is required here", true),
            (550, "unencrypted sessions are not taken", true),
            (451, "4.7.1 session encryption is required", true),
            (550, "5.1.1 <battlship@x> no such user", false),
            (550, "5.1.1 <encrypt@x> no such user", false),
            (550, "5.7.1 <tls@x.example>: relaying denied", false),
            (550, "5.7.1 see https://x.example/tls", false),
            (552, "5.2.2 the encrypted mailbox is full", false),
            (550, "5.7.26 unauthenticated, TLS or not", false),
            (554, "5.7.1 spam", false),
        ] {
            let reply = Reply::new(code, text);
            assert_eq!(asks_for_tls(Stage::Rcpt, &reply), expected, "{code} {text}");
        }
    }

    #[test]
    fn words_about_a_body_are_about_the_body() {
        for (code, text, expected) in [
            (554, "5.7.1 encrypted attachments are not taken", false),
            (550, "TLS keys do not belong into mail", false),
            (530, "5.7.0 Must issue a STARTTLS command first", true),
            (554, "5.7.10 no", true),
        ] {
            let reply = Reply::new(code, text);
            assert_eq!(asks_for_tls(Stage::FinalReply, &reply), expected, "{code} {text}");
        }
    }

    #[test]
    fn only_the_recipients_that_were_refused_for_it_are_tried_later() {
        let failed = Protection::Plaintext(Some("no cipher".to_owned()));
        let refused = |recipient, text| RefusedRecipient {
            recipient,
            reply: Reply::new(550, text),
        };
        let mut report = AttemptReport::new(AttemptResult::AllRefused);
        report.refused = vec![
            refused(0, "5.7.1 TLS is required"),
            refused(1, "5.1.1 no such user"),
        ];
        assert_eq!(plaintext_refusal(&failed, &report), None);
        let mut never_tried = report.clone();
        assert!(!defer_refused_in_plaintext(
            &Protection::Plaintext(None),
            &mut never_tried
        ));
        assert_eq!(never_tried, report);
        assert!(defer_refused_in_plaintext(&failed, &mut report));
        let replies: Vec<String> = report.refused.iter().map(|one| one.reply.to_string()).collect();
        assert_eq!(
            replies,
            [
                "451 4.7.10 no TLS, for it failed (no cipher), and without it: 550 5.7.1 TLS is required",
                "550 5.1.1 no such user"
            ]
        );
        report.refused.truncate(1);
        report.refused[0].reply = Reply::new(550, "5.7.1 TLS is required");
        let reply = plaintext_refusal(&failed, &report).unwrap();
        assert_eq!(
            reply.to_string(),
            "550 5.7.1 TLS is required (in plaintext, because TLS failed: no cipher)"
        );
    }
}
