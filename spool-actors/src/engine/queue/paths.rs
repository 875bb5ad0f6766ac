//! What the throttle has told of paths: what the messages of each have to expect, and which destinations share it.

use super::Queue;
use crate::engine::{DestinationId, Outlook, PathId, World};
use spool_core::{MessageId, Timestamp};
use std::collections::BTreeSet;

/// What is known of a path.
#[derive(Debug, Default)]
pub(super) struct PathInfo {
    outlook: Option<Outlook>,
    destinations: BTreeSet<DestinationId>,
}

impl<W: World> Queue<W> {
    /// What the messages of a destination have to expect; `None`: nothing was told yet.
    pub(super) fn outlook(&self, destination: DestinationId) -> Option<Outlook> {
        self.paths.get(&self.at(destination)?.path?)?.outlook
    }

    pub(in crate::engine) fn set_path(&mut self, destination: DestinationId, path: PathId) {
        self.leave_path(destination);
        // Otherwise it has gone.
        if let Some(slot) = self.slot(destination) {
            slot.path = Some(path);
            let known = self.paths.entry(path).or_default();
            known.destinations.insert(destination);
        }
        self.touch(destination);
    }

    pub(super) fn leave_path(&mut self, destination: DestinationId) {
        let former = self.slot(destination).and_then(|slot| slot.path.take());
        if let Some(known) = former.and_then(|former| self.paths.get_mut(&former)) {
            known.destinations.remove(&destination);
        }
    }

    /// Schedules all destinations of the path that have attempts under way: starts may be written ahead now, or must be taken back.
    pub(in crate::engine) fn set_outlook(&mut self, path: PathId, outlook: Outlook) {
        let known = self.paths.entry(path).or_default();
        let before = known.outlook.replace(outlook);
        let goes_on = |outlook: &Outlook| (outlook.goes_on, outlook.is_shut);
        if before.as_ref().map(goes_on) == Some(goes_on(&outlook)) {
            return;
        }
        for destination in self.on_path(path) {
            let slot = self.at(destination);
            if slot.is_some_and(|slot| slot.is_under_way()) {
                self.touch(destination);
            }
        }
    }

    /// An attempt at this message did not end well: its path does not go on until the throttle has said what follows.
    pub(in crate::engine) fn hold_back(&mut self, id: MessageId) {
        let path = self.path_of(id);
        let known = path.and_then(|path| self.paths.get_mut(&path));
        if let Some(outlook) = known.and_then(|known| known.outlook.as_mut()) {
            outlook.goes_on = false;
        }
    }

    pub(in crate::engine) fn forget_path(&mut self, path: PathId) {
        self.paths.remove(&path);
    }

    pub(in crate::engine) fn on_path(&self, path: PathId) -> Vec<DestinationId> {
        let known = self.paths.get(&path);
        known.map_or_else(Vec::new, |known| known.destinations.iter().copied().collect())
    }

    /// When time alone lets the next message go, of all that wait in line.
    pub(in crate::engine) fn next_opening(&self) -> Option<Timestamp> {
        let waiting = self.destinations.iter().filter(|slot| slot.waits());
        waiting.filter_map(|slot| self.outlook(slot.id)?.until).min()
    }

    /// Nothing goes to this destination for a while: what waits there is read again when its turn comes.
    pub(in crate::engine) fn let_go_of_line(&mut self, destination: DestinationId) {
        let line: Vec<MessageId> = self
            .at(destination)
            .map(|slot| slot.line.iter().copied().collect())
            .unwrap_or_default();
        for id in line {
            self.let_go(id);
        }
    }
}
