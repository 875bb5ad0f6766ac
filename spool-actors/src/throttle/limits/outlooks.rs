//! The outlooks of paths that the engine gets, and when they change because time has passed.

use super::{Limits, Output};
use crate::engine::{News, PathId};
use spool_core::Timestamp;
use std::cmp::Reverse;

/// Stale places in the list of openings that are not worth sweeping out.
const SWEEP: usize = 1024;

impl Limits {
    /// Reports a changed outlook of a path and sets when it is computed again. Forgets a path that no destination has.
    pub(super) fn tell(&mut self, id: PathId, now: Timestamp) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if path.is_empty() {
            if let Some(path) = self.paths.remove(&id) {
                self.by_hops.remove(&path.hops);
                self.memory.rest(path.hops, path.pace);
                self.outputs.push(Output::News(News::Forgotten(id)));
            }
            return;
        }
        let outlook = path.outlook(now);
        if path.told != Some(outlook) {
            path.told = Some(outlook);
            self.outputs.push(Output::News(News::Outlook(id, outlook)));
        }
        let opens = outlook.until.filter(|_| !path.turns.is_empty());
        if path.opens != opens {
            path.opens = opens;
            self.openings.extend(opens.map(|at| Reverse((at, id))));
        }
        if self.openings.len() > 2 * self.paths.len() + SWEEP {
            let all = self.paths.iter();
            self.openings = all
                .filter_map(|(id, path)| Some(Reverse((path.opens?, *id))))
                .collect();
        }
    }

    /// Tells what concerns all paths.
    pub(super) fn tell_all(&mut self) {
        let contended = self.is_full() && self.ready.iter().any(|(_, _, id)| self.has_a_share_left(*id));
        if std::mem::replace(&mut self.contended, contended) != contended {
            self.outputs.push(Output::News(News::Contended(contended)));
        }
        let opens = self.next_opening();
        if std::mem::replace(&mut self.opens, opens) != opens {
            self.outputs.push(Output::News(News::Opens(opens)));
        }
        // What the engine reads of a path comes before the permits that it starts attempts with.
        self.outputs.sort_by_key(|output| match output {
            Output::LookUp(..) => 0,
            Output::Granted { .. } => 5,
            Output::News(news) => match news {
                News::Path(..) => 1,
                News::Outlook(..) => 2,
                News::Unanswered(..) => 3,
                News::Contended(_) => 4,
                News::Left(_) | News::Forgotten(_) | News::Opens(_) => 6,
            },
        });
    }

    pub(super) fn open_due(&mut self, now: Timestamp) {
        while let Some(at) = self.next_opening()
            && at <= now
            && let Some(Reverse((_, id))) = self.openings.pop()
        {
            if let Some(path) = self.paths.get_mut(&id) {
                path.opens = None;
            }
            self.touch(id);
        }
    }

    pub(super) fn next_opening(&mut self) -> Option<Timestamp> {
        loop {
            let Reverse((at, id)) = *self.openings.peek()?;
            if self.paths.get(&id).and_then(|path| path.opens) == Some(at) {
                return Some(at);
            }
            self.openings.pop();
        }
    }
}
