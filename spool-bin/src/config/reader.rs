//! Reads typed values of a table, and collects every problem with its line.

use super::keys;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An error, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The text, the keys that were asked for, and the problems found so far.
#[derive(Debug)]
pub(super) struct SourceText<'s> {
    text: &'s str,
    /// The paths of all keys that were asked for, set or not, without the numbers of tables.
    pub(super) asked: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
}

impl<'s> SourceText<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self {
            text,
            asked: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    /// The line in which a place begins, from 1.
    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.get(..at.start).unwrap_or_default();
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    pub(super) fn problem(&self, at: Range<usize>, text: String) {
        let line = self.line(&at);
        self.problems.borrow_mut().push(Problem { line, text });
    }

    /// Once everything is read: the problems in the order of their lines, also that of every key in `document` that was not
    /// asked for; and what the others set.
    pub(super) fn into_findings(self, document: &DeTable<'_>) -> (Vec<Problem>, Places) {
        let mut places = Places::default();
        self.keys("", "", document, &mut places);
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, places)
    }

    /// The keys of one table. `name` is its path without the numbers of `[[tables]]`, `place` is its path with them.
    fn keys(&self, name: &str, place: &str, table: &DeTable<'_>, places: &mut Places) {
        for (key, value) in table {
            let (name, place) = (join(name, key.get_ref()), join(place, key.get_ref()));
            // A quoted key may have dots in it.
            if key.get_ref().contains('.') || !self.asked.borrow().contains(&name) {
                self.problem(key.span(), format!("{name}: unknown key"));
                continue;
            }
            if let Some(table) = value.get_ref().as_table() {
                self.keys(&name, &place, table, places);
            }
            for (number, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
                if let Some(table) = item.get_ref().as_table() {
                    let place = format!("{place}[{number}]");
                    self.keys(&name, &place, table, places);
                    places.insert(place, item, self.line(&item.span()));
                }
            }
            places.insert(place, value, self.line(&value.span()));
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// The name of the machine.
    Machine,
    /// With the line.
    File(usize),
    CommandLine,
}

/// What the file and the command line set, by the paths of keys and of `[[tables]]`: `client.tls_roots`, `route.rule[2]`,
/// `route.rule[2].domain`. They are no part of the configured values.
#[derive(Clone, Default, derive_more::Debug)]
#[debug("Places")]
pub(crate) struct Places(BTreeMap<String, (toml::Value, Origin)>);

impl Places {
    fn insert(&mut self, path: String, value: &Spanned<DeValue<'_>>, line: usize) {
        // What cannot be represented is a problem of its key.
        if let Ok(value) = toml::Value::deserialize(value.clone().into_deserializer()) {
            self.0.insert(path, (value, Origin::File(line)));
        }
    }

    /// The value of a key, and where it is set.
    pub(super) fn get(&self, path: &str) -> Option<&(toml::Value, Origin)> {
        self.0.get(path)
    }

    /// The paths of all `[[table]]`: `route.rule[0]`.
    pub(super) fn tables(&self, name: &str) -> impl Iterator<Item = String> {
        let paths = (0..).map(move |number| format!("{name}[{number}]"));
        paths.take_while(|path| self.0.contains_key(path))
    }

    /// The line of a key or a `[[table]]`; `None` when the file does not set it.
    pub(crate) fn line(&self, path: &str) -> Option<usize> {
        match self.get(path)?.1 {
            Origin::File(line) => Some(line),
            Origin::Default | Origin::Machine | Origin::CommandLine => None,
        }
    }

    /// Notes that the command line sets a key.
    pub(crate) fn overrule(&mut self, path: &str, value: impl Into<toml::Value>) {
        self.0
            .insert(path.to_owned(), (value.into(), Origin::CommandLine));
    }
}

/// The path of `key` in the table `name`.
pub(super) fn join(name: &str, key: &str) -> String {
    if name.is_empty() {
        key.to_owned()
    } else {
        format!("{name}.{key}")
    }
}

/// One table.
pub(super) struct TableReader<'t> {
    source: &'t SourceText<'t>,
    table: Option<&'t DeTable<'t>>,
    name: String,
    /// Where it begins.
    at: Range<usize>,
}

impl<'t> TableReader<'t> {
    /// The keys before the first table.
    pub(super) fn root(source: &'t SourceText<'t>, document: &'t DeTable<'t>) -> Self {
        Self {
            source,
            table: Some(document),
            name: String::new(),
            at: 0..0,
        }
    }

    /// The table that `value` of `key` is; empty when there is none.
    fn inner(&self, key: &str, value: Option<&'t Spanned<DeValue<'t>>>) -> Self {
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.problem_at(key, value.span(), "expected a table");
            }
            table
        });
        Self {
            source: self.source,
            table,
            name: self.path(key),
            at: value.map_or(0..0, Spanned::span),
        }
    }

    fn path(&self, key: &str) -> String {
        join(&self.name, key)
    }

    fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.source.asked.borrow_mut().insert(self.path(key));
        self.table?.get(key)
    }

    fn problem_at(&self, key: &str, at: Range<usize>, text: &str) {
        self.source.problem(at, format!("{}: {text}", self.path(key)));
    }

    /// Notes a problem of `key`, where the table sets it; otherwise where the table begins.
    pub(super) fn problem(&self, key: &str, text: &str) {
        let at = self.value(key).map_or_else(|| self.at.clone(), Spanned::span);
        self.problem_at(key, at, text);
    }

    /// Notes a problem of a key, where the table begins.
    pub(super) fn problem_of_table(&self, key: &str, text: &str) {
        self.problem_at(key, self.at.clone(), text);
    }

    /// The value of `key`, or its default; a wrong value is noted as a problem.
    pub(super) fn get<T>(&self, key: &str, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> T {
        self.optional(key, &read).unwrap_or_else(|| {
            let path = self.path(key);
            let default = keys::default(&path).ok_or_else(|| "there is none".to_owned());
            let value = default.and_then(|default| read(default.get_ref()));
            value.unwrap_or_else(|why| unreachable!("default of {path}: {why}"))
        })
    }

    /// The value of `key`; `None` when it is not set, or wrong, which is noted.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, self.value(key)?, read)
    }

    fn read<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let read = read(value.get_ref());
        read.map_err(|why| self.problem_at(key, value.span(), &why)).ok()
    }

    /// The items of the list `key`; `None` when it is not set.
    fn items(&self, key: &str, expected: &str) -> Option<&'t [Spanned<DeValue<'t>>]> {
        let items = self.value(key)?.get_ref().as_array();
        if items.is_none() {
            self.problem(key, expected);
        }
        Some(items.map_or(&[], |items| items))
    }

    /// The items of a list without those that are wrong, which are noted; or those of the default.
    pub(super) fn list<T>(&self, key: &str, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Vec<T> {
        let item = |item| self.read(key, item, &read);
        if let Some(items) = self.items(key, "expected a list") {
            return items.iter().filter_map(item).collect();
        }
        let default = keys::default(&self.path(key));
        let items = default.as_ref().and_then(|default| default.get_ref().as_array());
        items.into_iter().flatten().filter_map(item).collect()
    }

    /// Notes every required key that is missing as a problem.
    pub(super) fn require(&self) {
        for key in keys::of_table(&self.name).iter().filter(|key| key.is_required()) {
            if self.value(key.name).is_none() {
                self.problem_of_table(key.name, "is missing");
            }
        }
    }

    /// The table under `key`; empty when there is none.
    pub(super) fn section(&self, key: &str) -> Self {
        self.inner(key, self.value(key))
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&self, key: &str) -> impl Iterator<Item = Self> {
        let items = self.items(key, "expected [[tables]]").unwrap_or_default();
        items.iter().map(move |item| self.inner(key, Some(item)))
    }
}
