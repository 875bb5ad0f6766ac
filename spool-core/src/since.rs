//! Fields that records of older formats of the journal do not have.
//!
//! A record has one definition for all formats. A field that came with a format says so, and has its default value when an
//! older record is read. serde gives the fields of a derived type no argument, so the format is kept for the thread while one
//! record is read.

use serde::{Deserialize, Deserializer};
use std::cell::Cell;

thread_local! {
    /// The format of the record that is being read. Whatever else is read is of the newest one.
    static FORMAT: Cell<u8> = const { Cell::new(u8::MAX) };
}

/// Sets the newest format again, also when reading has panicked.
struct Newest;

impl Drop for Newest {
    fn drop(&mut self) {
        FORMAT.set(u8::MAX);
    }
}

/// Calls `read`, which reads a record of this format.
pub(crate) fn reading<T>(format: u8, read: impl FnOnce() -> T) -> T {
    let _afterwards = Newest;
    FORMAT.set(format);
    read()
}

/// Reads a field that came with the format `SINCE`.
pub(crate) fn format<'de, const SINCE: u8, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    match FORMAT.get() >= SINCE {
        true => T::deserialize(deserializer),
        false => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_format_is_set_again_after_a_panic() {
        let read = std::panic::catch_unwind(|| reading(1, || panic!("while a record is read")));
        assert!(read.is_err());
        assert_eq!(FORMAT.get(), u8::MAX);
    }
}
