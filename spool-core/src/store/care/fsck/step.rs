//! One step of a repair: what is wrong, and what is done about it.

use crate::store::care::finding::Ailment;
use crate::store::care::recovery::Copy;
use crate::store::error::OpenError;
use crate::store::fs::{Fs, Mode};
use crate::store::layout;
use crate::store::logs::lines::LogFile;
use std::path::{Path, PathBuf};

/// How something is mended.
#[derive(Debug)]
pub(super) enum Act {
    /// The bytes are covered or cut, as a start does it.
    Journal(Option<Copy>),
    /// The pair goes, as a start does it.
    Archive(Option<Copy>),
    /// The file is taken away.
    Unlink { path: PathBuf, copy: Option<Copy> },
    /// The file gets its right name.
    Rename { from: PathBuf, to: PathBuf },
    /// The file is written anew without these bytes.
    Rewrite { dir: PathBuf, part: LogFile, copy: Copy },
}

/// One thing to be mended.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) ailment: Ailment,
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
            Self::Journal(Some(_)) => "set aside".to_owned(),
            Self::Journal(None) => "noted; nothing is there to be set aside".to_owned(),
            Self::Archive(_) => "taken off the shelf".to_owned(),
            Self::Unlink { .. } => "taken away".to_owned(),
            Self::Rename { to, .. } => {
                let name = to.file_name().unwrap_or_default();
                format!("renamed to {}", name.to_string_lossy())
            }
            Self::Rewrite { .. } => "written anew without these bytes".to_owned(),
        }
    }
}

/// A copy of a whole file.
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
