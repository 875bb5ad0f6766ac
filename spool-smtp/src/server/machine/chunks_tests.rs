//! BDAT, chunk by chunk and octet by octet.

use super::super::tests::{Answers, OPEN, Played, config, play, play_chunks};
use crate::server::{BareNewline, ServerConfig};
use proptest::prelude::*;
use spool_core::{AddError, Budget};

fn text(played: &Played, number: usize) -> String {
    let body = String::from_utf8(played.mails[number].body.to_vec()).unwrap();
    let (trace, text) = body.split_once("+0000\r\n").unwrap();
    assert!(trace.starts_with("Received: "));
    text.to_owned()
}

#[test]
fn a_message_comes_in_chunks() {
    for (chunks, expected) in [
        ("BDAT 11 LAST\r\nx: y\r\n\r\nhi\n", None),
        ("BDAT 12 LAST\r\nx: y\r\n\r\nhi\r\n", Some("x: y\r\n\r\nhi\r\n")),
        ("BDAT 3\r\nab\rBDAT 1 LAST\r\n\n", Some("ab\r\n")),
        ("BDAT 0\r\nBDAT 4\r\nab\r\nBDAT 0 LAST\r\n", Some("ab\r\n")),
        ("BDAT 0 LAST\r\n", Some("")),
        // Dots have no meaning.
        (
            "BDAT 8\r\na\r\n.\r\n.bBDAT 2 LAST\r\n\r\n",
            Some("a\r\n.\r\n.b\r\n"),
        ),
        ("BDAT 3 LAST\r\n.\r\n", Some(".\r\n")),
        // A last line without a line end gets one.
        ("BDAT 2 LAST\r\nab", Some("ab\r\n")),
        ("BDAT 1\r\naBDAT 0 LAST\r\n", Some("a\r\n")),
        // A command in the text is not interpreted.
        ("BDAT 6 LAST\r\nQUIT\r\n", Some("QUIT\r\n")),
    ] {
        let played = play(&format!("{OPEN}{chunks}NOOP\r\n"));
        match expected {
            Some(expected) => {
                assert_eq!(played.mails.len(), 1, "{chunks:?} {}", played.replies);
                assert_eq!(text(&played, 0), expected, "{chunks:?}");
                assert!(played.codes().iter().skip(1).all(|code| *code == "250"));
                assert_eq!(played.replies.matches("Queued").count(), 1);
            }
            None => {
                assert!(played.mails.is_empty() && played.closed);
                assert!(played.last().starts_with("554 5.6.0"), "{}", played.last());
            }
        }
    }
}

#[test]
fn a_transaction_in_chunks_accepts_only_chunks() {
    let begun = format!("{OPEN}BDAT 3\r\na\r\n");
    for (command, expected) in [
        ("DATA", "503 5.5.1 The message"),
        ("RCPT TO:<e@d.org>", "503 5.5.1 The message"),
        ("MAIL FROM:<>", "503 5.5.1 MAIL was"),
        ("NOOP", "250"),
    ] {
        let played = play(&format!("{begun}{command}\r\n"));
        assert!(
            played.last().starts_with(expected),
            "{command}: {}",
            played.last()
        );
        let played = play(&format!("{begun}{command}\r\nBDAT 0 LAST\r\n"));
        assert_eq!(text(&played, 0), "a\r\n", "{command}");
        assert_eq!(played.mails[0].envelope.recipients.len(), 1);
    }
    for command in ["RSET", "EHLO c", "HELO c"] {
        let played = play(&format!("{begun}{command}\r\nBDAT 1 LAST\r\nxNOOP\r\n"));
        assert!(played.mails.is_empty());
        let codes = played.codes();
        assert_eq!(&codes[codes.len() - 2..], ["503", "250"], "{command}");
    }
    let two = play(&format!(
        "{OPEN}BDAT 1 LAST\r\naMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nb\r\n.\r\n"
    ));
    assert_eq!((text(&two, 0), text(&two, 1)), ("a\r\n".into(), "b\r\n".into()));
}

#[test]
fn the_octets_of_a_refused_chunk_are_no_commands() {
    let evil = "MAIL FROM:<evil@x.org>\r\n";
    let bdat = format!("BDAT {}\r\n{evil}", evil.len());
    for (before, expected) in [
        ("", "503 5.5.1 Say MAIL"),
        ("EHLO c\r\n", "503 5.5.1 Say MAIL"),
        ("EHLO c\r\nMAIL FROM:<>\r\n", "554 5.5.1 No valid"),
    ] {
        let played = play(&format!("{before}{bdat}RCPT TO:<>\r\nNOOP\r\n"));
        let lines: Vec<_> = played.replies.lines().collect();
        assert!(lines[lines.len() - 3].starts_with(expected), "{lines:?}");
        assert!(!played.closed && played.last().starts_with("250"));
    }
    let full = Answers {
        admit: Some(AddError::Full(String::new())),
        accept: None,
    };
    let open = play_chunks(
        config(),
        "::1",
        &Answers::default(),
        [format!("{OPEN}{bdat}").as_bytes()],
    );
    assert!(open.last().starts_with("250 2.0.0 Chunk"));
    let mut machine = super::super::tests::machine(config(), "::1");
    let mut played = Played::default();
    let feed = super::super::tests::feed;
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    feed(&mut machine, bdat.as_bytes(), &full, &mut played);
    assert!(played.last().starts_with("452 4.3.1"), "{}", played.replies);
    feed(&mut machine, bdat.as_bytes(), &full, &mut played);
    assert!(played.last().starts_with("503"), "{}", played.replies);
}

#[test]
fn the_size_limit_holds_over_all_chunks() {
    let small = || ServerConfig {
        message_size: 10,
        ..config()
    };
    let run = |input: &str| {
        play_chunks(
            small(),
            "::1",
            &Answers::default(),
            [format!("{OPEN}{input}").as_bytes()],
        )
    };
    assert_eq!(
        text(&run("BDAT 6\r\n1234\r\nBDAT 4 LAST\r\n12\r\n"), 0),
        "1234\r\n12\r\n"
    );
    // The line end that is added is not counted.
    assert_eq!(text(&run("BDAT 10 LAST\r\n1234567890"), 0), "1234567890\r\n");
    // Nor is the empty line before a first line that would continue the trace header.
    for chunks in [
        "BDAT 10 LAST\r\n 2345678\r\n",
        "BDAT 6\r\n 23456BDAT 4 LAST\r\n78\r\n",
        "BDAT 1\r\n BDAT 9 LAST\r\n2345678\r\n",
    ] {
        assert_eq!(text(&run(chunks), 0), "\r\n 2345678\r\n", "{chunks:?}");
    }
    assert!(run("BDAT 6\r\n 23456BDAT 5 LAST\r\n789\r\n").mails.is_empty());
    let over = run("BDAT 6\r\n1234\r\nBDAT 5 LAST\r\n123\r\nBDAT 1 LAST\r\nxNOOP\r\n");
    let codes = over.codes();
    assert_eq!(&codes[codes.len() - 4..], ["250", "552", "503", "250"]);
    assert!(over.mails.is_empty());
    let far = run("BDAT 99999999999 LAST\r\nQUIT\r\n");
    assert!(far.last().starts_with("552 5.3.4 Message far") && far.closed);
}

#[test]
fn an_unreadable_size_ends_the_session() {
    for command in ["BDAT", "BDAT x", "BDAT 5 5", "BDAT 99999999999999999999"] {
        let played = play(&format!("{OPEN}{command}\r\nQUIT\r\n"));
        assert!(
            played.closed && played.last().starts_with("501 5.5.4 BDAT"),
            "{command}"
        );
    }
}

#[test]
fn bare_newlines_in_chunks_are_refused_or_normalized() {
    for sequence in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n\0.\r\n",
        "\r",
        "\n",
    ] {
        let body = format!("a{sequence}MAIL FROM:<evil@x.org>\r\n");
        // At each border of two chunks.
        for cut in 0..=body.len() {
            let (head, tail) = body.split_at(cut);
            let input = format!(
                "{OPEN}BDAT {}\r\n{head}BDAT {} LAST\r\n{tail}NOOP\r\n",
                head.len(),
                tail.len()
            );
            let played = play(&input);
            assert!(played.mails.is_empty() && played.closed, "{sequence:?} {cut}");
            assert!(played.last().starts_with("554 5.6.0"));
            let normalize = ServerConfig {
                bare_newline: BareNewline::Normalize,
                ..config()
            };
            let played = play_chunks(normalize, "::1", &Answers::default(), [input.as_bytes()]);
            assert_eq!(
                played.mails.is_empty(),
                sequence.contains('\0'),
                "{sequence:?} {cut}"
            );
            for number in 0..played.mails.len() {
                let text = text(&played, number);
                assert_eq!(text.replace("\r\n", "").find(['\r', '\n']), None, "{text:?}");
            }
        }
    }
}

#[test]
fn memory_is_charged_over_all_chunks_and_given_back() {
    let memory = Budget::new(1 << 20);
    let _other = memory.hold(512 << 10).unwrap();
    let before = memory.used();
    let config = ServerConfig {
        memory: memory.clone(),
        ..config()
    };
    let chunk = format!("BDAT 65536\r\n{}", "x".repeat(64 << 10));
    let input = format!("{OPEN}{}NOOP\r\n", chunk.repeat(12));
    let played = play_chunks(config, "::1", &Answers::default(), [input.as_bytes()]);
    let codes = played.codes();
    assert_eq!(
        codes.iter().filter(|code| **code == "451").count(),
        1,
        "{codes:?}"
    );
    assert!(codes.contains(&"503") && codes.last() == Some(&"250"));
    assert_eq!(memory.used(), before);
}

proptest! {
    #[test]
    fn counted_bytes_equal_the_same_by_data(
        lines in proptest::collection::vec("[.a-z ]{0,20}", 0..12),
        cuts in proptest::collection::vec(0_usize..64, 0..8),
        size in 1_usize..40,
    ) {
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let stuffed: String = lines.iter()
            .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
            .collect();
        let data = play(&format!("{OPEN}DATA\r\n{stuffed}.\r\n"));
        let mut chunks = String::new();
        let mut rest = body.as_str();
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            chunks += &format!("BDAT {}\r\n{head}", head.len());
            rest = tail;
        }
        chunks += &format!("BDAT {} LAST\r\n{rest}", rest.len());
        let input = format!("{OPEN}{chunks}");
        let counted = play_chunks(config(), "127.0.0.1", &Answers::default(), input.as_bytes().chunks(size));
        prop_assert_eq!(text(&data, 0), text(&counted, 0));
    }
}
