//! Where mail goes, how it is retried and what is asked of the way: as the configuration of now has it.
//!
//! Cloning shares it: a reload changes it for whoever has one.

use crate::config::Config;
use spool_core::{
    Envelope, NextHop, Policies, RetryInterval, RetryPolicy, RouteOrigin, Router, Section, TlsPolicy,
};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// The routes of now.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Arc<RwLock<Table>>);

#[derive(Debug)]
struct Table {
    router: Router,
    retry: RetryPolicy,
    /// Where a rule says nothing of it.
    tls: TlsPolicy,
}

impl Table {
    fn of(config: &Config) -> Self {
        let (route, retry) = (&config.route, &config.retry);
        let intervals = retry.intervals.iter();
        Self {
            router: Router::new(route.rules.clone(), route.next_hops.clone().into(), route.mx_port),
            retry: RetryPolicy {
                intervals: intervals
                    .map(|span| RetryInterval::with_jitter(*span, retry.jitter))
                    .collect(),
                repeat_last: retry.repeat_last,
                expire_after: Some(retry.expire_after),
            },
            tls: config.client.tls,
        }
    }
}

impl Routes {
    /// Those of `config`.
    pub(crate) fn of(config: &Config) -> Self {
        Self(Arc::new(RwLock::new(Table::of(config))))
    }

    /// From now on those of `config`.
    pub(crate) fn replace(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Table::of(config);
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sections of a mail: by the rules, or all to `next_hops` when there are any.
    pub(crate) fn sections(&self, envelope: Envelope, next_hops: &[NextHop]) -> Vec<Section> {
        let table = self.table();
        if next_hops.is_empty() {
            return table.router.split(envelope, &table.retry);
        }
        vec![Section {
            envelope,
            next_hops: next_hops.into(),
            origin: RouteOrigin::Named,
            retry: table.retry.clone(),
        }]
    }

    /// What is asked of the way to next hops, for mail that is on the spool already as well.
    pub(crate) fn policies(&self) -> Policies {
        let routes = self.clone();
        Policies::new(move |next_hops| {
            let table = routes.table();
            let mut policy = table.router.policy(next_hops);
            policy.tls.get_or_insert(table.tls);
            policy
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::ReversePath;

    #[test]
    fn a_reload_changes_the_policy_of_what_is_on_the_spool() {
        let rule = "[[route.rule]]\ndomain = \"a.example\"\nmax_connections = 1\n";
        let before = Config::parse(&format!("{rule}tls = \"none\"\n")).unwrap();
        let routes = Routes::of(&before);
        let envelope = |to: &str| Envelope::new(ReversePath::Null, [to.parse().unwrap()]);
        let [a, b] = ["x@a.example", "x@b.example"].map(|to| routes.sections(envelope(to), &[]));
        let policies = routes.policies();
        let policy = |sections: &[Section]| policies.of(&sections[0].next_hops);
        assert_eq!(policy(&a).tls, Some(TlsPolicy::None));
        assert_eq!(policy(&b).tls, Some(TlsPolicy::Opportunistic));
        routes.replace(&Config::parse("[client]\ntls = \"required\"\n").unwrap());
        for sections in [&a, &b] {
            assert_eq!(policy(sections).tls, Some(TlsPolicy::Required));
            assert_eq!(policy(sections).max_connections, None);
        }
    }
}
