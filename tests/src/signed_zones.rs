//! A name server on loopback for zones that are signed as they run: a root, and below it one zone with signatures, two without,
//! of which the root says that one has some, and one whose signatures are not those that the root tells of.

use hickory_resolver::net::runtime::{Time, TokioRuntimeProvider};
use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_resolver::proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey};
use hickory_resolver::proto::op::{Edns, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, NULL};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AuthLookup, AxfrPolicy, Catalog, LookupControlFlow, LookupOptions, MessageResponseBuilder, ZoneType,
};
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

const ZONES: [&str; 4] = ["signed.", "plain.", "forged.", "bare."];

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
        let data = match kind {
            "FORGED" | "UNSIGNED" | "MISSIGNED" => continue,
            // The library does not read these, and signs them as they are, where the signature is that of the target in lower case
            // (RFC 4034 section 6.2).
            "DNAME" => dname(&name(data).to_lowercase()),
            kind => RData::try_from_str(kind.parse::<RecordType>().unwrap(), data).unwrap(),
        };
        assert!(
            zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 1),
            "{line}"
        );
    }
    zone
}

/// Owners, and the names that follow `kind`.
fn pairs(origin: &str, text: &str, kind: &str) -> Vec<(Name, Name)> {
    let (text, kind) = (text.replace("ZONE", origin), format!(" {kind} "));
    let lines = text.lines().filter_map(|line| line.split_once(&kind));
    lines.map(|(owner, to)| (name(owner.trim()), name(to))).collect()
}

fn dname(target: &Name) -> RData {
    RData::Unknown {
        code: RecordType::DNAME,
        rdata: NULL::with(target.to_bytes().unwrap()),
    }
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

/// What is below a DNAME record: names elsewhere, by aliases that are made as they are asked for (RFC 6672 section 3.1).
struct Redirect {
    owner: Name,
    target: Name,
    /// The record, and its signature.
    records: Vec<Record>,
}

impl Redirect {
    /// Those of a zone, and those that `text` adds to what is signed.
    fn all(origin: &str, zone: &mut Zone, text: &str) -> Vec<Self> {
        let sets = zone.records_get_mut().values();
        let sets = sets.filter(|set| set.record_type() == RecordType::DNAME);
        let targets = pairs(origin, text, "DNAME");
        let signed = sets.map(|set| {
            let mut records: Vec<Record> = set.records(true).cloned().collect();
            let (owner, target) = targets.iter().find(|(owner, _)| owner == set.name()).unwrap();
            // It is handed out as the zone has it.
            records[0].data = dname(target);
            Self {
                owner: owner.clone(),
                target: target.clone(),
                records,
            }
        });
        let mut all: Vec<Self> = signed.collect();
        let others = all.first().map_or(&[][..], |other| &other.records[1..]).to_vec();
        for (kind, signatures) in [("UNSIGNED", Vec::new()), ("MISSIGNED", others)] {
            for (owner, target) in pairs(origin, text, kind) {
                let mut records = vec![Record::from_rdata(owner.clone(), 60, dname(&target))];
                records.extend(signatures.iter().cloned());
                records.iter_mut().for_each(|record| record.name = owner.clone());
                all.push(Self {
                    owner,
                    target,
                    records,
                });
            }
        }
        all
    }

    fn is_above(&self, asked: &Name) -> bool {
        self.owner.zone_of(asked) && self.owner != *asked
    }

    fn alias(&self, asked: &Name) -> Name {
        let below = asked.num_labels() - self.owner.num_labels();
        let below = Name::from_labels(asked.iter().take(below.into())).unwrap();
        below.append_domain(&self.target).unwrap()
    }
}

/// Records, or what denies them.
#[derive(Default)]
struct Answer {
    answers: Vec<Record>,
    code: ResponseCode,
    denial: Vec<Record>,
}

/// It answers as a recursive server does: DS records are the zone's above, and an answer holds what its aliases lead to, or the denial of it.
struct Recursive {
    root: Catalog,
    all: Catalog,
    redirects: Vec<Redirect>,
    /// Aliases in place of those that are made.
    forged: Vec<(Name, Name)>,
}

impl Recursive {
    /// What the library answers otherwise: names below a DNAME record, and aliases that lead to nothing.
    async fn answer(&self, asked: &Name, kind: RecordType) -> Option<Answer> {
        let own = self.redirects.iter().find(|redirect| redirect.owner == *asked);
        if let (Some(own), RecordType::DNAME) = (own, kind) {
            let answers = own.records.clone();
            return Some(Answer {
                answers,
                ..Answer::default()
            });
        }
        if let Some((answers, to)) = self.redirected(asked) {
            let found = if kind == RecordType::CNAME {
                Answer::default()
            } else {
                self.found(&to, kind).await
            };
            let answers = [answers, found.answers].concat();
            return Some(Answer { answers, ..found });
        }
        let alias = self.found(asked, RecordType::CNAME).await.answers;
        let RData::CNAME(CNAME(to)) = &alias.first()?.data else {
            return None;
        };
        let found = self.found(to, kind).await;
        (found.answers.is_empty() && kind != RecordType::CNAME).then_some(Answer {
            answers: alias,
            ..found
        })
    }

    /// The DNAME record above a name, and the alias that follows from it.
    fn redirected(&self, asked: &Name) -> Option<(Vec<Record>, Name)> {
        let redirect = self.redirects.iter().find(|redirect| redirect.is_above(asked))?;
        let forged = self.forged.iter().find(|(owner, _)| owner == asked);
        let to = forged.map_or_else(|| redirect.alias(asked), |(_, to)| to.clone());
        let alias = Record::from_rdata(asked.clone(), 60, RData::CNAME(CNAME(to.clone())));
        Some(([redirect.records.clone(), vec![alias]].concat(), to))
    }

    async fn found(&self, name: &Name, kind: RecordType) -> Answer {
        let (name, options) = (LowerName::from(name), LookupOptions::for_dnssec());
        let zone = &self.all.find(&name).unwrap()[0];
        let records = |found: LookupControlFlow<AuthLookup>| {
            let found = found.map_result().unwrap();
            found.map(|found| found.iter().cloned().collect::<Vec<_>>())
        };
        match records(zone.lookup(&name, kind, None, options).await) {
            Ok(answers) => Answer {
                answers,
                ..Answer::default()
            },
            Err(error) => {
                let soa = zone.lookup(zone.origin(), RecordType::SOA, None, options).await;
                let denial = zone.nsec_records(&name, options).await;
                let denial = [soa, denial].map(|found| records(found).unwrap_or_default());
                Answer {
                    answers: Vec::new(),
                    code: match error.is_nx_domain() {
                        true => ResponseCode::NXDomain,
                        false => ResponseCode::NoError,
                    },
                    denial: denial.concat(),
                }
            }
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Recursive {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut reply: R,
    ) -> ResponseInfo {
        let Ok(info) = request.request_info() else {
            return self.all.handle_request::<R, T>(request, reply).await;
        };
        let (asked, kind) = (Name::from(info.query.name().clone()), info.query.query_type());
        if let Some(found) = self.answer(&asked, kind).await {
            let mut edns = Edns::new();
            edns.set_max_payload(4096).enable_dnssec();
            let mut response = MessageResponseBuilder::from_message_request(request);
            response.edns(&edns);
            let mut metadata = Metadata::response_from_request(&request.metadata);
            metadata.response_code = found.code;
            let response = response.build(metadata, &found.answers, &found.denial, [], []);
            return reply.send_response(response).await.unwrap();
        }
        let is_ds = kind == RecordType::DS;
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
    ///
    /// Some of it is a lie, whatever the zone: `OWNER FORGED NAME`, below the owner of a DNAME record, an alias in place of the one that
    /// follows; `OWNER UNSIGNED NAME`, a DNAME record without a signature; `OWNER MISSIGNED NAME`, one with that of another.
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
        let (mut plain, mut bare) = (zone("plain.", &text), zone("bare.", &text));
        let below = ZONES
            .into_iter()
            .zip([&mut signed, &mut plain, &mut forged, &mut bare]);
        let redirects = below.flat_map(|(origin, zone)| Redirect::all(origin, zone, &text));
        let redirects = redirects.collect();
        let root = Arc::new(root);
        let (mut above, mut all) = (Catalog::new(), Catalog::new());
        above.upsert(name(".").into(), vec![root.clone()]);
        all.upsert(name(".").into(), vec![root]);
        for (origin, zone) in [
            ("signed.", signed),
            ("forged.", forged),
            ("plain.", plain),
            ("bare.", bare),
        ] {
            all.upsert(name(origin).into(), vec![Arc::new(zone)]);
        }
        let forged = ZONES.into_iter().flat_map(|zone| pairs(zone, &text, "FORGED"));
        let mut server = Server::new(Recursive {
            root: above,
            all,
            redirects,
            forged: forged.collect(),
        });
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
