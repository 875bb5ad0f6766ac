//! A permit as the queue has it.

use crate::engine::{Outlook, PathId, World};

/// A permit of a destination.
#[derive(Debug)]
pub(crate) struct Permitted<W: World> {
    pub(crate) permit: W::Permit,
    /// Whether it comes from an attempt that has ended: it starts the next one without asking the throttle, while the path goes on. One that
    /// was granted is counted as an attempt already.
    pub(crate) is_kept: bool,
    /// The path by whose limits it was granted. Its destination may have another one since.
    pub(crate) path: Option<PathId>,
}

impl<W: World> Permitted<W> {
    /// Whether it may start an attempt at a destination with this path, in this epoch.
    pub(super) fn is_usable(&self, path: Option<PathId>, outlook: Option<Outlook>, epoch: u64) -> bool {
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        W::epoch(&self.permit) == epoch && (!self.is_kept || (goes_on && self.path == path))
    }
}
