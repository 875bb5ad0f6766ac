//! One step of a repair: the problem, and the action against it.

use crate::store::care::finding::ProblemKind;
use crate::store::care::recovery::Copy;
use crate::store::error::OpenError;
use crate::store::fs::{Fs, Mode};
use crate::store::layout;
use crate::store::logs::lines::LogFile;
use std::path::{Path, PathBuf};

/// How a problem is repaired.
#[derive(Debug)]
pub(super) enum Act {
    /// The bytes are covered or cut off, as at a start.
    Journal(Option<Copy>),
    /// The pair is deleted, as at a start.
    Archive(Option<Copy>),
    /// The file is deleted.
    Unlink { path: PathBuf, copy: Option<Copy> },
    /// The file is renamed.
    Rename { from: PathBuf, to: PathBuf },
    /// The file is rewritten without these bytes.
    Rewrite { dir: PathBuf, part: LogFile, copy: Copy },
}

/// One problem and its repair.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) problem: ProblemKind,
    pub(super) file: String,
    pub(super) what: String,
    pub(super) act: Act,
}

impl Act {
    pub(super) const fn copy(&self) -> Option<&Copy> {
        match self {
            Self::Rewrite { copy, .. } => Some(copy),
            Self::Journal(copy) | Self::Archive(copy) | Self::Unlink { copy, .. } => copy.as_ref(),
            Self::Rename { .. } => None,
        }
    }

    pub(super) fn done(&self) -> String {
        match self {
            Self::Journal(Some(_)) => "copied and covered".to_owned(),
            Self::Journal(None) => "noted; there is nothing to copy".to_owned(),
            Self::Archive(_) => "deleted from the archive".to_owned(),
            Self::Unlink { .. } => "deleted".to_owned(),
            Self::Rename { to, .. } => {
                let name = to.file_name().unwrap_or_default();
                format!("renamed to {}", name.to_string_lossy())
            }
            Self::Rewrite { .. } => "rewritten without these bytes".to_owned(),
        }
    }
}

/// The copy to make of a whole file.
pub(super) fn whole(fs: &dyn Fs, dir: &Path, file: &str) -> Result<Copy, OpenError> {
    let source = dir.join(file);
    let opened = fs.open(&source, Mode::Read);
    let length = opened.and_then(|file| file.size());
    Ok(Copy {
        length: length.map_err(OpenError::io("read", &source))?,
        name: layout::file_copy_name(file),
        offset: 0,
        source,
    })
}
