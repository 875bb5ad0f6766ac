//! Rotation of certificates, on paused time and real files.

use super::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use spool_core::ManualClock;
use std::path::Path;

/// A certificate until the first of January of `year`, and its key.
fn made(year: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["mx.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

impl Watched {
    /// Whether handshakes show the first certificate of `chain`, whose key is `key`.
    fn shows(&self, (chain, key): (&str, &str)) -> bool {
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        self.tls.fingerprint() == certificate.fingerprint()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(at("2026-12-01T00:00:00Z"))),
        }
    }

    fn pair(&self) -> CertificateFiles {
        CertificateFiles {
            certificate: self.dir.path().join("chain.pem"),
            key: self.dir.path().join("key.pem"),
        }
    }

    fn write(&self, chain: &str, key: &str) {
        let pair = self.pair();
        std::fs::write(pair.certificate, chain).unwrap();
        std::fs::write(pair.key, key).unwrap();
    }

    fn start(&self) -> Watched {
        Watched::start(self.pair(), self.clock.clone()).unwrap()
    }
}

/// Runs for `span` of paused time and gives what is known at its end.
async fn run(mut watched: Watched, pairs: &watch::Sender<CertificateFiles>, span: Duration) -> Watched {
    let end = tokio::time::Instant::now() + span;
    let (_stop, stopped) = watch::channel(false);
    let _ = tokio::time::timeout_at(end, watched.run(pairs.subscribe(), stopped)).await;
    watched
}

#[tokio::test(start_paused = true)]
async fn the_poll_replaces_a_pair_and_ignores_a_bad_one() {
    let bench = Bench::new();
    let (chain, key) = made(2030);
    bench.write(&chain, &key);
    let pairs = watch::Sender::new(bench.pair());
    let watched = run(bench.start(), &pairs, POLL * 3 / 2).await;
    assert_eq!(watched.expires, at("2030-01-01T00:00:00Z"));

    // The certificate first, as certbot does: for a moment the pair is a bad one.
    let (new_chain, new_key) = made(2031);
    bench.write(&new_chain, &key);
    let watched = run(watched, &pairs, POLL * 3 / 2).await;
    assert_eq!(watched.expires, at("2030-01-01T00:00:00Z"));
    assert!(watched.shows((&chain, &key)));

    bench.write(&new_chain, &new_key);
    let watched = run(watched, &pairs, POLL / 2).await;
    assert!(watched.shows((&chain, &key)), "not before the poll");
    let watched = run(watched, &pairs, POLL * 3 / 2).await;
    assert_eq!(watched.expires, at("2031-01-01T00:00:00Z"));
    assert!(watched.shows((&new_chain, &new_key)));

    for bad in ["", "no PEM"] {
        bench.write(bad, bad);
        let watched = Watched::start(bench.pair(), bench.clock.clone());
        assert!(watched.is_err());
    }
    std::fs::remove_file(bench.pair().certificate).unwrap();
    let watched = run(watched, &pairs, POLL * 3 / 2).await;
    assert!(watched.shows((&new_chain, &new_key)));
}

#[tokio::test(start_paused = true)]
async fn a_swapped_link_is_seen() {
    let bench = Bench::new();
    let (pair, dir) = (bench.pair(), bench.dir.path());
    let (chains, keys): (Vec<_>, Vec<_>) = [2030, 2031].map(made).into_iter().unzip();
    for (name, (chain, key)) in ["a", "b"].iter().zip(chains.iter().zip(&keys)) {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("chain.pem"), chain).unwrap();
        std::fs::write(dir.join(name).join("key.pem"), key).unwrap();
    }
    let link = |to: &str, path: &Path| {
        let new = dir.join("new");
        let name = path.file_name().unwrap();
        std::os::unix::fs::symlink(dir.join(to).join(name), &new).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    link("a", &pair.certificate);
    link("a", &pair.key);
    let pairs = watch::Sender::new(pair.clone());
    let watched = run(bench.start(), &pairs, POLL * 3 / 2).await;
    assert!(watched.shows((&chains[0], &keys[0])));
    link("b", &pair.certificate);
    link("b", &pair.key);
    let watched = run(watched, &pairs, POLL * 3 / 2).await;
    assert!(watched.shows((&chains[1], &keys[1])));
}

#[tokio::test(start_paused = true)]
async fn a_reload_looks_at_once_and_at_other_files() {
    let bench = Bench::new();
    let (chain, key) = made(2030);
    bench.write(&chain, &key);
    let pairs = watch::Sender::new(bench.pair());
    let watched = bench.start();
    let (other, other_key) = made(2032);
    let elsewhere = CertificateFiles {
        certificate: bench.dir.path().join("other.pem"),
        key: bench.dir.path().join("other-key.pem"),
    };
    std::fs::write(&elsewhere.certificate, &other).unwrap();
    std::fs::write(&elsewhere.key, &other_key).unwrap();
    let begun = tokio::time::Instant::now();
    let subscribed = pairs.subscribe();
    pairs.send_replace(elsewhere);
    let (_stop, stopped) = watch::channel(false);
    let mut watched = watched;
    let _ = tokio::time::timeout(POLL / 2, watched.run(subscribed, stopped)).await;
    assert!(begun.elapsed() < POLL && watched.shows((&other, &other_key)));
}

#[test]
fn the_end_is_warned_of_once_a_day() {
    let bench = Bench::new();
    let (chain, key) = made(2027);
    bench.write(&chain, &key);
    let mut watched = bench.start();
    let mut said = 0;
    for _hour in 0..24 * 40 {
        let before = watched.warned;
        bench.clock.advance(Duration::from_secs(3600));
        watched.warn();
        said += usize::from(watched.warned != before);
    }
    // 14 days before the end, and 9 days after it.
    assert!((22..=24).contains(&said), "{said}");
    let (end, now) = (at("2027-01-01T00:00:00Z"), at("2026-12-20T12:00:00Z"));
    assert!(expiry(end, now).unwrap().ends_with("in 11 days"));
    assert_eq!(expiry(end, at("2026-12-18T00:00:00Z")), None);
    assert!(expiry(end, end).unwrap().contains("expired"));
}

#[test]
fn the_file_to_blame_is_named() {
    let bench = Bench::new();
    let (chain, key) = made(2030);
    let (_, other) = made(2030);
    for (chain, key, blamed) in [
        (chain.as_str(), other.as_str(), "key"),
        (&chain, "", "key"),
        ("", &key, "certificate"),
    ] {
        bench.write(chain, key);
        let unusable = read(&bench.pair()).unwrap_err();
        assert_eq!(unusable.key, blamed, "{unusable:?}");
        assert!(unusable.why.contains(".pem: "), "{unusable:?}");
    }
    std::fs::remove_file(bench.pair().key).unwrap();
    assert_eq!(read(&bench.pair()).unwrap_err().key, "key");
}
