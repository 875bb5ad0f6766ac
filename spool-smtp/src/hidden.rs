//! Values that are shown nowhere.

use std::fmt;

/// A password, a key, or what has one in it: no `Debug` output shows it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hidden<T>(pub(crate) T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
