//! Names by a script, and what was asked.

use super::super::{Exchanger, LookupError, Resolve};
use spool_core::BoxFuture;
use std::collections::HashMap;
use std::future::{pending, ready};
use std::net::IpAddr;
use std::sync::Mutex;

/// Answers what it was told to; [`LookupError::NoSuchDomain`] for every other name.
#[derive(Debug, Default)]
pub(in crate::client) struct Names {
    exchangers: HashMap<String, Result<Vec<Exchanger>, LookupError>>,
    addresses: HashMap<String, Result<Vec<IpAddr>, LookupError>>,
    texts: Mutex<HashMap<String, Result<Vec<String>, LookupError>>>,
    silent: Vec<String>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// `domain` has these mail exchangers; none: it exists without.
    pub(in crate::client) fn mx(mut self, domain: &str, exchangers: &[(u16, &str)]) -> Self {
        let exchangers = exchangers.iter().map(|(preference, host)| Exchanger {
            preference: *preference,
            host: (*host).to_owned(),
        });
        let found: Vec<_> = exchangers.collect();
        let found = if found.is_empty() {
            Err(LookupError::NoData)
        } else {
            Ok(found)
        };
        self.exchangers.insert(domain.to_owned(), found);
        self
    }

    /// `host` has these addresses; none: it exists without.
    pub(in crate::client) fn host(mut self, host: &str, addresses: &[&str]) -> Self {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let found = if addresses.is_empty() {
            Err(LookupError::NoData)
        } else {
            Ok(addresses)
        };
        self.addresses.insert(host.to_owned(), found);
        self
    }

    /// From now on `name` has these TXT records.
    pub(in crate::client) fn set_texts(&self, name: &str, texts: Result<&[&str], LookupError>) {
        let texts = texts.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
        self.texts.lock().unwrap().insert(name.to_owned(), texts);
    }

    /// Questions about `name` fail for now.
    pub(in crate::client) fn failing(mut self, name: &str) -> Self {
        let failure = || LookupError::Temporary("SERVFAIL".to_owned());
        self.exchangers.insert(name.to_owned(), Err(failure()));
        self.addresses.insert(name.to_owned(), Err(failure()));
        self
    }

    /// Questions about `name` have no end.
    pub(in crate::client) fn silent(mut self, name: &str) -> Self {
        self.silent.push(name.to_owned());
        self
    }

    /// What was asked, in order.
    pub(in crate::client) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer<T: Clone + Send + 'static>(
        &self,
        what: &str,
        name: &str,
        answers: &HashMap<String, Result<T, LookupError>>,
    ) -> BoxFuture<Result<T, LookupError>> {
        self.asked.lock().unwrap().push(format!("{what} {name}"));
        if self.silent.iter().any(|silent| silent == name) {
            return Box::pin(pending());
        }
        let answer = answers.get(name).cloned();
        Box::pin(ready(answer.unwrap_or(Err(LookupError::NoSuchDomain))))
    }
}

impl Resolve for Names {
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Vec<Exchanger>, LookupError>> {
        self.answer("mx", domain, &self.exchangers)
    }

    fn addresses(&self, host: &str) -> BoxFuture<Result<Vec<IpAddr>, LookupError>> {
        self.answer("host", host, &self.addresses)
    }

    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        self.answer("txt", name, &self.texts.lock().unwrap())
    }
}
