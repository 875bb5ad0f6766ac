//! The limits for whose connections somebody was turned away, and how many were: each is to be told once when there is room. Pure.

use super::key::Scope;
use spool_core::NextHop;
use std::collections::HashMap;

/// The most limits that are remembered. Whoever was turned away for want of another one asks again after a while by himself.
const MAX_LIMITS: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<Scope, Turned>);

#[derive(Debug)]
struct Turned {
    /// The host that the last one was turned away from.
    hop: NextHop,
    number: u32,
}

impl Refused {
    /// One more was turned away.
    pub(super) fn add(&mut self, scope: Scope, hop: &NextHop) {
        if let Some(turned) = self.0.get_mut(&scope) {
            turned.hop.clone_from(hop);
            turned.number = turned.number.saturating_add(1);
        } else if self.0.len() < MAX_LIMITS {
            let (hop, number) = (hop.clone(), 1);
            self.0.insert(scope, Turned { hop, number });
        }
    }

    /// There is room for one: the host to be told of, if somebody was turned away.
    pub(super) fn take(&mut self, scope: &Scope) -> Option<NextHop> {
        let turned = self.0.get_mut(scope)?;
        turned.number -= 1;
        if turned.number > 0 {
            return Some(turned.hop.clone());
        }
        self.0.remove(scope).map(|turned| turned.hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_was_turned_away_is_told_of_once() {
        let hop = |n: usize| format!("h{n}:25").parse::<NextHop>().unwrap();
        let scope = |n: usize| Scope::Hop(hop(n));
        let mut refused = Refused::default();
        assert_eq!(refused.take(&scope(1)), None);
        for n in [1, 2, 1] {
            refused.add(scope(n), &hop(n));
        }
        let told = [1, 1, 1, 2, 2].map(|n| refused.take(&scope(n)));
        assert_eq!(told, [Some(hop(1)), Some(hop(1)), None, Some(hop(2)), None]);
        (0..=MAX_LIMITS).for_each(|n| refused.add(scope(n), &hop(n)));
        assert_eq!(refused.0.len(), MAX_LIMITS);
    }
}
