//! Addresses of both protocols: where the service listens, and who its clients are there.

use spool_tests::process::Running;
use spool_tests::raw::RawClient;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

/// A service that delivers nowhere and listens at these addresses.
fn listening(dir: &Path, addresses: &[String]) -> Running {
    let spool = dir.join("spool");
    let mut args = vec![
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ];
    args.extend(["--next-hop", "127.0.0.1:9"]);
    for address in addresses {
        args.extend(["--listen", address]);
    }
    Running::start(&args)
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        println!("skipped: no IPv6 here");
    }
    has
}

#[test]
fn both_wildcards_are_listened_on_with_one_port() {
    if !has_ipv6() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let _server = listening(dir.path(), &[format!("[::]:{port}"), format!("0.0.0.0:{port}")]);
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let mut client = RawClient::hello(SocketAddr::new(ip, port));
        assert_eq!(client.command("MAIL FROM:<a@example.org>").0, 250, "{ip}");
    }
}
