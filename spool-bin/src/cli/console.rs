//! Standard output: its width, its colours, and readers that close it early.

use crate::failure::Failure;
use crate::print::Visible;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write, stdout};

/// Columns of a terminal; `None` when there is none.
pub(super) fn columns() -> Option<usize> {
    let width = terminal_size::terminal_size_of(stdout()).map(|(width, _)| usize::from(width.0));
    width.filter(|width| stdout().is_terminal() && *width > 0)
}

/// Whether to use colours.
pub(super) fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

type Stdout = BufWriter<StdoutLock<'static>>;

/// Prints to standard output, with hidden characters escaped. A reader that closes it early is no failure.
pub(super) fn print(write: impl FnOnce(&mut Visible<Stdout>) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = Visible::new(BufWriter::new(stdout().lock()));
    done(write(&mut out).and_then(|()| out.flush()))
}

/// Prints byte for byte: the text of a message.
pub(super) fn print_raw(write: impl FnOnce(&mut Stdout) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(stdout().lock());
    done(write(&mut out).and_then(|()| out.flush()))
}

fn done(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
