//! What the last look at the disk showed of the free space. Whether mail would be accepted is answered from this, because the answer must
//! not wait for the disk. It reads nothing itself.

use super::error::StoreError;
use std::time::{Duration, Instant};

/// How long a reading of the free space is used by those who may read it again.
const READING_AGE: Duration = Duration::from_millis(100);

/// The last look. See the module.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The free space, and when it was read.
    reading: Option<(Instant, u64)>,
    /// Why the next segment could not be prepared when it was last tried; `None`: it is ready, or was not needed yet.
    pub(super) refusal: Option<StoreError>,
}

impl Space {
    /// Notes a reading of the free space.
    pub(super) fn read(&mut self, available: u64) {
        self.reading = Some((Instant::now(), available));
    }

    /// The free space, if it was read a moment ago.
    pub(super) fn recent(&self) -> Option<u64> {
        let (at, available) = self.reading?;
        (at.elapsed() < READING_AGE).then_some(available)
    }

    /// Whether `size` more bytes leave `floor` bytes free, and the next segment is ready.
    pub(super) fn has_room_for(&self, size: u64, floor: u64) -> Result<(), StoreError> {
        if let Some((_, available)) = self.reading.filter(|_| floor > 0) {
            leaves_free(available, size, floor)?;
        }
        self.refusal.clone().map_or(Ok(()), Err)
    }

    /// Makes the next reader read the free space again.
    #[cfg(test)]
    pub(super) fn end_age(&mut self) {
        if let Some((at, _)) = &mut self.reading {
            *at = at.checked_sub(READING_AGE).unwrap();
        }
    }
}

/// Whether `size` more bytes leave `floor` of the `available` bytes free.
pub(super) fn leaves_free(available: u64, size: u64, floor: u64) -> Result<(), StoreError> {
    if available < floor.saturating_add(size) {
        let text = format!("{available} bytes are free, {floor} are to stay so");
        return Err(StoreError::Full(text));
    }
    Ok(())
}
