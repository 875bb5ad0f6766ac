//! The logs' part of a checkup: every line of the event log and the key log.

use super::examined::{Act, Examined};
use crate::event::Event;
use crate::store::care::finding::ProblemKind;
use crate::store::care::recovery::Copy;
use crate::store::error::{Attempted as _, OpenError};
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
            let names = ops::names(&**self.fs, &dir).on("list", &dir)?;
            let mut numbers = Vec::new();
            for name in names {
                let file = format!("{log}/{name}");
                if let Some(number) = layout::parse_log_name(&name) {
                    numbers.push(number);
                    continue;
                }
                let (what, repair) = match layout::is_log_draft(&name) {
                    true => ("partly written", Some((Act::Unlink(dir.join(name)), None))),
                    false => ("is not a file of the log", None),
                };
                self.note(ProblemKind::Orphaned, file, None, what.to_owned(), repair);
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
            let event = |read: io::Result<(Vec<u8>, u64)>| {
                let event = read.map(|(line, _)| lines::unseal::<Event>(&line));
                event.transpose()
            };
            let first = match log {
                EVENTS => lines::scan(fs, dir, part, 0)?.find_map(event).transpose()?,
                _ => None,
            };
            let first = first.map(|event| event.seq);
            Ok((part, lines::bad_lines(fs, dir, part)?, first))
        };
        let Some((part, bad_lines, first)) = self.unless_unreadable(read(), &path, &at)? else {
            return Ok(());
        };
        if let Some(first) = first.filter(|first| *first < number) {
            let repair = Some((Act::Unlink(path), Some(self.whole(&at)?)));
            let what = format!("begins with the event {first}");
            self.note(ProblemKind::Mismatched, at, None, what, repair);
            return Ok(());
        }
        for bad in bad_lines {
            let problem = match newest && bad.last {
                true => ProblemKind::Torn,
                false => ProblemKind::Damaged,
            };
            let what = format!("{} bytes at {} are not a complete line", bad.length, bad.offset);
            let copy = Copy {
                source: path.clone(),
                name: layout::log_copy_name(log, number, bad.offset),
                offset: bad.offset,
                length: bad.length,
            };
            let dir = dir.to_owned();
            let repair = Some((Act::Rewrite { dir, part }, Some(copy)));
            self.note(problem, at.clone(), None, what, repair);
        }
        Ok(())
    }
}
