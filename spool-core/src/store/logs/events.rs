//! The event log: the newest events of a spool, for subscribers that reconnect.
//!
//! The journal is its write-ahead log: a change's frame holds the numbers and kinds of its events, so events that the
//! log had not synced at a power cut are written again from the journal. The log never delays or fails a commit; events
//! that it cannot write, and damaged lines, are reported as a gap. A file is named after its first event, and replaces
//! the older files from that number on: so events that are written again replace a torn end.

use super::event_page::{EventCursor, Page};
use super::lines::{self, LogFile, LogFiles};
use crate::event::Event;
use crate::store::fs::Fs;
use crate::store::layout::EVENTS;
use crate::store::mutex::locked;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The log consists of about this many files.
const FILES: u64 = 8;
/// Events that wait in memory while the disk is full, and their bytes; then the oldest are dropped.
const MAX_QUEUE: usize = 65_536;
const MAX_QUEUE_BYTES: usize = 16 << 20;
/// Bytes written at once, plus at most one event.
const MAX_WRITE_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct EventState {
    lines: LogFiles,
    queue: VecDeque<Event>,
    /// Memory of the events in `queue`.
    queued_bytes: usize,
    /// The newest file was complete up to this number when the log was opened.
    complete_to: u64,
    /// The number of the last event.
    last: u64,
    /// Set while older events may still come before those in the queue: the last number in the log, and the value that
    /// `last` was raised to.
    held: Option<(u64, u64)>,
}

/// The event log.
#[derive(Debug)]
pub(in crate::store) struct EventLog {
    fs: Arc<dyn Fs>,
    /// Bytes of all files; 0: no log is written.
    limit: u64,
    inner: Mutex<EventState>,
}

impl EventLog {
    /// Opens the log of the spool in `dir`.
    pub(in crate::store) fn open(fs: &Arc<dyn Fs>, dir: &Path, limit: u64) -> io::Result<Self> {
        let lines = LogFiles::open(Arc::clone(fs), dir.join(EVENTS))?;
        let newest = lines.parts.back();
        let (complete_to, last) = newest.map_or(Ok((0, 0)), |part| reach(&**fs, &lines.dir, *part))?;
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

    /// Closes its file. What was not written is in the journal.
    pub(in crate::store) fn close(&self) {
        // Waiting events can still be read.
        locked(&self.inner).lines.head = None;
    }

    /// Queues events that are in the journal.
    pub(in crate::store) fn push(&self, events: &[Event]) {
        let Some(newest) = events.last() else { return };
        let mut inner = locked(&self.inner);
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

    /// Events after this number must be written again.
    pub(in crate::store) fn complete_to(&self) -> u64 {
        locked(&self.inner).complete_to
    }

    /// Keeps new events in memory until [`EventLog::release`]. Events numbered up to `last` may come before them.
    pub(in crate::store) fn hold(&self, last: u64) {
        let mut inner = locked(&self.inner);
        let logged = inner.last;
        inner.last = logged.max(last);
        inner.held = Some((logged, inner.last));
    }

    /// Continues writing, with the events `earlier` first: those that the journal holds, in order. `last` is the number
    /// of the last event in the journal. From the first event on that only the journal has, the newest file is
    /// rewritten.
    pub(in crate::store) fn release(&self, mut earlier: Vec<Event>, last: u64) {
        let mut inner = locked(&self.inner);
        let Some((logged, raised)) = inner.held.take() else {
            return;
        };
        if earlier.first().is_some_and(|first| first.seq <= logged) {
            earlier = match inner.complete(&*self.fs, &earlier) {
                Ok(events) => events,
                // An unreadable file stays as it is, and newer events follow it.
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

    /// Writes the queue. What cannot be written stays in the queue.
    pub(in crate::store) fn flush(&self) -> io::Result<()> {
        locked(&self.inner).flush(self.limit)
    }

    /// The same, durably.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        inner.flush(self.limit)?;
        inner.lines.sync()
    }
}

impl EventState {
    /// The events of the newest file and of the journal, from the first one on that only the journal has. A number that
    /// neither has belonged to a change that was never answered. Memory is bounded by the size of one file.
    fn complete(&self, fs: &dyn Fs, journal: &[Event]) -> io::Result<Vec<Event>> {
        let mut events = BTreeMap::new();
        if let Some(newest) = self.lines.parts.back() {
            for read in lines::scan(fs, &self.lines.dir, *newest, 0)? {
                let event = lines::unseal::<Event>(&read?.0);
                events.extend(event.map(|event| (event.seq, event)));
            }
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
            if self.lines.head.is_none() || self.lines.parts.back().is_none_or(|head| head.size >= part) {
                self.lines.begin(first)?;
            }
            let room = part.saturating_sub(self.lines.parts.back().map_or(0, |head| head.size));
            bytes.clear();
            let mut count = 0;
            for event in &self.queue {
                // Texts and numbers: JSON can represent all of them.
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
            while self.lines.total() > limit && self.lines.parts.len() > 1 {
                self.lines.drop_oldest();
            }
        }
        Ok(())
    }
}

/// The number up to which a file is complete, and the last number in it.
fn reach(fs: &dyn Fs, dir: &Path, part: LogFile) -> io::Result<(u64, u64)> {
    let before = part.number.saturating_sub(1);
    let (mut complete_to, mut last) = (before, before);
    for read in lines::scan(fs, dir, part, 0)? {
        if let Some(event) = lines::unseal::<Event>(&read?.0) {
            complete_to += u64::from(event.seq == complete_to + 1);
            last = last.max(event.seq);
        }
    }
    Ok((complete_to, last))
}

impl EventLog {
    /// See [`Store::events_after`](crate::store::Store::events_after).
    pub(in crate::store) fn after(&self, cursor: &mut EventCursor, limit: usize) -> io::Result<Vec<Event>> {
        let mut page = Page::new(cursor, limit);
        let mut tried = None;
        loop {
            let (parts, dir, waiting) = self.snapshot();
            match self.read_parts(&parts, &dir, &mut page) {
                // The oldest file was deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tried != parts.front().copied() => {
                    tried = parts.front().copied();
                    page.cursor.place = None;
                    continue;
                }
                Err(error) => return Err(error),
                Ok(false) => {}
                Ok(true) => {
                    let mut waiting = waiting.into_iter();
                    while waiting.next().is_some_and(|event| page.take(event, None)) {}
                }
            }
            return Ok(page.events);
        }
    }

    /// The number of the last event.
    pub(in crate::store) fn last(&self) -> u64 {
        locked(&self.inner).last
    }

    /// The current files, and the events that could not be written to them.
    fn snapshot(&self) -> (VecDeque<LogFile>, PathBuf, Vec<Event>) {
        let mut inner = locked(&self.inner);
        let waiting = match inner.flush(self.limit) {
            Ok(()) => Vec::new(),
            Err(_) => inner.queue.iter().cloned().collect(),
        };
        (inner.lines.parts.clone(), inner.lines.dir.clone(), waiting)
    }

    /// Returns `true` at the end.
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
            for read in lines::scan(&*self.fs, dir, *part, from)? {
                let (line, behind) = read?;
                // An unreadable line is a gap, which the next line reports.
                let event = lines::unseal(&line).filter(|event: &Event| event.seq < end);
                if event.is_some_and(|event| !page.take(event, Some((part.number, behind)))) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventKind;
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
    fn events_that_cannot_be_written_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let log = EventLog::open(&fs, dir.path(), 1 << 30).unwrap();
        let event = |seq| Event::new(seq, Timestamp(0), EventKind::Spooled);
        let many = MAX_QUEUE as u64 + 10;
        log.push(&(1..=many).map(event).collect::<Vec<_>>());
        let waits = |log: &EventLog| {
            let inner = locked(&log.inner);
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
