//! The segments as a replay finds them: their numbers, and where a write may have been interrupted.

use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Fs, Mode, is_unreadable};
use crate::store::journal::scan::{Item, Scan, ScanError};
use crate::store::journal::segment::{self, HeaderKind};
use crate::store::layout::{self, Seq};
use std::path::Path;

/// The segments in the directory `journal`, in order.
pub(in crate::store) fn segments(fs: &dyn Fs, journal: &Path) -> Result<Vec<Seq>, OpenError> {
    let names = fs.list(journal).on("list", journal)?;
    let mut all: Vec<Seq> = names
        .iter()
        .filter_map(|name| layout::parse_segment_name(name))
        .collect();
    all.sort_unstable();
    Ok(all)
}

pub(super) fn scan_error(journal: &Path, seq: Seq) -> impl FnOnce(ScanError) -> OpenError {
    let path = layout::segment_path(journal, seq);
    move |error| match error {
        ScanError::Io(source) => OpenError::Io {
            action: "read",
            path,
            source,
        },
        ScanError::Newer(found) => OpenError::NewerFormat {
            dir: path,
            found,
            known: segment::VERSION,
        },
    }
}

pub(super) fn open(fs: &dyn Fs, journal: &Path, seq: Seq, bodies: bool) -> Result<Scan, OpenError> {
    let path = layout::segment_path(journal, seq);
    Scan::open(fs, journal, seq, bodies).on("open", &path)
}

/// Where a write may have been interrupted.
pub(super) struct Front {
    /// The first segment that may not have been synced: bodies from here on are checked.
    pub(super) unsynced: Option<Seq>,
    /// The last segment with a frame: the only one whose end may be torn, since a segment is synced before the next one
    /// is begun.
    pub(super) last: Option<Seq>,
}

impl Front {
    /// Whether the bodies of a segment are to be checked.
    pub(super) fn reads_bodies(&self, seq: Seq) -> bool {
        self.unsynced.is_some_and(|from| seq >= from)
    }
}

pub(super) fn front(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Front, OpenError> {
    let mut front = Front {
        unsynced: None,
        last: None,
    };
    for seq in seqs.iter().rev() {
        front.unsynced = Some(*seq);
        let mut scan = open(fs, journal, *seq, true)?;
        let found = scan.next().map_err(scan_error(journal, *seq))?;
        let given_up = scan.sealed_end() == Some(segment::HEADER as u64);
        let (written, synced) = match found {
            // Only gaps: it was written, and repaired since.
            None => (scan.end() > segment::HEADER as u64, true),
            // Neither a foreign file nor an empty segment says anything about what was written last.
            Some(Item::Tail(_)) => (!scan.foreign && !given_up, scan.sealed_end().is_some()),
            Some(Item::Frame { .. } | Item::Damage(_)) => (true, true),
        };
        if written {
            front.last = front.last.or(Some(*seq));
        }
        // It has, or had, an intact frame: the segments before it were synced.
        if written && synced {
            break;
        }
    }
    Ok(front)
}

/// The size of `seqs`. Fails if a newer program wrote one of them, which must be known before anything is changed.
pub(in crate::store) fn measure(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<u64, OpenError> {
    let mut total = 0;
    for seq in seqs {
        let path = layout::segment_path(journal, *seq);
        let file = fs.open(&path, Mode::Read).on("open", &path)?;
        let mut head = [0; segment::HEADER];
        match file.read_at(0, &mut head) {
            // The replay reports it.
            Err(error) if !is_unreadable(&error) => return Err(OpenError::io("read", &path, error)),
            Ok(_) | Err(_) => {}
        }
        if let HeaderKind::Newer(version) = segment::decode_header(&head, *seq) {
            let newer = ScanError::Newer(format!("segment version {version}"));
            return Err(scan_error(journal, *seq)(newer));
        }
        total += file.size().on("read", &path)?;
    }
    Ok(total)
}
