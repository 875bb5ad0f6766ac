//! The header of an answer that cannot be given before all messages are loaded.

/// How much is loaded, in percent.
pub(crate) const LOADING: &str = "x-spool-loading";
