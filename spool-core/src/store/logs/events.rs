//! The event log: the newest events of a spool on disk, for subscribers that come back.
//!
//! The journal is its write-ahead log. A change's frame holds the numbers and kinds of its events, so what the log had
//! not synced when the power went is told again from the journal. It never holds up a commit, never fails one, and never
//! keeps mail; what it cannot write, and a line that is damaged, is shown as a gap.
//!
//! A file is named after its first event, and from that number on it counts instead of the older ones: so what is told again
//! takes the place of a torn end.

use super::lines::{self, LogFile, LogFiles};
use crate::event::{Event, EventKind};
use crate::store::fs::{Fs, Mode};
use crate::store::layout::{self, EVENTS};
use crate::store::mutex::locked;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The whole is given up in files of this part of its size.
const FILES: u64 = 8;
/// Events, and their bytes, that wait in memory while the disk takes none; then the oldest are dropped.
const MAX_QUEUE: usize = 65_536;
const MAX_QUEUE_BYTES: usize = 16 << 20;
/// The most bytes of events that are read at once, and one event more: each of many readers keeps as many.
const MAX_PAGE_BYTES: usize = 128 << 10;
/// The most bytes that are written at once, and one event more.
const MAX_WRITE_BYTES: usize = 1 << 20;

/// Where a reader of the event log stands.
#[derive(Debug, Clone, Default)]
pub struct EventCursor {
    /// The number of the last event it has.
    pub after: u64,
    /// The file that holds it, and the offset behind it: only a hint.
    place: Option<(u64, u64)>,
}

impl EventCursor {
    /// Behind the event with the number `after`; 0: at the beginning.
    #[must_use]
    pub const fn new(after: u64) -> Self {
        Self { after, place: None }
    }
}

#[derive(Debug)]
struct EventState {
    lines: LogFiles,
    queue: VecDeque<Event>,
    /// What is in `queue` takes so many bytes in memory.
    queued_bytes: usize,
    /// Up to here nothing is missing in the newest file, as it was at the start.
    complete_to: u64,
    /// The number of the last event that was ever told.
    last: u64,
    /// Set while older events may still have to go before those in the queue: the last number in the log, and what `last`
    /// was raised to.
    held: Option<(u64, u64)>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::store) struct EventLog {
    fs: Arc<dyn Fs>,
    /// Bytes of all files; 0: there is no log.
    limit: u64,
    inner: Mutex<EventState>,
}

impl EventLog {
    /// Opens the log of the spool in `dir`.
    pub(in crate::store) fn open(fs: &Arc<dyn Fs>, dir: &Path, limit: u64) -> io::Result<Self> {
        let lines = LogFiles::open(Arc::clone(fs), dir.join(EVENTS))?;
        let newest = lines.parts().back();
        let (complete_to, last) = newest.map_or(Ok((0, 0)), |part| reach(&**fs, lines.dir(), *part))?;
        let queue = VecDeque::new();
        Ok(Self {
            fs: Arc::clone(fs),
            limit,
            inner: Mutex::new(EventState {
                lines,
                queue,
                queued_bytes: 0,
                complete_to,
                last,
                held: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, EventState> {
        locked(&self.inner)
    }

    /// Closes its file; what was not written is in the journal.
    pub(in crate::store) fn close(&self) {
        // What waits to be written can still be read.
        self.lock().lines.close();
    }

    /// Takes events that the journal holds, to be written when there is time.
    pub(in crate::store) fn push(&self, events: &[Event]) {
        let Some(newest) = events.last() else { return };
        let mut inner = self.lock();
        inner.last = inner.last.max(newest.seq);
        if self.limit == 0 {
            return;
        }
        for event in events {
            inner.queued_bytes += event.footprint();
            inner.queue.push_back(event.clone());
        }
        while inner.queue.len() > MAX_QUEUE || inner.queued_bytes > MAX_QUEUE_BYTES {
            let Some(lost) = inner.queue.pop_front() else {
                break;
            };
            inner.queued_bytes = inner.queued_bytes.saturating_sub(lost.footprint());
        }
    }

    /// Events behind this number are to be told again.
    pub(in crate::store) fn complete_to(&self) -> u64 {
        self.lock().complete_to
    }

    /// Keeps what comes in memory until [`EventLog::release`]: events numbered up to `last` may go before it.
    pub(in crate::store) fn hold(&self, last: u64) {
        let mut inner = self.lock();
        let logged = inner.last;
        inner.last = logged.max(last);
        inner.held = Some((logged, inner.last));
    }

    /// Lets what was held go, behind the events that the log lacks. `earlier` are those that the journal holds, in order; `last` is the
    /// number of the last event that the journal tells of. From the first event that only the journal has, the newest file is written anew.
    pub(in crate::store) fn release(&self, mut earlier: Vec<Event>, last: u64) {
        let mut inner = self.lock();
        let Some((logged, raised)) = inner.held.take() else {
            return;
        };
        if earlier.first().is_some_and(|first| first.seq <= logged) {
            earlier = match inner.complete(&*self.fs, &earlier) {
                Ok(events) => events,
                // What cannot be read stays as it is: what is newer than the log goes behind it.
                Err(_) => earlier.into_iter().filter(|event| event.seq > logged).collect(),
            };
        }
        if inner.last == raised {
            inner.last = logged.max(last);
        }
        if self.limit == 0 {
            return;
        }
        inner.queued_bytes += earlier.iter().map(Event::footprint).sum::<usize>();
        let held = std::mem::replace(&mut inner.queue, earlier.into());
        inner.queue.extend(held);
    }

    /// Writes what waits. What the disk does not take goes on waiting.
    pub(in crate::store) fn flush(&self) -> io::Result<()> {
        self.lock().flush(self.limit)
    }

    /// The same, durably.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.flush(self.limit)?;
        inner.lines.sync()
    }
}

impl EventState {
    /// The events of the newest file and of the journal together, from the first one that only the journal has. A number that neither has
    /// belonged to a change that was never answered. One file bounds what is in memory.
    fn complete(&self, fs: &dyn Fs, journal: &[Event]) -> io::Result<Vec<Event>> {
        let mut events = BTreeMap::new();
        if let Some(newest) = self.lines.parts().back() {
            let file = fs.open(&layout::log_path(self.lines.dir(), newest.number), Mode::Read)?;
            lines::scan(&*file, 0, newest.size, &mut |line, _| {
                if let Some(event) = lines::unseal::<Event>(line) {
                    events.insert(event.seq, event);
                }
                ControlFlow::Continue(())
            })?;
        }
        let missing = |event: &&Event| !events.contains_key(&event.seq);
        let Some(from) = journal.iter().find(missing).map(|event| event.seq) else {
            return Ok(Vec::new());
        };
        let mut events = events.split_off(&from);
        for event in journal.iter().filter(|event| event.seq >= from) {
            events.entry(event.seq).or_insert_with(|| event.clone());
        }
        Ok(events.into_values().collect())
    }

    fn flush(&mut self, limit: u64) -> io::Result<()> {
        if self.held.is_some() {
            return Ok(());
        }
        let part = (limit / FILES).max(1);
        let mut bytes = Vec::new();
        while let Some(first) = self.queue.front().map(|event| event.seq) {
            if !self.lines.has_head() || self.lines.parts().back().is_none_or(|head| head.size >= part) {
                self.lines.begin(first)?;
            }
            let room = part.saturating_sub(self.lines.parts().back().map_or(0, |head| head.size));
            bytes.clear();
            let mut count = 0;
            for event in &self.queue {
                // Text and numbers alone: there is nothing that JSON could not say.
                lines::seal(&mut bytes, event)?;
                count += 1;
                if bytes.len() as u64 >= room || bytes.len() >= MAX_WRITE_BYTES {
                    break;
                }
            }
            self.lines.append(&bytes)?;
            let written = self.queue.drain(..count);
            let written: usize = written.map(|event| event.footprint()).sum();
            self.queued_bytes = self.queued_bytes.saturating_sub(written);
            while self.lines.total() > limit && self.lines.parts().len() > 1 {
                self.lines.drop_oldest();
            }
        }
        Ok(())
    }
}

/// Up to which number nothing is missing in a file, and the last number in it.
fn reach(fs: &dyn Fs, dir: &Path, part: LogFile) -> io::Result<(u64, u64)> {
    let file = fs.open(&layout::log_path(dir, part.number), Mode::Read)?;
    let before = part.number.saturating_sub(1);
    let (mut complete_to, mut last) = (before, before);
    lines::scan(&*file, 0, part.size, &mut |line, _| {
        if let Some(event) = lines::unseal::<Event>(line) {
            complete_to += u64::from(event.seq == complete_to + 1);
            last = last.max(event.seq);
        }
        ControlFlow::Continue(())
    })?;
    Ok((complete_to, last))
}

/// A page that is being read.
struct Page<'a> {
    cursor: &'a mut EventCursor,
    events: Vec<Event>,
    limit: usize,
    bytes: usize,
}

impl Page<'_> {
    /// Takes the next event, and tells of those that are missing before it. `false`: the page is full.
    fn take(&mut self, event: Event, place: Option<(u64, u64)>) -> bool {
        if event.seq > self.cursor.after {
            let missing = event.seq - self.cursor.after - 1;
            if missing > 0 {
                self.events
                    .push(Event::new(event.seq - 1, event.at, EventKind::Gap(missing)));
            }
            self.cursor.after = event.seq;
            self.bytes += event.footprint();
            self.events.push(event);
        }
        self.cursor.place = place.or(self.cursor.place);
        self.events.len() < self.limit && self.bytes < MAX_PAGE_BYTES
    }
}

impl EventLog {
    /// See [`Store::events_after`](crate::store::Store::events_after).
    pub(in crate::store) fn after(&self, cursor: &mut EventCursor, limit: usize) -> io::Result<Vec<Event>> {
        let mut page = Page {
            cursor,
            events: Vec::new(),
            limit,
            bytes: 0,
        };
        self.read(&mut page)?;
        Ok(page.events)
    }

    /// The number of the last event.
    pub(in crate::store) fn last(&self) -> u64 {
        self.lock().last
    }

    fn read(&self, page: &mut Page<'_>) -> io::Result<()> {
        let mut tried = None;
        loop {
            let (parts, dir, waiting) = self.snapshot();
            match self.read_parts(&parts, &dir, page) {
                // The oldest file was given up meanwhile: there is a new oldest one.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tried != parts.front().copied() => {
                    tried = parts.front().copied();
                    page.cursor.place = None;
                }
                Err(error) => return Err(error),
                Ok(false) => return Ok(()),
                Ok(true) => {
                    for event in waiting {
                        if !page.take(event, None) {
                            break;
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    /// The files as they are now, and what they do not hold because the disk does not take it.
    fn snapshot(&self) -> (VecDeque<LogFile>, PathBuf, Vec<Event>) {
        let mut inner = self.lock();
        let waiting = match inner.flush(self.limit) {
            Ok(()) => Vec::new(),
            Err(_) => inner.queue.iter().cloned().collect(),
        };
        (inner.lines.parts().clone(), inner.lines.dir().to_owned(), waiting)
    }

    /// `true`: read to the end.
    fn read_parts(&self, parts: &VecDeque<LogFile>, dir: &Path, page: &mut Page<'_>) -> io::Result<bool> {
        let next = page.cursor.after + 1;
        let known = |number: u64| parts.iter().any(|part| part.number == number);
        let hint = page.cursor.place.filter(|(number, _)| known(*number));
        let begins = parts
            .iter()
            .rev()
            .find(|part| part.number <= next)
            .or(parts.front());
        let first = hint.map(|(number, _)| number).or(begins.map(|part| part.number));
        let ends = parts.iter().skip(1).map(|part| part.number).chain([u64::MAX]);
        for (part, end) in parts
            .iter()
            .zip(ends)
            .filter(|(part, _)| Some(part.number) >= first)
        {
            let from = hint
                .filter(|(number, _)| *number == part.number)
                .map_or(0, |(_, offset)| offset);
            if from >= part.size {
                continue;
            }
            let file = self.fs.open(&layout::log_path(dir, part.number), Mode::Read)?;
            let mut full = false;
            lines::scan(&*file, from, part.size, &mut |line, behind| {
                // A line that cannot be read is a gap, which the next one tells of.
                let event = lines::unseal(line).filter(|event: &Event| event.seq < end);
                let more = event.is_none_or(|event| page.take(event, Some((part.number, behind))));
                full = !more;
                if more {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            if full {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::fs::RealFs;

    #[test]
    fn a_page_of_the_log_is_bounded_in_number_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let log = EventLog::open(&fs, dir.path(), 1 << 30).unwrap();
        let event = |seq| {
            let mut event = Event::new(seq, Timestamp(0), EventKind::Spooled);
            event.reason = (seq > 300).then(|| "x".repeat(50_000));
            event
        };
        log.push(&(1..=400).map(event).collect::<Vec<_>>());
        // From memory, and then from the disk.
        for _ in 0..2 {
            let mut cursor = EventCursor::default();
            let mut lengths = Vec::new();
            for _ in 0..4 {
                lengths.push(log.after(&mut cursor, 256).unwrap().len());
            }
            // 44 small ones and three large ones, then three large ones: 128 KiB, and one event more.
            assert_eq!(lengths, [256, 47, 3, 3]);
            log.sync().unwrap();
        }
    }

    #[test]
    fn events_that_the_disk_does_not_take_are_bounded_in_number_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let log = EventLog::open(&fs, dir.path(), 1 << 30).unwrap();
        let event = |seq| Event::new(seq, Timestamp(0), EventKind::Spooled);
        let many = MAX_QUEUE as u64 + 10;
        log.push(&(1..=many).map(event).collect::<Vec<_>>());
        let waits = |log: &EventLog| {
            let inner = log.lock();
            let ends = [inner.queue.front(), inner.queue.back()].map(|event| event.unwrap().seq);
            (inner.queue.len(), inner.queued_bytes, ends)
        };
        let (count, bytes, ends) = waits(&log);
        assert_eq!((count, ends), (MAX_QUEUE, [11, many]), "the oldest gave way");
        assert!(bytes <= MAX_QUEUE_BYTES, "{bytes}");
        // A few large ones take the place of many.
        let large = |seq| Event::new(seq, Timestamp(0), EventKind::Quarantined("x".repeat(100)));
        let mut large: Vec<Event> = (many + 1..many + 101).map(large).collect();
        for event in &mut large {
            event.reason = Some("x".repeat(1 << 20));
        }
        log.push(&large);
        let (count, bytes, ends) = waits(&log);
        assert_eq!((count, ends), (15, [many + 86, many + 100]));
        assert!(bytes <= MAX_QUEUE_BYTES, "{bytes}");
    }
}
