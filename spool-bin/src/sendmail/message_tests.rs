//! Messages as programs give them to sendmail: good ones, bad ones, and those that mean harm.

use super::*;
use proptest::prelude::*;
use spool_core::Timestamp;

fn lines(input: &[u8], dot_is_text: bool) -> Result<String, SendmailError> {
    let read = read(&mut &*input, dot_is_text, 1 << 20)?;
    Ok(String::from_utf8_lossy(&read).into_owned())
}

const COMPLETION: Completion<'_> = Completion {
    now: Timestamp(0),
    message_id: "1@here",
};
/// The date of [`COMPLETION`].
const DATE: &str = "Thu, 1 Jan 1970 00:00:00 +0000";

/// The completed message, with `now` for the date that was added.
fn completed(text: &str) -> String {
    let message = Letter::of(text.as_bytes()).completed("ada@here", &COMPLETION);
    String::from_utf8(message).unwrap().replace(DATE, "now")
}

fn recipients(text: &str) -> Result<Vec<String>, String> {
    let found = Letter::of(text.as_bytes()).recipients("here");
    found
        .map(|found| found.iter().map(ToString::to_string).collect())
        .map_err(|refusal| refusal.text)
}

#[test]
fn every_line_ends_by_crlf_and_holds_no_other() {
    for (input, expected) in [
        ("", ""),
        ("a", "a\r\n"),
        ("a\nb\r\n", "a\r\nb\r\n"),
        ("a\rBcc: b\n", "a Bcc: b\r\n"),
        ("a\r\r\n\r", "a \r\n\r\n"),
        ("a\n\r.\rMAIL FROM:<>\r\n", "a\r\n . MAIL FROM:<>\r\n"),
    ] {
        assert_eq!(lines(input.as_bytes(), true).unwrap(), expected, "{input:?}");
    }
}

#[test]
fn a_lone_dot_ends_the_message_unless_it_is_text() {
    for end in ["a\n.\nb\n", "a\r\n.\r\nb\n", "a\n."] {
        assert_eq!(lines(end.as_bytes(), false).unwrap(), "a\r\n", "{end:?}");
        assert!(
            lines(end.as_bytes(), true).unwrap().contains("\r\n.\r\n"),
            "{end:?}"
        );
    }
    for text in ["..\n", ". \n", ".\r\r\n", "\r.\n"] {
        assert!(!lines(text.as_bytes(), false).unwrap().is_empty(), "{text:?}");
    }
    // What follows is another's.
    let mut input: &[u8] = b"a\n.\nb\n";
    read(&mut input, false, 100).unwrap();
    assert_eq!(input, b"b\n");
}

#[test]
fn a_nul_and_a_message_that_is_too_large_are_refused() {
    let refusal = lines(b"a\nb\0c\n", true).unwrap_err();
    assert_eq!(refusal.exit, Exit::Data);
    assert!(refusal.text.contains("line 2"), "{refusal:?}");
    let size = |text: &[u8], most| read(&mut &*text, true, most).map(|read| read.len());
    assert_eq!(size(b"12345678\n", 10), Ok(10));
    assert_eq!(size(b"12345678\r\n", 10), Ok(10));
    assert_eq!(size(b"12345678", 10), Ok(10));
    for text in [
        &b"123456789\n"[..],
        b"1234\n1234\n",
        b"123456789012345678901234567890",
    ] {
        assert_eq!(size(text, 10).unwrap_err().exit, Exit::Data);
    }
    // A line of 8 MiB is text like any other.
    let long = vec![b'x'; 8 << 20];
    assert_eq!(size(&long, 9 << 20), Ok((8 << 20) + 2));
}

#[test]
fn missing_fields_are_added_and_bcc_is_removed() {
    for (text, expected) in [
        ("", "From: ada@here\r\nDate: now\r\nMessage-ID: <1@here>\r\n\r\n"),
        (
            "hello\r\n",
            "From: ada@here\r\nDate: now\r\nMessage-ID: <1@here>\r\n\r\nhello\r\n",
        ),
        (
            "\r\nhello\r\n",
            "From: ada@here\r\nDate: now\r\nMessage-ID: <1@here>\r\n\r\nhello\r\n",
        ),
        (
            "Subject: x\r\n\r\nhello\r\n",
            "Subject: x\r\nFrom: ada@here\r\nDate: now\r\nMessage-ID: <1@here>\r\n\r\nhello\r\n",
        ),
        (
            "FROM : b@x\r\ndate: then\r\nMessage-Id: <2@x>\r\nBcc: c@x,\r\n d@x\r\nResent-BCC : e@x\r\nTo: f@x\r\n\r\nBcc: text\r\n",
            "FROM : b@x\r\ndate: then\r\nMessage-Id: <2@x>\r\nTo: f@x\r\n\r\nBcc: text\r\n",
        ),
        // No empty line behind the header: one is put there.
        (
            "From: b@x\r\nDate: then\r\nMessage-ID: <2@x>\r\nhello: world is no name\r\nno header\r\n",
            "From: b@x\r\nDate: then\r\nMessage-ID: <2@x>\r\nhello: world is no name\r\n\r\nno header\r\n",
        ),
        // The separator of a mailbox file.
        (
            "From b@x Tue Nov 24\r\nFrom: b@x\r\nDate: then\r\nMessage-ID: <2@x>\r\n\r\n",
            "From: b@x\r\nDate: then\r\nMessage-ID: <2@x>\r\n\r\n",
        ),
        (
            " folded first\r\nFrom: b@x\r\n",
            "From: ada@here\r\nDate: now\r\nMessage-ID: <1@here>\r\n\r\n folded first\r\nFrom: b@x\r\n",
        ),
    ] {
        assert_eq!(completed(text), expected, "{text:?}");
    }
}

#[test]
fn recipients_come_from_the_header_alone() {
    let text =
        "To: a@x, B <b@x>\r\nCC: c@x,\r\n\td@x\r\nX-To: no@x\r\nBcc: e@x\r\nTo: root\r\n\r\nTo: no@x\r\n";
    assert_eq!(
        recipients(text).unwrap(),
        ["a@x", "b@x", "c@x", "d@x", "e@x", "root@here"]
    );
    let again = "Resent-To: a@x\r\nTo: no@x\r\nResent-Bcc: b@x\r\nBcc: no@x\r\n\r\n";
    assert_eq!(recipients(again).unwrap(), ["a@x", "b@x"]);
    assert_eq!(recipients("Subject: x\r\n\r\n").unwrap(), [""; 0]);
    // Latin 1 in a name is no matter, in an address it is.
    let latin = |text: &[u8]| Letter::of(text).recipients("here").map(|found| found.len());
    assert_eq!(latin(b"To: Ren\xe9 <r@x>\r\n\r\n"), Ok(1));
    assert!(latin(b"To: Ren\xe9@x\r\n\r\n").is_err());
    let wrong = recipients("To: a@x\r\nCc: bob smith\r\n\r\n").unwrap_err();
    assert!(wrong.starts_with("cc: bob smith: "), "{wrong}");
}

#[test]
fn a_name_is_quoted_or_encoded_as_it_needs() {
    let address = Address::parse("a@b.example").unwrap();
    for (name, expected) in [
        (None, "a@b.example"),
        (Some(" "), "a@b.example"),
        (Some("Ada"), "Ada <a@b.example>"),
        (
            Some("Lovelace, Ada \"A\\\""),
            "\"Lovelace, Ada \\\"A\\\\\\\"\" <a@b.example>",
        ),
        (Some("x\r\nBcc: c@d"), "\"xBcc: c@d\" <a@b.example>"),
        (Some("Ad\u{e0}"), "=?utf-8?B?QWTDoA==?= <a@b.example>"),
        (Some("=?utf-8?B?QQ==?="), "\"=?utf-8?B?QQ==?=\" <a@b.example>"),
    ] {
        assert_eq!(from_value(name, &address), expected, "{name:?}");
    }
    let long = from_value(Some(&"\u{e9}".repeat(60)), &address);
    assert!(long.split("\r\n").all(|line| line.len() <= 90), "{long}");
}

proptest! {
    #[test]
    fn nothing_leaves_that_a_server_could_take_for_an_end(input in "[a.:\r\n \t]{0,60}", dot in any::<bool>()) {
        let text = lines(input.as_bytes(), dot).unwrap();
        prop_assert!(text.is_empty() || text.ends_with("\r\n"));
        let rest = text.replace("\r\n", "");
        prop_assert!(!rest.contains(['\r', '\n']));
        if !dot {
            prop_assert!(text.split("\r\n").all(|line| line != "."));
        }
        let whole = completed(&text);
        prop_assert!(!whole.replace("\r\n", "").contains(['\r', '\n']));
        // Nothing but Bcc and a separator is lost.
        let head = whole.split("\r\n\r\n").next().unwrap().to_owned() + "\r\n";
        prop_assert!(head.split("\r\n").all(|line| line.is_empty() || line.starts_with([' ', '\t']) || line.contains(':')));
    }

    #[test]
    fn a_body_is_left_as_it_is(body in "[a-z.:\t \n]{0,60}") {
        let text = lines(format!("Subject: x\n\n{body}").as_bytes(), true).unwrap();
        let whole = completed(&text);
        let (_, before) = text.split_once("\r\n\r\n").unwrap();
        let (_, after) = whole.split_once("\r\n\r\n").unwrap();
        prop_assert_eq!(before, after);
    }
}
