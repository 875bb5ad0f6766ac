//! The help of `spool sendmail`, whose command line has its own rules and is read before that of the other commands.

use crate::failure::Failure;
use clap::Args;
use std::ffi::OsString;

#[derive(Debug, Args)]
#[command(after_help = "\
The message is read from standard input, to its end or to a line of one dot. Options:
  -t              also send to the recipients in To, Cc and Bcc; Bcc is removed
  -i, -oi         a line of one dot is text
  -f, -r ADDRESS  the envelope sender; '' or <> for the null one [default: user@hostname]
  -F NAME         the sender's name, where the message has no From
  -N WORDS        notices: never, or some of failure,delay,success
  -R hdrs|full    how much of the message a notice brings back
  -V ENVID        the envelope id, for notices
  -B 7bit|8bitmime, -O requiretls=yes
  -C FILE         the configuration [default: SPOOL_CONFIG, or /etc/spool/spool.toml]
  -bs             speak SMTP on standard input and output
  -bp             list the queue, as mailq does
  --              ends the options

Under the names sendmail, mailq and newaliases the program is that; docs/sendmail.md lists the rest. \
Exit status as in sysexits.h: 0 the message is durable, 64 usage, 65 bad message, 67 recipient refused, \
69 refused, 74 cannot read it, 75 try again, 77 not permitted, 78 configuration.")]
pub(super) struct Sendmail {
    /// Options of sendmail, and recipients
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Sendmail {
    /// Never reached with words: `sendmail` as the first word is taken before.
    pub(super) fn run(self) -> Result<(), Failure> {
        let words = self.words.len();
        Err(Failure::Usage(format!(
            "sendmail must be the first word ({words} follow it)"
        )))
    }
}
