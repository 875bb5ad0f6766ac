//! Canonicalisation (RFC 6376 section 3.4): the form of header fields and bodies over which signatures are made.
//!
//! A body is hashed without a copy of the parts that are canonical already.

use crate::submission::{Field, Fields};
use memchr::{memchr, memchr2_iter};
use ring::digest::{Context, SHA256};

/// A canonicalisation: the changes in transit that it ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canon {
    /// Only empty lines at the end of the body.
    Simple,
    /// White space, and the case of field names.
    Relaxed,
}

/// The data that a signature covers (sections 3.7 and 5.4.2): for each of `names` the last of `fields` that no name before has taken, then
/// `own`, the field of the signature with an empty `b=`, without a line end.
pub(super) fn signed_data<'n, 'm>(
    names: impl Iterator<Item = &'n str>,
    fields: impl Iterator<Item = Field<'m>>,
    own: &[u8],
    canon: Canon,
) -> Vec<u8> {
    let mut fields: Vec<Option<Field<'m>>> = fields.map(Some).collect();
    let size: usize = fields.iter().flatten().map(|field| field.raw.len()).sum();
    let mut data = Vec::with_capacity(size + own.len());
    for name in names {
        let last = fields
            .iter_mut()
            .rev()
            .find(|field| field.is_some_and(|field| field.is(name)));
        if let Some(field) = last.and_then(Option::take) {
            header(&field, canon, &mut data);
        }
    }
    Fields::of(own).for_each(|own| header(&own, canon, &mut data));
    data.truncate(data.len().saturating_sub(2));
    data
}

/// Appends `field` in its canonical form, with CRLF at its end.
fn header(field: &Field<'_>, canon: Canon, out: &mut Vec<u8>) {
    if canon == Canon::Simple {
        out.extend_from_slice(without_end(field.raw));
        out.extend_from_slice(b"\r\n");
        return;
    }
    out.extend(
        field
            .name()
            .unwrap_or_default()
            .iter()
            .map(u8::to_ascii_lowercase),
    );
    out.push(b':');
    let start = out.len();
    let mut space = false;
    for byte in field.value() {
        match byte {
            b' ' | b'\t' => space = true,
            b'\r' | b'\n' => {}
            byte => {
                if space && out.len() > start {
                    out.push(b' ');
                }
                space = false;
                out.push(*byte);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The line without its line end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The result for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyHash {
    /// The SHA-256 of its canonical form.
    pub(super) hash: [u8; 32],
    /// Bytes of the canonical form, whatever the limit.
    pub(super) length: u64,
    /// Bytes of its longest line, without line end.
    pub(super) longest_line: usize,
}

/// The hash of `body`, which consists of lines ended by CRLF; of its first `limit` canonical bytes, where there is a limit.
pub(super) fn body(body: &[u8], canon: Canon, limit: Option<u64>) -> BodyHash {
    let mut sink = BodyDigest {
        context: Context::new(&SHA256),
        left: limit,
        length: 0,
    };
    let mut empty_lines = 0_u64;
    let mut longest_line = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let (line, next) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = next;
        let text = without_end(line);
        longest_line = longest_line.max(text.len());
        let last = match canon {
            Canon::Simple => text.len(),
            Canon::Relaxed => text
                .iter()
                .rposition(|byte| !is_space(*byte))
                .map_or(0, |last| last + 1),
        };
        let text = text.get(..last).unwrap_or(text);
        if text.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            sink.put(b"\r\n");
        }
        match canon {
            Canon::Simple => sink.put(text),
            Canon::Relaxed => relaxed_text(text, &mut sink),
        }
        sink.put(b"\r\n");
    }
    if canon == Canon::Simple && sink.length == 0 {
        // Section 3.4.3: an empty body is one empty line.
        sink.put(b"\r\n");
    }
    BodyHash {
        length: sink.length,
        longest_line,
        hash: sink.context.finish().as_ref().try_into().unwrap_or_default(),
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Each run of white space as one space. `text` does not end in one.
fn relaxed_text(text: &[u8], sink: &mut BodyDigest) {
    let mut written = 0;
    let mut behind = 0;
    for at in memchr2_iter(b' ', b'\t', text) {
        let alone = text.get(at) == Some(&b' ') && !text.get(at + 1).is_some_and(|next| is_space(*next));
        if at < behind || alone {
            continue;
        }
        let run = text.get(at..).unwrap_or_default();
        behind = at + run.iter().take_while(|byte| is_space(**byte)).count();
        sink.put(text.get(written..at).unwrap_or_default());
        sink.put(b" ");
        written = behind;
    }
    sink.put(text.get(written..).unwrap_or_default());
}

struct BodyDigest {
    context: Context,
    left: Option<u64>,
    length: u64,
}

impl BodyDigest {
    fn put(&mut self, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(size);
        let Some(left) = &mut self.left else {
            return self.context.update(bytes);
        };
        let taken = size.min(*left);
        *left -= taken;
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        self.context.update(bytes.get(..taken).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn headers(message: &str, canon: Canon) -> String {
        let mut out = Vec::new();
        Fields::of(message.as_bytes()).for_each(|field| header(&field, canon, &mut out));
        String::from_utf8(out).unwrap()
    }

    /// The canonical body by its definition.
    fn naive(text: &[u8], canon: Canon) -> Vec<u8> {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        if canon == Canon::Relaxed {
            for line in &mut lines {
                let mut out = String::new();
                for c in line.chars() {
                    let space = matches!(c, ' ' | '\t');
                    if !(space && out.ends_with(' ')) {
                        out.push(if space { ' ' } else { c });
                    }
                }
                *line = out.trim_end_matches(' ').to_owned();
            }
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let out: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        match (out.is_empty(), canon) {
            (true, Canon::Simple) => b"\r\n".to_vec(),
            _ => out.into_bytes(),
        }
    }

    fn sha256(bytes: &[u8]) -> Vec<u8> {
        ring::digest::digest(&SHA256, bytes).as_ref().to_vec()
    }

    /// RFC 6376 section 3.4.5.
    #[test]
    fn the_examples_of_the_rfc() {
        let message = "A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(headers(message, Canon::Relaxed), "a:X\r\nb:Y Z\r\n");
        assert_eq!(headers(message, Canon::Simple), "A: X\r\nB : Y\t\r\n\tZ  \r\n");
        let text = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(
            body(text, Canon::Relaxed, None).hash[..],
            sha256(b" C\r\nD E\r\n")
        );
        assert_eq!(
            body(text, Canon::Simple, None).hash[..],
            sha256(b" C \r\nD \t E\r\n")
        );
    }

    /// RFC 6376 sections 3.4.3 and 3.4.4 give the hashes of an empty body.
    #[test]
    fn an_empty_body_has_the_hashes_of_the_rfc() {
        for empty in [&b""[..], b"\r\n", b"\r\n\r\n"] {
            let hash = |canon| STANDARD.encode(body(empty, canon, None).hash);
            assert_eq!(
                hash(Canon::Simple),
                "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
            );
            assert_eq!(
                hash(Canon::Relaxed),
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
            );
        }
        let blank = body(b" \t\r\n", Canon::Relaxed, None);
        assert_eq!(
            STANDARD.encode(blank.hash),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn a_limit_cuts_the_canonical_form_and_its_length_is_returned() {
        let text = b"a  b\r\nc\r\n";
        let cut = body(text, Canon::Relaxed, Some(4));
        assert_eq!((cut.hash.to_vec(), cut.length), (sha256(b"a b\r"), 8));
        assert_eq!(cut.longest_line, 4);
    }

    proptest! {
        #[test]
        fn the_digest_is_of_what_the_rfc_describes(lines in proptest::collection::vec("[ab \t]{0,8}", 0..8), cut in 0_u64..40) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            for canon in [Canon::Simple, Canon::Relaxed] {
                let canonical = naive(text.as_bytes(), canon);
                let whole = body(text.as_bytes(), canon, None);
                prop_assert_eq!(&whole.hash[..], &sha256(&canonical)[..]);
                prop_assert_eq!(whole.length, canonical.len() as u64);
                // Idempotent.
                prop_assert_eq!(body(&canonical, canon, None).hash, whole.hash);
                let first = &canonical[..canonical.len().min(cut as usize)];
                prop_assert_eq!(&body(text.as_bytes(), canon, Some(cut)).hash[..], &sha256(first)[..]);
            }
        }

        #[test]
        fn canonical_headers_are_idempotent(value in "[ab \t]{0,12}(\r\n[ \t][ab \t]{0,6}){0,3}") {
            let message = format!("SubJect:{value}\r\n");
            for canon in [Canon::Simple, Canon::Relaxed] {
                let once = headers(&message, canon);
                prop_assert_eq!(&headers(&once, canon), &once);
                prop_assert!(canon == Canon::Simple || once.matches("\r\n").count() == 1);
            }
        }
    }
}
