//! Validation against zones that are signed as they run: a root, zones below it with and without signatures, and one whose
//! signatures are not those that the root tells of.

use super::super::{Answer, DnsResolver, LookupError, Resolve, TrustAnchors};
use hickory_resolver::net::runtime::{Time, TokioRuntimeProvider};
use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_resolver::proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

const ROOT: &str = "
    . SOA ns. admin. 1 3600 600 86400 60
    . NS ns.
    ns. A 127.0.0.1
    signed. NS ns.
    plain. NS ns.
    forged. NS ns.
    bare. NS ns.
";

/// What each zone below has, in its own name.
const ZONE: &str = "
    ZONE SOA ns. admin. 1 3600 600 86400 60
    ZONE NS ns.
    d.ZONE MX 10 mx.ZONE
    mx.ZONE A 192.0.2.1
    mx.ZONE AAAA 2001:db8::1
    alias.ZONE CNAME mx.ZONE
    out.ZONE CNAME mx.plain.
    _25._tcp.mx.ZONE TLSA 3 1 1 164a652abf11be0befa7fbdb0e06e851277ae90838a7ee9facd111d152dd5d90
";

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn zone(origin: &str, text: &str) -> Zone {
    let mut zone = Zone::empty(
        name(origin),
        ZoneType::Primary,
        AxfrPolicy::Deny,
        Some(NxProofKind::Nsec),
    );
    let text = text.replace("ZONE", origin);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (owner, rest) = line.split_once(' ').unwrap();
        let (kind, data) = rest.split_once(' ').unwrap();
        let data = RData::try_from_str(kind.parse::<RecordType>().unwrap(), data).unwrap();
        assert!(
            zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 1),
            "{line}"
        );
    }
    zone
}

/// A key for the zone `origin`.
struct Key(Box<dyn SigningKey>, DNSKEY);

impl Key {
    fn new() -> Self {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
        Self(Box::new(key), dnskey)
    }

    /// What the zone above says of it.
    fn ds(&self, origin: &str) -> Record {
        let digest = self.1.to_digest(&name(origin), DigestType::SHA256).unwrap();
        let tag = self.1.calculate_key_tag().unwrap();
        let ds = DS::new(
            tag,
            Algorithm::ED25519,
            DigestType::SHA256,
            digest.as_ref().to_vec(),
        );
        Record::from_rdata(name(origin), 60, RData::DNSSEC(DNSSECRData::DS(ds)))
    }

    fn sign(self, origin: &str, zone: &mut Zone) {
        let Self(key, dnskey) = self;
        let signer = DnssecSigner::new(dnskey, key, name(origin), Duration::from_secs(3600));
        zone.add_zone_signing_key_mut(signer).unwrap();
        zone.secure_zone_mut().unwrap();
    }
}

/// A recursive server would ask the zone above for DS records; one that has all zones would ask the zone itself.
struct Recursive {
    root: Catalog,
    all: Catalog,
}

#[async_trait::async_trait]
impl RequestHandler for Recursive {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, reply: R) -> ResponseInfo {
        let is_ds = request
            .request_info()
            .is_ok_and(|info| info.query.query_type() == RecordType::DS);
        let catalog = if is_ds { &self.root } else { &self.all };
        catalog.handle_request::<R, T>(request, reply).await
    }
}

/// A name server of all these zones, and the root's key as a zone file has it. It ends with the runtime.
async fn started() -> (SocketAddr, String, Server<Recursive>) {
    let (keys, mut root) = ([Key::new(), Key::new(), Key::new()], zone(".", ROOT));
    let anchor = format!(". 60 IN DNSKEY {}\n", keys[0].1);
    let [root_key, signed_key, other_key] = keys;
    for (origin, key) in [
        ("signed.", &signed_key),
        ("forged.", &other_key),
        ("bare.", &other_key),
    ] {
        assert!(root.upsert_mut(key.ds(origin), 1));
    }
    root_key.sign(".", &mut root);
    let mut signed = zone("signed.", ZONE);
    signed_key.sign("signed.", &mut signed);
    let mut forged = zone("forged.", ZONE);
    Key::new().sign("forged.", &mut forged);
    let root = Arc::new(root);
    let (mut above, mut all) = (Catalog::new(), Catalog::new());
    above.upsert(name(".").into(), vec![root.clone()]);
    all.upsert(name(".").into(), vec![root]);
    for (origin, zone) in [
        ("signed.", signed),
        ("forged.", forged),
        ("plain.", zone("plain.", ZONE)),
        ("bare.", zone("bare.", ZONE)),
    ] {
        all.upsert(name(origin).into(), vec![Arc::new(zone)]);
    }
    let mut server = Server::new(Recursive { root: above, all });
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    server.register_socket(udp);
    if let Ok(tcp) = TcpListener::bind(address).await {
        server.register_listener(tcp, Duration::from_secs(5), 64);
    }
    (address, anchor, server)
}

fn secure<T>(answer: Result<Answer<T>, LookupError>) -> Result<(usize, bool), LookupError> {
    answer.map(|answer| (answer.records.len(), answer.secure))
}

#[tokio::test]
async fn signed_unsigned_and_forged_zones_are_told_apart() {
    let (address, anchor, _server) = started().await;
    let anchors = TrustAnchors::from_text(&anchor).unwrap();
    let resolver = DnsResolver::validating(&[address], &anchors);
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
        // What is not there is known not to be.
        let none = resolver.exchangers(&format!("mx.{zone}")).await;
        assert_eq!(none, Err(LookupError::NoData), "{zone}");
        let none = resolver.tlsa(&format!("_26._tcp.mx.{zone}")).await;
        assert_eq!(none, Err(LookupError::NoSuchDomain), "{zone}");
    }
    // Signed by somebody else; and not at all, where the root says that it is.
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
        // Nor is it believed that something is not there.
        failed(secure(resolver.exchangers(&format!("mx.{zone}")).await));
        failed(secure(resolver.tlsa(&format!("_26._tcp.mx.{zone}")).await));
    }
}

#[tokio::test]
async fn aliases_are_proved_as_far_as_they_are_signed() {
    let (address, anchor, _server) = started().await;
    let anchors = TrustAnchors::from_text(&anchor).unwrap();
    let resolver = DnsResolver::validating(&[address], &anchors);
    let names = |host: &'static str| {
        let found = resolver.addresses(host);
        async move { found.await.unwrap().secure_names }
    };
    assert_eq!(names("alias.signed").await, ["mx.signed", "alias.signed"]);
    assert_eq!(names("out.signed").await, ["out.signed"]);
    assert_eq!(names("alias.plain").await, [""; 0]);
    // Nor does it matter what is in the cache: here the end of each alias is, and not the alias.
    let resolver = DnsResolver::validating(&[address], &anchors);
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
    let (address, _, _server) = started().await;
    // The root of the internet has not signed this one.
    let resolver = DnsResolver::validating(&[address], &TrustAnchors::default());
    for domain in ["d.signed", "d.plain"] {
        let found = resolver.exchangers(domain).await;
        assert!(
            matches!(found, Err(LookupError::Temporary(_))),
            "{domain}: {found:?}"
        );
    }
    let resolver = DnsResolver::new(&[address]);
    for domain in ["d.signed", "d.plain", "d.forged"] {
        assert_eq!(
            secure(resolver.exchangers(domain).await),
            Ok((1, false)),
            "{domain}"
        );
    }
}
