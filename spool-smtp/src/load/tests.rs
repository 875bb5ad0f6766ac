//! The load generator against the sink.

use super::*;
use crate::sink::{Sink, SinkConfig};
use tokio::sync::watch;

async fn sink(config: SinkConfig) -> (SocketAddr, watch::Sender<bool>) {
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = sink.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sink.run(stopped));
    (address, stop)
}

#[tokio::test]
async fn what_is_sent_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = SinkConfig {
        ledger: Some(dir.path().join("sink")),
        ..SinkConfig::default()
    };
    let (address, _stop) = sink(config).await;
    for script in [true, false] {
        let load = dir.path().join(format!("load-{script}"));
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections, plan.recipients, plan.domains) = (200, 7, 3, 4);
        plan.ledger = Some(load.clone());
        plan.rate = script.then_some(5000.0);
        let report = run(plan, |_| {}).await.unwrap();
        assert_eq!(
            (report.accepted, report.unknown, report.refused.len()),
            (200, 0, 0),
            "{report:?}"
        );
        let found = verify(&load, &dir.path().join("sink")).unwrap();
        assert_eq!((found.arrived, found.lost, found.duplicated), (200, 0, 0));
        assert!(report.latency.quantile(0.5) > Duration::ZERO);
    }
}

#[tokio::test]
async fn refusals_and_broken_connections_are_counted() {
    let script = "rcpt to=*@d0.example reply 452 4.2.2 full\ndot to=* nth=2 close\nehlo hide PIPELINING\ndot nth=3 close\n";
    let config = SinkConfig {
        script: script.parse().unwrap(),
        ..SinkConfig::default()
    };
    let (address, _stop) = sink(config).await;
    let mut plan = LoadPlan::new(address);
    (plan.messages, plan.connections, plan.domains) = (10, 1, 2);
    let report = run(plan, |_| {}).await.unwrap();
    assert_eq!(report.refused.get(&452), Some(&5), "{report:?}");
    assert_eq!(report.accepted + report.unknown, 5);
    assert!(report.unknown >= 1);
}
