//! A permit as the queue has it.

use crate::engine::World;

/// A permit of a destination.
#[derive(Debug)]
pub(crate) struct Permitted<W: World> {
    pub(crate) permit: W::Permit,
    /// Whether it comes from an attempt that has ended: it starts the next one without asking the throttle, while the path goes on. One that
    /// was granted is counted as an attempt already.
    pub(crate) is_kept: bool,
}
