//! Validation of zones that are signed during the test.

use super::super::{Answer, DnsResolver, LookupError, Resolve, TrustAnchors};
use super::signed_zones::SignedZones;

/// The records of each zone, relative to its name.
const ZONE: &str = "
    d.ZONE MX 10 mx.ZONE
    mx.ZONE A 192.0.2.1
    mx.ZONE AAAA 2001:db8::1
    alias.ZONE CNAME mx.ZONE
    out.ZONE CNAME mx.plain.
    lone.ZONE CNAME only.ZONE
    only.ZONE A 192.0.2.2
    gone.ZONE CNAME nothing.ZONE
    moved.ZONE DNAME ZONE
    loud.ZONE DNAME Moved.ZONE
    Shout.ZONE CNAME MX.Loud.ZONE
    home.ZONE DNAME signed.
    chain.ZONE DNAME moved.ZONE
    cross.ZONE CNAME mx.moved.ZONE
    abroad.ZONE DNAME plain.
    round.ZONE DNAME a.round.ZONE
    lie.moved.ZONE FORGED mx.ZONE
    only.moved.ZONE FORGED mx.ZONE
    unsigned.ZONE UNSIGNED signed.
    missigned.ZONE MISSIGNED signed.
    _25._tcp.mx.ZONE TLSA 3 1 1 164a652abf11be0befa7fbdb0e06e851277ae90838a7ee9facd111d152dd5d90
";

/// The zones, and a resolver that validates them.
async fn started() -> (SignedZones, DnsResolver) {
    let zones = SignedZones::start(ZONE).await;
    let resolver = validating(&zones);
    (zones, resolver)
}

fn validating(zones: &SignedZones) -> DnsResolver {
    DnsResolver::validating(&[zones.address], &TrustAnchors::from_text(&zones.anchor).unwrap())
}

fn secure<T>(answer: Result<Answer<T>, LookupError>) -> Result<(usize, bool), LookupError> {
    answer.map(|answer| (answer.records.len(), answer.secure))
}

#[tokio::test]
async fn signed_unsigned_and_forged_zones_are_distinguished() {
    let (_zones, resolver) = started().await;
    let tlsa = |zone: &str| resolver.tlsa(&format!("_25._tcp.mx.{zone}"));
    for (zone, proved) in [("signed", true), ("plain", false)] {
        let found = secure(resolver.exchangers(&format!("d.{zone}")).await);
        assert_eq!(found, Ok((1, proved)), "{zone}");
        let found = resolver.addresses(&format!("mx.{zone}")).await.unwrap();
        let names = if proved {
            vec!["mx.signed".to_owned()]
        } else {
            Vec::new()
        };
        assert_eq!((found.ips.len(), found.secure_names), (2, names), "{zone}");
        assert_eq!(secure(tlsa(zone).await), Ok((1, proved)), "{zone}");
        // Denials are validated too.
        let none = resolver.exchangers(&format!("mx.{zone}")).await;
        assert_eq!(none, Err(LookupError::NoData), "{zone}");
        let none = resolver.tlsa(&format!("_26._tcp.mx.{zone}")).await;
        assert_eq!(none, Err(LookupError::NoSuchDomain), "{zone}");
    }
    // Signed with another key; unsigned, although the root has its key.
    for zone in ["forged", "bare"] {
        let failed = |found: Result<(usize, bool), LookupError>| {
            assert!(
                matches!(found, Err(LookupError::Temporary(_))),
                "{zone}: {found:?}"
            );
        };
        failed(secure(resolver.exchangers(&format!("d.{zone}")).await));
        failed(secure(tlsa(zone).await));
        failed(
            resolver
                .addresses(&format!("mx.{zone}"))
                .await
                .map(|found| (found.ips.len(), true)),
        );
        // Denials are not accepted either.
        failed(secure(resolver.exchangers(&format!("mx.{zone}")).await));
        failed(secure(resolver.tlsa(&format!("_26._tcp.mx.{zone}")).await));
    }
}

#[tokio::test]
async fn aliases_are_proved_as_far_as_they_are_signed() {
    let (zones, resolver) = started().await;
    let names = |host: &'static str| {
        let found = resolver.addresses(host);
        async move { found.await.unwrap().secure_names }
    };
    assert_eq!(names("alias.signed").await, ["mx.signed", "alias.signed"]);
    assert_eq!(names("out.signed").await, ["out.signed"]);
    assert_eq!(names("alias.plain").await, [""; 0]);
    // With the target of each alias in the cache, but not the alias.
    let resolver = validating(&zones);
    for host in ["mx.signed", "mx.plain"] {
        assert!(resolver.addresses(host).await.is_ok());
    }
    let names = |host: &'static str| {
        let found = resolver.addresses(host);
        async move { found.await.unwrap().secure_names }
    };
    assert_eq!(names("alias.signed").await, ["mx.signed", "alias.signed"]);
    assert_eq!(names("out.signed").await, ["out.signed"]);
}

#[tokio::test]
async fn nothing_is_proved_by_the_wrong_root_or_without_validation() {
    let zones = SignedZones::start(ZONE).await;
    // The root zone of the internet does not sign these zones.
    let resolver = DnsResolver::validating(&[zones.address], &TrustAnchors::default());
    for domain in ["d.signed", "d.plain"] {
        let found = resolver.exchangers(domain).await;
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{domain}: {found:?}"
        );
    }
    let resolver = DnsResolver::new(&[zones.address]);
    for domain in ["d.signed", "d.plain", "d.forged"] {
        assert_eq!(
            secure(resolver.exchangers(domain).await),
            Ok((1, false)),
            "{domain}"
        );
    }
}

/// The validated names of `host`.
async fn names(resolver: &DnsResolver, host: &str) -> Result<(usize, Vec<String>), LookupError> {
    let found = resolver.addresses(host).await?;
    Ok((found.ips.len(), found.secure_names))
}

#[tokio::test]
async fn an_alias_that_follows_from_a_dname_is_as_good_as_that_is() {
    let (_zones, resolver) = started().await;
    let proved = |names: &[&str]| Ok((2, names.iter().map(|name| (*name).to_owned()).collect()));
    // Twice, because the second lookup uses the cache.
    for _ in 0..2 {
        for (host, expected) in [
            ("mx.moved.signed", &["mx.signed", "mx.moved.signed"][..]),
            ("alias.moved.signed", &["mx.signed", "alias.moved.signed"]),
            ("mx.chain.signed", &["mx.signed", "mx.chain.signed"]),
            ("cross.signed", &["mx.signed", "cross.signed"]),
            // In capitals; signatures are over lower case.
            ("mx.loud.signed", &["mx.signed", "mx.loud.signed"]),
            ("MX.Loud.Signed", &["mx.signed", "mx.loud.signed"]),
            ("shout.signed", &["mx.signed", "shout.signed"]),
            ("mx.abroad.signed", &["mx.abroad.signed"]),
            ("mx.moved.plain", &[]),
            ("mx.home.plain", &[]),
        ] {
            assert_eq!(names(&resolver, host).await, proved(expected), "{host}");
        }
        for (domain, proved) in [("d.moved.signed", true), ("d.abroad.signed", false)] {
            let found = secure(resolver.exchangers(domain).await);
            assert_eq!(found, Ok((1, proved)), "{domain}");
        }
        let found = resolver.tlsa("_25._tcp.mx.moved.signed").await;
        assert_eq!(secure(found), Ok((1, true)));
    }
}

#[tokio::test]
async fn what_an_alias_leads_to_is_known_not_to_be_there() {
    let (_zones, resolver) = started().await;
    // By a DNAME record, and by a CNAME record. The target has one address and no other records.
    for host in ["mx.moved.signed", "lone.signed"] {
        let found = resolver.exchangers(host).await;
        assert_eq!(found, Err(LookupError::NoData), "{host}");
    }
    for host in ["nobody.moved.signed", "gone.signed", "gone.moved.signed"] {
        let found = resolver.exchangers(host).await;
        assert_eq!(found, Err(LookupError::NoSuchDomain), "{host}");
        let found = names(&resolver, host).await;
        assert_eq!(found, Err(LookupError::NoSuchDomain), "{host}");
    }
    let found = names(&resolver, "lone.signed").await.unwrap().1;
    assert_eq!(found, ["only.signed", "lone.signed"]);
}

#[tokio::test]
async fn nothing_follows_from_a_dname_that_is_not_proved_nor_from_an_alias_that_came_along() {
    let (_zones, resolver) = started().await;
    for host in [
        // The DNAME record above has no signature, or one of another record; everything else is signed correctly.
        "mx.unsigned.signed",
        "mx.missigned.signed",
        // Signed with another key; unsigned.
        "mx.home.forged",
        "mx.home.bare",
        // A cycle.
        "mx.round.signed",
        // It has a DNAME record itself; hickory takes no denial of others beside it.
        "moved.signed",
    ] {
        let found = names(&resolver, host).await;
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{host}: {found:?}"
        );
        let found = secure(resolver.exchangers(host).await);
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{host}: {found:?}"
        );
    }
    // A forged alias beside a valid DNAME record, with a validated target: the name does not exist, or is another host.
    let found = names(&resolver, "lie.moved.signed").await;
    assert_eq!(found, Err(LookupError::NoSuchDomain));
    let found = resolver.addresses("only.moved.signed").await.unwrap();
    assert_eq!(found.ips, ["192.0.2.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(found.secure_names, ["only.signed", "only.moved.signed"]);
}
