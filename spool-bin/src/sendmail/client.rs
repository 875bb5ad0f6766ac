//! Submits one message to the service over SMTP, and waits for the reply. Blocking, one transaction, no pipelining: the service is
//! on this machine.
//!
//! Every line of the message ends with CRLF already; a dot at the begin of a line is doubled, so that no line ends the message.

use super::exit::{Exit, SendmailError};
use spool_core::{Envelope, Stage};
use spool_smtp::client::{Capabilities, mail, rcpt};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Bytes of a line of a reply, and lines of a reply.
const MAX_REPLY: (u64, usize) = (4096, 256);

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SubmitFailure {
    /// The service does not run, or ends the connection: the message may be left in the drop directory.
    Down(String),
    /// The service runs and does not accept it.
    Refused(SendmailError),
}

impl From<io::Error> for SubmitFailure {
    fn from(error: io::Error) -> Self {
        // A timeout of a socket is reported as either.
        let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
        Self::Down(match late {
            true => "the service does not answer in time".to_owned(),
            false => error.to_string(),
        })
    }
}

/// Submits `message`, whose lines end with CRLF. `Ok` only when the service has replied that it has the message, durably.
/// `at_message` is called when the service waits for the message: before that it cannot have accepted it.
pub(super) fn submit<S: Read + Write>(
    stream: S,
    hostname: &str,
    envelope: &Envelope,
    message: &[u8],
    at_message: impl FnOnce(&S) -> io::Result<()>,
) -> Result<(), SubmitFailure> {
    let mut session = Session(BufReader::new(stream));
    session.expect(2, Stage::Connect)?;
    let hello = session.command(&format!("EHLO {hostname}\r\n"), 2, Stage::Hello)?;
    let offers = Capabilities::parse(hello.lines().map(|line| line.get(4..).unwrap_or_default()));
    let (utf8, requiretls) = (envelope.parameters.smtputf8, envelope.parameters.requiretls);
    for (lacks, name, why) in [
        (utf8 && !offers.smtputf8, "SMTPUTF8", "an address"),
        (
            requiretls && !offers.requiretls,
            "REQUIRETLS",
            "-O requiretls=yes",
        ),
    ] {
        if lacks {
            let text = format!("the service does not offer {name}, which {why} needs");
            return Err(SubmitFailure::Refused(SendmailError::new(
                Exit::Unavailable,
                text,
            )));
        }
    }
    let mut line = String::new();
    mail(&mut line, &offers, envelope, message, utf8);
    session.command(&line, 2, Stage::Mail)?;
    for recipient in &envelope.recipients {
        line.clear();
        rcpt(&mut line, &offers, recipient, utf8);
        session.command(&line, 2, Stage::Rcpt)?;
    }
    session.command("DATA\r\n", 3, Stage::Data)?;
    at_message(session.0.get_ref())?;
    let written = session.text(message);
    // A service that refuses a message early may close the connection before all is sent: its reply has the reason.
    let answer = session.expect(2, Stage::FinalReply);
    if let (Err(error), Err(SubmitFailure::Down(_))) = (written, &answer) {
        return Err(error.into());
    }
    answer?;
    // The message is accepted, whatever the reply to QUIT is.
    let _ = session.0.get_mut().write_all(b"QUIT\r\n");
    Ok(())
}

struct Session<S>(BufReader<S>);

impl<S: Read + Write> Session<S> {
    fn command(&mut self, line: &str, class: u16, stage: Stage) -> Result<String, SubmitFailure> {
        self.0.get_mut().write_all(line.as_bytes())?;
        self.expect(class, stage)
    }

    /// The message with its dots doubled, and its end.
    fn text(&mut self, message: &[u8]) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(64 << 10, self.0.get_mut());
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                out.write_all(b".")?;
            }
            out.write_all(line)?;
        }
        out.write_all(b".\r\n")?;
        out.flush()
    }

    /// A reply of this class, with all its lines.
    fn expect(&mut self, class: u16, stage: Stage) -> Result<String, SubmitFailure> {
        let mut all = String::new();
        for _ in 0..MAX_REPLY.1 {
            let mut line = Vec::new();
            self.0.by_ref().take(MAX_REPLY.0).read_until(b'\n', &mut line)?;
            let line = String::from_utf8_lossy(&line);
            let Some(line) = line.strip_suffix('\n') else {
                return Err(SubmitFailure::Down(
                    "the service closed the connection".to_owned(),
                ));
            };
            let line = line.trim_end_matches('\r');
            all.push_str(line);
            all.push('\n');
            if line.get(3..4) == Some("-") {
                continue;
            }
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            return match code {
                Some(code) if code / 100 == class => Ok(all),
                Some(code) => Err(trouble(code, line, stage)),
                None => Err(SubmitFailure::Down(format!("the service answered {line:?}"))),
            };
        }
        Err(SubmitFailure::Down(
            "the service answers without an end".to_owned(),
        ))
    }
}

/// The error for a negative reply.
fn trouble(code: u16, line: &str, stage: Stage) -> SubmitFailure {
    let text = format!("the service answered: {line}");
    let enhanced = line.get(4..).unwrap_or_default();
    let exit = match code {
        421 => return SubmitFailure::Down(text),
        400..=499 => Exit::TryAgain,
        _ if enhanced.starts_with("5.7.") => Exit::NoPermission,
        _ if stage == Stage::Rcpt => Exit::NoUser,
        _ if stage == Stage::FinalReply || enhanced.starts_with("5.3.4") => Exit::Data,
        _ => Exit::Unavailable,
    };
    SubmitFailure::Refused(SendmailError::new(exit, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{Address, BodyKind, MailParameters, Notify, Recipient, Ret, ReversePath};

    /// Answers each read with the next piece, and keeps what was written.
    struct Scripted {
        answers: io::Cursor<Vec<u8>>,
        written: Vec<u8>,
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn envelope() -> Envelope {
        let mut recipient = Recipient::new(Address::parse("c@d.example").unwrap());
        recipient.notify = Some(Notify {
            failure: true,
            delay: true,
            success: false,
        });
        Envelope {
            reverse_path: ReversePath::Null,
            recipients: vec![recipient],
            parameters: MailParameters {
                body: BodyKind::EightBitMime,
                ret: Some(Ret::Headers),
                envid: Some("a b+c".to_owned()),
                ..MailParameters::default()
            },
        }
    }

    fn run(answers: &str, envelope: &Envelope, message: &[u8]) -> (Result<(), SubmitFailure>, String) {
        let mut scripted = Scripted {
            answers: io::Cursor::new(answers.replace('\n', "\r\n").into_bytes()),
            written: Vec::new(),
        };
        let result = submit(&mut scripted, "here.example", envelope, message, |_| Ok(()));
        (result, String::from_utf8(scripted.written).unwrap())
    }

    const OPEN: &str = "220 x\n250-x\n250-SIZE 1\n250-8BITMIME\n250 DSN\n";

    #[test]
    fn parameters_are_said_where_they_are_offered() {
        let (result, written) = run(
            &format!("{OPEN}250 a\n250 b\n354 go\n250 taken\n"),
            &envelope(),
            b"Subject: x\r\n\r\n.\r\n..\r\nMAIL FROM:<evil@x>\r\n",
        );
        assert_eq!(result, Ok(()));
        assert_eq!(
            written,
            "EHLO here.example\r\nMAIL FROM:<> SIZE=41 BODY=8BITMIME RET=HDRS ENVID=a+20b+2Bc\r\n\
             RCPT TO:<c@d.example> NOTIFY=FAILURE,DELAY\r\nDATA\r\n\
             Subject: x\r\n\r\n..\r\n...\r\nMAIL FROM:<evil@x>\r\n.\r\nQUIT\r\n"
        );
        let (result, written) = run(
            "220 x\n250 x\n250 a\n250 b\n354 go\n250 taken\n",
            &envelope(),
            b"x\r\n",
        );
        assert_eq!(result, Ok(()));
        assert!(
            written.contains("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n"),
            "{written}"
        );
    }

    #[test]
    fn what_a_message_needs_and_the_service_has_not_is_refused() {
        for change in [
            |parameters: &mut MailParameters| parameters.requiretls = true,
            |parameters: &mut MailParameters| parameters.smtputf8 = true,
        ] {
            let mut envelope = envelope();
            change(&mut envelope.parameters);
            let (result, written) = run(OPEN, &envelope, b"x\r\n");
            assert!(
                matches!(&result, Err(SubmitFailure::Refused(error)) if error.exit == Exit::Unavailable),
                "{result:?}"
            );
            assert_eq!(written, "EHLO here.example\r\n");
        }
    }

    #[test]
    fn each_reply_has_its_meaning() {
        let refused = |exit| Err::<(), _>(Some(exit));
        for (answers, expected) in [
            ("", Err(None)),
            ("220 x", Err(None)),
            ("nonsense\n", Err(None)),
            ("421 4.3.2 down\n", Err(None)),
            ("220 x\n250 x\n452 4.3.1 full\n", refused(Exit::TryAgain)),
            ("220 x\n250 x\n552 5.3.4 too big\n", refused(Exit::Data)),
            ("220 x\n250 x\n550 5.5.1 no\n", refused(Exit::Unavailable)),
            ("220 x\n250 x\n250 a\n550 5.1.1 nobody\n", refused(Exit::NoUser)),
            (
                "220 x\n250 x\n250 a\n550 5.7.1 denied\n",
                refused(Exit::NoPermission),
            ),
            (
                "220 x\n250 x\n250 a\n452 4.5.3 too many\n",
                refused(Exit::TryAgain),
            ),
            (
                "220 x\n250 x\n250 a\n250 b\n354 go\n554 5.6.0 no\n",
                refused(Exit::Data),
            ),
            (
                "220 x\n250 x\n250 a\n250 b\n354 go\n451 4.3.0 disk\n",
                refused(Exit::TryAgain),
            ),
            ("220 x\n250 x\n250 a\n250 b\n354 go\n", Err(None)),
            ("220 x\n250 x\n250 a\n250 b\n354 go\n250 taken\n", Ok(())),
        ] {
            let found = match run(answers, &envelope(), b"x\r\n").0 {
                Ok(()) => Ok(()),
                Err(SubmitFailure::Down(_)) => Err(None),
                Err(SubmitFailure::Refused(error)) => Err(Some(error.exit)),
            };
            assert_eq!(found, expected, "{answers}");
        }
        let endless = format!("220 x\n{}", "250-x\n".repeat(1000));
        assert!(matches!(
            run(&endless, &envelope(), b"").0,
            Err(SubmitFailure::Down(_))
        ));
        let long = format!("220 {}\n", "x".repeat(10_000));
        assert!(matches!(
            run(&long, &envelope(), b"").0,
            Err(SubmitFailure::Down(_))
        ));
    }
}
