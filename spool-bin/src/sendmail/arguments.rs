//! The command line of `sendmail`, as programs use it. Pure: arguments in, a plan out.
//!
//! Its rules are those of getopt and not those of the other commands: letters may be joined (`-ti`), a value may follow its letter
//! directly or as the next argument, and the first argument that is no option ends the options. An argument after the recipients
//! that looks like an option is refused and never taken for a recipient, unless `--` precedes it.

use super::exit::SendmailError;
use spool_core::{BodyKind, MailParameters, Notify, Ret};
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
    /// `-B`.
    pub(super) body: Option<BodyKind>,
    /// `-R`, `-V` and `-O requiretls=yes`.
    pub(super) parameters: MailParameters,
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
    while let Some(word) = words.next().transpose()? {
        let only_recipients = !parser.sending.recipients.is_empty();
        match word.as_str() {
            "--" if !only_recipients => {
                parser.sending.recipients = words.by_ref().collect::<Result<_, _>>()?;
            }
            option if option.starts_with('-') => {
                if only_recipients {
                    return Err(SendmailError::usage(format!(
                        "{word}: options come in front of the recipients; `--` ends them"
                    )));
                }
                parser.options(option, &mut words)?;
            }
            _ => parser.sending.recipients.push(word),
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
                letter if "boOfrFNRVBCAehLpX".contains(letter) => {
                    let missing = || SendmailError::usage(format!("-{letter}: needs a value"));
                    let value = match rest {
                        "" => words.next().transpose()?.ok_or_else(missing)?,
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
                    let word = match value.to_ascii_lowercase().as_str() {
                        "true" => "yes",
                        "false" => "no",
                        _ => value,
                    };
                    let known = [("yes", true), ("no", false)];
                    sending.parameters.requiretls = one_of("-O requiretls=", word, &known)?;
                }
            }
            'f' | 'r' => sending.from = Some(value),
            'F' => sending.name = Some(value),
            'N' => sending.notify = Some(notify(&value)?),
            'R' => {
                let known = [("hdrs", Ret::Headers), ("full", Ret::Full)];
                sending.parameters.ret = Some(one_of("-R ", &value, &known)?);
            }
            'V' => sending.parameters.envid = Some(envid(value)?),
            'B' => {
                let known = [("7bit", BodyKind::SevenBit), ("8bitmime", BodyKind::EightBitMime)];
                sending.body = Some(one_of("-B ", &value, &known)?);
            }
            'C' => self.config = Some(value.into()),
            // Known to other sendmails; without effect here.
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> Result<Command, SendmailError> {
        let names_recipients = self.sending.extract || !self.sending.recipients.is_empty();
        let plan = match (self.other, names_recipients) {
            (Some(other), false) => other,
            (Some(_), true) => {
                let text = "-bs, -bp, -bi and -q take neither recipients nor -t";
                return Err(SendmailError::usage(text));
            }
            (None, true) => Plan::Send(self.sending),
            (None, false) => {
                let text = "no recipient: name one, or give -t to read them from the header";
                return Err(SendmailError::usage(text));
            }
        };
        Ok(Command {
            plan,
            config: self.config,
        })
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

/// The value of `option` that `value` names, in any case.
fn one_of<T: Copy>(option: &str, value: &str, known: &[(&str, T)]) -> Result<T, SendmailError> {
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        SendmailError::usage(format!("{option}{value}: must be {}", names.join(" or ")))
    })
}

fn notify(value: &str) -> Result<Notify, SendmailError> {
    let bad = || {
        SendmailError::usage(format!(
            "-N {value}: must be never, or some of failure,delay,success"
        ))
    };
    Notify::parse(value).ok_or_else(bad)
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

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
