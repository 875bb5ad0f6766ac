//! The resolver against a name server on real sockets.

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
async fn nothing_there_and_nobody_knows_are_told_apart() {
    let (_server, resolver) = started(ZONE);
    assert_eq!(mx(&resolver, "null.example").await, Ok(vec![exchanger(0, "")]));
    assert_eq!(mx(&resolver, "address.example").await, Err(LookupError::NoData));
    assert_eq!(mx(&resolver, "circle.example").await, Err(LookupError::NoData));
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
async fn a_silent_or_dead_name_server_is_a_failure_for_now() {
    let server = NameServer::start(ZONE);
    let dead: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [silent, dead] = [server.address, dead].map(|address| {
        DnsResolver::with_options(&[address], None, |options| {
            options.timeout = Duration::from_millis(200)
        })
    });
    let (silence, death) = tokio::join!(mx(&silent, "silent.example"), mx(&dead, "plain.example"));
    assert!(matches!(silence, Err(LookupError::Temporary(_))), "{silence:?}");
    assert!(matches!(death, Err(LookupError::Temporary(_))), "{death:?}");
}

#[tokio::test]
async fn the_second_name_server_is_asked_when_the_first_is_dead() {
    let server = NameServer::start(ZONE);
    let dead: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolver = DnsResolver::new(&[dead, server.address]);
    assert!(mx(&resolver, "plain.example").await.is_ok());
}

#[tokio::test]
async fn names_of_the_system_are_the_systems_to_resolve() {
    let (server, resolver) = started(ZONE);
    let found = tokio::time::timeout(Duration::from_secs(30), resolver.addresses("localhost"));
    let found = found.await.unwrap().unwrap().ips;
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert_eq!(server.asked(), [""; 0]);
}
