//! The owner of every outbound limit, as a pure machine: jobs in all, sessions in all, sessions and rate of each path, and fairness
//! between paths and between the destinations of a path.
//!
//! The next permit goes to the path that has the fewest, in turns among equals, and there to the destination that has the fewest. A path
//! whose sessions hang keeps what it has, and gets no more while others wait. A permit is the right to make one attempt after the other,
//! with one session at a time, until it is given back. The machine opens nothing and has no clock.

mod lookups;
mod paths;
mod settings;
mod view;

use super::path::Path;
use super::turns::{Place, Turns};
use crate::engine::{DestinationId, News, Now, PathId, PermitId, Told};
use crate::pace::{Adjustment, SessionStart, Signal};
use spool_core::{Dice, LearnedDestination, NextHop, Policies, Timestamp};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often the path of a destination is looked up again, at most.
const LOOKUP_AGAIN: Duration = Duration::from_secs(300);

/// What [`Limits`] start with.
#[derive(Debug)]
pub(crate) struct LimitsSetup {
    pub(crate) max_jobs: usize,
    pub(crate) max_sessions: usize,
    /// Sessions of one path, where its policy does not say.
    pub(crate) max_per_path: usize,
    pub(crate) policies: Policies,
    pub(crate) learned: Vec<LearnedDestination>,
    pub(crate) dice: Arc<dyn Dice>,
}

/// What a permit grants.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) id: PermitId,
    /// How many times the maximum had been set when it was granted.
    pub(crate) epoch: u64,
    /// The path whose limits it keeps to.
    pub(crate) path: Arc<[NextHop]>,
}

/// A request of [`Limits`]. They are carried out in order.
#[derive(Debug)]
pub(crate) enum Output {
    /// An attempt to this destination may start.
    Granted(DestinationId, Grant),
    /// Look up the path of a destination: [`Limits::looked_up`] takes the answer.
    LookUp(DestinationId, Arc<[NextHop]>),
    /// Report this to the engine.
    News(News),
}

/// A destination, as far as permits are concerned.
#[derive(Debug, Default)]
struct DestinationPermits {
    next_hops: Arc<[NextHop]>,
    path: Option<PathId>,
    waiting: usize,
    /// Permits of its path that it has, of those granted since the limit of jobs was set.
    recent: usize,
    /// Its place among the destinations of its path, if it waits.
    place: Option<Place>,
    looked_up: Timestamp,
    is_looking: bool,
    /// The policies have changed since it was asked for.
    is_outdated: bool,
}

/// A permit that is out.
#[derive(Debug)]
struct Out {
    destination: DestinationId,
    path: PathId,
    epoch: u64,
    /// The attempt under it.
    begun: Option<SessionStart>,
    /// Whether an attempt has been made.
    used: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Limits {
    setup: LimitsSetup,
    /// How many times the limit of jobs was set.
    epoch: u64,
    /// Permits out that were granted since.
    jobs: usize,
    paths: HashMap<PathId, Path>,
    by_hops: HashMap<Arc<[NextHop]>, PathId>,
    /// Paths that nobody has, of which something is remembered. Never more than [`MAX_DESTINATIONS`](spool_core::store::MAX_DESTINATIONS).
    resting: BTreeSet<PathId>,
    last_path: PathId,
    destinations: HashMap<DestinationId, DestinationPermits>,
    permits: HashMap<PermitId, Out>,
    last_permit: PermitId,
    /// Paths with a destination that waits and room for it.
    ready: Turns<PathId>,
    /// When the outlook of a path must be computed again.
    openings: BTreeSet<(Timestamp, PathId)>,
    /// Paths where something has changed.
    touched: BTreeSet<PathId>,
    lookups: usize,
    to_look_up: VecDeque<DestinationId>,
    outputs: Vec<Output>,
    contended: bool,
    opens: Option<Timestamp>,
    /// Something was learned since it was last kept.
    learned_more: bool,
}

impl Limits {
    pub(crate) fn new(mut setup: LimitsSetup, now: Now) -> Self {
        setup.max_sessions = setup.max_sessions.max(1);
        let learned = std::mem::take(&mut setup.learned);
        let mut limits = Self {
            setup,
            epoch: 0,
            jobs: 0,
            paths: HashMap::new(),
            by_hops: HashMap::new(),
            resting: BTreeSet::new(),
            last_path: 0,
            destinations: HashMap::new(),
            permits: HashMap::new(),
            last_permit: 0,
            ready: Turns::default(),
            openings: BTreeSet::new(),
            touched: BTreeSet::new(),
            lookups: 0,
            to_look_up: VecDeque::new(),
            outputs: Vec::new(),
            contended: false,
            opens: None,
            learned_more: false,
        };
        limits.remember(learned, now);
        limits
    }

    /// Takes in what the engine tells.
    pub(crate) fn hear(&mut self, told: Told, now: Now) {
        match told {
            Told::Demand {
                destination,
                next_hops,
                more,
            } => self.demand(destination, next_hops, more, now),
            Told::Started(permit) => self.started(permit, now.inside),
            Told::Done(permit, signal) => self.ended(permit, &signal, now.inside),
            Told::Returned(permit, signal) => self.returned(permit, signal, now.inside),
            Told::Hurry(destination) => self.hurry(destination, now.inside),
            Told::Gone(destination) => {
                self.leave_path(destination);
                self.destinations.remove(&destination);
            }
            Told::Time => {}
            Told::Ended => self.setup.max_jobs = 0,
        }
    }

    fn demand(&mut self, destination: DestinationId, next_hops: Arc<[NextHop]>, more: isize, now: Now) {
        let known = self
            .destinations
            .entry(destination)
            .or_insert_with(|| DestinationPermits {
                next_hops,
                looked_up: now.inside,
                ..DestinationPermits::default()
            });
        let is_due = known.path.is_none() || now.inside.since(known.looked_up) >= LOOKUP_AGAIN;
        if is_due && !known.is_looking {
            known.is_looking = true;
            self.to_look_up.push_back(destination);
        }
        known.waiting = known.waiting.saturating_add_signed(more);
        self.line_up(destination);
    }

    /// Moves a destination to its place in the turns of its path.
    fn line_up(&mut self, destination: DestinationId) {
        if let Some(known) = self.destinations.get_mut(&destination)
            && let Some(id) = known.path
            && let Some(path) = self.paths.get_mut(&id)
        {
            let waits = (known.waiting > 0).then_some(known.recent);
            path.turns.set(destination, &mut known.place, waits);
            self.touched.insert(id);
        }
    }

    fn started(&mut self, permit: PermitId, now: Timestamp) {
        let Some(out) = self.permits.get_mut(&permit) else {
            return;
        };
        out.used = true;
        let path = self.paths.get_mut(&out.path).filter(|_| out.begun.is_none());
        if let Some(path) = path {
            out.begun = Some(path.pace.begin(now, path.running));
            path.running += 1;
        }
    }

    /// An attempt has ended.
    fn ended(&mut self, permit: PermitId, signal: &Signal, now: Timestamp) {
        let Some(out) = self.permits.get_mut(&permit) else {
            return;
        };
        let (Some(begun), path_id) = (out.begun.take(), out.path) else {
            return;
        };
        let Some(path) = self.paths.get_mut(&path_id) else {
            return;
        };
        let effect = path
            .pace
            .end(signal, begun, now, path.running, self.setup.dice.as_ref());
        path.running -= 1;
        if !matches!(signal, Signal::Fine) {
            // The engine holds the path back until it gets the next outlook.
            path.told = None;
        }
        self.touched.insert(path_id);
        self.learned_more |= effect != Adjustment::GoOn;
        let reason = signal.reason().unwrap_or_default();
        let hops = &path.hops;
        match effect {
            Adjustment::GoOn => return,
            Adjustment::Slower => return tracing::info!(?hops, reason, "a destination is sent less"),
            Adjustment::Reopened => return tracing::info!(?hops, "a destination answers again"),
            Adjustment::Shut => tracing::warn!(
                ?hops,
                reason,
                "a destination does not answer; it is left alone for a while"
            ),
            Adjustment::StillShut => tracing::info!(?hops, reason, "a destination still does not answer"),
        }
        self.outputs
            .push(Output::News(News::Unanswered(path_id, reason.to_owned())));
    }

    fn returned(&mut self, permit: PermitId, signal: Option<Signal>, now: Timestamp) {
        let Some(out) = self.permits.get(&permit) else {
            return;
        };
        let signal = signal.unwrap_or(if out.used { Signal::Nothing } else { Signal::Unused });
        self.ended(permit, &signal, now);
        let Some(out) = self.permits.remove(&permit) else {
            return;
        };
        let is_recent = out.epoch == self.epoch;
        self.jobs -= usize::from(is_recent);
        if let Some(path) = self.paths.get_mut(&out.path) {
            (path.out, path.recent) = (path.out - 1, path.recent - usize::from(is_recent));
        }
        self.touch(out.path);
        let known = self.destinations.get_mut(&out.destination);
        if let Some(known) = known.filter(|known| known.path == Some(out.path)) {
            known.recent = known.recent.saturating_sub(usize::from(is_recent));
            self.line_up(out.destination);
        }
    }

    fn hurry(&mut self, destination: DestinationId, now: Timestamp) {
        let path = self.destinations.get(&destination).and_then(|known| known.path);
        if let Some((id, path)) = path.and_then(|id| Some((id, self.paths.get_mut(&id)?))) {
            path.pace.hurry(now);
            self.touched.insert(id);
        }
    }

    /// Grants what may be granted now. Gives what is to be said and done, in order.
    pub(crate) fn settle(&mut self, now: Now) -> Vec<Output> {
        self.open_due(now.inside);
        self.start_lookups();
        let mut changed = BTreeSet::new();
        loop {
            for path in std::mem::take(&mut self.touched) {
                if let Some(known) = self.paths.get_mut(&path) {
                    let waits = known.is_ready(now.inside).then_some(known.recent);
                    self.ready.set(path, &mut known.place, waits);
                }
                changed.insert(path);
            }
            match self.grant(now.inside) {
                Some(path) => self.touch(path),
                None => break,
            }
        }
        for path in changed {
            self.tell(path, now.inside);
        }
        self.tell_all();
        std::mem::take(&mut self.outputs)
    }

    /// The next permit, if one may be granted. Gives its path.
    fn grant(&mut self, now: Timestamp) -> Option<PathId> {
        if self.is_full() {
            return None;
        }
        let (_, id) = self.ready.iter().find(|(_, id)| self.has_a_share_left(*id))?;
        let path = self.paths.get_mut(&id)?;
        let (_, destination) = path.turns.iter().next()?;
        let known = self.destinations.get_mut(&destination)?;
        let begun = path.pace.begin(now, path.running);
        (path.running, path.out, path.recent) = (path.running + 1, path.out + 1, path.recent + 1);
        (known.waiting, known.recent) = (known.waiting - 1, known.recent + 1);
        // The next turn of both comes after everybody else's.
        path.turns.set(destination, &mut known.place, None);
        self.ready.set(id, &mut path.place, None);
        self.last_permit += 1;
        self.jobs += 1;
        let out = Out {
            destination,
            path: id,
            epoch: self.epoch,
            begun: Some(begun),
            used: false,
        };
        self.permits.insert(self.last_permit, out);
        let grant = Grant {
            id: self.last_permit,
            epoch: self.epoch,
            path: Arc::clone(&path.hops),
        };
        self.outputs.push(Output::Granted(destination, grant));
        self.line_up(destination);
        Some(id)
    }

    /// Whether there are as many permits as all paths together may have.
    fn is_full(&self) -> bool {
        self.jobs >= self.setup.max_jobs || self.permits.len() >= self.setup.max_sessions
    }

    /// One path never takes the last quarter, so that other paths find free jobs.
    fn has_a_share_left(&self, path: PathId) -> bool {
        self.paths.get(&path).is_some_and(|path| !self.is_greedy(path))
    }

    fn is_greedy(&self, path: &Path) -> bool {
        path.recent >= share(self.setup.max_jobs) || path.out >= share(self.setup.max_sessions)
    }
}

/// The most of `all` that one path may have.
const fn share(all: usize) -> usize {
    let share = all - all / 4;
    if share == 0 { 1 } else { share }
}
