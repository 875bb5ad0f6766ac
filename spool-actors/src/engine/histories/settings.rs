//! What the lives of histories are set up with: next hops, routes, notices.

use super::Chance;
use spool_core::bounce::{NoticeConfig, OnFailure};
use spool_core::{DomainPattern, NextHop, RetryInterval, Router, Routing, Rule};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn hops(number: usize) -> Arc<[NextHop]> {
    [format!("hop{number}:25").parse().unwrap()].into()
}

pub(super) const KEY_WINDOW: Duration = Duration::from_secs(60);

/// One of several routings by rules, for the domains `d0.example` to `d2.example`.
pub(super) fn routing(number: usize) -> Routing {
    let rules = |routes: &[usize]| {
        let rule = |(domain, hop): (usize, &usize)| Rule {
            domain: DomainPattern::parse(&format!("d{domain}.example")).unwrap(),
            next_hops: hops(*hop),
            policy: spool_core::DestinationPolicy::default(),
        };
        routes.iter().enumerate().map(rule).collect()
    };
    let router = match number {
        0 => Router::new(rules(&[0, 1]), hops(2), 25),
        1 => Router::new(Vec::new(), hops(1), 25),
        2 => Router::new(rules(&[2, 2, 0]), hops(0), 25),
        // Without a route for the last one, and for senders.
        _ => Router::new(rules(&[0, 1]), Arc::new([]), 0),
    };
    Routing::ByRules(Arc::new(router))
}

pub(super) fn notices(chance: &mut Chance) -> NoticeConfig {
    let mut config = NoticeConfig::new("spool.example");
    config.per_hour = 0;
    config.retry.intervals = vec![RetryInterval::with_jitter(Duration::from_secs(60), 0.0)];
    config.delay_warning_after = chance.one_in(3).then(|| Duration::from_secs(30));
    if chance.one_in(6) {
        config.on_failure = OnFailure::Freeze;
    }
    config
}
