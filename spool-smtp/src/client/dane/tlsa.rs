//! TLSA records (RFC 6698), and which of them are usable for mail (RFC 7672 section 3.1, RFC 7671 section 9). Pure.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, SHA512, SHA512_OUTPUT_LEN, digest};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

/// The most records of a host that are used. Certificates that match only the others are refused.
const MAX_RECORDS: usize = 32;

/// The authority that issued the certificate.
const DANE_TA: u8 = 2;
/// The server's own certificate.
const DANE_EE: u8 = 3;
/// What is compared: the whole certificate, or its public key.
const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
/// How it is compared.
const EXACTLY: u8 = 0;
const BY_SHA256: u8 = 1;
const BY_SHA512: u8 = 2;

/// A TLSA record: the certificate or key of a server. It is shown as the three numbers of its kind (RFC 7218).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, derive_more::Display)]
#[display("{usage} {selector} {matching}")]
pub struct Tlsa {
    /// 2: the authority of the certificate; 3: the certificate itself; 0 and 1 are not used for mail.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: byte for byte; 1: by SHA-256; 2: by SHA-512.
    pub matching: u8,
    /// The value to compare with.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// Whether it names the authority, which must be in the chain, and not the certificate itself.
    pub(super) fn is_authority(&self) -> bool {
        self.usage == DANE_TA
    }

    /// The certificate of the authority, if the record contains all of it: the server need not send it.
    pub(super) fn authority(&self) -> Option<CertificateDer<'_>> {
        let whole = (self.usage, self.selector, self.matching) == (DANE_TA, CERTIFICATE, EXACTLY);
        whole.then(|| CertificateDer::from_slice(&self.data))
    }

    /// Whether it is of a kind that is used for mail, and complete.
    fn is_usable(&self) -> bool {
        let right = match self.matching {
            EXACTLY => !self.data.is_empty(),
            BY_SHA256 => self.data.len() == SHA256_OUTPUT_LEN,
            BY_SHA512 => self.data.len() == SHA512_OUTPUT_LEN,
            _ => false,
        };
        let readable = self
            .authority()
            .is_none_or(|der| RootCertStore::empty().add(der.into_owned()).is_ok());
        matches!(self.usage, DANE_TA | DANE_EE)
            && matches!(self.selector, CERTIFICATE | PUBLIC_KEY)
            && right
            && readable
    }

    /// Whether `certificate` matches it.
    pub(super) fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let key;
        let part: &[u8] = match self.selector {
            CERTIFICATE => certificate,
            PUBLIC_KEY => {
                let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
                    return false;
                };
                key = parsed.subject_public_key_info();
                &key
            }
            _ => return false,
        };
        match self.matching {
            EXACTLY => part == self.data,
            BY_SHA256 => digest(&SHA256, part).as_ref() == self.data,
            BY_SHA512 => digest(&SHA512, part).as_ref() == self.data,
            _ => false,
        }
    }
}

/// The usable records, in a fixed order. A SHA-256 digest is ignored if there is a SHA-512 digest of the same kind (RFC 7671 section 9).
pub(super) fn usable(mut records: Vec<Tlsa>) -> Vec<Tlsa> {
    records.retain(Tlsa::is_usable);
    let kind = |record: &Tlsa| (record.usage, record.selector);
    let strong: Vec<_> = records
        .iter()
        .filter(|record| record.matching == BY_SHA512)
        .map(kind)
        .collect();
    records.retain(|record| record.matching != BY_SHA256 || !strong.contains(&kind(record)));
    records.sort();
    records.dedup();
    records.truncate(MAX_RECORDS);
    records
}

#[cfg(test)]
pub(in crate::client) mod tests {
    use super::*;
    use base64::Engine;

    /// A record of this kind about `certificate`.
    pub(in crate::client) fn record(kind: [u8; 3], certificate: &[u8]) -> Tlsa {
        let [usage, selector, matching] = kind;
        let der = CertificateDer::from_slice(certificate);
        let key = ParsedCertificate::try_from(&der)
            .unwrap()
            .subject_public_key_info();
        let part: &[u8] = if selector == PUBLIC_KEY { &key } else { certificate };
        let data = match matching {
            BY_SHA256 => digest(&SHA256, part).as_ref().to_vec(),
            BY_SHA512 => digest(&SHA512, part).as_ref().to_vec(),
            _ => part.to_vec(),
        };
        Tlsa {
            usage,
            selector,
            matching,
            data,
        }
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        made.cert.der().clone()
    }

    #[test]
    fn each_selector_and_matching_finds_its_certificate_and_no_other() {
        let (one, other) = (certificate("one.test"), certificate("other.test"));
        for usage in [2, 3] {
            for selector in [0, 1] {
                for matching in [0, 1, 2] {
                    let record = record([usage, selector, matching], &one);
                    assert!(record.is_usable() && record.matches(&one), "{record}");
                    assert!(!record.matches(&other), "{record}");
                    let mut altered = record.clone();
                    *altered.data.last_mut().unwrap() ^= 1;
                    assert!(!altered.matches(&one), "{record}");
                }
            }
        }
    }

    /// Made by OpenSSL, as are the digests: `openssl x509 -outform der | sha256sum`, `openssl pkey -pubin -outform der | sha512sum`.
    const FROM_ELSEWHERE: &str = "MIIBfDCCASOgAwIBAgIBATAKBggqhkjOPQQDAjATMREwDwYDVQQDDAhrYXQudGVzdDAeFw0yNjExMjYxNjEyMDlaFw0zNjExMjMxNjEyMDlaMBMxETAPBgNVBAMMCGthdC50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVQlm8xq6G/niWUKds2BnGqfIgbdYsHfhISA2tV4DsfkmeBO90A3jMlV0rRPtWfwqArL9lWsaz5d4kImBY+J+baNoMGYwHQYDVR0OBBYEFBVaI80lCXhlVfeyw7lrcRfgK9R5MB8GA1UdIwQYMBaAFBVaI80lCXhlVfeyw7lrcRfgK9R5MA8GA1UdEwEB/wQFMAMBAf8wEwYDVR0RBAwwCoIIa2F0LnRlc3QwCgYIKoZIzj0EAwIDRwAwRAIgOSlJkucQH22mQJEBPhH3NOO/X5gNDYe4TpYkx4ZR4ncCIEJHpUf7lkb6kVqwWpTSc+r6Is7jrKrrAtdRyZ9omQb2";

    #[test]
    fn the_digests_are_those_of_other_programs() {
        let der = base64::engine::general_purpose::STANDARD
            .decode(FROM_ELSEWHERE)
            .unwrap();
        let hex = |kind| -> String {
            let data = record(kind, &der).data;
            data.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(
            hex([3, 0, 1]),
            "22fd372c32e4e1801c75d4cc6aa1d15427827ae1785519782adf751903e9e6c4"
        );
        assert_eq!(
            hex([3, 1, 1]),
            "164a652abf11be0befa7fbdb0e06e851277ae90838a7ee9facd111d152dd5d90"
        );
        assert!(hex([3, 0, 2]).starts_with("ca4322475b285267a9251195897541085dea6588869bd079"));
        assert!(hex([3, 1, 2]).starts_with("aa9f5bfb15db9c2719249143bd0e9945e92bc1f54db01514"));
    }

    #[test]
    fn a_renewed_certificate_with_its_old_key_matches_by_its_key_alone() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = |name: &str| {
            let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap().der().clone()
        };
        let (old, new) = (made("a.test"), made("b.test"));
        assert!(record([3, 1, 1], &old).matches(&new));
        assert!(!record([3, 0, 1], &old).matches(&new));
    }

    #[test]
    fn unknown_kinds_and_truncated_records_are_not_usable() {
        let der = certificate("one.test");
        let good = record([3, 1, 1], &der);
        assert_eq!(usable(vec![good.clone(), good.clone()]), vec![good.clone()]);
        for change in [
            |record: &mut Tlsa| record.usage = 0,
            |record: &mut Tlsa| record.usage = 1,
            |record: &mut Tlsa| record.usage = 255,
            |record: &mut Tlsa| record.selector = 2,
            |record: &mut Tlsa| record.matching = 3,
            |record: &mut Tlsa| record.matching = 2,
            |record: &mut Tlsa| record.data.truncate(31),
            |record: &mut Tlsa| (record.matching, record.data) = (0, Vec::new()),
            // An authority that is no certificate.
            |record: &mut Tlsa| (record.usage, record.selector, record.matching) = (2, 0, 0),
        ] {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(
                usable(vec![bad.clone(), good.clone()]),
                vec![good.clone()],
                "{bad:?}"
            );
            assert_eq!(usable(vec![bad]), []);
        }
    }

    #[test]
    fn only_the_strongest_digest_of_a_kind_is_used() {
        let der = certificate("one.test");
        let of = |kind| record(kind, &der);
        let all = vec![
            of([3, 1, 2]),
            of([3, 1, 1]),
            of([3, 1, 0]),
            of([3, 0, 1]),
            of([2, 1, 1]),
        ];
        let left: Vec<_> = usable(all).iter().map(Tlsa::to_string).collect();
        assert_eq!(left, ["2 1 1", "3 0 1", "3 1 0", "3 1 2"]);
    }

    #[test]
    fn the_number_of_records_is_bounded() {
        let record = |n: u8| Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: vec![n; 32],
        };
        assert_eq!(usable((0..=255).map(record).collect()).len(), MAX_RECORDS);
    }
}
