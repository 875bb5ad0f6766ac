//! Commands, their parameters, and invalid lines.

use super::*;
use proptest::prelude::*;
use spool_core::BodyKind;

fn parse(text: &str) -> Result<Command, ServerReply> {
    Command::parse(format!("{text}\r\n").as_bytes())
}

fn recipient(text: &str) -> Option<String> {
    match parse(text) {
        Ok(Command::Rcpt {
            address: Some(address),
            ..
        }) => Some(address.to_string()),
        _ => None,
    }
}

#[test]
fn paths_are_read_whole() {
    for (path, expected) in [
        ("<a@b.org>", "a@b.org"),
        (" <a@b.org>", "a@b.org"),
        ("<\"a b\"@c.org>", "\"a b\"@c.org"),
        ("<\"a>b\\\"c\"@d.org>", "\"a>b\\\"c\"@d.org"),
        ("<@x.org,@y.org:a@z.org>", "a@z.org"),
        ("<x@[192.0.2.1]>", "x@[192.0.2.1]"),
        ("<x@[IPv6:2001:db8::1]>", "x@[IPv6:2001:db8::1]"),
        ("<user%evil.org@z.org>", "user%evil.org@z.org"),
        ("<ü@ö.org>", "ü@ö.org"),
    ] {
        assert_eq!(
            recipient(&format!("rcpt to:{path}")).as_deref(),
            Some(expected),
            "{path}"
        );
    }
    let postmaster = Command::Rcpt {
        address: None,
        notify: None,
        orcpt: None,
    };
    assert_eq!(parse("RCPT TO:<Postmaster>"), Ok(postmaster));
}

#[test]
fn what_is_no_path_is_refused() {
    for (line, expected) in [
        ("RCPT TO:<>", reply::BAD_RECIPIENT),
        ("RCPT TO:<a>", reply::BAD_RECIPIENT),
        ("RCPT TO:<a@b\u{202e}c>", reply::BAD_RECIPIENT),
        ("RCPT TO:< a@b>", reply::BAD_RECIPIENT),
        ("MAIL FROM:<a@>", reply::BAD_SENDER),
        ("MAIL FROM:<ü@b.org>", reply::NEEDS_SMTPUTF8),
        ("MAIL FROM:<a@b.org> SIZE=\u{fc}", reply::BAD_CHARACTER),
        ("RCPT TO:a@b.org", reply::SYNTAX),
        ("RCPT TO:<a@b.org", reply::SYNTAX),
        ("RCPT TO:<a@b.org>x", reply::SYNTAX),
        ("RCPT TO:<\"a@b.org>", reply::SYNTAX),
        ("RCPT <a@b.org>", reply::SYNTAX),
        ("MAIL", reply::SYNTAX),
        (" MAIL FROM:<a@b.org>", reply::SYNTAX),
        ("MAIL FROM:<a\tb@c>", reply::BAD_CHARACTER),
    ] {
        assert_eq!(parse(line), Err(expected), "{line}");
    }
}

#[test]
fn parameters_are_applied_or_refused() {
    let Ok(Command::Mail(sender, given)) = parse("Mail From:<> size=77 BODY=8bitmime SMTPUTF8") else {
        panic!("refused");
    };
    assert!(sender.is_null() && given.known.smtputf8 && given.size == 77 && !given.auth);
    assert_eq!(given.known.body, BodyKind::EightBitMime);
    for (parameter, expected) in [
        ("SIZE=x", reply::BAD_PARAMETER),
        ("SIZE=-1", reply::BAD_PARAMETER),
        ("SIZE=", reply::BAD_PARAMETER),
        ("SIZE=99999999999999999999999", reply::BAD_PARAMETER),
        ("SIZE", reply::BAD_PARAMETER),
        ("SIZE=1 SIZE=2", reply::BAD_PARAMETER),
        ("SIZE=1 size=1", reply::BAD_PARAMETER),
        ("BODY", reply::BAD_PARAMETER),
        ("BODY=8BITMIME BODY=7BIT", reply::BAD_PARAMETER),
        ("BODY=7BIT BODY=7BIT", reply::BAD_PARAMETER),
        ("AUTH", reply::BAD_PARAMETER),
        ("SMTPUTF8=1", reply::UNKNOWN_PARAMETER),
        ("REQUIRETLS=1", reply::UNKNOWN_PARAMETER),
        ("SIZE=x BODY=BINARYMIME", reply::BAD_PARAMETER),
        ("BODY=BINARYMIME SIZE=x", reply::BODY_NOT_IMPLEMENTED),
        ("BODY=9BIT", reply::BAD_PARAMETER),
        ("BODY=BINARYMIME", reply::BODY_NOT_IMPLEMENTED),
        ("RET=BODY", reply::BAD_PARAMETER),
        ("ENVID==", reply::BAD_PARAMETER),
        ("NOTIFY=NEVER", reply::UNKNOWN_PARAMETER),
        ("HOLDFOR=60", reply::UNKNOWN_PARAMETER),
        ("X-WHATEVER=1", reply::UNKNOWN_PARAMETER),
        ("!", reply::SYNTAX),
    ] {
        assert_eq!(
            parse(&format!("MAIL FROM:<a@b.org> {parameter}")),
            Err(expected),
            "{parameter}"
        );
    }
    for parameter in ["AUTH=<>", "AUTH=ada+40example.org"] {
        let mail = parse(&format!("MAIL FROM:<a@b.org> {parameter}"));
        assert!(
            matches!(mail, Ok(Command::Mail(_, OfMail { auth: true, .. }))),
            "{mail:?}"
        );
    }
    for (parameter, expected) in [
        ("NOTIFY=NEVER,DELAY", reply::BAD_PARAMETER),
        ("ORCPT=a@b.org", reply::BAD_PARAMETER),
        ("RET=FULL", reply::UNKNOWN_PARAMETER),
        ("X=1", reply::UNKNOWN_PARAMETER),
    ] {
        let refused = parse(&format!("RCPT TO:<a@b.org> {parameter}"));
        assert_eq!(refused, Err(expected), "{parameter}");
    }
}

#[test]
fn verbs_are_known_or_refused() {
    for (line, expected) in [
        ("quit", Ok(Command::Quit)),
        ("DATA ", Ok(Command::Data)),
        ("NOOP x y", Ok(Command::Noop)),
        ("NOOP", Ok(Command::Noop)),
        ("VRFY a", Ok(Command::Vrfy)),
        ("HELP", Ok(Command::Help)),
        ("DATA x", Err(reply::SYNTAX)),
        ("VRFY", Err(reply::SYNTAX)),
        ("EXPN", Err(reply::NOT_IMPLEMENTED)),
        ("ETRN x", Err(reply::NOT_IMPLEMENTED)),
        ("ATRN", Err(reply::NOT_IMPLEMENTED)),
        ("BURL x", Err(reply::NOT_IMPLEMENTED)),
        ("LHLO a", Err(reply::NOT_IMPLEMENTED)),
        (" ", Err(reply::UNKNOWN)),
        (" QUIT", Err(reply::SYNTAX)),
        ("EHLO", Err(reply::SYNTAX)),
        ("EHLO a b", Err(reply::SYNTAX)),
        ("EHLO bücher", Err(reply::BAD_CHARACTER)),
        ("starttls", Ok(Command::StartTls)),
        ("STARTTLS ", Ok(Command::StartTls)),
        ("STARTTLS now", Err(reply::SYNTAX)),
        ("AUTH", Err(reply::SYNTAX)),
        ("AUTH ", Err(reply::SYNTAX)),
        ("AUTH  PLAIN", Err(reply::SYNTAX)),
        ("AUTH PLAIN AAAA =", Err(reply::SYNTAX)),
        (
            "auth plain",
            Ok(Command::Auth {
                mechanism: "plain".into(),
                initial: None,
            }),
        ),
        (
            "AUTH PLAIN =",
            Ok(Command::Auth {
                mechanism: "PLAIN".into(),
                initial: Some(Hidden(Zeroizing::new("=".to_owned()))),
            }),
        ),
        ("xclient A=b", Ok(Command::Xclient(" A=b".to_owned()))),
        ("XCLIENTS", Err(reply::UNKNOWN)),
        ("EXPN x", Err(reply::NOT_IMPLEMENTED)),
        ("", Err(reply::UNKNOWN)),
        ("FROB", Err(reply::UNKNOWN)),
        ("DATABASE", Err(reply::UNKNOWN)),
        ("POST / HTTP/1.1", Err(reply::NOT_SMTP)),
    ] {
        assert_eq!(parse(line), expected, "{line}");
    }
}

#[test]
fn chunks_have_a_size_and_may_be_the_last() {
    for (line, expected) in [
        ("BDAT 5 last", Ok(Command::Bdat { size: 5, last: true })),
        ("bdat 0", Ok(Command::Bdat { size: 0, last: false })),
        (
            "BDAT 18446744073709551615",
            Ok(Command::Bdat {
                size: u64::MAX,
                last: false,
            }),
        ),
        ("BDAT 18446744073709551616", Err(reply::BAD_CHUNK)),
        ("BDAT", Err(reply::BAD_CHUNK)),
        ("BDAT x", Err(reply::BAD_CHUNK)),
        ("BDAT -1", Err(reply::BAD_CHUNK)),
        ("BDAT +1", Err(reply::BAD_CHUNK)),
        ("BDAT 5LAST", Err(reply::BAD_CHUNK)),
        ("BDAT 5 LAST x", Err(reply::BAD_CHUNK)),
        ("BDAT 5 FIRST", Err(reply::BAD_CHUNK)),
        ("BDATA", Err(reply::UNKNOWN)),
    ] {
        assert_eq!(parse(line), expected, "{line}");
    }
}

proptest! {
    #[test]
    fn no_line_panics(verb in "(MAIL FROM:<a@b>|RCPT TO:<a@b>|EHLO|VRFY|NOOP|AUTH|ETRN|BURL|BDAT|ATRN)",
                      name in "( |=|)(SIZE|BODY|ENVID|BY|RRVS|ORCPT|MTRK|HOLDUNTIL|MT-PRIORITY|TRANSID|AUTH|NOTIFY|)=?",
                      rest in "[ -~é]{0,40}|[0-9+;:TZ<>=-]{0,40}") {
        let _ = parse(&format!("{verb}{name}{rest}"));
    }

    #[test]
    fn arbitrary_clean_lines_do_not_panic(mut line in proptest::collection::vec(1_u8.., 0..80)) {
        line.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        line.extend_from_slice(b"\r\n");
        let _ = Command::parse(&line);
    }
}
