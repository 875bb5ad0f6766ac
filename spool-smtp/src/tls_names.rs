//! The names of what a TLS handshake has agreed on.

use rustls::{CipherSuite, CommonState, ProtocolVersion};

/// The protocol version, and the cipher suite by the name that IANA registered.
pub(crate) fn of(connection: &CommonState) -> (&'static str, Option<&'static str>) {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "TLS",
    };
    let suite = connection.negotiated_cipher_suite();
    (version, suite.and_then(|suite| cipher(suite.suite())))
}

/// rustls has other names for the suites of TLS 1.3.
fn cipher(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite.as_str()? {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        registered => registered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring;

    #[test]
    fn every_negotiable_suite_has_its_registered_name() {
        for suite in ring::ALL_CIPHER_SUITES {
            let name = cipher(suite.suite()).unwrap();
            assert!(name.starts_with("TLS_"), "{name}");
        }
    }
}
