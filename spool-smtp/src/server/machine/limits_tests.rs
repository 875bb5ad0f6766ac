//! The limits of one session, and what ends it.

use super::*;

#[test]
fn message_sizes_are_limited() {
    let small = ServerConfig {
        message_size: 10,
        ..config()
    };
    let run = |input: &str| play_chunks(small.clone(), "::1", &Answers::default(), [input.as_bytes()]);
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=10\r\n")
            .last()
            .starts_with("250")
    );
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=11\r\n")
            .last()
            .starts_with("552 5.3.4")
    );
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=99999999999999999999\r\n")
            .last()
            .starts_with("552 5.3.4")
    );
    assert_eq!(run(&format!("{OPEN}DATA\r\n12345678\r\n.\r\n")).mails.len(), 1);
    let over = run(&format!("{OPEN}DATA\r\n123456789\r\n.\r\nNOOP\r\n"));
    assert_eq!(over.codes(), ["220", "250", "250", "250", "354", "552", "250"]);
    assert!(over.mails.is_empty() && !over.closed);
}

#[test]
fn recipients_are_limited() {
    let two = ServerConfig {
        recipients: 2,
        ..config()
    };
    let input = format!("{OPEN}RCPT TO:<2@d.org>\r\nRCPT TO:<3@d.org>\r\nDATA\r\n.\r\n");
    let played = play_chunks(two, "::1", &Answers::default(), [input.as_bytes()]);
    assert_eq!(
        played.codes(),
        ["220", "250", "250", "250", "250", "452", "354", "250"]
    );
    assert_eq!(played.mails[0].envelope.recipients.len(), 2);
}

#[test]
fn recipients_in_too_many_domains_are_deferred() {
    let many = ServerConfig {
        recipients: 20_000,
        ..config()
    };
    let mut input = "EHLO a\r\nMAIL FROM:<>\r\n".to_owned();
    for number in 0..=MAX_SECTIONS {
        input += &format!("RCPT TO:<a@d{number}.org>\r\n");
    }
    input += "RCPT TO:<b@D7.org>\r\nDATA\r\n.\r\n";
    let played = play_chunks(many, "::1", &Answers::default(), [input.as_bytes()]);
    let codes = played.codes();
    assert_eq!(codes[codes.len() - 4..], ["452", "250", "354", "250"]);
    assert!(codes[3..codes.len() - 4].iter().all(|code| *code == "250"));
    assert_eq!(played.mails[0].envelope.recipients.len(), MAX_SECTIONS + 1);
}

#[test]
fn errors_are_limited() {
    let three = ServerConfig {
        errors_per_session: 3,
        ..config()
    };
    let input = "NOOP\r\nX\r\nNOOP\r\nX\r\nX\r\nNOOP\r\n";
    let played = play_chunks(three, "::1", &Answers::default(), [input.as_bytes()]);
    assert_eq!(played.codes(), ["220", "250", "500", "250", "500", "500", "421"]);
    assert!(played.last().starts_with("421 4.7.0") && played.closed);
}

#[test]
fn loops_are_cut() {
    let received = |count: usize| {
        format!(
            "{OPEN}DATA\r\n{}\r\nReceived: body\r\n.\r\n",
            "received: x\r\n".repeat(count)
        )
    };
    assert_eq!(play(&received(50)).mails.len(), 1);
    let looped = play(&received(51));
    assert!(looped.last().starts_with("554 5.4.6") && looped.mails.is_empty());
}

#[test]
fn long_lines_are_skipped() {
    let played = play(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(8 << 10)));
    assert_eq!(played.codes(), ["220", "500", "250"]);
    let fits = play(&format!("NOOP {}\r\n", "x".repeat((8 << 10) - 7)));
    assert_eq!(fits.codes(), ["220", "250"]);
}

#[test]
fn bare_newlines_end_the_session() {
    for input in ["NOOP\n", "NOOP\rx\r\n", "NO\0OP\r\n", "POST / HTTP/1.1\r\n"] {
        let played = play(&format!("{input}QUIT\r\n"));
        assert_eq!(played.codes(), ["220", "500"], "{input:?}");
        assert!(played.closed);
    }
    for sequence in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n"] {
        let input = format!(
            "{OPEN}DATA\r\na{sequence}MAIL FROM:<evil@x.org>\r\nRCPT TO:<v@x.org>\r\nDATA\r\nb\r\n.\r\nNOOP\r\n"
        );
        let played = play(&input);
        assert_eq!(
            played.codes(),
            ["220", "250", "250", "250", "354", "554"],
            "{sequence:?}"
        );
        assert!(played.mails.is_empty() && played.closed);
        let normalize = ServerConfig {
            bare_newline: BareNewline::Normalize,
            ..config()
        };
        let played = play_chunks(normalize, "::1", &Answers::default(), [input.as_bytes()]);
        assert!(played.mails.len() <= 1, "{sequence:?}");
        for mail in &played.mails {
            assert_eq!(mail.envelope.reverse_path.as_str(), "a@b.org");
        }
    }
}

#[test]
fn replies_held_back_are_bounded() {
    // `feed` checks the bound after each step.
    let played = play(&"HELP\r\n".repeat(5000));
    assert_eq!(played.codes().len(), 5001);
}
