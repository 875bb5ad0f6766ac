//! Checks the certificates of a server against its TLSA records (RFC 7672 section 3.1).

use super::demand::Dane;
use super::tlsa::Tlsa;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Error, RootCertStore};
use std::sync::Arc;

impl Dane {
    /// The record that the certificates match. The server's own certificate matches whatever its names and dates; a certificate of an
    /// authority matches if it is valid now for one of the names, with the chain that the server sent.
    ///
    /// # Errors
    /// When no record matches.
    pub(in crate::client) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &Arc<CryptoProvider>,
    ) -> Result<&Tlsa, Error> {
        let (authorities, own): (Vec<_>, Vec<_>) =
            self.records.iter().partition(|record| record.is_authority());
        if let Some(record) = own.into_iter().find(|record| record.matches(end_entity)) {
            return Ok(record);
        }
        let mut why = Error::General("no TLSA record is about this certificate".to_owned());
        for record in authorities {
            match self.check_chain(record, end_entity, intermediates, now, provider) {
                Ok(true) => return Ok(record),
                Ok(false) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Whether the chain has the authority that `record` names, and is valid.
    ///
    /// # Errors
    /// When it has the authority and is not valid.
    fn check_chain(
        &self,
        record: &Tlsa,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &Arc<CryptoProvider>,
    ) -> Result<bool, Error> {
        let mut roots = RootCertStore::empty();
        let shown = intermediates
            .iter()
            .filter(|shown| record.matches(shown))
            .cloned();
        roots.add_parsable_certificates(shown.chain(record.authority()).map(CertificateDer::into_owned));
        if roots.is_empty() {
            return Ok(false);
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let verifier = builder
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let names = std::iter::once(&self.base).chain(&self.others);
        let mut result = Ok(false);
        for name in names.filter_map(|name| ServerName::try_from(name.as_str()).ok()) {
            match verifier.verify_server_cert(end_entity, intermediates, &name, &[], now) {
                Ok(_) => return Ok(true),
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::tlsa::tests::record;
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use std::time::Duration;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str, above: Option<&Issuer>) -> Issuer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        match above {
            Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    fn server(name: &str, old: bool, above: &Issuer) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if old {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2000, 1, 2);
        }
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, above).unwrap().der().clone()
    }

    /// In the year 2030.
    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000))
    }

    fn checked(
        records: &[Tlsa],
        end_entity: &CertificateDer<'_>,
        intermediates: &[&Issuer],
    ) -> Result<String, String> {
        let others = ["mx.example", "d.example"];
        let dane = Dane::new("base.example", &others, records.to_vec());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let shown: Vec<_> = intermediates.iter().map(|issuer| issuer.der().clone()).collect();
        let found = dane.check(end_entity, &shown, now(), &provider);
        found.map(Tlsa::to_string).map_err(|error| error.to_string())
    }

    #[test]
    fn the_servers_own_certificate_needs_neither_name_nor_date_nor_chain() {
        let root = authority("root", None);
        let old = server("elsewhere.example", true, &root);
        for kind in [[3, 0, 0], [3, 0, 1], [3, 0, 2], [3, 1, 0], [3, 1, 1], [3, 1, 2]] {
            let found = checked(&[record(kind, &old)], &old, &[]);
            assert_eq!(found, Ok(format!("{} {} {}", kind[0], kind[1], kind[2])));
        }
        let other = server("base.example", false, &root);
        assert!(checked(&[record([3, 1, 1], &old)], &other, &[&root]).is_err());
        // A record of the issuer does not match.
        assert!(checked(&[record([3, 1, 1], root.der())], &other, &[&root]).is_err());
        // Of several records one is enough.
        let both = [record([3, 1, 1], &old), record([3, 1, 1], &other)];
        assert!(checked(&both, &other, &[]).is_ok());
    }

    #[test]
    fn a_certificate_of_an_authority_must_be_valid() {
        let root = authority("root", None);
        let middle = authority("middle", Some(&root));
        for kind in [[2, 0, 0], [2, 0, 1], [2, 0, 2], [2, 1, 0], [2, 1, 1], [2, 1, 2]] {
            for (above, shown) in [(&root, vec![&root]), (&middle, vec![&middle, &root])] {
                let records = [record(kind, root.der())];
                for name in ["base.example", "mx.example", "d.example"] {
                    let good = server(name, false, above);
                    assert!(checked(&records, &good, &shown).is_ok(), "{kind:?} {name}");
                }
                let case = format!("{kind:?}");
                let stranger = server("elsewhere.example", false, above);
                let error = checked(&records, &stranger, &shown).unwrap_err();
                assert!(error.contains("name"), "{case}: {error}");
                let old = server("base.example", true, above);
                let error = checked(&records, &old, &shown).unwrap_err();
                assert!(error.contains("xpired"), "{case}: {error}");
            }
        }
    }

    #[test]
    fn an_authority_must_be_sent_unless_the_record_has_it() {
        let (root, other) = (authority("root", None), authority("other", None));
        let good = server("base.example", false, &root);
        assert!(checked(&[record([2, 0, 0], root.der())], &good, &[]).is_ok());
        for kind in [[2, 0, 1], [2, 1, 0], [2, 1, 1]] {
            assert!(
                checked(&[record(kind, root.der())], &good, &[]).is_err(),
                "{kind:?}"
            );
            // An authority in the chain that did not issue the certificate.
            assert!(checked(&[record(kind, other.der())], &good, &[&other, &root]).is_err());
        }
        // An authority with the same name and another key.
        let false_root = authority("root", None);
        let forged = server("base.example", false, &false_root);
        assert!(checked(&[record([2, 0, 1], root.der())], &forged, &[&root]).is_err());
        assert!(checked(&[record([2, 0, 0], root.der())], &forged, &[&false_root]).is_err());
        // The certificate of the server is not an authority.
        assert!(checked(&[record([2, 1, 1], &good)], &good, &[&root]).is_err());
    }
}
