//! What histories did, to be sure that they did something.

use std::fmt;

/// What histories did, to be sure that they did something.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) attempts: u64,
    pub(crate) delivered: u64,
    pub(crate) removed: u64,
    pub(crate) rerouted: u64,
    pub(crate) divided: u64,
    pub(crate) restarts: u64,
    pub(crate) cuts: u64,
    pub(crate) events: u64,
    pub(crate) notices: u64,
    /// Messages that a person has ended.
    pub(crate) ended: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.attempts += other.attempts;
        self.delivered += other.delivered;
        self.removed += other.removed;
        self.rerouted += other.rerouted;
        self.divided += other.divided;
        self.restarts += other.restarts;
        self.cuts += other.cuts;
        self.events += other.events;
        self.notices += other.notices;
        self.ended += other.ended;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            attempts,
            delivered,
            removed,
            rerouted,
            divided,
            restarts,
            cuts,
            events,
            notices,
            ended,
        } = self;
        write!(
            f,
            "{messages} messages, {attempts} attempts, {delivered} delivered, {removed} removed, {rerouted} rerouted, {divided} divided, {restarts} restarts, {cuts} power cuts, {events} events, {notices} notices, {ended} ended"
        )
    }
}

impl Tally {
    pub(crate) const fn is_varied(&self) -> bool {
        self.delivered > 100
            && self.removed > 20
            && self.rerouted > 20
            && self.divided > 20
            && self.restarts > 50
            && self.cuts > 50
            && self.notices > 100
            && self.ended > 20
    }
}
