//! The path of a list of next hops.

use super::super::Routes;
use super::Names;
use crate::client::SmtpConfig;
use spool_core::NextHop;
use std::sync::Arc;

async fn path(names: Names, next_hops: &[&str]) -> Vec<String> {
    let mut config = SmtpConfig {
        hostname: "relay.example".to_owned(),
        ..SmtpConfig::default()
    };
    config.route.listeners = vec!["192.0.2.2:25".parse().unwrap()];
    let routes = Routes::new(Arc::new(names), &config);
    let next_hops: Vec<NextHop> = next_hops.iter().map(|hop| hop.parse().unwrap()).collect();
    let path = routes.path(&next_hops).await;
    path.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn exchangers_come_by_preference_and_equals_by_name_however_the_answer_is_ordered() {
    let expected = ["c.example:25", "a.example:25", "b.example:25"];
    let mut records = [
        (10, "a.example"),
        (10, "b.example"),
        (5, "c.example"),
        (20, "a.example"),
    ];
    for _ in 0..20 {
        fastrand::shuffle(&mut records);
        let names = Names::default().mx("d.example", &records);
        assert_eq!(path(names, &["mx:d.example:25"]).await, expected);
    }
}

#[tokio::test]
async fn each_next_hop_of_a_list_has_its_hosts_in_the_path_and_each_host_once() {
    let names = Names::default()
        .mx("d.example", &[(1, "a.example"), (2, "b.example")])
        .mx("e.example", &[(1, "b.example"), (2, "c.example")])
        .mx("alone.example", &[]);
    let hops = [
        "b.example:25",
        "mx:d.example:25",
        "mx:e.example:25",
        "mx:e.example:26",
        "mx:alone.example:25",
    ];
    let expected = [
        "b.example:25",
        "a.example:25",
        "c.example:25",
        "b.example:26",
        "c.example:26",
        "alone.example:25",
    ];
    assert_eq!(path(names, &hops).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_domain_whose_exchangers_are_unknown_is_its_own_path() {
    let names = Names::default()
        .failing("failing.example")
        .silent("silent.example")
        .mx("null.example", &[(0, "")])
        .mx("loop.example", &[(0, "relay.example"), (9, "other.example")]);
    let hops = [
        "mx:failing.example:25",
        "mx:silent.example:25",
        "mx:null.example:25",
        "mx:loop.example:25",
        "mx:gone.example:25",
    ];
    assert_eq!(path(names, &hops).await, hops);
}

#[tokio::test]
async fn a_path_has_a_bounded_number_of_hosts() {
    let hosts: Vec<String> = (0..100).map(|n| format!("h{n}.example")).collect();
    let hundred: Vec<_> = hosts.iter().map(|host| (10, host.as_str())).collect();
    let names = Names::default()
        .mx("d.example", &hundred[..50])
        .mx("e.example", &hundred[50..]);
    let path = path(names, &["mx:d.example:25", "mx:e.example:25"]).await;
    assert_eq!(path.len(), 32);
}
