//! The message that is sent again and again, with only its tag changed.

use super::LoadPlan;
use spool_core::Timestamp;

/// Prepared bytes: the envelope of a message, and its data with room for the tag.
#[derive(Debug)]
pub(super) struct Template {
    run: String,
    /// MAIL, RCPTs and DATA for each domain.
    envelopes: Vec<Vec<u8>>,
    /// Replies to read before the data: MAIL, RCPTs, DATA.
    pub(super) replies: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Digits of a message's number within its tag.
const DIGITS: usize = 10;
const DATA: &[u8] = b"DATA\r\n";
const FINAL_DOT: &[u8] = b".\r\n";

impl Template {
    pub(super) fn new(plan: &LoadPlan, now: Timestamp) -> Self {
        let run = format!("{:x}{:x}", now.0, std::process::id());
        let recipients = plan.recipients.max(1);
        let envelope = |domain: usize| {
            let mut lines = "MAIL FROM:<load@sender.example>\r\n".to_owned();
            for recipient in 0..recipients {
                lines += &format!("RCPT TO:<r{recipient}@d{domain}.example>\r\n");
            }
            let mut lines = lines.into_bytes();
            lines.extend_from_slice(DATA);
            lines
        };
        let before = format!(
            "From: <load@sender.example>\r\nTo: <r0@d0.example>\r\nSubject: load\r\nDate: {}\r\nMessage-ID: <{run}@sender.example>\r\n{}: {run}-",
            now.rfc5322(),
            crate::sink::TAG_HEADER,
        );
        let mut after = b"\r\n\r\n".to_vec();
        let total = before.len() + DIGITS;
        while total + after.len() + 2 < plan.size {
            let line = (plan.size - total - after.len() - 2).min(76);
            after.extend(std::iter::repeat_n(b'x', line));
            after.extend_from_slice(b"\r\n");
        }
        after.extend_from_slice(FINAL_DOT);
        Self {
            run,
            envelopes: (0..plan.domains.max(1)).map(envelope).collect(),
            replies: recipients + 2,
            before: before.into_bytes(),
            after,
        }
    }

    pub(super) fn tag(&self, number: u64) -> String {
        format!("{}-{number:0DIGITS$}", self.run)
    }

    pub(super) fn envelope(&self, number: u64) -> &[u8] {
        let domains = u64::try_from(self.envelopes.len().max(1)).unwrap_or(1);
        let domain = usize::try_from(number % domains).unwrap_or(0);
        self.envelopes.get(domain).map_or(&[], Vec::as_slice)
    }

    /// Writes MAIL, RCPT, BDAT and the content of message `number` into `out`. No line of it begins with a dot, so the content is
    /// the data without the final one.
    pub(super) fn chunk(&self, number: u64, out: &mut Vec<u8>) {
        let envelope = self.envelope(number);
        out.extend_from_slice(envelope.strip_suffix(DATA).unwrap_or(envelope));
        let size = self.before.len() + DIGITS + self.after.len() - FINAL_DOT.len();
        out.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
        self.data(number, out);
        out.truncate(out.len() - FINAL_DOT.len());
    }

    /// Writes the data of message `number`, final dot included, into `out`.
    pub(super) fn data(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(format!("{number:0DIGITS$}").as_bytes());
        out.extend_from_slice(&self.after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_that_was_asked_for() {
        for size in [300, 301, 2048, 65_536] {
            let mut plan = LoadPlan::new("127.0.0.1:25".parse().unwrap());
            plan.size = size;
            let template = Template::new(&plan, Timestamp(0));
            let mut data = Vec::new();
            template.data(7, &mut data);
            let body = data.strip_suffix(b".\r\n").unwrap();
            assert!(body.len().abs_diff(size) <= 2, "{} for {size}", body.len());
            assert!(body.ends_with(b"\r\n") && String::from_utf8_lossy(body).contains(&template.tag(7)));
        }
    }
}
