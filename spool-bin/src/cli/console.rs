//! What commands share: output with its width and colours, input, progress, and a runtime for those that wait for the network.

use crate::failure::Failure;
use crate::print::{Visible, json_line};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write, stdin, stdout};
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

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
/// Standard output, with hidden characters escaped.
pub(super) type Output = Visible<Stdout>;

/// Prints to standard output, with hidden characters escaped. A reader that closes it early is no failure.
pub(super) fn print(write: impl FnOnce(&mut Output) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = Visible::new(BufWriter::new(stdout().lock()));
    done(write(&mut out).and_then(|()| out.flush()))
}

/// Prints a line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(|out| json_line(out, value))
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

/// The bytes of `file`, at most `most`; of standard input for `-` and without a file.
pub(super) fn input(file: Option<&Path>, most: u64) -> Result<Vec<u8>, Failure> {
    let file = file.filter(|file| file.as_os_str() != "-");
    let name = || file.map_or("standard input".into(), |file| file.display().to_string());
    let mut bytes = Vec::new();
    let most_and_one = most.saturating_add(1);
    match file {
        Some(file) => File::open(file).and_then(|file| file.take(most_and_one).read_to_end(&mut bytes)),
        None => stdin().lock().take(most_and_one).read_to_end(&mut bytes),
    }
    .with_context(name)?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= most => Ok(bytes),
        _ => Err(Failure::Failed(format!("{}: larger than {most} bytes", name()))),
    }
}

/// A runtime on the thread of the command.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("no runtime")?)
}

/// The progress of a command on standard error, where that is a terminal. Without `length` the end is not known beforehand.
pub(super) fn progress(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
