//! Compares the messages that were answered with those that arrived.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A ledger that cannot be read.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// An I/O error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A line is not an entry of a ledger.
    #[error("{}:{line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Messages answered 250.
    pub answered: u64,
    /// Of these, how many arrived.
    pub arrived: u64,
    /// Of these, how many did not.
    pub lost: u64,
    /// Arrivals beyond the first, of any message.
    pub duplicated: u64,
    /// Messages without an answer that arrived, which is allowed.
    pub unknown_arrived: u64,
    /// When the last of them arrived, in milliseconds since 1970.
    pub last_at: i64,
}

#[derive(Deserialize)]
struct Arrived {
    at: i64,
    tag: Option<String>,
}

/// A line of the load's own ledger.
#[derive(Serialize, Deserialize)]
pub(super) struct SentLine {
    pub(super) tag: String,
    pub(super) answered: bool,
}

/// Compares the ledger of a load with the ledger of a sink. Messages of other runs in the sink's ledger are passed over.
///
/// # Errors
/// When a ledger cannot be read.
pub fn verify(load: &Path, sink: &Path) -> Result<Verification, VerifyError> {
    let mut sent: HashMap<String, (bool, u64)> = HashMap::new();
    each(load, |line: SentLine| {
        sent.insert(line.tag, (line.answered, 0));
    })?;
    let mut result = Verification::default();
    each(sink, |line: Arrived| {
        if let Some((_, times)) = line.tag.as_deref().and_then(|tag| sent.get_mut(tag)) {
            *times += 1;
            result.last_at = result.last_at.max(line.at);
        }
    })?;
    for (answered, times) in sent.into_values() {
        result.answered += u64::from(answered);
        result.arrived += u64::from(answered && times > 0);
        result.lost += u64::from(answered && times == 0);
        result.unknown_arrived += u64::from(!answered && times > 0);
        result.duplicated += times.saturating_sub(1);
    }
    Ok(result)
}

fn each<T: for<'de> Deserialize<'de>>(path: &Path, mut take: impl FnMut(T)) -> Result<(), VerifyError> {
    let failed = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    for (place, line) in BufReader::new(File::open(path).map_err(failed)?)
        .lines()
        .enumerate()
    {
        let line = line.map_err(failed)?;
        let read = serde_json::from_str(&line);
        take(read.map_err(|source| VerifyError::Line {
            path: path.to_owned(),
            line: place + 1,
            source,
        })?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_duplicated_messages_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (load, sink) = (dir.path().join("load"), dir.path().join("sink"));
        let sent = [("a", true), ("b", true), ("c", true), ("d", false), ("e", false)];
        let lines: String = sent
            .iter()
            .map(|(tag, answered)| format!("{{\"tag\":\"{tag}\",\"answered\":{answered}}}\n"))
            .collect();
        std::fs::write(&load, lines).unwrap();
        let arrived = ["\"a\"", "\"b\"", "\"b\"", "\"b\"", "\"d\"", "\"z\"", "null"];
        let lines: String = arrived
            .iter()
            .map(|tag| format!("{{\"at\":7,\"from\":\"\",\"tag\":{tag}}}\n"))
            .collect();
        std::fs::write(&sink, lines).unwrap();
        let found = verify(&load, &sink).unwrap();
        let expected = Verification {
            answered: 3,
            arrived: 2,
            lost: 1,
            duplicated: 2,
            unknown_arrived: 1,
            last_at: 7,
        };
        assert_eq!(found, expected);
        std::fs::write(&sink, "{}\n").unwrap();
        assert!(verify(&load, &sink).unwrap_err().to_string().contains("sink:1"));
    }
}
