//! Patterns of domains in rules.

use crate::address::valid_domain;
use crate::domain::a_labels;
use derive_more::Display;

/// `example.org`, or `*.example.org` for its subdomains. Compared as A-labels, ignoring case.
#[derive(Debug, Display, Clone, PartialEq, Eq)]
#[display("{}{suffix}", if self.below { "*." } else { "" })]
pub struct DomainPattern {
    pub(crate) suffix: String,
    pub(crate) below: bool,
}

impl DomainPattern {
    /// Parses a pattern; `None` when it is not a domain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (below, domain) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let valid = valid_domain(domain) && !(below && domain.starts_with('['));
        valid.then(|| Self {
            suffix: a_labels(domain).into_owned(),
            below,
        })
    }

    /// Whether `domain` matches.
    #[must_use]
    pub fn matches(&self, domain: &str) -> bool {
        self.matches_a_labels(&a_labels(domain))
    }

    /// Whether this pattern matches every domain that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (true, true) if self.suffix == other.suffix => true,
            (false, true) => false,
            (true | false, _) => self.matches_a_labels(&other.suffix),
        }
    }

    /// As [`DomainPattern::matches`], for a domain in A-labels.
    pub(crate) fn matches_a_labels(&self, domain: &str) -> bool {
        if !self.below {
            return domain == self.suffix;
        }
        domain
            .strip_suffix(&self.suffix)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}
