//! A small file that is read again when it changes. It is checked when its content is needed, at most once a second.
//!
//! Reading blocks, and is bounded: at most 16 MiB are read, and only regular files are opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The most bytes that are read.
const MAX_SIZE: u64 = 16 * 1024 * 1024;
/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file; see the module.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) path: PathBuf,
    interval: Duration,
    next_check: Option<Instant>,
    /// The state of the file when it was read; inner `None`: there was no file.
    seen: Option<Option<Seen>>,
    /// Whether the same state was read twice: a second change within one tick of the file system's clock cannot be noticed.
    settled: bool,
}

/// The metadata by which a change is noticed: device, inode, length, and time of the last change.
type Seen = (u64, u64, u64, Option<SystemTime>);

impl Watched {
    /// A file that was not checked yet.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            interval: INTERVAL,
            next_check: None,
            seen: None,
            settled: false,
        }
    }

    /// For tests: checked each time.
    #[cfg(test)]
    pub(super) const fn at_any_time(mut self) -> Self {
        self.interval = Duration::ZERO;
        self
    }

    /// The content of the file if it may have changed since the last check, and at the first check. A missing file is empty.
    ///
    /// # Errors
    /// Why the file cannot be read. The next check tries again.
    pub(super) fn look(&mut self, now: Instant) -> Option<io::Result<Vec<u8>>> {
        if self.next_check.is_some_and(|next| now < next) {
            return None;
        }
        self.next_check = Some(now + self.interval);
        match self.read_if_changed() {
            Ok(None) => None,
            Ok(Some(content)) => Some(Ok(content)),
            Err(error) => {
                self.seen = None;
                Some(Err(error))
            }
        }
    }

    fn read_if_changed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let known = self.seen.replace(None) == Some(None);
                return Ok((!known).then(Vec::new));
            }
            Err(error) => return Err(error),
        };
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let modified = metadata.modified().ok();
        let seen = (metadata.dev(), metadata.ino(), metadata.len(), modified);
        let same = self.seen == Some(Some(seen));
        if same && self.settled {
            return Ok(None);
        }
        let mut content = Vec::new();
        File::open(&self.path)?.take(MAX_SIZE).read_to_end(&mut content)?;
        (self.seen, self.settled) = (Some(Some(seen)), same);
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(looked: Option<io::Result<Vec<u8>>>) -> Option<String> {
        looked.map(|content| String::from_utf8(content.unwrap()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_at_first_and_again_when_it_may_have_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut watched = Watched::new(path.clone());
        let mut look = |at: u64| text(watched.look(Instant::now() + Duration::from_millis(at)));
        assert_eq!(look(0).as_deref(), Some(""), "it is not there");
        fs::write(&path, "one").unwrap();
        assert_eq!(look(999), None, "too early");
        assert_eq!(look(1000).as_deref(), Some("one"));
        // The same length, perhaps within the same tick.
        fs::write(&path, "two").unwrap();
        assert_eq!(look(2000).as_deref(), Some("two"));
        // Read once more, unless it was within the same tick.
        let again = look(3000);
        assert!(again.is_none_or(|text| text == "two"));
        assert_eq!(look(4000), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(5000).as_deref(), Some(""));
        assert_eq!(look(6000), None);
    }

    #[tokio::test]
    async fn what_is_no_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(dir.path().to_owned()).at_any_time();
        for _ in 0..2 {
            assert!(watched.look(Instant::now()).unwrap().is_err());
        }
    }
}
