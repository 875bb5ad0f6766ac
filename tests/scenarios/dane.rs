//! DANE: a relay that validates what a name server hands out, and an exchanger whose certificate its domain publishes.

use rcgen::PublicKeyData;
use serde_json::Value;
use spool_smtp::sink::{Sink, SinkConfig, SinkCounts, SinkTls, TlsMode};
use spool_tests::http;
use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;
use spool_tests::signed_zones::SignedZones;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What the exchanger's records are about, and what it shows.
struct Exchanger<'e> {
    announced: &'e rcgen::KeyPair,
    tls: Option<SinkTls>,
    script: &'e str,
}

impl<'e> Exchanger<'e> {
    /// One that keeps its word, but for what `script` says.
    fn honest(keys: &'e Keys, script: &'e str) -> Self {
        Self {
            announced: &keys.own,
            tls: Some(keys.tls()),
            script,
        }
    }
}

/// Two keys, and a certificate for the first that no authority has signed and no name fits.
struct Keys {
    own: rcgen::KeyPair,
    other: rcgen::KeyPair,
}

impl Keys {
    fn new() -> Self {
        let key = || rcgen::KeyPair::generate().unwrap();
        Self {
            own: key(),
            other: key(),
        }
    }

    fn tls(&self) -> SinkTls {
        let names = ["elsewhere.test".to_owned()];
        let certificate = rcgen::CertificateParams::new(names.clone()).unwrap();
        let certificate = certificate.self_signed(&self.own).unwrap().pem();
        let key = self.own.serialize_pem();
        SinkTls::from_pem(TlsMode::StartTls, &names, certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// `3 1 1` of `key` (RFC 6698 section 2.1).
fn tlsa(key: &rcgen::KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("3 1 1 {}", hex.collect::<String>())
}

/// The relay, the exchanger `mx.ZONE` of the domain `d.ZONE` for each zone, and the name server that publishes it.
struct Place {
    relay: Running,
    sink: Arc<SinkCounts>,
    zones: SignedZones,
    dir: TempDir,
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Place {
    /// Tries again after `retry`. `anchors` are the keys that the relay begins at; `None`: those that the zones begin at.
    fn new(exchanger: Exchanger<'_>, retry: &str, anchors: Option<&str>) -> Self {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let (stop, stopped) = watch::channel(false);
        let mut config = SinkConfig::default();
        config.script = exchanger.script.parse().unwrap();
        config.tls = exchanger.tls;
        config.ledger = Some(dir.path().join("ledger"));
        let sink = runtime.block_on(Sink::bind("127.0.0.1:0".parse().unwrap(), config));
        let sink = sink.unwrap();
        let (port, counts) = (sink.local_addr().unwrap().port(), sink.counts());
        runtime.spawn(sink.run(stopped));
        let records = format!(
            "d.ZONE MX 10 mx.ZONE\nmx.ZONE A 127.0.0.1\nmoved.ZONE DNAME ZONE\n_{port}._tcp.mx.ZONE TLSA {}\n",
            tlsa(exchanger.announced)
        );
        let zones = runtime.block_on(SignedZones::start(&records));
        let anchors = anchors.unwrap_or(&zones.anchor);
        let config = configure(dir.path(), port, &zones, retry, anchors);
        Self {
            relay: serve(&dir.path().join("spool"), &[], &["--config", &config]),
            sink: counts,
            zones,
            dir,
            _stop: stop,
            _runtime: runtime,
        }
    }

    /// Spools one message, and gives its id.
    fn send(&self, to: &[&str]) -> String {
        let (code, reply) = RawClient::hello(self.relay.smtp())
            .transaction("a@example.org", to, b"x\r\n")
            .unwrap();
        assert_eq!(code, 250, "{reply}");
        reply.split_whitespace().last().unwrap().to_owned()
    }

    /// The attempts of a message that is still there, once there are `count`.
    fn attempts(&self, id: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/messages/{id}");
        until("attempts", || {
            let (code, page) = http::ask(self.relay.field("admin"), "GET", &path, "");
            assert_eq!(code, 200, "{page}");
            let page: Value = serde_json::from_str(&page).unwrap();
            let attempts = page["attempts"].as_array().unwrap();
            (attempts.len() >= count).then(|| attempts.clone())
        })
    }

    /// What a command about a message prints, in one line.
    fn told(&self, command: &str, id: &str) -> String {
        let admin = format!("http://{}", self.relay.field("admin"));
        let output = run(&[command, id, "--admin", &admin]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The recipients of what the exchanger has taken, in order.
    fn taken(&self) -> Vec<String> {
        let ledger = std::fs::read_to_string(self.dir.path().join("ledger")).unwrap();
        let lines = ledger
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let to = lines.flat_map(|line| line["to"].as_array().unwrap().clone());
        let mut taken: Vec<_> = to.map(|to| to.as_str().unwrap().to_owned()).collect();
        taken.sort();
        taken
    }

    /// Fails unless attempt after attempt ends with these words. Gives the message's id.
    fn assert_held_back(&self, to: &str, words: &str) -> String {
        let id = self.send(&[to]);
        for attempt in self.attempts(&id, 4) {
            assert_ne!(attempt["outcome"], "accepted", "{attempt}");
        }
        let show = self.told("show", &id);
        assert!(show.matches(words).count() >= 4, "{words}: {show}");
        id
    }

    /// The same for what a peer does, which holds up all that goes there; and mail for the same peer, by a zone whose records
    /// nobody has signed, arrives.
    fn assert_only_unsigned_records_ask_for_nothing(&self, words: &str) {
        let id = self.assert_held_back("b@d.signed", words);
        until("what holds it", || {
            let explain = self.told("explain", &id);
            (explain.contains("its next hops failed") && explain.contains(words)).then_some(())
        });
        self.send(&["b@d.plain"]);
        until("the other message", || (!self.taken().is_empty()).then_some(()));
        assert_eq!(self.taken(), ["b@d.plain"]);
    }
}

/// Writes the configuration, and the file of anchors.
fn configure(dir: &Path, port: u16, zones: &SignedZones, retry: &str, anchors: &str) -> String {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.join("anchors"), anchors).unwrap();
    let text = format!(
        "[retry]\nintervals = [\"{retry}\"]\njitter = 0.0\n\
         [client]\ndane = true\ndnssec_anchors = \"{}\"\n\
         [route]\nmx_port = {port}\ndns_servers = [\"{}\"]\nignore_networks = []\n\
         [[route.rule]]\ndomain = \"hosted.example\"\nnext_hops = [\"mx:d.signed:{port}\"]\n\
         [[route.rule]]\ndomain = \"relayed.example\"\nnext_hops = [\"mx.signed:{port}\"]\n",
        path("anchors"),
        zones.address
    );
    std::fs::write(dir.join("spool.toml"), text).unwrap();
    path("spool.toml")
}

#[test]
fn a_certificate_that_a_record_is_about_is_the_one_whoever_signed_it() {
    let keys = Keys::new();
    // One recipient is refused for now, so that the message stays to be asked about.
    let exchanger = Exchanger::honest(
        &keys,
        "mail tls=no reply 550 5.7.0 in the clear\nrcpt to=later* reply 450 4.2.2 full",
    );
    let place = Place::new(exchanger, "1h", None);
    for domain in ["d.signed", "d.moved.signed", "hosted.example", "relayed.example"] {
        let to = ["ok", "later"].map(|name| format!("{name}@{domain}"));
        let id = place.send(&to.each_ref().map(String::as_str));
        let attempt = place.attempts(&id, 1).remove(0);
        assert_eq!(attempt["outcome"], "accepted", "{attempt}");
        let tls = attempt["tls"].as_str().unwrap();
        assert!(
            tls.starts_with("TLSv1.3 ") && tls.ends_with(", dane 3 1 1"),
            "{tls}"
        );
        let show = place.told("show", &id);
        assert!(show.contains(", dane 3 1 1)"), "{show}");
    }
    assert_eq!(
        place.taken(),
        [
            "ok@d.moved.signed",
            "ok@d.signed",
            "ok@hosted.example",
            "ok@relayed.example"
        ]
    );
}

#[test]
fn another_certificate_than_the_announced_one_gets_no_mail() {
    let keys = Keys::new();
    let exchanger = Exchanger {
        announced: &keys.other,
        tls: Some(keys.tls()),
        script: "",
    };
    let place = Place::new(exchanger, "100ms", None);
    place.assert_only_unsigned_records_ask_for_nothing("no TLSA record is about this certificate");
}

#[test]
fn an_exchanger_with_records_and_without_starttls_gets_no_mail() {
    let keys = Keys::new();
    let exchanger = Exchanger {
        announced: &keys.own,
        tls: None,
        script: "",
    };
    let place = Place::new(exchanger, "100ms", None);
    place.assert_only_unsigned_records_ask_for_nothing(
        "TLS: 554 5.7.10 the next hop does not offer STARTTLS, and mx.signed has TLSA records",
    );
}

#[test]
fn nobody_is_connected_to_where_dnssec_fails() {
    let keys = Keys::new();
    let honest = || Exchanger::honest(&keys, "");
    let place = Place::new(honest(), "100ms", None);
    for domain in ["d.forged", "d.bare"] {
        place.assert_held_back(
            &format!("b@{domain}"),
            &failed(&format!("the mail exchangers of {domain}")),
        );
    }
    assert_eq!(place.sink.connections.load(Ordering::Relaxed), 0);
    // All is signed, and by a root that is another's.
    for (domain, asked) in [
        ("d.signed", "the mail exchangers of d.signed"),
        ("hosted.example", "the mail exchangers of d.signed"),
        ("relayed.example", "mx.signed"),
    ] {
        // A place for each: the first two are one destination, which is left alone after four attempts.
        let elsewhere = Place::new(honest(), "100ms", Some(&place.zones.anchor));
        elsewhere.assert_held_back(&format!("b@{domain}"), &failed(asked));
        assert_eq!(elsewhere.sink.connections.load(Ordering::Relaxed), 0);
    }
}

fn failed(asked: &str) -> String {
    format!("refused at route: 451 4.4.3 looking for {asked}: DNS error: DNSSEC validation failed")
}
