//! Measures the CPU time of the thread that makes the DKIM signatures of one message, with each kind of key and of both together.
//!
//! `cargo run --release -p spool-smtp --example signatures -- [SECONDS]`, SECONDS for each row. Linux only: the time is that of
//! /proc/thread-self/schedstat.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement has nobody to report an error to"
)]

use spool_core::Timestamp;
use spool_smtp::dkim::{DomainKey, Rules, SigningKey, SigningOutcome, sign};
use std::time::Duration;

const RSA: &[u8] = include_bytes!("../src/dkim/testdata/rsa-pkcs8.pem");
const ED25519: &[u8] = include_bytes!("../src/dkim/testdata/ed25519.pem");
const NOW: Timestamp = Timestamp(1_796_000_000_000);
const HEADER: &str = "Received: from a by b; Tue, 24 Nov 2026 03:39:12 +0000\r\n\
    From: Ada <ada@example.org>\r\nTo: bob@example.net,\r\n\tcarol@example.net\r\nSubject: dinner\r\n\
    Date: Tue, 24 Nov 2026 03:39:12 +0000\r\nMessage-ID: <1@example.org>\r\nX-Other: y\r\n\r\n";
const LINE: &str = "The quick brown fox jumps over the lazy dog, again and again and again.\r\n";

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(2));
    for (name, keys) in [
        ("RSA-2048", vec![RSA]),
        ("Ed25519", vec![ED25519]),
        ("RSA-2048 and Ed25519", vec![RSA, ED25519]),
    ] {
        let rules = rules(&keys);
        for size in [2 << 10, 64 << 10, 1 << 20] {
            let message = format!("{HEADER}{}", LINE.repeat(size / LINE.len()));
            let each = measured(&rules, message.as_bytes(), span);
            let rate = 1.0 / each.as_secs_f64();
            println!(
                "{name}, {} KiB: {} us of CPU, {rate:.0} a second",
                message.len() >> 10,
                each.as_micros()
            );
        }
    }
}

fn rules(keys: &[&[u8]]) -> Rules {
    let key = |(nth, pem): (usize, &&[u8])| DomainKey {
        domain: "example.org".to_owned(),
        selector: format!("s{nth}"),
        subdomains: false,
        from: None,
        until: None,
        key: SigningKey::from_pem(pem).unwrap(),
    };
    Rules {
        keys: keys.iter().enumerate().map(key).collect(),
        ..Rules::default()
    }
}

/// The CPU time of one message, over as many as are signed in `span`.
fn measured(rules: &Rules, message: &[u8], span: Duration) -> Duration {
    let (start, mut count) = (cpu_time(), 0_u32);
    while cpu_time() - start < span {
        assert!(matches!(sign(rules, message, NOW), SigningOutcome::Signed { .. }));
        count += 1;
    }
    (cpu_time() - start) / count
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}
