//! The sink's ledger: a JSON line for each message, written before the message is answered.

use super::text::Text;
use parking_lot::Mutex;
use serde::Serialize;
use spool_core::{Clock, SystemClock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The header whose value a line repeats as `tag`.
pub const TAG_HEADER: &str = "X-Spool-Load";

/// One line, its fields in this order.
#[derive(Serialize)]
struct LedgerLine<'l> {
    at: i64,
    from: &'l str,
    to: &'l [String],
    size: u64,
    hash: String,
    tag: Option<String>,
}

#[derive(Debug)]
pub(super) struct SinkLedger(Mutex<File>);

impl SinkLedger {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(
            OpenOptions::new().create(true).append(true).open(path)?,
        )))
    }

    /// Writes one line, in one call.
    pub(super) fn write(&self, from: &str, to: &[String], text: &Text) -> io::Result<()> {
        let mut line = serde_json::to_vec(&LedgerLine {
            at: SystemClock.now().0,
            from,
            to,
            size: text.size,
            hash: format!("{:08x}", text.hash),
            tag: tag(&text.head),
        })?;
        line.push(b'\n');
        self.0.lock().write_all(&line)
    }
}

/// The value of the tag header within the first bytes of a message.
fn tag(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(TAG_HEADER)
            .then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_found_in_the_header_only() {
        assert_eq!(
            tag(b"A: b\r\nx-spool-load: r-7 \r\n\r\nbody").as_deref(),
            Some("r-7")
        );
        assert_eq!(tag(b"A: b\r\n\r\nX-Spool-Load: r-7\r\n"), None);
    }
}
