//! The logs' part of a checkup: every line of the event log and the key log.

use super::examined::{Act, Examined};
use crate::event::Event;
use crate::store::care::finding::ProblemKind;
use crate::store::care::recovery::Copy;
use crate::store::error::OpenError;
use crate::store::fs::{Mode, ops};
use crate::store::layout::{self, EVENTS, KEYS};
use crate::store::logs::lines::{self, BadLines, LogFile};
use std::io;
use std::path::Path;

impl Examined<'_> {
    /// Both logs.
    pub(super) fn logs(&mut self) -> Result<(), OpenError> {
        for log in [EVENTS, KEYS] {
            let dir = self.dir.join(log);
            let names = ops::names(&**self.fs, &dir).map_err(OpenError::io("list", &dir))?;
            let mut numbers = Vec::new();
            for name in names {
                let file = format!("{log}/{name}");
                if let Some(number) = layout::parse_log_name(&name) {
                    numbers.push(number);
                } else if layout::is_log_draft(&name) {
                    let what = "partly written".to_owned();
                    let act = Act::Unlink(dir.join(name));
                    self.note_repairable(ProblemKind::Orphaned, file, None, what, act, None);
                } else {
                    let what = "is not a file of the log".to_owned();
                    self.note(ProblemKind::Orphaned, file, None, what);
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
        let path = layout::log_path(dir, number);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let at = format!("{log}/{name}");
        let fs = &**self.fs;
        let read = || -> io::Result<(LogFile, Vec<BadLines>, Option<u64>)> {
            let size = fs.open(&path, Mode::Read)?.size()?;
            let part = LogFile { number, size };
            let mut first = None;
            if log == EVENTS {
                for read in lines::scan(fs, dir, part, 0)? {
                    first = lines::unseal::<Event>(&read?.0).map(|event| event.seq);
                    if first.is_some() {
                        break;
                    }
                }
            }
            Ok((part, lines::bad_lines(fs, dir, part)?, first))
        };
        let Some((part, bad_lines, first)) = self.unless_unreadable(read(), &path, &at)? else {
            return Ok(());
        };
        if let Some(first) = first.filter(|first| *first < number) {
            let copy = Some(self.whole(&at)?);
            let what = format!("begins with the event {first}");
            self.note_repairable(ProblemKind::Mismatched, at, None, what, Act::Unlink(path), copy);
            return Ok(());
        }
        for bad in bad_lines {
            let torn = newest && bad.last;
            let problem = if torn {
                ProblemKind::Torn
            } else {
                ProblemKind::Damaged
            };
            let what = format!("{} bytes at {} are not a complete line", bad.length, bad.offset);
            let copy = Copy {
                source: path.clone(),
                name: layout::log_copy_name(log, number, bad.offset),
                offset: bad.offset,
                length: bad.length,
            };
            let dir = dir.to_owned();
            let act = Act::Rewrite { dir, part };
            self.note_repairable(problem, at.clone(), None, what, act, Some(copy));
        }
        Ok(())
    }
}
