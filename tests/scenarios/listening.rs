//! Addresses of both protocols: where the service listens, and who its clients are there.

use spool_tests::capture::Capture;
use spool_tests::process::{Running, run, until};
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

#[test]
fn an_ipv4_client_of_the_ipv6_wildcard_has_its_ipv4_address_everywhere() {
    if !has_ipv6() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (capture, config) = (Capture::start(), dir.path().join("spool.toml"));
    let spool = dir.path().join("spool");
    let text = format!(
        "spool_dir = {spool:?}\n[listen]\nsmtp = [\"[::]:0\"]\nadmin = \"[::]:0\"\n\
         [listen.limits]\nmessages_per_client = \"1/1h\"\n\
         [relay]\nallow_networks = [\"127.0.0.0/8\"]\n\
         [admin]\ntoken_file = {:?}\nallow_plaintext = true\n\
         [route]\nnext_hops = [{:?}]\n",
        dir.path().join("token"),
        capture.next_hop()
    );
    std::fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
    std::fs::write(&config, text).unwrap();
    let server = Running::start(&["serve", "--config", config.to_str().unwrap()]);
    let port = server.smtp().port();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = RawClient::connect(to);
    assert_eq!(client.command("EHLO client.example").0, 250);
    let sent = client.transaction("a@example.org", &["b@example.net"], b"Subject: x\r\n\r\nx\r\n");
    assert_eq!(sent.unwrap().0, 250, "it is in allow_networks");
    assert_eq!(client.command("MAIL FROM:<a@example.org>").0, 450, "its limit");
    let mail = String::from_utf8_lossy(&capture.message().body).into_owned();
    assert!(mail.contains("from client.example ([127.0.0.1])"), "{mail}");
    let admin: SocketAddr = server.field("admin").parse().unwrap();
    let (url, token) = (
        format!("http://127.0.0.1:{}", admin.port()),
        dir.path().join("token"),
    );
    let asked = |words: &[&str]| {
        let all = [words, &["--admin", &url, "--token-file", token.to_str().unwrap()]].concat();
        String::from_utf8(run(&all).stdout).unwrap()
    };
    let listed = asked(&["clients", "--format", "json"]);
    assert!(listed.contains("\"client\":\"127.0.0.1\""), "{listed}");
    asked(&["freeze", "--all"]);
    until("the lines of the log", || {
        let log = server.log();
        let lines = [" client=127.0.0.1 ", " operation name=freeze by=127.0.0.1 "];
        lines.iter().all(|line| log.contains(line)).then_some(())
    });
    assert!(!server.log().contains("ffff"), "{}", server.log());
}

#[test]
fn a_listed_proxy_is_known_by_its_ipv4_address_and_so_is_its_client() {
    if !has_ipv6() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "[relay]\nproxies = [\"127.0.0.1\"]\n").unwrap();
    let spool = dir.path().join("spool");
    let mut args = vec![
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ];
    args.extend(["--config", config.to_str().unwrap(), "--listen", "[::]:0"]);
    let server = Running::start(&args);
    let mut proxy = RawClient::connect(SocketAddr::from(([127, 0, 0, 1], server.smtp().port())));
    let (_, offered) = proxy.command("EHLO proxy.example");
    assert!(offered.contains("XCLIENT"), "{offered}");
    assert_eq!(proxy.command("XCLIENT ADDR=IPV6:::ffff:192.0.2.1").0, 220);
    proxy.command("EHLO client.example");
    proxy.command("MAIL FROM:<a@example.org>");
    assert_eq!(
        proxy.command("RCPT TO:<b@example.net>").0,
        550,
        "no network of ours"
    );
    until("the refusal", || {
        server.log().contains(" client=192.0.2.1 reply=").then_some(())
    });
    assert!(!server.log().contains("ffff"), "{}", server.log());
}
