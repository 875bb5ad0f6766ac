//! DKIM signatures as mail-auth sees them: a verifier from other hands.

use crate::name_server::NameServer;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

/// What mail-auth says of each signature, from the top: an empty text for a valid one.
///
/// # Panics
/// When mail-auth cannot read the message.
#[must_use]
pub fn signatures(messages: &[&[u8]], dns: &NameServer) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let authenticator = authenticator(dns);
        let mut all = Vec::new();
        for message in messages {
            let parsed = AuthenticatedMessage::parse(message).unwrap();
            let output = authenticator.verify_dkim(&parsed).await;
            let told = output
                .iter()
                .map(|signature| match signature.result() == &DkimResult::Pass {
                    true => String::new(),
                    false => format!("{:?}", signature.result()),
                });
            all.push(told.collect());
        }
        all
    })
}

/// `message` signed by mail-auth with an RSA key, in each pair of canonical forms.
///
/// # Panics
/// When mail-auth cannot sign.
#[must_use]
pub fn signed(message: &[u8], domain: &str, selector: &str, pem: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (simple, relaxed) = (Canonicalization::Simple, Canonicalization::Relaxed);
    let forms = [
        ("simple/simple", simple, simple),
        ("simple/relaxed", simple, relaxed),
        ("relaxed/simple", relaxed, simple),
        ("relaxed/relaxed", relaxed, relaxed),
    ];
    let sign = |(name, header, body)| {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let signer = DkimSigner::from_key(RsaKey::<Sha256>::from_key_der(key).unwrap());
        let signer = signer.domain(domain).selector(selector);
        let signer = signer.headers(["From", "To", "Subject", "Date", "From", "Subject"]);
        let signer = signer.header_canonicalization(header).body_canonicalization(body);
        let signature = signer.sign(message).unwrap();
        (name, [signature.to_header().as_bytes(), message].concat())
    };
    forms.into_iter().map(sign).collect()
}

fn authenticator(dns: &NameServer) -> MessageAuthenticator {
    let mut server = NameServerConfig::udp_and_tcp(dns.address.ip());
    for connection in &mut server.connections {
        let ConnectionConfig { port, .. } = connection;
        *port = dns.address.port();
    }
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(10);
    options.edns0 = true;
    MessageAuthenticator::new(
        ResolverConfig::from_parts(None, Vec::new(), vec![server]),
        options,
    )
    .unwrap()
}

/// The line of a [`NameServer`] for a record as `spool dkim new` and `spool dkim dns` print it.
#[must_use]
pub fn name_server_line(zone_line: &str) -> String {
    let name = zone_line
        .split('.')
        .take_while(|label| !label.starts_with(" IN"))
        .collect::<Vec<_>>()
        .join(".");
    let text: String = zone_line.split('"').skip(1).step_by(2).collect();
    txt_line(&name, &text)
}

/// The same for the text of a record. Its white space does not count, and its strings are short.
#[must_use]
pub fn txt_line(name: &str, text: &str) -> String {
    let text: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let strings: Vec<String> = text.chunks(200).map(|string| string.iter().collect()).collect();
    format!("{name} TXT {}\n", strings.join(" "))
}
