//! Decides what to do with the answer of a name server: use it, repeat the query in another way, or query another server. Pure.

use super::proof::alias_target;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use thiserror::Error;

/// The code that replaces "no error" in an answer whose last alias has no target in it. Without it, hickory reports a chain of aliases
/// that is too long like a name without records.
pub(super) const OPEN_ALIAS: ResponseCode = ResponseCode::Unknown(0xfff);

/// Why there is no usable answer, and what to do.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum NoAnswer {
    /// Query later: it did not arrive in time.
    #[error("no answer")]
    Silence,
    /// Query over TCP: it does not fit into a datagram.
    #[error("the answer is cut off")]
    Truncated,
    /// Query without EDNS, which the server does not know (RFC 6891 section 6.2.2).
    #[error("it cannot read the question")]
    WithoutEdns,
    /// Query another server: the exchange failed, or this server replies with an error.
    #[error("{0}")]
    Fails(String),
}

/// Whether `answer` to `question` is usable.
///
/// # Errors
/// What to do instead.
pub(super) fn verdict(question: &Message, answer: &Message) -> Result<(), NoAnswer> {
    use ResponseCode::{FormErr, NXDomain, NoError, NotImp};
    let code = answer.metadata.response_code;
    if !matches!(code, NoError | NXDomain) {
        return Err(match (&question.edns, &answer.edns) {
            (Some(edns), None) if matches!(code, FormErr | NotImp) => match edns.flags().dnssec_ok {
                // Without EDNS there are no signatures.
                true => NoAnswer::Fails(format!("{code}; it does not know EDNS, which DNSSEC needs")),
                false => NoAnswer::WithoutEdns,
            },
            _ => NoAnswer::Fails(code.to_string()),
        });
    }
    if answer.metadata.truncation {
        return Err(NoAnswer::Truncated);
    }
    match code == NoError && is_referral(answer) {
        true => Err(NoAnswer::Fails(
            "it has no answer, and asks nobody for one".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Whether the server neither knows the name nor is recursive: the answer is not about the name.
fn is_referral(answer: &Message) -> bool {
    let soa = |record: &hickory_resolver::proto::rr::Record| record.record_type() == RecordType::SOA;
    let metadata = &answer.metadata;
    let disclaims = !metadata.authoritative && !metadata.recursion_available;
    disclaims && answer.answers.is_empty() && !answer.authorities.iter().any(soa)
}

/// Whether `answer` is about `question`. A server that cannot parse a query need not repeat it.
pub(super) fn is_about(question: &Message, answer: &Message) -> bool {
    let failed = !matches!(
        answer.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    answer.metadata.id == question.metadata.id
        && (answer.queries == question.queries || answer.queries.is_empty() && failed)
}

/// Whether the answer ends in an alias whose target must be looked up.
pub(super) fn ends_in_an_alias(question: &Message, answer: &Message) -> bool {
    let (Some(query), ResponseCode::NoError) = (question.queries.first(), answer.metadata.response_code)
    else {
        return false;
    };
    let (kind, mut at, mut followed) = (query.query_type(), query.name(), 0);
    if kind == RecordType::CNAME {
        return false;
    }
    let alias = |owner: &Name| {
        let mut here = answer.answers.iter().filter(|record| record.name == *owner);
        here.find_map(alias_target)
    };
    // A chain that is longer than the number of records is a cycle.
    while let Some(to) = alias(at).filter(|_| followed <= answer.answers.len()) {
        (at, followed) = (to, followed + 1);
    }
    let mut here = answer.answers.iter().filter(|record| record.name == *at);
    // A denial of the target is validated together with the code of the answer.
    let denies = |kind: RecordType| matches!(kind, RecordType::NSEC | RecordType::NSEC3);
    let denial = answer
        .authorities
        .iter()
        .any(|record| denies(record.record_type()));
    followed > 0 && !denial && !here.any(|record| record.record_type() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::{Edns, OpCode, Query};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SOA};
    use hickory_resolver::proto::rr::{RData, Record};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn question(edns: bool, dnssec: bool) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(name("a.example."), RecordType::A));
        message.edns = edns.then(|| {
            let mut edns = Edns::new();
            edns.set_dnssec_ok(dnssec);
            edns
        });
        message
    }

    /// A recursive server's answer to `question`.
    fn answer(question: &Message, code: ResponseCode) -> Message {
        let mut message = Message::response(question.metadata.id, OpCode::Query);
        message.add_queries(question.queries.clone());
        message.metadata.response_code = code;
        message.metadata.recursion_available = true;
        message
    }

    fn alias(owner: &str, to: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(to))))
    }

    fn address(owner: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A::new(192, 0, 2, 1)))
    }

    #[test]
    fn the_code_decides_whether_an_answer_is_usable() {
        use ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
        let asked = question(true, false);
        for code in [NoError, NXDomain] {
            let mut found = answer(&asked, code);
            assert_eq!(verdict(&asked, &found), Ok(()));
            found.metadata.truncation = true;
            assert_eq!(verdict(&asked, &found), Err(NoAnswer::Truncated));
        }
        for code in [
            ServFail,
            Refused,
            ResponseCode::NotAuth,
            ResponseCode::Unknown(4095),
        ] {
            assert!(matches!(
                verdict(&asked, &answer(&asked, code)),
                Err(NoAnswer::Fails(_))
            ));
        }
        for code in [FormErr, NotImp] {
            let mut found = answer(&asked, code);
            assert_eq!(verdict(&asked, &found), Err(NoAnswer::WithoutEdns));
            for (edns, dnssec) in [(false, false), (true, true)] {
                let asked = question(edns, dnssec);
                assert!(matches!(verdict(&asked, &found), Err(NoAnswer::Fails(_))));
            }
            found.edns = Some(Edns::new());
            assert!(matches!(verdict(&asked, &found), Err(NoAnswer::Fails(_))));
        }
    }

    #[test]
    fn a_referral_is_no_answer() {
        let asked = question(true, false);
        let mut found = answer(&asked, ResponseCode::NoError);
        found.metadata.recursion_available = false;
        assert!(matches!(verdict(&asked, &found), Err(NoAnswer::Fails(_))));
        for change in [
            (|found: &mut Message| found.metadata.authoritative = true) as fn(&mut Message),
            |found| found.metadata.recursion_available = true,
            |found| _ = found.add_answer(address("a.example.")),
            |found| {
                let soa = SOA::new(name("ns.example."), name("root.example."), 1, 1, 1, 1, 1);
                found.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
            },
        ] {
            let mut found = found.clone();
            change(&mut found);
            assert_eq!(verdict(&asked, &found), Ok(()));
        }
    }

    #[test]
    fn an_answer_is_about_its_own_question_only() {
        let asked = question(true, false);
        let mut found = answer(&asked, ResponseCode::NoError);
        assert!(is_about(&asked, &found));
        found.queries.clear();
        assert!(!is_about(&asked, &found));
        // A query that could not be parsed is not repeated.
        found.metadata.response_code = ResponseCode::FormErr;
        assert!(is_about(&asked, &found));
        found.add_query(Query::query(name("b.example."), RecordType::A));
        assert!(!is_about(&asked, &found));
        let mut other = answer(&asked, ResponseCode::NoError);
        other.metadata.id = asked.metadata.id.wrapping_add(1);
        assert!(!is_about(&asked, &other));
    }

    #[test]
    fn an_alias_is_open_when_its_end_is_not_in_the_answer() {
        let asked = question(true, false);
        let open = |records: &[Record]| {
            let mut found = answer(&asked, ResponseCode::NoError);
            found.add_answers(records.iter().cloned());
            ends_in_an_alias(&asked, &found)
        };
        assert!(!open(&[]));
        assert!(!open(&[address("a.example.")]));
        assert!(!open(&[address("b.example.")]));
        assert!(open(&[alias("a.example.", "b.example.")]));
        assert!(!open(&[address("b.example."), alias("A.example.", "b.example.")]));
        assert!(open(&[alias("a.example.", "a.example.")]));
        let circle = [
            alias("a.example.", "b.example."),
            alias("b.example.", "a.example."),
        ];
        assert!(open(&circle));
        let mut gone = answer(&asked, ResponseCode::NXDomain);
        gone.add_answer(alias("a.example.", "b.example."));
        assert!(!ends_in_an_alias(&asked, &gone));
    }
}
