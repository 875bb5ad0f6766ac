//! The logs' part of a checkup: every line of the event log and the key log.

use super::repair::{Act, whole};
use super::{Ailment, Examined};
use crate::event::Event;
use crate::store::OpenError;
use crate::store::event_log::EVENTS;
use crate::store::fs::{FsFile, Mode};
use crate::store::key_log::KEYS;
use crate::store::lines::{self, Flaw, Part};
use crate::store::recovery::Copy;
use crate::store::replay::io_error;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

impl Examined<'_> {
    /// Both logs.
    pub(super) fn logs(&mut self) -> Result<(), OpenError> {
        for log in [EVENTS, KEYS] {
            let dir = self.dir.join(log);
            let names = match self.fs.list(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed.map_err(io_error("list", &dir))?,
            };
            let mut numbers = Vec::new();
            for name in names {
                let file = format!("{log}/{name}");
                if let Some(number) = lines::parse_name(&name) {
                    numbers.push(number);
                } else if lines::is_draft(&name) {
                    let what = "half written".to_owned();
                    let (path, copy) = (dir.join(name), None);
                    self.note_mendable(Ailment::Orphaned, file, None, what, Act::Unlink { path, copy });
                } else {
                    let what = "is no file of the log".to_owned();
                    self.note(Ailment::Orphaned, file, None, what);
                }
            }
            numbers.sort_unstable();
            let newest = numbers.last().copied();
            for number in numbers {
                self.log_file(log, &dir, number, newest == Some(number))?;
            }
        }
        Ok(())
    }

    fn log_file(&mut self, log: &str, dir: &Path, number: u64, newest: bool) -> Result<(), OpenError> {
        let path = lines::path(dir, number);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let at = format!("{log}/{name}");
        let read = || -> io::Result<(Part, Vec<Flaw>, Option<u64>)> {
            let file = self.fs.open(&path, Mode::Read)?;
            let size = file.size()?;
            let first = if log == EVENTS {
                first_event(&file, size)?
            } else {
                None
            };
            Ok((Part { number, size }, lines::flaws(&*file, size)?, first))
        };
        let Some((part, flaws, first)) = self.unless_unreadable(read(), &path, &at)? else {
            return Ok(());
        };
        if let Some(first) = first.filter(|first| *first < number) {
            let act = Act::Unlink {
                copy: Some(whole(&**self.fs, self.dir, &at)?),
                path: path.clone(),
            };
            let what = format!("begins with the event {first}");
            self.note_mendable(Ailment::Mismatched, at, None, what, act);
            return Ok(());
        }
        for flaw in flaws {
            let torn = newest && flaw.last;
            let ailment = if torn { Ailment::Torn } else { Ailment::Damaged };
            let what = format!("{} bytes at {} are no whole line", flaw.length, flaw.offset);
            let copy = Copy {
                source: path.clone(),
                name: format!("{log}-{number:020}-{}.bin", flaw.offset),
                offset: flaw.offset,
                length: flaw.length,
            };
            let dir = dir.to_owned();
            self.note_mendable(ailment, at.clone(), None, what, Act::Rewrite { dir, part, copy });
        }
        Ok(())
    }
}

/// The number of the first event in a file.
fn first_event(file: &Arc<dyn FsFile>, size: u64) -> io::Result<Option<u64>> {
    let mut first = None;
    lines::scan(&**file, 0, size, &mut |line, _| {
        first = lines::unseal::<Event>(line).map(|event| event.seq);
        if first.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(first)
}
