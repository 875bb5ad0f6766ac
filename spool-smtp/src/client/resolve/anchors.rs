//! The trust anchors of DNSSEC.

use hickory_resolver::proto::dnssec;
use std::sync::Arc;
use thiserror::Error;

/// The keys from which DNSSEC validation starts: by default those of the root zone, of 2017 and 2024.
#[derive(Clone, Default, derive_more::Debug)]
#[debug("TrustAnchors")]
pub struct TrustAnchors(pub(super) Arc<dnssec::TrustAnchors>);

/// Why a text cannot be used as trust anchors.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustAnchorsError {
    /// It is not DNSKEY records in the form of a zone file.
    #[error("not DNSKEY records, as a zone file has them: {0}")]
    Syntax(String),
    /// It has no record.
    #[error("there is no DNSKEY record in it")]
    Empty,
}

impl TrustAnchors {
    /// Only these keys: DNSKEY records as in a zone file, `. IN DNSKEY 257 3 8 AwEAAa..`, one on each line. Validation of names below none
    /// of them fails.
    ///
    /// # Errors
    /// [`TrustAnchorsError`] if it contains anything else, or nothing.
    pub fn from_text(text: &str) -> Result<Self, TrustAnchorsError> {
        let has_records = text
            .lines()
            .map(str::trim_start)
            .any(|line| !line.is_empty() && !line.starts_with(';'));
        if !has_records {
            return Err(TrustAnchorsError::Empty);
        }
        // The line end lets the parser notice a truncated record.
        let anchors = format!("{text}\n").parse::<dnssec::TrustAnchors>();
        let anchors = anchors.map_err(|error| TrustAnchorsError::Syntax(error.to_string()))?;
        Ok(Self(Arc::new(anchors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_zone_files_have_them() {
        let key = "AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU=";
        let text = format!("; the root\n. 172800 IN DNSKEY 257 3 8 {key}\n");
        assert!(TrustAnchors::from_text(&text).is_ok());
        for empty in ["", "\n", "; nothing\n"] {
            assert_eq!(
                TrustAnchors::from_text(empty).err(),
                Some(TrustAnchorsError::Empty)
            );
        }
        for bad in [". IN DS 20326 8 2 E06D44B8", "nonsense", ". IN DNSKEY 257 3 8"] {
            assert!(
                matches!(TrustAnchors::from_text(bad), Err(TrustAnchorsError::Syntax(_))),
                "{bad}"
            );
        }
    }
}
