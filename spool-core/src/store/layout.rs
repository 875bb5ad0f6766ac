//! Every name of a file or directory on disk. `docs/spool-format.md` describes what the files hold.
//!
//! It does no input or output.

use crate::archive::Archive;
use crate::id::MessageId;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// The version of the format, once the directory is a spool.
pub(super) const FORMAT: &str = "FORMAT";
/// [`FORMAT`], until it is complete.
pub(super) const FORMAT_DRAFT: &str = "FORMAT.tmp";
/// The lock file; it holds the process id.
pub(super) const LOCK: &str = "lock";
/// The directory of the journal's segments.
pub(super) const JOURNAL: &str = "journal";
/// The directory of copies of damaged bytes.
pub(super) const CORRUPT: &str = "corrupt";
/// The directory of the event log.
pub(super) const EVENTS: &str = "events";
/// The directory of the log of idempotency keys.
pub(super) const KEYS: &str = "keys";
/// The directory of removed messages.
pub(super) const REMOVED: &str = Archive::Removed.name();
/// The directory of quarantined messages.
pub(super) const QUARANTINE: &str = Archive::Quarantine.name();
/// What was learned of destinations.
pub(super) const DESTINATIONS: &str = "destinations.jsonl";
/// [`DESTINATIONS`], until it is complete.
pub(super) const DESTINATIONS_DRAFT: &str = "destinations.jsonl.tmp";
/// Every directory inside the spool.
pub(super) const DIRECTORIES: [&str; 6] = [JOURNAL, CORRUPT, EVENTS, KEYS, REMOVED, QUARANTINE];

/// In [`JOURNAL`], the preallocated file that becomes the next segment.
pub(super) const SPARE: &str = "spare";
/// In [`CORRUPT`], a copy until it is complete.
pub(super) const COPY_DRAFT: &str = "draft";
/// In [`CORRUPT`], the list of repairs.
pub(super) const REPAIRS: &str = "repairs.jsonl";

/// The extension of an archived message's text.
pub(super) const TEXT: &str = "eml";
/// The extension of an archived message's metadata.
pub(super) const METADATA: &str = "json";
/// [`TEXT`], until the pair is complete.
pub(super) const TEXT_DRAFT: &str = "eml.draft";
/// [`METADATA`], until the pair is complete, and while it is being deleted.
pub(super) const METADATA_DRAFT: &str = "json.draft";

/// The extension of a log file.
const LOG: &str = ".jsonl";
/// The extension of a log file that is being rewritten.
const LOG_DRAFT: &str = ".draft";

/// The number of a segment.
pub(super) type Seq = NonZeroU32;

/// The file name of segment `seq`.
pub(super) fn segment_name(seq: Seq) -> String {
    format!("{seq:010}.log")
}

/// The path of segment `seq` in the directory `journal`.
pub(super) fn segment_path(journal: &Path, seq: Seq) -> PathBuf {
    journal.join(segment_name(seq))
}

/// The path of segment `seq` relative to the spool.
pub(super) fn segment_file(seq: Seq) -> String {
    format!("{JOURNAL}/{}", segment_name(seq))
}

/// The number in a file name, if it is the name of a segment.
pub(super) fn parse_segment_name(text: &str) -> Option<Seq> {
    let seq = text.strip_suffix(".log")?.parse().ok()?;
    (segment_name(seq) == text).then_some(seq)
}

/// The path of the log file `number` in the directory `dir`.
pub(super) fn log_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}{LOG}"))
}

/// The path of the log file `number` while it is being rewritten.
pub(super) fn log_draft_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}{LOG_DRAFT}"))
}

/// The number in a file name, if it is the name of a log file.
pub(super) fn parse_log_name(name: &str) -> Option<u64> {
    log_number(name.strip_suffix(LOG)?)
}

/// Whether it is the name of a log file that is being rewritten.
pub(super) fn is_log_draft(name: &str) -> bool {
    name.strip_suffix(LOG_DRAFT).and_then(log_number).is_some()
}

fn log_number(digits: &str) -> Option<u64> {
    let number: Option<u64> = (digits.len() == 20).then(|| digits.parse().ok()).flatten();
    // There must be a next number.
    number.filter(|number| *number < u64::MAX)
}

/// The name of an archived message's file with this extension.
pub(super) fn archived_name(id: MessageId, extension: &str) -> String {
    format!("{id}.{extension}")
}

/// The path, relative to the spool, of an archived message's file in the directory `archive`.
pub(super) fn archived_file(archive: &str, id: MessageId, extension: &str) -> String {
    format!("{archive}/{}", archived_name(id, extension))
}

/// The id in a file name, if the store would give that name to a file with this extension: the id must have its one spelling.
pub(super) fn archived_id(name: &str, extension: &str) -> Option<MessageId> {
    let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
    let id: MessageId = stem.parse().ok()?;
    (id.to_string() == stem).then_some(id)
}

/// Whether it is the name of one of the two drafts of an archived message.
pub(super) fn is_archived_draft(name: &str) -> bool {
    [TEXT_DRAFT, METADATA_DRAFT]
        .iter()
        .any(|extension| archived_id(name, extension).is_some())
}

/// The name of a copy of bytes at `offset` of segment `seq`.
pub(super) fn segment_copy_name(seq: Seq, offset: u64) -> String {
    format!("{seq:010}-{offset}.bin")
}

/// The name of a copy of bytes at `offset` of the spare segment.
pub(super) fn spare_copy_name(offset: u64) -> String {
    format!("{SPARE}-{offset}.bin")
}

/// The name of a copy of bytes at `offset` of a log file.
pub(super) fn log_copy_name(log: &str, number: u64, offset: u64) -> String {
    format!("{log}-{number:020}-{offset}.bin")
}

/// The name of a copy of a whole file, which is given relative to the spool.
pub(super) fn file_copy_name(file: &str) -> String {
    file.replace('/', "-")
}

/// The name of the copy number `number`, where others of the same name are there already.
pub(super) fn numbered_copy_name(name: &str, number: u32) -> String {
    if number == 0 {
        return name.to_owned();
    }
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "bin"));
    format!("{stem}-{number}.{extension}")
}
