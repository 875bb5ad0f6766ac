//! Lookups in which DNSSEC validation fails for an alias: each alias is looked up and validated separately.
//!
//! Hickory rejects two kinds of valid answers: with an alias that follows from a DNAME record and therefore has no signature (RFC 6672
//! section 5.3.1), and with a denial for the target of an alias. Here the aliases in an answer are ignored. An alias is derived from a
//! validated DNAME record, or looked up by itself. Nothing is used without validation.

use super::current::Hickory;
use super::proof::{MAX_ALIASES, alias_target};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

/// Looks up the records of `name` with a validating resolver. The result includes the aliases.
///
/// # Errors
/// The error of the lookup, or of that of the last alias.
pub(super) async fn lookup(
    resolver: &Hickory,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, NetError> {
    let (mut records, mut at) = (Vec::new(), name.clone());
    loop {
        let error = match resolver.lookup(at.clone(), kind).await {
            Ok(answer) => {
                records.extend(answer.answers().iter().cloned());
                return Ok(records);
            }
            Err(error) => error,
        };
        let failed = matches!(error, NetError::Dns(DnsError::DnssecBogus));
        if !failed || records.len() == MAX_ALIASES {
            return Err(error);
        }
        let Some((alias, to)) = alias(resolver, &at).await else {
            return Err(error);
        };
        records.push(alias);
        at = to;
    }
}

/// The alias record of `name`, from a DNAME record above it or its own CNAME record, and its target.
async fn alias(resolver: &Hickory, name: &Name) -> Option<(Record, Name)> {
    let labels = name.iter().count();
    // From the root down: there are no names below a DNAME record (RFC 6672 section 2.4).
    for count in (1..labels).take(MAX_ALIASES) {
        let answer = resolver.lookup(name.trim_to(count), RecordType::DNAME).await;
        // Most names have none. A lookup that fails is ignored.
        let to = answer.ok().and_then(|answer| redirected(name, answer.answers()));
        if let Some(to) = to {
            let mut alias = Record::from_rdata(name.clone(), 0, RData::CNAME(CNAME(to.clone())));
            alias.proof = Proof::Secure;
            return Some((alias, to));
        }
    }
    let answer = resolver.lookup(name.clone(), RecordType::CNAME).await.ok()?;
    let answers = answer.answers().iter().filter(|record| record.name == *name);
    let mut proved = answers.filter(|record| matches!(record.proof, Proof::Secure | Proof::Insecure));
    proved.find_map(|record| Some((record.clone(), alias_target(record)?.clone())))
}

/// The target of `name` by the one validated DNAME record above it in `answers` (RFC 6672 section 2.2); also `None` if the target would be
/// too long.
fn redirected(name: &Name, answers: &[Record]) -> Option<Name> {
    let mut above = answers.iter().filter(|record| {
        record.record_type() == RecordType::DNAME && record.name != *name && record.name.zone_of(name)
    });
    let (Some(record), None) = (above.next(), above.next()) else {
        return None;
    };
    let RData::Unknown { rdata, .. } = &record.data else {
        return None;
    };
    if record.proof != Proof::Secure {
        return None;
    }
    let mut data = BinDecoder::new(&rdata.anything);
    let target = Name::read(&mut data).ok().filter(|_| data.is_empty())?;
    let below = name.iter().count() - record.name.iter().count();
    let below = Name::from_labels(name.iter().take(below)).ok()?;
    below.append_domain(&target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::NULL;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn dname(owner: &str, data: &[u8]) -> Record {
        let data = RData::Unknown {
            code: RecordType::DNAME,
            rdata: NULL::with(data.to_vec()),
        };
        let mut record = Record::from_rdata(name(owner), 60, data);
        record.proof = Proof::Secure;
        record
    }

    const TARGET: &[u8] = b"\x05there\x07example\0";

    /// The table of RFC 6672 section 2.2, and more cases.
    #[test]
    fn the_owner_is_replaced_by_the_target() {
        for (asked, owner, target, expected) in [
            ("com.", "example.com.", TARGET, None),
            ("example.com.", "example.com.", TARGET, None),
            ("a.example.com.", "example.com.", TARGET, Some("a.there.example.")),
            ("a.b.example.com.", "b.example.com.", b"\0", Some("a.")),
            ("ab.example.com.", "b.example.com.", TARGET, None),
            ("foo.example.com.", "example.net.", TARGET, None),
            (
                "A.x.EXAMPLE.com.",
                "X.example.com.",
                TARGET,
                Some("a.there.example."),
            ),
            ("*.x.com.", "x.com.", TARGET, Some("*.there.example.")),
            ("a.x.com.", "x.com.", b"\x05the", None),
            ("a.x.com.", "x.com.", b"\x01a\0\0", None),
        ] {
            let found = redirected(&name(asked), &[dname(owner, target)]);
            assert_eq!(found, expected.map(name), "{asked} {owner}");
        }
        let long = format!("{0}.{0}.{0}.x.com.", "l".repeat(63));
        let target = [&[63][..], &[b'l'; 63], b"\0"].concat();
        assert_eq!(redirected(&name(&long), &[dname("x.com.", &target)]), None);
    }

    #[test]
    fn only_a_single_validated_record_is_used() {
        let asked = name("a.x.com.");
        let good = dname("x.com.", TARGET);
        assert!(redirected(&asked, std::slice::from_ref(&good)).is_some());
        for proof in [Proof::Insecure, Proof::Indeterminate, Proof::Bogus] {
            let mut other = good.clone();
            other.proof = proof;
            assert_eq!(redirected(&asked, &[other]), None, "{proof}");
        }
        let two = [good, dname("x.com.", b"\x05other\0")];
        assert_eq!(redirected(&asked, &two), None);
        assert_eq!(redirected(&asked, &[]), None);
    }
}
