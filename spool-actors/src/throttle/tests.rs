//! Tests of the limits by themselves.

use super::limits::{Limits, LimitsSetup, Output};
use crate::engine::{DestinationId, News, Now, Outlook, PathId, PermitId, Told};
use crate::pace::Signal;
use spool_core::{DestinationPolicy, Hold, NextHop, NoDice, Policies, Rate, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const AT: Timestamp = Timestamp(1_800_000_000_000);

fn hops(number: DestinationId) -> Arc<[NextHop]> {
    [format!("hop{number}:25").parse().unwrap()].into()
}

fn at(now: Timestamp) -> Now {
    Now {
        wall: now,
        inside: now,
    }
}

/// Limits, and what they have said.
struct World {
    limits: Limits,
    now: Timestamp,
    /// The path of each destination that has not its own.
    shared: BTreeMap<DestinationId, Arc<[NextHop]>>,
    paths: HashMap<DestinationId, PathId>,
    outlooks: HashMap<PathId, Outlook>,
    contended: bool,
    unanswered: Vec<String>,
}

impl World {
    fn new(max_jobs: usize, set: impl FnOnce(&mut LimitsSetup)) -> Self {
        let mut setup = LimitsSetup {
            max_jobs,
            max_sessions: usize::MAX,
            max_per_path: 1000,
            policies: Policies::default(),
            learned: Vec::new(),
            dice: Arc::new(NoDice),
        };
        set(&mut setup);
        Self {
            limits: Limits::new(setup, at(AT)),
            now: AT,
            shared: BTreeMap::new(),
            paths: HashMap::new(),
            outlooks: HashMap::new(),
            contended: false,
            unanswered: Vec::new(),
        }
    }

    /// With a window that is open for as many sessions as may be, at each of these destinations.
    fn opened(mut self, destinations: &[DestinationId]) -> Self {
        for destination in destinations {
            for _ in 0..6 {
                let granted = self.demand(*destination, 64);
                self.demand(*destination, -64);
                for (_, permit) in granted {
                    self.give_back(permit, Some(Signal::Fine));
                }
            }
        }
        self
    }

    /// What is granted now.
    fn settle(&mut self) -> Vec<(DestinationId, PermitId)> {
        let mut granted = Vec::new();
        loop {
            let outputs = self.limits.settle(at(self.now));
            if outputs.is_empty() {
                return granted;
            }
            for output in outputs {
                match output {
                    Output::Granted(destination, permit) => granted.push((destination, permit.id)),
                    Output::LookUp(destination, asked) => {
                        let path = self.shared.get(&destination).unwrap_or(&asked).clone();
                        self.limits.looked_up(destination, &path, at(self.now));
                    }
                    Output::News(news) => match news {
                        News::Path(destination, path) => drop(self.paths.insert(destination, path)),
                        News::Outlook(path, outlook) => drop(self.outlooks.insert(path, outlook)),
                        News::Unanswered(_, reason) => self.unanswered.push(reason),
                        News::Contended(contended) => self.contended = contended,
                        News::Forgotten(_) | News::Opens(_) => {}
                    },
                }
            }
        }
    }

    fn tell(&mut self, told: Told) -> Vec<(DestinationId, PermitId)> {
        self.limits.hear(told, at(self.now));
        self.settle()
    }

    fn demand(&mut self, destination: DestinationId, more: isize) -> Vec<(DestinationId, PermitId)> {
        self.tell(Told::Demand {
            destination,
            next_hops: hops(destination),
            more,
        })
    }

    fn give_back(&mut self, permit: PermitId, signal: Option<Signal>) -> Vec<(DestinationId, PermitId)> {
        self.tell(Told::Returned(permit, signal))
    }

    fn outlook(&self, destination: DestinationId) -> Outlook {
        self.outlooks[&self.paths[&destination]]
    }

    fn pass(&mut self, span: Duration) -> Vec<(DestinationId, PermitId)> {
        self.now = self.now.after(span);
        self.tell(Told::Time)
    }
}

fn to(granted: &[(DestinationId, PermitId)]) -> Vec<DestinationId> {
    granted.iter().map(|(destination, _)| *destination).collect()
}

#[test]
fn paths_take_turns_within_the_limit_of_jobs() {
    let mut world = World::new(0, |_| {});
    world.demand(1, 100);
    world.demand(2, 1);
    world.demand(3, 2);
    world.limits.set_max_jobs(8);
    // A new path has four sessions.
    let granted = world.settle();
    assert_eq!(to(&granted), [1, 2, 3, 1, 3, 1, 1]);
    let of_3 = granted.iter().find(|(to, _)| *to == 3).unwrap().1;
    assert_eq!(world.give_back(of_3, Some(Signal::Fine)), []);
    world.demand(4, 9);
    assert!(world.contended, "the jobs are used up, and a path waits");
}

#[test]
fn one_path_leaves_room_for_the_others() {
    let mut world = World::new(8, |_| {}).opened(&[1]);
    assert_eq!(world.demand(1, 100).len(), 6);
    assert!(!world.contended, "no other path waits");
    assert_eq!(to(&world.demand(2, 9)), [2, 2]);
    assert!(world.contended);
}

#[test]
fn sessions_count_however_often_the_limit_of_jobs_is_set() {
    let mut world = World::new(2, |setup| setup.max_sessions = 3);
    let first = world.demand(1, 5);
    assert_eq!(first.len(), 2);
    world.limits.set_max_jobs(2);
    assert_eq!(world.settle().len(), 1, "three sessions in all");
    assert_eq!(world.demand(2, 5), []);
    let holds = world.limits.holds((2, &hops(2)), 0, at(AT));
    assert!(
        holds.contains(&Hold::SessionsLimit { max: 3, running: 3 }),
        "{holds:?}"
    );
    assert_eq!(world.give_back(first[0].1, Some(Signal::Fine)).len(), 1);
}

#[test]
fn destinations_of_one_path_share_its_limit_fairly() {
    let mut world = World::new(100, |setup| setup.max_per_path = 4);
    for destination in 1..=3 {
        world.shared.insert(destination, hops(9));
    }
    let mut granted = world.demand(1, 50);
    assert_eq!(to(&granted), [1, 1, 1, 1]);
    assert!(world.outlook(1).goes_on, "nobody else waits");
    world.demand(2, 50);
    world.demand(3, 50);
    assert_eq!(world.paths[&1], world.paths[&3]);
    assert!(
        !world.outlook(1).goes_on,
        "its permits come back after each message"
    );
    for _ in 0..2 {
        let (_, permit) = granted.remove(0);
        granted.extend(world.give_back(permit, Some(Signal::Fine)));
    }
    assert_eq!(to(&granted), [1, 1, 2, 3]);
    assert!(world.outlook(1).goes_on, "each has its share");
}

#[test]
fn what_one_destination_learns_holds_for_all_of_its_path() {
    let mut world = World::new(100, |_| {});
    world.shared.insert(2, hops(1));
    for _ in 0..4 {
        let (_, permit) = world.demand(1, 1)[0];
        let reason = "no answer".to_owned();
        world.give_back(permit, Some(Signal::Unreachable { reason }));
        world.demand(1, -1);
    }
    assert_eq!(world.unanswered, ["no answer"]);
    assert!(world.outlook(1).is_shut);
    assert_eq!(world.demand(2, 5), [], "its host does not answer");
    let holds = world.limits.holds((2, &hops(2)), 0, at(AT));
    assert!(matches!(holds[0], Hold::Circuit { failures: 4, .. }), "{holds:?}");
    let until = world.outlook(2).until.unwrap();
    let probe = world.pass(until.since(AT));
    assert_eq!(to(&probe), [2], "one message tries it");
    world.give_back(probe[0].1, Some(Signal::Fine));
    assert!(!world.outlook(1).is_shut);
}

#[test]
fn a_permit_that_was_not_used_counts_for_nothing() {
    let mut policy = DestinationPolicy::default();
    policy.rate = Some(Rate::new(1, Duration::from_secs(3600)).unwrap());
    let mut world = World::new(10, |setup| setup.policies = Policies::new(move |_| policy));
    let granted = world.demand(1, 3);
    assert_eq!(granted.len(), 1);
    assert!(!world.outlook(1).goes_on, "each message asks for itself");
    let again = world.give_back(granted[0].1, None);
    assert_eq!(again.len(), 1, "the rate has it back");
    assert_eq!(world.give_back(again[0].1, Some(Signal::Fine)), []);
    assert_eq!(world.pass(Duration::from_secs(3600)).len(), 1);
}

#[test]
fn a_policy_of_now_holds_for_what_waits() {
    let mut world = World::new(100, |setup| setup.max_per_path = 1);
    assert_eq!(world.demand(1, 9).len(), 1);
    let mut policy = DestinationPolicy::default();
    policy.max_connections = NonZeroU32::new(3);
    world.limits.set_policies(Policies::new(move |_| policy));
    assert_eq!(world.settle().len(), 2);
}

#[test]
fn a_destination_that_moves_to_another_path_leaves_its_permits_behind() {
    let mut world = World::new(100, |setup| setup.max_per_path = 1);
    let first = world.demand(1, 3);
    world.shared.insert(1, hops(9));
    world.now = AT.after(Duration::from_secs(300));
    let second = world.demand(1, 1);
    assert_eq!(
        (first.len(), second.len()),
        (1, 1),
        "the other path has its own limit"
    );
    assert_eq!(world.give_back(first[0].1, Some(Signal::Fine)), []);
    assert_eq!(world.give_back(second[0].1, Some(Signal::Fine)).len(), 1);
}

#[test]
fn no_more_paths_are_looked_up_at_once_than_allowed() {
    let mut world = World::new(100, |_| {});
    let count: DestinationId = 1_000;
    let lookups = |outputs: Vec<Output>| {
        let lookups = outputs.into_iter().filter_map(|output| {
            let Output::LookUp(destination, hops) = output else {
                return None;
            };
            Some((destination, hops))
        });
        lookups.collect::<Vec<_>>()
    };
    for destination in 0..count {
        let told = Told::Demand {
            destination,
            next_hops: hops(destination),
            more: 1,
        };
        world.limits.hear(told, at(AT));
    }
    let mut under_way = lookups(world.limits.settle(at(AT)));
    let mut found = 0;
    while let Some((destination, asked)) = under_way.pop() {
        assert!(under_way.len() < 256);
        found += 1;
        world.limits.looked_up(destination, &asked, at(AT));
        under_way.extend(lookups(world.limits.settle(at(AT))));
    }
    assert_eq!(found, count);
}

#[test]
fn a_path_that_was_asked_for_under_former_policies_is_asked_for_again() {
    let mut world = World::new(100, |_| {});
    let (destination, next_hops) = (1, hops(1));
    let told = Told::Demand {
        destination,
        next_hops,
        more: 1,
    };
    world.limits.hear(told, at(AT));
    let asks = |outputs: &[Output]| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::LookUp(1, _)))
    };
    assert!(asks(&world.limits.settle(at(AT))));
    world.limits.set_policies(Policies::default());
    assert!(!asks(&world.limits.settle(at(AT))), "one at a time");
    for again in [true, false] {
        world.limits.looked_up(destination, &hops(9), at(AT));
        assert_eq!(asks(&world.limits.settle(at(AT))), again);
    }
}

/// Ten paths with more mail than can go out, sessions of a tenth of a second; `hangs` begins to hang after ten seconds. Permits that the
/// nine others had between the twentieth second and the sixtieth.
fn granted_to_nine(jobs: usize, hangs: bool) -> usize {
    let mut world = World::new(jobs, |_| {});
    let mut ends = BinaryHeap::new();
    let (mut now, mut granted) = (0_i64, 0);
    let mut new: Vec<_> = (0..10)
        .flat_map(|destination| world.demand(destination, 100_000))
        .collect();
    loop {
        for (destination, permit) in new {
            if destination > 0 && (20_000..60_000).contains(&now) {
                granted += 1;
            }
            if !(hangs && destination == 0 && now >= 10_000) {
                // Not all in step.
                let span = 90 + (now * 7 + i64::try_from(destination).unwrap() * 13) % 20;
                ends.push(Reverse((now + span, permit)));
            }
        }
        let Some(Reverse((end, permit))) = ends.pop().filter(|end| end.0.0 < 60_000) else {
            return granted;
        };
        now = end;
        world.now = Timestamp(AT.0 + now);
        new = world.give_back(permit, Some(Signal::Fine));
    }
}

#[test]
fn one_hanging_path_of_ten_takes_nothing_from_the_others() {
    for jobs in [10, 20, 40, 200] {
        let (before, after) = (granted_to_nine(jobs, false), granted_to_nine(jobs, true));
        println!("{jobs} jobs: {before} permits for nine paths, {after} beside one that hangs");
        assert!(after * 100 >= before * 95, "{jobs} jobs: {after} of {before}");
    }
}

proptest::proptest! {
    #[test]
    fn limits_hold_whatever_happens(
        steps in proptest::collection::vec((0_u64..4, 0_usize..6, 0..6), 1..200),
        max in 0_usize..7,
        sessions in 1_usize..9,
    ) {
        let mut world = World::new(max, |setup| setup.max_sessions = sessions);
        world.shared.insert(1, hops(0));
        let mut out: Vec<(DestinationId, PermitId)> = Vec::new();
        for (destination, n, what) in steps {
            let granted = match what {
                0 => world.demand(destination, isize::try_from(n).unwrap()),
                1 if !out.is_empty() => {
                    let (_, permit) = out.swap_remove(n % out.len());
                    world.give_back(permit, [None, Some(Signal::Fine)][n % 2].clone())
                }
                2 if !out.is_empty() => {
                    let reason = "no answer".to_owned();
                    let (_, permit) = out.swap_remove(n % out.len());
                    world.give_back(permit, Some(Signal::Unreachable { reason }))
                }
                3 => world.pass(Duration::from_millis(1 << n)),
                4 if !out.is_empty() => {
                    let (_, permit) = out[n % out.len()];
                    world.tell(Told::Done(permit, Signal::Fine))
                }
                _ => Vec::new(),
            };
            out.extend(granted);
            proptest::prop_assert!(out.len() <= max.min(sessions));
        }
        // Nothing is stuck: once all came back, whoever waits is served, and nothing is left behind.
        for _ in 0..10_000 {
            let Some((_, permit)) = out.pop() else { break };
            out.extend(world.give_back(permit, Some(Signal::Fine)));
            out.extend(world.pass(Duration::from_secs(75)));
        }
        out.extend(world.pass(Duration::from_secs(75)));
        proptest::prop_assert!(max == 0 || !out.is_empty() || world.limits.is_at_rest());
    }
}
