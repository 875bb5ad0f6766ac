//! Line ends: every body in the spool consists of lines ended by CRLF.

use bytes::Bytes;

/// Converts every bare CR and bare LF to CRLF, and adds a CRLF at the end of a body that is not empty. A body that
/// needs no change is not copied.
///
/// # Errors
/// The offset of the first NUL, which mail must not contain.
pub fn crlf(body: Bytes) -> Result<Bytes, usize> {
    Ok(match has_whole_lines(&body)? {
        true => body,
        false => normalised(&body),
    })
}

/// Whether `body` consists of lines ended by CRLF only.
///
/// # Errors
/// The offset of the first NUL.
pub fn has_whole_lines(body: &[u8]) -> Result<bool, usize> {
    // After the last line end, and after the last CR.
    let (mut line, mut cr, mut whole) = (0, None, true);
    for at in memchr::memchr3_iter(0, b'\r', b'\n', body) {
        match body.get(at) {
            Some(0) => return Err(at),
            Some(b'\n') => {
                whole &= cr.take() == Some(at);
                line = at + 1;
            }
            // Of two CRs in a row, the first is bare.
            _ => whole &= cr.replace(at + 1).is_none(),
        }
    }
    Ok(whole && cr.is_none() && line == body.len())
}

fn normalised(body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + body.len() / 32 + 2);
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &'static [u8], to: &'static [u8]) {
        assert_eq!(crlf(Bytes::from_static(from)).as_deref(), Ok(to), "{from:?}");
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        check(b"", b"");
        check(b"a", b"a\r\n");
        check(b"\n", b"\r\n");
        check(b"\r", b"\r\n");
        check(b"a\nb\r\nc\rd", b"a\r\nb\r\nc\r\nd\r\n");
        check(b"a\r\r\n", b"a\r\n\r\n");
        check(b"\n\r\n", b"\r\n\r\n");
        assert_eq!(crlf(Bytes::from_static(b"a\0b")), Err(1));
    }

    proptest::proptest! {
        #[test]
        fn the_result_is_clean_and_stays_as_it_is(body in "[ab\r\n]{0,40}") {
            let once = crlf(Bytes::from(body.clone())).unwrap();
            proptest::prop_assert_eq!(has_whole_lines(&once), Ok(true));
            proptest::prop_assert_eq!(has_whole_lines(body.as_bytes()), Ok(once == body));
            let rest = String::from_utf8(once.to_vec()).unwrap().replace("\r\n", "");
            proptest::prop_assert!(!rest.contains(['\r', '\n']));
            proptest::prop_assert!(once.is_empty() || once.ends_with(b"\r\n"));
            let address = once.as_ptr();
            let twice = crlf(once.clone()).unwrap();
            proptest::prop_assert_eq!(&once, &twice);
            proptest::prop_assert_eq!(address, twice.as_ptr());
        }
    }
}
