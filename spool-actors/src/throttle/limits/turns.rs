//! Whose turn it is: destinations take turns on their path, and paths among each other.

use super::{DestinationPermits, Limits};
use crate::engine::{DestinationId, PathId};
use crate::throttle::path::Path;
use spool_core::Timestamp;

impl Limits {
    pub(super) fn touch(&mut self, path: PathId) {
        self.touched.insert(path);
    }

    /// Changes a destination and moves it to its place in the turns of its path; `of`: only if that is its path.
    pub(super) fn change(
        &mut self,
        destination: DestinationId,
        of: Option<PathId>,
        change: impl FnOnce(&mut DestinationPermits),
    ) {
        let known = self.destinations.get(&destination);
        if of.is_some() && known.and_then(|known| known.path) != of {
            return;
        }
        self.leave_line(destination);
        if let Some(known) = self.destinations.get_mut(&destination) {
            change(known);
        }
        self.line_up(destination);
    }

    pub(super) fn leave_line(&mut self, destination: DestinationId) {
        let Some(known) = self.destinations.get(&destination) else {
            return;
        };
        if let (Some(turn), Some(path)) = (known.turn, known.path)
            && let Some(path) = self.paths.get_mut(&path)
        {
            path.turns.remove(&(known.recent, turn, destination));
        }
    }

    pub(super) fn line_up(&mut self, destination: DestinationId) {
        let Some(known) = self.destinations.get_mut(&destination) else {
            return;
        };
        let Some(id) = known.path else { return };
        if known.waiting == 0 {
            known.turn = None;
        } else {
            let turn = *known.turn.get_or_insert_with(|| {
                self.last_turn += 1;
                self.last_turn
            });
            if let Some(path) = self.paths.get_mut(&id) {
                path.turns.insert((known.recent, turn, destination));
            }
        }
        self.touch(id);
    }

    /// Changes how many permits a path has, and moves it to its place among those that are ready.
    pub(super) fn change_path(&mut self, id: PathId, change: impl FnOnce(&mut Path)) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if let Some(turn) = path.turn {
            self.ready.remove(&(path.recent, turn, id));
        }
        change(path);
        self.touch(id);
    }

    pub(super) fn line_up_path(&mut self, id: PathId, now: Timestamp) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if let Some(turn) = path.turn {
            self.ready.remove(&(path.recent, turn, id));
        }
        if !path.is_ready(now) {
            path.turn = None;
            return;
        }
        let turn = *path.turn.get_or_insert_with(|| {
            self.last_turn += 1;
            self.last_turn
        });
        self.ready.insert((path.recent, turn, id));
    }
}
