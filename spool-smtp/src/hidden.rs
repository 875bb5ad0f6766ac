//! Values that are shown nowhere.

/// A password, a key, or what has one in it: no `Debug` output shows it.
#[derive(Clone, Copy, Default, PartialEq, Eq, derive_more::Debug)]
#[debug("(hidden)")]
pub(crate) struct Hidden<T>(pub(crate) T);
