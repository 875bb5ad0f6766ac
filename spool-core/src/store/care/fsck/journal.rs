//! The journal's part of a checkup: the names of the segments, their frames, and every message with its body.

use super::examined::{Act, Examined};
use crate::id::MessageId;
use crate::message::{Message, Status};
use crate::store::care::finding::ProblemKind;
use crate::store::care::recovery::Copy;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Mode, is_unreadable};
use crate::store::journal::frame::Place;
use crate::store::journal::reader::{Reader, Unread};
use crate::store::journal::replay::{self, DamagedRange, Replay};
use crate::store::journal::scan::{Item, Scan, ScanError};
use crate::store::journal::segment::{self, HeaderKind};
use crate::store::journal::window::Window;
use crate::store::layout::{self, JOURNAL, SPARE, Seq};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn in_journal(name: &str) -> String {
    format!("{JOURNAL}/{name}")
}

impl Examined<'_> {
    /// The segments, each with the number in its header if that is another one.
    pub(super) fn segments(&self, journal: &Path) -> Result<BTreeMap<Seq, Option<Seq>>, OpenError> {
        let all = replay::segments(&**self.fs, journal)?.into_iter();
        all.map(|seq| Ok((seq, self.number(journal, seq)?))).collect()
    }

    /// Segments whose header has another number.
    pub(super) fn misnamed(&mut self, journal: &Path) -> Result<(), OpenError> {
        let all = self.segments(journal)?;
        let mut claimed = BTreeSet::new();
        for (seq, other) in &all {
            let Some(other) = *other else { continue };
            let file = layout::segment_file(*seq);
            let what = format!("its header says that it is {}", layout::segment_name(other));
            let path = layout::segment_path(journal, *seq);
            let repair = match all.get(&other) {
                // The segment with that name is misnamed too.
                Some(Some(_)) => None,
                None if claimed.insert(other) => {
                    let to = layout::segment_path(journal, other);
                    Some((Act::Rename { from: path, to }, None))
                }
                Some(None) | None => Some((Act::Unlink(path), Some(self.whole(&file)?))),
            };
            self.note(ProblemKind::Mismatched, file, None, what, repair);
        }
        Ok(())
    }

    /// The number in the header of segment `seq`, if it is another one.
    fn number(&self, journal: &Path, seq: Seq) -> Result<Option<Seq>, OpenError> {
        let path = layout::segment_path(journal, seq);
        let mut header = [0; segment::HEADER];
        let file = self.fs.open(&path, Mode::Read);
        let read = file.and_then(|file| file.read_at(0, &mut header));
        let count = match read {
            // An unreadable segment stays where it is.
            Err(error) if is_unreadable(&error) => return Ok(None),
            read => read.on("read", &path)?,
        };
        let bytes = header.get(..count).unwrap_or_default();
        match segment::decode_header(bytes, seq) {
            HeaderKind::Other(other) => {
                let own = self.holds_own_frames(&path, seq).on("read", &path)?;
                Ok((!own).then_some(other))
            }
            HeaderKind::Unwritten | HeaderKind::Own { .. } | HeaderKind::Newer(_) | HeaderKind::Bad => {
                Ok(None)
            }
        }
    }

    /// Whether frames of segment `seq` follow the header of another segment. Then only the header is wrong.
    fn holds_own_frames(&self, path: &Path, seq: Seq) -> io::Result<bool> {
        match Scan::new(self.fs.open(path, Mode::Read)?, seq, false)?.next() {
            Ok(item) => Ok(matches!(item, Some(Item::Damage(_)))),
            Err(ScanError::Io(error)) => Err(error),
            Err(ScanError::Newer(_)) => Ok(true),
        }
    }

    /// Problems found by a replay, and files that are not segments.
    pub(super) fn journal(&mut self, journal: &Path, replay: &Replay) -> Result<(), OpenError> {
        for range in &replay.damaged {
            let bad = &range.bad;
            let what = format!("{} bytes at {}: {}", bad.length, bad.offset, bad.reason);
            let file = layout::segment_file(range.seq);
            let repair = (!range.unreadable).then(|| (Act::Journal, range.copy(self.dir)));
            self.note(ProblemKind::Damaged, file, None, what, repair);
        }
        for trailing in replay.trailing.iter().filter(|trailing| trailing.torn > 0) {
            let what = format!(
                "{} bytes at {} were never answered for",
                trailing.torn, trailing.end
            );
            let repair = Some((Act::Journal, Some(trailing.copy(self.dir))));
            let file = layout::segment_file(trailing.seq);
            self.note(ProblemKind::Torn, file, None, what, repair);
        }
        let names = self.fs.list(journal).on("list", journal)?;
        for name in names {
            if name == SPARE {
                self.spare(journal)?;
            } else if layout::parse_segment_name(&name).is_none() {
                let what = "is no segment".to_owned();
                self.note(ProblemKind::Orphaned, in_journal(&name), None, what, None);
            }
        }
        Ok(())
    }

    /// The spare segment, which must be empty.
    fn spare(&mut self, journal: &Path) -> Result<(), OpenError> {
        let path = journal.join(SPARE);
        let read = || -> io::Result<Option<(u64, u64)>> {
            let mut window = Window::new(self.fs.open(&path, Mode::Read)?)?;
            let Some(offset) = window.first_nonzero(0)? else {
                return Ok(None);
            };
            Ok(Some((offset, window.end_of_content(offset)? - offset)))
        };
        let read = self.unless_unreadable(read(), &path, &in_journal(SPARE))?;
        let Some((offset, length)) = read.flatten() else {
            return Ok(());
        };
        let what = format!("{length} bytes at {offset} where nothing should be written");
        let copy = Copy {
            source: path.clone(),
            name: layout::spare_copy_name(offset),
            offset,
            length,
        };
        let repair = Some((Act::Unlink(path), Some(copy)));
        self.note(ProblemKind::Damaged, in_journal(SPARE), None, what, repair);
        Ok(())
    }

    /// Reads every message and every body and checks them; returns the damaged messages. A repair copies and covers
    /// their frames, as a start does.
    pub(super) fn messages(
        &mut self,
        journal: &Path,
        replay: &mut Replay,
        progress: &mut dyn FnMut(),
    ) -> HashSet<MessageId> {
        let reader = Reader::new(Arc::clone(self.fs), journal.to_owned());
        let mut all: Vec<_> = replay.index.iter().collect();
        all.sort_unstable_by_key(|(_, entry)| (entry.kept.add, entry.kept.section));
        let mut lost: BTreeMap<Place, (Vec<MessageId>, String)> = BTreeMap::new();
        let mut lose = |id, place, reason| {
            let (ids, _) = lost.entry(place).or_insert((Vec::new(), reason));
            ids.push(id);
        };
        let (mut message, mut last_body) = (reader.sequential(), None);
        for (id, entry) in all {
            // Messages of one add share their body: it is read once.
            let body = || match last_body == Some(entry.kept.add) {
                true => Ok(()),
                false => reader.body(entry.kept.add).map(drop),
            };
            match message(id, entry).and_then(|message| body().map(|()| message)) {
                Ok(message) => {
                    self.found.whole += 1;
                    last_body = Some(entry.kept.add);
                    self.age(&message, entry.kept.add.seq);
                }
                Err(Unread::NotNow(reason)) => {
                    let file = layout::segment_file(entry.kept.add.seq);
                    let what = format!("message {id}: cannot be read now: {reason}");
                    self.note(ProblemKind::Damaged, file, Some(id), what, None);
                }
                Err(Unread::Gone) => lose(id, entry.kept.add, "its segment is missing".to_owned()),
                Err(Unread::Damaged(reason)) => lose(id, entry.kept.add, reason),
            }
            progress();
        }
        let mut gone = HashSet::new();
        for (place, (ids, reason)) in lost {
            gone.extend(&ids);
            self.damaged(&reader, replay, place, &ids, reason);
        }
        gone
    }

    fn damaged(
        &mut self,
        reader: &Reader,
        replay: &mut Replay,
        place: Place,
        ids: &[MessageId],
        reason: String,
    ) {
        let file = layout::segment_file(place.seq);
        let id = ids.first().copied();
        let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let (s, all) = (if all.len() > 1 { "s" } else { "" }, all.join(", "));
        let what = format!("message{s} {all}: {reason}");
        // Without the header the length of the frame is unknown.
        let header = reader.header(place).ok();
        let range = header.map(|header| DamagedRange::frame(place, header, reason));
        // An unreadable block may be readable another time.
        let range = range.filter(|range| range.copy(self.dir).is_none_or(|copy| self.is_readable(&copy)));
        let repair = range.as_ref().map(|range| (Act::Journal, range.copy(self.dir)));
        self.note(ProblemKind::Damaged, file, id, what, repair);
        replay.damaged.extend(range);
    }

    fn is_readable(&self, copy: &Copy) -> bool {
        let read = || -> io::Result<bool> {
            let mut window = Window::new(self.fs.open(&copy.source, Mode::Read)?)?;
            window.checksum(copy.offset, copy.offset + copy.length)?;
            Ok(!window.has_unreadable())
        };
        read().unwrap_or(false)
    }

    /// A message that should have expired. A frozen message does not expire.
    fn age(&mut self, message: &Message, seq: Seq) {
        let state = &message.state;
        let expired = state.expires_at.filter(|at| *at < self.now);
        if let (Status::SendAt(_), Some(at)) = (state.status, expired) {
            let what = format!(
                "message {}: still waits, {} after it was to be given up ({at})",
                message.id,
                span(self.now.since(at))
            );
            let file = layout::segment_file(seq);
            self.note(ProblemKind::TooOld, file, Some(message.id), what, None);
        }
    }
}

/// `3d 2h`, `2h 5m`, `5m 3s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {}s", seconds % 60),
        (0, _) => format!("{hours}h {minutes}m"),
        (_, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let text = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([text(62), text(7500), text(267_000)], ["1m 2s", "2h 5m", "3d 2h"]);
    }
}
