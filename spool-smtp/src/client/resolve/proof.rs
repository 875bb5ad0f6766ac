//! Follows the aliases of an answer to the records that were asked for, and finds whether DNSSEC has validated them. Pure.
//!
//! Only records of the name that was asked for, and of its aliases, count.

use super::LookupError;
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// The longest chain of aliases.
pub(super) const MAX_ALIASES: usize = 16;

/// The result of following an answer.
#[derive(Debug)]
pub(super) struct Followed<'a> {
    pub(super) records: Vec<&'a RData>,
    /// Whether all of it was validated.
    pub(super) secure: bool,
    /// The name that the aliases lead to, if all of it was validated; then the name that was asked for, if its records were validated.
    pub(super) secure_names: Vec<String>,
    /// The name that the aliases lead to, with records or without.
    pub(super) end: Name,
}

impl<'a> Followed<'a> {
    /// All records of `kind` in `answers`, as an answer to `name` without validation.
    pub(super) fn insecure(name: &Name, kind: RecordType, answers: &'a [Record]) -> Self {
        let records = answers.iter().filter(|record| record.record_type() == kind);
        Self {
            records: records.map(|record| &record.data).collect(),
            secure: false,
            secure_names: Vec::new(),
            end: name.clone(),
        }
    }
}

/// Follows `answers`, the result of a validating resolver, from `name` to records of `kind`.
///
/// # Errors
/// [`LookupError::Temporary`] if the validation of any of it failed or was incomplete, or the aliases have no end.
pub(super) fn follow<'a>(
    name: &Name,
    kind: RecordType,
    answers: &'a [Record],
) -> Result<Followed<'a>, LookupError> {
    let mut at = name;
    let mut proofs = Vec::new();
    let mut first = None;
    for _ in 0..=MAX_ALIASES {
        let here = answers.iter().filter(|record| record.name == *at);
        let (mut found, mut alias) = (Vec::new(), None);
        for record in here {
            if record.record_type() == kind {
                found.push(&record.data);
            } else if let Some(to) = alias_target(record) {
                alias = Some(to);
            } else {
                continue;
            }
            proofs.push(is_secure(record)?);
        }
        first.get_or_insert(!proofs.is_empty() && proofs.iter().all(|secure| *secure));
        if let (true, Some(to)) = (found.is_empty(), alias) {
            at = to;
            continue;
        }
        let secure = !found.is_empty() && proofs.iter().all(|secure| *secure);
        let mut names = Vec::new();
        if secure {
            names.push(text(at));
        }
        if first == Some(true) && at != name {
            names.push(text(name));
        }
        return Ok(Followed {
            records: found,
            secure,
            secure_names: names,
            end: at.clone(),
        });
    }
    Err(endless())
}

/// The error for a chain of aliases that is too long, or a cycle. It is temporary, because the zone may be corrected.
pub(super) fn endless() -> LookupError {
    LookupError::Temporary("the aliases lead on without an end".to_owned())
}

/// The target of an alias record.
pub(super) fn alias_target(record: &Record) -> Option<&Name> {
    let RData::CNAME(CNAME(to)) = &record.data else {
        return None;
    };
    Some(to)
}

fn is_secure(record: &Record) -> Result<bool, LookupError> {
    match record.proof {
        Proof::Secure => Ok(true),
        Proof::Insecure => Ok(false),
        // An attacker who suppresses signatures must not succeed.
        Proof::Bogus | Proof::Indeterminate => Err(LookupError::Temporary(format!(
            "DNSSEC: {} {} is {}",
            record.name,
            record.record_type(),
            record.proof
        ))),
    }
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::A;

    fn name(text: &str) -> Name {
        Name::from_ascii(format!("{text}.")).unwrap()
    }

    fn record(owner: &str, data: RData, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(owner), 60, data);
        record.proof = proof;
        record
    }

    fn address(owner: &str, proof: Proof) -> Record {
        record(owner, RData::A(A::new(192, 0, 2, 1)), proof)
    }

    fn alias(owner: &str, to: &str, proof: Proof) -> Record {
        record(owner, RData::CNAME(CNAME(name(to))), proof)
    }

    /// How many records `mx.example` has, whether they are proved, and where TLSA records may be.
    fn followed(answers: &[Record]) -> Result<(usize, bool, Vec<String>), LookupError> {
        let found = follow(&name("MX.example"), RecordType::A, answers)?;
        Ok((found.records.len(), found.secure, found.secure_names))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn records_of_the_name_itself_are_as_good_as_their_proof() {
        let secure = [
            address("mx.example", Proof::Secure),
            address("mx.EXAMPLE", Proof::Secure),
        ];
        assert_eq!(followed(&secure), Ok((2, true, names(&["mx.example"]))));
        let insecure = [address("mx.example", Proof::Insecure)];
        assert_eq!(followed(&insecure), Ok((1, false, names(&[]))));
        let mixed = [secure[0].clone(), insecure[0].clone()];
        assert_eq!(followed(&mixed), Ok((2, false, names(&[]))));
        for failed in [Proof::Bogus, Proof::Indeterminate] {
            let error = followed(&[address("mx.example", failed)]).unwrap_err();
            assert!(matches!(error, LookupError::Temporary(_)), "{error}");
        }
        // Without local validation, the proof does not count.
        let found = Followed::insecure(&name("mx.example"), RecordType::A, &secure);
        assert!(!found.secure && found.secure_names.is_empty() && found.records.len() == 2);
    }

    #[test]
    fn a_record_of_another_name_proves_nothing() {
        let strangers = [address("mx.attacker.example", Proof::Secure)];
        assert_eq!(followed(&strangers), Ok((0, false, names(&[]))));
    }

    #[test]
    fn aliases_are_proved_one_by_one() {
        use Proof::{Bogus, Insecure, Secure};
        for (first, second, last, expected) in [
            (
                Secure,
                Secure,
                Secure,
                Ok((1, true, names(&["b.example", "mx.example"]))),
            ),
            (Secure, Insecure, Insecure, Ok((1, false, names(&["mx.example"])))),
            (Secure, Secure, Insecure, Ok((1, false, names(&["mx.example"])))),
            (Insecure, Secure, Secure, Ok((1, false, names(&[])))),
        ] {
            let answers = [
                address("b.example", last),
                alias("mx.example", "a.example", first),
                alias("a.example", "b.example", second),
            ];
            assert_eq!(followed(&answers), expected);
        }
        let broken = [
            alias("mx.example", "b.example", Bogus),
            address("b.example", Secure),
        ];
        assert!(followed(&broken).is_err());
        let dangling = [alias("mx.example", "b.example", Secure)];
        assert_eq!(followed(&dangling), Ok((0, false, names(&["mx.example"]))));
        let circle = [alias("mx.example", "mx.example", Secure)];
        assert_eq!(followed(&circle), Err(endless()));
    }
}
