//! The command line of `sendmail`, as programs use it. Pure: arguments in, a plan out.
//!
//! Its rules are those of getopt and not those of the other commands: letters may be joined (`-ti`), a value may follow its letter
//! directly or as the next argument, and the first argument that is no option ends the options. An argument after the recipients
//! that looks like an option is refused and never taken for a recipient, unless `--` precedes it.

use super::exit::SendmailError;
use spool_core::{BodyKind, Notify, Ret};
use std::ffi::OsString;
use std::path::PathBuf;

/// Octets of an ENVID (RFC 3461 section 4.4).
const MAX_ENVID: usize = 100;

/// The plan, and the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) plan: Plan,
    /// `-C`: the configuration.
    pub(super) config: Option<PathBuf>,
}

/// What `sendmail` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Send the message of standard input.
    Send(Sending),
    /// `-bs`: an SMTP session on standard input and output.
    Session,
    /// `-bp`: list the queue.
    List,
    /// Nothing; the text is printed.
    Nothing(&'static str),
}

/// How the message is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sending {
    /// The recipients of the command line, as they were written.
    pub(super) recipients: Vec<String>,
    /// `-f`, `-r`: the reverse-path, as it was written.
    pub(super) from: Option<String>,
    /// `-F`: the sender's name.
    pub(super) name: Option<String>,
    /// `-t`: the recipients of the header too.
    pub(super) extract: bool,
    /// `-i`: a line with a single dot does not end the message.
    pub(super) dot_is_text: bool,
    /// `-N`.
    pub(super) notify: Option<Notify>,
    /// `-R`.
    pub(super) ret: Option<Ret>,
    /// `-V`.
    pub(super) envid: Option<String>,
    /// `-B`.
    pub(super) body: Option<BodyKind>,
    /// `-O requiretls=yes`.
    pub(super) requiretls: bool,
}

/// The text of `newaliases`, `-bi` and `-I`.
pub(super) const NO_ALIASES: &str = "there are no aliases to rebuild: spool delivers no mail on this machine";
/// The text of `-q`.
const NO_QUEUE_RUN: &str =
    "the service sends what is queued by itself; `spool send` makes it try selected messages now";

/// Reads the arguments after the name of the program.
///
/// # Errors
/// EX_USAGE, with what is wrong.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, SendmailError> {
    let mut words = words.into_iter().map(|word| {
        word.into_string()
            .map_err(|word| SendmailError::usage(format!("{}: is not UTF-8 text", word.to_string_lossy())))
    });
    let mut parser = Parser::default();
    let mut only_recipients = false;
    while let Some(word) = words.next().transpose()? {
        match word.as_str() {
            "--" if !only_recipients => {
                parser
                    .sending
                    .recipients
                    .extend(words.by_ref().collect::<Result<Vec<_>, _>>()?);
            }
            option if option.starts_with('-') => {
                if only_recipients {
                    return Err(SendmailError::usage(format!(
                        "{word}: options come in front of the recipients; `--` ends them"
                    )));
                }
                parser.options(option, &mut words)?;
            }
            recipient => {
                only_recipients = true;
                parser.sending.recipients.push(recipient.to_owned());
            }
        }
    }
    parser.end()
}

#[derive(Debug, Default)]
struct Parser {
    sending: Sending,
    config: Option<PathBuf>,
    other: Option<Plan>,
}

impl Parser {
    /// One argument with options.
    fn options(
        &mut self,
        word: &str,
        words: &mut impl Iterator<Item = Result<String, SendmailError>>,
    ) -> Result<(), SendmailError> {
        let unknown = || Err(SendmailError::usage(format!("{word}: unknown option")));
        let letters = word.get(1..).unwrap_or_default();
        if letters.is_empty() || letters.starts_with('-') {
            return unknown();
        }
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            match letter {
                'i' => self.sending.dot_is_text = true,
                't' => self.sending.extract = true,
                'I' => self.other = Some(Plan::Nothing(NO_ALIASES)),
                // The value of -q is never the next argument.
                'q' => {
                    self.other = Some(Plan::Nothing(NO_QUEUE_RUN));
                    return Ok(());
                }
                // They request the default, or have no meaning here.
                'm' | 'n' | 'v' | 'G' | 'U' | 'c' | 'x' => {}
                'b' | 'o' | 'O' | 'f' | 'r' | 'F' | 'N' | 'R' | 'V' | 'B' | 'C' | 'A' | 'e' | 'h' | 'L'
                | 'p' | 'X' => {
                    let value = match rest {
                        "" => words
                            .next()
                            .transpose()?
                            .ok_or_else(|| SendmailError::usage(format!("-{letter}: needs a value")))?,
                        rest => rest.to_owned(),
                    };
                    return self.valued(letter, value);
                }
                _ => return unknown(),
            }
        }
        Ok(())
    }

    /// One option with its value.
    fn valued(&mut self, letter: char, value: String) -> Result<(), SendmailError> {
        let sending = &mut self.sending;
        match letter {
            'b' => self.other = mode(&value)?,
            'o' => sending.dot_is_text |= value == "i",
            'O' => {
                if let Some((name, value)) = value.split_once('=')
                    && name.eq_ignore_ascii_case("requiretls")
                {
                    sending.requiretls = yes(value)?;
                }
            }
            'f' | 'r' => sending.from = Some(value),
            'F' => sending.name = Some(value),
            'N' => sending.notify = Some(notify(&value)?),
            'R' => sending.ret = Some(ret(&value)?),
            'V' => sending.envid = Some(envid(value)?),
            'B' => sending.body = Some(body(&value)?),
            'C' => self.config = Some(value.into()),
            // Known to other sendmails; without effect here.
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> Result<Command, SendmailError> {
        let Self {
            sending,
            config,
            other,
        } = self;
        let plan = match other {
            Some(_) if sending.extract || !sending.recipients.is_empty() => {
                return Err(SendmailError::usage(
                    "-bs, -bp, -bi and -q take neither recipients nor -t",
                ));
            }
            Some(other) => other,
            None if sending.recipients.is_empty() && !sending.extract => {
                return Err(SendmailError::usage(
                    "no recipient: name one, or give -t to read them from the header",
                ));
            }
            None => Plan::Send(sending),
        };
        Ok(Command { plan, config })
    }
}

fn mode(value: &str) -> Result<Option<Plan>, SendmailError> {
    match value {
        "m" => Ok(None),
        "s" => Ok(Some(Plan::Session)),
        "p" => Ok(Some(Plan::List)),
        "i" => Ok(Some(Plan::Nothing(NO_ALIASES))),
        "d" | "D" => Err(SendmailError::usage(format!(
            "-b{value}: the service is started by `spool serve`"
        ))),
        other => Err(SendmailError::usage(format!("-b{other}: unknown mode"))),
    }
}

fn yes(value: &str) -> Result<bool, SendmailError> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(SendmailError::usage(format!(
            "-O requiretls={value}: must be yes or no"
        ))),
    }
}

fn notify(value: &str) -> Result<Notify, SendmailError> {
    let mut notify = Notify::default();
    let never = value.eq_ignore_ascii_case("never");
    for word in value.split(',').filter(|_| !never) {
        match word.to_ascii_lowercase().as_str() {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => {
                return Err(SendmailError::usage(format!(
                    "-N {value}: must be never, or some of failure,delay,success"
                )));
            }
        }
    }
    Ok(notify)
}

fn ret(value: &str) -> Result<Ret, SendmailError> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Ret::Full),
        "hdrs" => Ok(Ret::Headers),
        _ => Err(SendmailError::usage(format!("-R {value}: must be hdrs or full"))),
    }
}

/// Whether `text` can be an ENVID.
pub(crate) fn is_envid(text: &str) -> bool {
    (1..=MAX_ENVID).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn envid(value: String) -> Result<String, SendmailError> {
    match is_envid(&value) {
        true => Ok(value),
        false => Err(SendmailError::usage(format!(
            "-V {value}: must be 1 to {MAX_ENVID} characters of printable ASCII"
        ))),
    }
}

fn body(value: &str) -> Result<BodyKind, SendmailError> {
    match value.to_ascii_lowercase().as_str() {
        "7bit" => Ok(BodyKind::SevenBit),
        "8bitmime" => Ok(BodyKind::EightBitMime),
        _ => Err(SendmailError::usage(format!(
            "-B {value}: must be 7bit or 8bitmime"
        ))),
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
