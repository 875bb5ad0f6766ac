//! Routes, the retry policy and the policies of destinations by the configuration in force. Clones share them; a reload
//! replaces them.

use crate::address_route::{AddressRoute, MatchedRule};
use crate::config::{Config, Places};
use spool_core::{
    Address, DestinationPolicy, Envelope, NextHop, Policies, RetryPolicy, RouteOrigin, RouteReason, Router,
    Routing, Section, TlsPolicy,
};
use std::sync::Arc;
use tokio::sync::watch;

/// The routes in force.
#[derive(Debug, Clone)]
pub(crate) struct Routes(watch::Sender<Table>);

#[derive(Debug)]
struct Table {
    router: Arc<Router>,
    /// Has the lines in which the rules begin.
    places: Places,
    retry: RetryPolicy,
    /// For destinations whose rule has none.
    tls: TlsPolicy,
    max_connections: usize,
    /// The built-in sink, to which all mail goes that names no next hops.
    built_in_sink: Option<Arc<[NextHop]>>,
}

impl Table {
    fn of(config: &Config) -> Self {
        let route = &config.route;
        let router = Router::new(route.rules.clone(), route.next_hops.clone().into(), route.mx_port);
        Self {
            router: Arc::new(router),
            places: config.places.clone(),
            retry: config.retry.clone(),
            tls: config.client.smtp.tls,
            max_connections: config.client.smtp.connections_per_destination,
            built_in_sink: None,
        }
    }

    fn routing(&self) -> Routing {
        match &self.built_in_sink {
            Some(sink) => Routing::ToBuiltInSink(Arc::clone(sink)),
            None => Routing::ByRules(Arc::clone(&self.router)),
        }
    }

    fn policy(&self, next_hops: &[NextHop]) -> DestinationPolicy {
        let mut policy = match self.built_in_sink.as_deref() {
            Some(sink) if sink == next_hops => DestinationPolicy::default(),
            _ => self.router.policy(next_hops),
        };
        policy.tls.get_or_insert(self.tls);
        policy
    }
}

impl Routes {
    /// The routes of `config`.
    pub(crate) fn of(config: &Config) -> Self {
        Self(watch::Sender::new(Table::of(config)))
    }

    /// Replaces them by those of `config`; the built-in sink stays.
    pub(crate) fn replace(&self, config: &Config) {
        let new = Table::of(config);
        self.0.send_modify(|table| {
            let built_in_sink = table.built_in_sink.take();
            *table = Table { built_in_sink, ..new };
        });
    }

    /// Routes all mail that names no next hops to the built-in sink at `next_hop`.
    pub(crate) fn to_built_in_sink(&self, next_hop: NextHop) {
        self.0
            .send_modify(|table| table.built_in_sink = Some([next_hop].into()));
    }

    /// The sections of a mail, by the rules or, when there are any, to `next_hops`; and the routing that they are from.
    pub(crate) fn sections(&self, envelope: Envelope, next_hops: &[NextHop]) -> (Vec<Section>, Routing) {
        let table = self.0.borrow();
        let routing = table.routing();
        let (next_hops, origin) = match (next_hops, &table.built_in_sink) {
            ([], None) => return (table.router.split(envelope, &table.retry), routing),
            ([], Some(sink)) => (Arc::clone(sink), RouteOrigin::BuiltInSink),
            (named, _) => (named.into(), RouteOrigin::Named),
        };
        let section = Section {
            envelope,
            next_hops,
            origin,
            retry: table.retry.clone(),
        };
        (vec![section], routing)
    }

    /// The routing of mail that is on the spool.
    pub(crate) fn routing(&self) -> Routing {
        self.0.borrow().routing()
    }

    /// The policies of destinations, also for mail that is on the spool already.
    pub(crate) fn policies(&self) -> Policies {
        let routes = self.clone();
        Policies::new(move |next_hops| routes.0.borrow().policy(next_hops))
    }

    /// The route of mail for `address`, and why.
    pub(crate) fn route_of(&self, address: &Address) -> AddressRoute {
        let table = self.0.borrow();
        let (next_hops, reason) = match &table.built_in_sink {
            Some(sink) => (Arc::clone(sink), None),
            None => {
                let (next_hops, reason) = table.router.route(address);
                (next_hops, Some(reason))
            }
        };
        let rule = match reason {
            Some(RouteReason::Rule(place)) => table.router.rules().get(place).map(|rule| MatchedRule {
                number: place + 1,
                line: table.places.line(&format!("route.rule[{place}]")),
                domain: rule.domain.to_string(),
            }),
            Some(RouteReason::Default | RouteReason::Exchangers) | None => None,
        };
        let policy = table.policy(&next_hops);
        AddressRoute::new(address, next_hops, reason, rule, &policy, table.max_connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address_route::Reason;
    use spool_core::ReversePath;

    fn envelope(to: &str) -> Envelope {
        Envelope::of(ReversePath::Null, [to.parse().unwrap()])
    }

    #[test]
    fn a_reload_changes_the_policy_of_what_is_on_the_spool() {
        let rule = "[[route.rule]]\ndomain = \"a.example\"\nmax_connections = 1\n";
        let before = Config::parse(&format!("{rule}tls = \"none\"\n")).unwrap();
        let routes = Routes::of(&before);
        let [a, b] = ["x@a.example", "x@b.example"].map(|to| routes.sections(envelope(to), &[]).0);
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

    #[test]
    fn a_section_says_where_its_next_hops_come_from() {
        let routes = Routes::of(&Config::defaults());
        let origin = |next_hops: &[NextHop]| routes.sections(envelope("x@a.example"), next_hops).0[0].origin;
        let named: NextHop = "named:25".parse().unwrap();
        assert_eq!(origin(&[]), RouteOrigin::Configured);
        assert_eq!(origin(std::slice::from_ref(&named)), RouteOrigin::Named);
        let sink: NextHop = "127.0.0.1:9".parse().unwrap();
        routes.to_built_in_sink(sink.clone());
        assert!(matches!(routes.routing(), Routing::ToBuiltInSink(to) if *to == [sink.clone()]));
        assert_eq!(origin(&[]), RouteOrigin::BuiltInSink);
        assert_eq!(origin(&[named]), RouteOrigin::Named);
        routes.replace(&Config::defaults());
        let (sections, routing) = routes.sections(envelope("x@a.example"), &[]);
        assert!(routing.is(&routes.routing()));
        assert_eq!(
            *sections[0].next_hops,
            [sink],
            "a reload leaves the sink where it is"
        );
    }

    #[test]
    fn a_route_names_its_rule_and_its_policy() {
        let text = "[route]\nnext_hops = [\"smart:25\"]\n\n[[route.rule]]\ndomain = \"a.example\"\ntls = \"verify\"\nrate = \"100/1m\"\n\
                    [[route.rule]]\ndomain = \"*.b.example\"\nnext_hops = [\"b:25\", \"c:25\"]\nmax_connections = 3\n";
        let routes = Routes::of(&Config::parse(text).unwrap());
        let route = |to: &str| routes.route_of(&to.parse().unwrap());
        let a = route("x@a.example");
        let rule = a.rule.unwrap();
        assert_eq!(
            (rule.number, rule.line, rule.domain.as_str()),
            (1, Some(4), "a.example")
        );
        assert_eq!((a.reason, a.next_hops[0].is_mx()), (Reason::Rule, true));
        assert_eq!(
            (a.tls, a.rate.as_deref(), a.max_connections),
            (TlsPolicy::Verify, Some("100/1m"), 10)
        );
        let b = route("x@y.b.example");
        assert_eq!(
            (b.rule.unwrap().line, b.next_hops.len(), b.max_connections),
            (Some(8), 2, 3)
        );
        let other = route("x@other.example");
        assert_eq!((other.reason, other.rule), (Reason::Default, None));
        let bare = Routes::of(&Config::defaults());
        assert_eq!(
            bare.route_of(&"x@a.example".parse().unwrap()).reason,
            Reason::Exchangers
        );
    }
}
