//! The paths: the outlook of each that the engine gets, when it changes because time has passed, and what was learned of those that
//! no destination has now.

use super::{Limits, Output};
use crate::engine::{News, Now, PathId};
use crate::pace::Pace;
use crate::throttle::path::Path;
use spool_core::store::MAX_DESTINATIONS;
use spool_core::{LearnedDestination, NextHop, Timestamp};
use std::sync::Arc;

impl Limits {
    /// Takes in what a former process has learned, with times of the wall clock.
    pub(super) fn remember(&mut self, learned: Vec<LearnedDestination>, now: Now) {
        // The newest comes last: what rests longest is forgotten first.
        for learned in learned.into_iter().take(MAX_DESTINATIONS).rev() {
            let id = self.path(&learned.next_hops, now);
            if let Some(path) = self.paths.get_mut(&id) {
                let learned = with_times(learned, |at| now.inside_of(at));
                path.pace.remember(learned, now.inside);
                self.resting.insert(id);
            }
        }
    }

    pub(super) fn fresh(&self, hops: &[NextHop]) -> Pace {
        Pace::new(&self.setup.policies.of(hops), self.setup.max_per_path)
    }

    /// The path with these hosts, made when new. What is too old is forgotten.
    pub(super) fn path(&mut self, hops: &Arc<[NextHop]>, now: Now) -> PathId {
        self.forget_stale(self.by_hops.get(hops).copied(), now);
        if let Some(path) = self.by_hops.get(hops) {
            return *path;
        }
        self.last_path += 1;
        let path = Path {
            hops: Arc::clone(hops),
            pace: self.fresh(hops),
            ..Path::default()
        };
        self.paths.insert(self.last_path, path);
        self.by_hops.insert(Arc::clone(hops), self.last_path);
        self.last_path
    }

    /// Forgets those of `ids` that rest and of which everything is outdated.
    pub(super) fn forget_stale(&mut self, ids: impl IntoIterator<Item = PathId>, now: Now) {
        for id in ids {
            let is_stale = |path: &Path| path.pace.is_stale(now.inside);
            if self.resting.contains(&id) && self.paths.get(&id).is_some_and(is_stale) {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: PathId) {
        self.resting.remove(&id);
        if let Some(path) = self.paths.remove(&id) {
            self.by_hops.remove(&path.hops);
        }
    }

    pub(super) fn touch(&mut self, path: PathId) {
        self.touched.insert(path);
    }

    /// Reports a changed outlook of a path and sets when it is computed again. A path that no destination has rests; one of which there
    /// is nothing to tell is forgotten.
    pub(super) fn tell(&mut self, id: PathId, now: Timestamp) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        let outlook = Some(path.outlook(now)).filter(|_| !path.is_resting());
        let is_news = match outlook {
            Some(_) => path.told != outlook,
            None => !self.resting.contains(&id),
        };
        path.told = outlook;
        if is_news {
            let news = outlook.map_or(News::Forgotten(id), |outlook| News::Outlook(id, outlook));
            self.outputs.push(Output::News(news));
        }
        let waits = |_: &Timestamp| !path.turns.is_empty();
        let opens = outlook.and_then(|outlook| outlook.until).filter(waits);
        if let Some(before) = std::mem::replace(&mut path.opens, opens) {
            self.openings.remove(&(before, id));
        }
        self.openings.extend(opens.map(|at| (at, id)));
        if outlook.is_some() {
            self.resting.remove(&id);
        } else if !path.pace.is_worth_remembering() {
            self.forget(id);
        } else if self.resting.insert(id)
            && self.resting.len() > MAX_DESTINATIONS
            && let Some(any) = self.resting.first().copied()
        {
            // What is lost is learned again.
            self.forget(any);
        }
    }

    /// Tells what concerns all paths.
    pub(super) fn tell_all(&mut self) {
        let mut ready = self.ready.iter();
        let contended = self.is_full() && ready.any(|(_, id)| self.has_a_share_left(id));
        if std::mem::replace(&mut self.contended, contended) != contended {
            self.outputs.push(Output::News(News::Contended(contended)));
        }
        let opens = self.openings.first().map(|(at, _)| *at);
        if std::mem::replace(&mut self.opens, opens) != opens {
            self.outputs.push(Output::News(News::Opens(opens)));
        }
        // What the engine reads of a path comes before the permits that it starts attempts with.
        self.outputs.sort_by_key(|output| match output {
            Output::LookUp(..) => 0,
            Output::Granted(..) => 5,
            Output::News(news) => match news {
                News::Path(..) => 1,
                News::Outlook(..) => 2,
                News::Unanswered(..) => 3,
                News::Contended(_) => 4,
                News::Forgotten(_) | News::Opens(_) => 6,
            },
        });
    }

    pub(super) fn open_due(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.openings.first().copied().filter(|(at, _)| *at <= now) {
            self.openings.pop_first();
            if let Some(path) = self.paths.get_mut(&id) {
                path.opens = None;
            }
            self.touch(id);
        }
    }
}

/// What was learned, with other times.
pub(super) fn with_times(
    mut learned: LearnedDestination,
    time: impl Fn(Timestamp) -> Timestamp,
) -> LearnedDestination {
    learned.at = time(learned.at);
    learned.next_message = learned.next_message.map(&time);
    if let Some(circuit) = &mut learned.circuit {
        circuit.until = time(circuit.until);
    }
    learned
}
