//! A name server on loopback for zones that are signed as they run: a root, and below it one zone with signatures, two without,
//! of which the root says that one has some, and one whose signatures are not those that the root tells of.

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

/// The beginning of each zone below.
const ZONE: &str = "
    ZONE SOA ns. admin. 1 3600 600 86400 60
    ZONE NS ns.
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

/// A running name server; it ends with the runtime.
pub struct SignedZones {
    /// Where it listens, over UDP and TCP.
    pub address: SocketAddr,
    /// The root's key, as a zone file has it.
    pub anchor: String,
    _server: Server<Recursive>,
}

impl SignedZones {
    /// Has the records in `text`, one a line (`OWNER KIND DATA`), four times, each time with the name of the zone in place of
    /// ZONE: `signed.`; `plain.`, which has no signatures; `forged.`, signed by a key that the root does not know; `bare.`,
    /// which has no signatures where the root knows of a key.
    pub async fn start(text: &str) -> Self {
        let text = format!("{ZONE}{text}");
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
        let mut signed = zone("signed.", &text);
        signed_key.sign("signed.", &mut signed);
        let mut forged = zone("forged.", &text);
        Key::new().sign("forged.", &mut forged);
        let root = Arc::new(root);
        let (mut above, mut all) = (Catalog::new(), Catalog::new());
        above.upsert(name(".").into(), vec![root.clone()]);
        all.upsert(name(".").into(), vec![root]);
        for (origin, zone) in [
            ("signed.", signed),
            ("forged.", forged),
            ("plain.", zone("plain.", &text)),
            ("bare.", zone("bare.", &text)),
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
        Self {
            address,
            anchor,
            _server: server,
        }
    }
}
