//! A scripted [`Resolve`] that stores its lookups.

use super::super::{Addresses, Answer, Exchanger, LookupError, Resolve};
use crate::client::dane::Tlsa;
use spool_core::BoxFuture;
use std::collections::HashMap;
use std::future::{pending, ready};
use std::net::IpAddr;
use std::sync::Mutex;

/// Returns scripted answers, and [`LookupError::NoSuchDomain`] for every other name.
#[derive(Debug, Default)]
pub(in crate::client) struct Names {
    exchangers: HashMap<String, Result<Vec<Exchanger>, LookupError>>,
    addresses: HashMap<String, Result<Vec<IpAddr>, LookupError>>,
    texts: Mutex<HashMap<String, Result<Vec<String>, LookupError>>>,
    tlsa: Mutex<HashMap<String, Result<Vec<Tlsa>, LookupError>>>,
    /// Names whose answers are validated.
    secure: Vec<String>,
    /// The targets of aliases.
    aliases: HashMap<String, String>,
    silent: Vec<String>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// `domain` has these mail exchangers; empty: it exists without any.
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

    /// `host` has these addresses; empty: it exists without any.
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

    /// `name` has these TXT records from now on.
    pub(in crate::client) fn set_texts(&self, name: &str, texts: Result<&[&str], LookupError>) {
        let texts = texts.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
        self.texts.lock().unwrap().insert(name.to_owned(), texts);
    }

    /// The answers for these names are validated.
    pub(in crate::client) fn secure(mut self, names: &[&str]) -> Self {
        self.secure.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// The addresses of `host` are those of `target`: an alias.
    pub(in crate::client) fn alias(mut self, host: &str, target: &str) -> Self {
        self.aliases.insert(host.to_owned(), target.to_owned());
        self
    }

    /// `name` has these TLSA records from now on, or the lookup fails.
    pub(in crate::client) fn set_tlsa(&self, name: &str, records: Result<Vec<Tlsa>, LookupError>) {
        self.tlsa.lock().unwrap().insert(name.to_owned(), records);
    }

    /// Lookups of `name` fail temporarily.
    pub(in crate::client) fn failing(mut self, name: &str) -> Self {
        let failure = || LookupError::Temporary("SERVFAIL".to_owned());
        self.exchangers.insert(name.to_owned(), Err(failure()));
        self.addresses.insert(name.to_owned(), Err(failure()));
        self
    }

    /// Lookups of `name` never end.
    pub(in crate::client) fn silent(mut self, name: &str) -> Self {
        self.silent.push(name.to_owned());
        self
    }

    /// The lookups, in order.
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

impl Names {
    fn is_secure(&self, name: &str) -> bool {
        self.secure.iter().any(|secure| secure == name)
    }

    /// The order of RFC 7672 section 2.2.2.
    fn secure_names(&self, host: &str) -> Vec<String> {
        let target = self.aliases.get(host).map(String::as_str);
        let all = self.is_secure(host) && target.is_none_or(|target| self.is_secure(target));
        let last = target.filter(|_| all);
        let first = Some(host).filter(|host| self.is_secure(host));
        last.into_iter().chain(first).map(str::to_owned).collect()
    }
}

/// The answer `found`, with the result of validation.
fn proved<T: Send + 'static>(
    found: BoxFuture<Result<Vec<T>, LookupError>>,
    secure: bool,
) -> BoxFuture<Result<Answer<T>, LookupError>> {
    Box::pin(async move {
        let records = found.await?;
        Ok(Answer { records, secure })
    })
}

impl Resolve for Names {
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>> {
        proved(
            self.answer("mx", domain, &self.exchangers),
            self.is_secure(domain),
        )
    }

    fn addresses(&self, host: &str) -> BoxFuture<Result<Addresses, LookupError>> {
        let (found, secure_names) = (
            self.answer("host", host, &self.addresses),
            self.secure_names(host),
        );
        Box::pin(async move {
            let ips = found.await?;
            Ok(Addresses { ips, secure_names })
        })
    }

    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        self.answer("txt", name, &self.texts.lock().unwrap())
    }

    fn tlsa(&self, name: &str) -> BoxFuture<Result<Answer<Tlsa>, LookupError>> {
        proved(
            self.answer("tlsa", name, &self.tlsa.lock().unwrap()),
            self.is_secure(name),
        )
    }
}
