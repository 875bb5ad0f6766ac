//! The resolver against a name server on real sockets.

use super::super::current::CurrentResolver;
use super::super::resolv_conf::Settings;
use super::super::watched::Watched;
use super::super::{DnsResolver, Exchanger, LookupError, Resolve};
use super::name_server::NameServer;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

const ZONE: &str = "
    plain.example       MX 20 mx2.plain.example
    plain.example       MX 10 MX1.Plain.example
    mx1.plain.example   A 192.0.2.1
    mx1.plain.example   A 192.0.2.2
    mx1.plain.example   AAAA 2001:db8::1
    mx2.plain.example   A 192.0.2.3
    null.example        MX 0 .
    plain.example       TXT v=spf1 -all
    plain.example       TXT not there
    alias.example       CNAME plain.example
    host.alias.example  CNAME mx2.plain.example
    circle.example      CNAME circle.example
    dangling.example    CNAME gone.example
    address.example     A 192.0.2.4
    under_score.example A 192.0.2.5
    xn--bcher-kva.example MX 1 mx2.plain.example
    broken.example      SERVFAIL
    refusing.example    REFUSED
    silent.example      SILENCE
";

fn exchanger(preference: u16, host: &str) -> Exchanger {
    let host = host.to_owned();
    Exchanger { preference, host }
}

/// The exchangers of a domain, sorted.
async fn mx(resolver: &DnsResolver, domain: &str) -> Result<Vec<Exchanger>, LookupError> {
    let mut found = resolver.exchangers(domain).await?.records;
    found.sort();
    Ok(found)
}

/// The addresses of a host, sorted.
async fn ips(resolver: &DnsResolver, host: &str) -> Result<Vec<String>, LookupError> {
    let mut found = resolver.addresses(host).await?.ips;
    found.sort();
    Ok(found.iter().map(IpAddr::to_string).collect())
}

fn started(zone: &str) -> (NameServer, DnsResolver) {
    let server = NameServer::start(zone);
    let resolver = DnsResolver::new(&[server.address]);
    (server, resolver)
}

#[tokio::test]
async fn records_are_read_through_aliases_and_without_regard_to_case() {
    let (_server, resolver) = started(ZONE);
    let plain = vec![
        exchanger(10, "mx1.plain.example"),
        exchanger(20, "mx2.plain.example"),
    ];
    assert_eq!(mx(&resolver, "plain.example").await, Ok(plain.clone()));
    assert_eq!(mx(&resolver, "alias.example").await, Ok(plain));
    assert_eq!(
        mx(&resolver, "xn--bcher-kva.example").await,
        Ok(vec![exchanger(1, "mx2.plain.example")])
    );
    let three = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(str::to_owned);
    assert_eq!(ips(&resolver, "mx1.plain.example").await, Ok(three.into()));
    for (host, expected) in [
        ("host.alias.example", "192.0.2.3"),
        ("under_score.example", "192.0.2.5"),
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
    ] {
        assert_eq!(
            ips(&resolver, host).await,
            Ok(vec![expected.to_owned()]),
            "{host}"
        );
    }
}

#[tokio::test]
async fn strings_of_one_text_record_are_one_text() {
    let (_server, resolver) = started(ZONE);
    let mut texts = resolver.texts("plain.example").await.unwrap();
    texts.sort();
    assert_eq!(texts, ["notthere", "v=spf1-all"]);
    assert_eq!(resolver.texts("null.example").await, Err(LookupError::NoData));
}

#[tokio::test]
async fn missing_records_and_failed_lookups_are_distinguished() {
    let (_server, resolver) = started(ZONE);
    assert_eq!(mx(&resolver, "null.example").await, Ok(vec![exchanger(0, "")]));
    assert_eq!(mx(&resolver, "address.example").await, Err(LookupError::NoData));
    for gone in [
        "gone.example",
        "dangling.example",
        "bücher.example",
        "a..b",
        &"x".repeat(64),
    ] {
        assert_eq!(
            mx(&resolver, gone).await,
            Err(LookupError::NoSuchDomain),
            "{gone}"
        );
    }
    assert_eq!(
        ips(&resolver, "gone.example").await,
        Err(LookupError::NoSuchDomain)
    );
    assert_eq!(ips(&resolver, "plain.example").await, Err(LookupError::NoData));
    for broken in ["broken.example", "refusing.example"] {
        let found = mx(&resolver, broken).await;
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{broken}: {found:?}"
        );
        let found = ips(&resolver, broken).await;
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{broken}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_hundred_exchangers_come_over_tcp() {
    let name = |n: usize| format!("mx{n}.{}.example", "long".repeat(10));
    let zone = (0..100).map(|n| format!("many.example MX {n} {}\n", name(n)));
    let (server, resolver) = started(&zone.collect::<String>());
    let expected = (0..100).map(|n| exchanger(u16::try_from(n).unwrap(), &name(n)));
    assert_eq!(mx(&resolver, "many.example").await, Ok(expected.collect()));
    assert_eq!(server.asked(), ["UDP MX many.example", "TCP MX many.example"]);
}

#[tokio::test]
async fn answers_are_kept_good_and_bad_but_not_failures() {
    let (server, resolver) = started(ZONE);
    for _ in 0..3 {
        assert!(mx(&resolver, "plain.example").await.is_ok());
        assert!(mx(&resolver, "broken.example").await.is_err());
    }
    let count = |question: &str| server.asked().iter().filter(|asked| **asked == question).count();
    assert_eq!(count("UDP MX plain.example"), 1);
    assert!(count("UDP MX broken.example") >= 3);
}

#[tokio::test]
async fn an_answer_of_too_many_records_is_none_and_large_answers_are_not_kept_beyond_a_bound() {
    let addresses = |count: usize| {
        let lines = (0..count).map(|n| format!("* A 192.0.2.{}\n", n % 250));
        lines.collect::<String>()
    };
    let (_crowded, resolver) = started(&addresses(129));
    let why = assert_temporary(ips(&resolver, "crowd.example").await);
    assert!(why.contains("129 records"), "{why}");
    let (server, resolver) = started(&addresses(128));
    for _ in 0..2 {
        assert_eq!(ips(&resolver, "first.example").await.unwrap().len(), 128);
    }
    let count = || {
        server
            .asked()
            .iter()
            .filter(|asked| *asked == "TCP A first.example")
            .count()
    };
    assert_eq!(count(), 1, "it was kept");
    for number in 0..500 {
        assert!(ips(&resolver, &format!("n{number}.example")).await.is_ok());
    }
    assert!(ips(&resolver, "first.example").await.is_ok());
    assert_eq!(count(), 2, "so many large answers were forgotten");
}

/// A resolver for these servers with short time limits.
fn hasty(servers: &[SocketAddr]) -> DnsResolver {
    with(servers, |settings| settings.timeout = Duration::from_millis(200))
}

/// A resolver for these servers with changed settings.
fn with(servers: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> DnsResolver {
    let (mut settings, _) = Settings::parse("");
    settings.servers = servers.to_vec();
    change(&mut settings);
    DnsResolver::over(
        CurrentResolver::new(None, settings, Duration::from_secs(30)),
        None,
    )
}

/// An address without a listener.
fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn assert_temporary<T: std::fmt::Debug>(found: Result<T, LookupError>) -> String {
    match found {
        Err(LookupError::Temporary(reason)) => reason,
        found => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn a_silent_or_dead_name_server_is_a_temporary_failure() {
    let server = NameServer::start(ZONE);
    let dead = nobody();
    let (silent, unreached) = (hasty(&[server.address]), hasty(&[dead]));
    let (silence, death) = tokio::join!(mx(&silent, "silent.example"), mx(&unreached, "plain.example"));
    let reason = assert_temporary(silence);
    assert_eq!(reason, format!("{}: no answer", server.address));
    let reason = assert_temporary(death);
    assert!(reason.starts_with(&format!("{dead}: ")), "{reason}");
}

#[tokio::test]
async fn the_second_name_server_is_queried_when_the_first_is_dead_or_silent() {
    let (silent, server) = (NameServer::start("* SILENCE"), NameServer::start(ZONE));
    for first in [nobody(), silent.address] {
        let resolver = hasty(&[first, server.address]);
        assert!(mx(&resolver, "plain.example").await.is_ok());
    }
}

#[tokio::test]
async fn no_other_server_is_queried_after_an_answer() {
    let zone = (0..20).map(|n| format!("d{n}.example MX 1 mx.example\n"));
    let (knows, denies) = (
        NameServer::start(&zone.collect::<String>()),
        NameServer::start(""),
    );
    let resolver = DnsResolver::new(&[knows.address, denies.address]);
    for n in 0..20 {
        let domain = format!("d{n}.example");
        assert_eq!(mx(&resolver, &domain).await, Ok(vec![exchanger(1, "mx.example")]));
    }
    assert_eq!(denies.asked(), [""; 0]);
    // Negative answers too.
    let resolver = DnsResolver::new(&[denies.address, knows.address]);
    assert_eq!(mx(&resolver, "d1.example").await, Err(LookupError::NoSuchDomain));
}

#[tokio::test]
async fn a_server_that_returns_an_error_is_skipped() {
    let server = NameServer::start(ZONE);
    for code in ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"] {
        let failing = NameServer::start(&format!("* {code}"));
        for servers in [
            [failing.address, server.address],
            [server.address, failing.address],
        ] {
            let resolver = DnsResolver::new(&servers);
            for domain in ["plain.example", "alias.example"] {
                assert_eq!(
                    mx(&resolver, domain).await.map(|found| found.len()),
                    Ok(2),
                    "{code}"
                );
            }
            assert_eq!(
                mx(&resolver, "gone.example").await,
                Err(LookupError::NoSuchDomain)
            );
        }
        let reason = assert_temporary(mx(&hasty(&[failing.address]), "plain.example").await);
        assert!(reason.starts_with(&format!("{}: ", failing.address)), "{reason}");
    }
}

#[tokio::test]
async fn a_server_without_edns_is_queried_without_it_for_a_while() {
    let server = NameServer::start(&format!("{ZONE}\n. WITHOUT EDNS"));
    let resolver = DnsResolver::new(&[server.address]);
    assert!(mx(&resolver, "plain.example").await.is_ok());
    assert_eq!(
        ips(&resolver, "mx2.plain.example").await,
        Ok(vec!["192.0.2.3".to_owned()])
    );
    let count = |question: &str| server.asked().iter().filter(|asked| **asked == question).count();
    assert_eq!(count("UDP MX plain.example"), 2);
    assert_eq!(count("UDP A mx2.plain.example"), 1);
}

#[tokio::test]
async fn a_server_that_drops_edns_is_queried_without_it_for_a_while() {
    let server = NameServer::start(&format!("{ZONE}\n. DROPS EDNS"));
    let resolver = hasty(&[server.address]);
    assert!(mx(&resolver, "plain.example").await.is_ok());
    assert_eq!(
        ips(&resolver, "mx2.plain.example").await,
        Ok(vec!["192.0.2.3".to_owned()])
    );
    let count = |question: &str| server.asked().iter().filter(|asked| **asked == question).count();
    // A query is sent up to three times.
    assert!(count("UDP MX plain.example") >= 2);
    assert_eq!(count("UDP A mx2.plain.example"), 1);
}

#[tokio::test]
async fn aliases_without_an_end_are_a_temporary_failure() {
    let (_server, resolver) = started("circle.example CNAME circle.example\nendless.example ENDLESS");
    for domain in ["circle.example", "n0.endless.example"] {
        assert_temporary(mx(&resolver, domain).await);
        assert_temporary(ips(&resolver, domain).await);
        // Also from the cache.
        assert_temporary(mx(&resolver, domain).await);
    }
}

#[tokio::test]
async fn the_servers_of_a_file_are_those_that_it_names_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let file = Watched::new(path.clone()).at_any_time();
    let (until_read, _) = Settings::parse("");
    let current = CurrentResolver::new(Some(file), until_read, Duration::from_secs(1));
    let resolver = DnsResolver::over(current, None);
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let (one, two) = (NameServer::start(ZONE), NameServer::start(ZONE));
    let entry = |server: &NameServer| format!("nameserver [127.0.0.1]:{}\n", server.address.port());
    // Missing and empty: the name server on this host is used, if there is one.
    let _ = mx(&resolver, "plain.example").await;
    write("");
    let _ = mx(&resolver, "plain.example").await;
    write(&entry(&NameServer::start("* SERVFAIL")));
    assert_temporary(mx(&resolver, "plain.example").await);
    // An invalid entry is skipped.
    write(&format!("search a..b\nnameserver 1.2.3\n{}", entry(&one)));
    assert!(mx(&resolver, "plain.example").await.is_ok());
    // The answers of the other server are no longer cached.
    write(&entry(&two));
    assert!(mx(&resolver, "plain.example").await.is_ok());
    assert_eq!((one.asked().len(), two.asked().len()), (1, 1));
    // With the same servers the cache remains.
    write(&format!("# again\n{}", entry(&two)));
    assert!(mx(&resolver, "plain.example").await.is_ok());
    assert_eq!(two.asked().len(), 1);
}

#[tokio::test]
async fn queries_rotate_over_the_servers_if_the_file_says_so() {
    let servers = [NameServer::start(ZONE), NameServer::start(ZONE)];
    let addresses = servers.each_ref().map(|server| server.address);
    let resolver = with(&addresses, |settings| settings.rotate = true);
    for n in 0..10 {
        let _ = mx(&resolver, &format!("gone{n}.example")).await;
    }
    assert_eq!(servers.map(|server| server.asked().len()), [5, 5]);
}

#[tokio::test]
async fn names_of_the_system_are_the_systems_to_resolve() {
    let (server, resolver) = started(ZONE);
    let found = tokio::time::timeout(Duration::from_secs(30), resolver.addresses("localhost"));
    let found = found.await.unwrap().unwrap().ips;
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert_eq!(server.asked(), [""; 0]);
}
