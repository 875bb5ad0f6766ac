//! Standard output: its width, its colours, and the reader that has seen enough.

use crate::failure::Failure;
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

/// Prints to standard output. Whoever reads only the first lines has what they want: that is no failure.
pub(super) fn print(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
