//! Reads typed values of a table, and collects every problem with its line.

use super::error::Problem;
use super::keys;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text, and the problems found so far.
#[derive(Debug)]
pub(super) struct SourceText<'s> {
    text: &'s str,
    problems: RefCell<Vec<Problem>>,
    places: RefCell<Places>,
}

impl<'s> SourceText<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self {
            text,
            problems: RefCell::new(Vec::new()),
            places: RefCell::default(),
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

    /// The problems in the order of their lines, and the places of the keys.
    pub(super) fn into_findings(self) -> (Vec<Problem>, Places) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, self.places.into_inner())
    }
}

/// The values that a file and the command line set, by the paths of keys: `client.tls_roots`, `route.rule[2].domain`.
#[derive(Clone, Default)]
pub(crate) struct Places {
    lines: BTreeMap<String, usize>,
    /// As the file has them.
    pub(super) values: BTreeMap<String, toml::Value>,
    /// As the command line has them.
    pub(super) overruled: BTreeMap<String, toml::Value>,
    /// Every key that was read, set or not, without the numbers of tables.
    #[cfg(test)]
    pub(super) asked: BTreeSet<String>,
}

impl Places {
    /// The line of a key; `None` when the file does not set it.
    pub(crate) fn line(&self, path: &str) -> Option<usize> {
        self.lines.get(path).copied()
    }

    /// How many `[[table]]` the file has. Each sets a key.
    pub(super) fn count(&self, table: &str) -> usize {
        let is_set = |number: &usize| {
            let prefix = format!("{table}[{number}].");
            let first = self.values.range(prefix.clone()..).next();
            first.is_some_and(|(path, _)| path.starts_with(&prefix))
        };
        (0..).take_while(is_set).count()
    }

    /// Notes that the command line sets a key.
    pub(crate) fn overrule(&mut self, path: &str, value: impl Into<toml::Value>) {
        self.lines.remove(path);
        self.values.remove(path);
        self.overruled.insert(path.to_owned(), value.into());
    }
}

impl fmt::Debug for Places {
    /// Places are no part of the configured values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() {
        key.to_owned()
    } else {
        format!("{name}.{key}")
    }
}

/// One table, its name, and its keys that were read.
pub(super) struct TableReader<'s, 't> {
    source: &'s SourceText<'s>,
    table: Option<&'t DeTable<'t>>,
    name: String,
    /// The same with the number of each `[[table]]`: `route.rule[2]`.
    place: String,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'s, 't> TableReader<'s, 't> {
    pub(super) fn new(
        source: &'s SourceText<'s>,
        table: Option<&'t DeTable<'t>>,
        name: impl Into<String>,
    ) -> Self {
        let name = name.into();
        Self {
            source,
            table,
            place: name.clone(),
            name,
            known: RefCell::default(),
        }
    }

    fn path(&self, key: &str) -> String {
        join(&self.name, key)
    }

    fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.borrow_mut().insert(key);
        #[cfg(test)]
        self.source.places.borrow_mut().asked.insert(self.path(key));
        let value = self.table?.get(key)?;
        let line = self.source.line(&value.span());
        let mut places = self.source.places.borrow_mut();
        places.lines.insert(join(&self.place, key), line);
        Some(value)
    }

    pub(super) fn problem(&self, key: &str, at: Range<usize>, text: &str) {
        self.source.problem(at, format!("{}: {text}", self.path(key)));
    }

    /// The value of `key`, or its default; a wrong value is noted as a problem.
    pub(super) fn get<T>(&self, key: &'static str, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> T {
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
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value.get_ref());
        read.map_err(|why| self.problem(key, value.span(), &why)).ok()
    }

    /// The items of a list without those that are wrong, which are noted; or those of the default.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Vec<T> {
        let item = |item: &Spanned<DeValue<'_>>| {
            let read = read(item.get_ref());
            read.map_err(|why| self.problem(key, item.span(), &why)).ok()
        };
        let Some(value) = self.value(key) else {
            let default = keys::default(&self.path(key));
            let items = default.as_ref().and_then(|default| default.get_ref().as_array());
            return items.into_iter().flatten().filter_map(item).collect();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.problem(key, value.span(), "expected a list");
            return Vec::new();
        };
        items.iter().filter_map(item).collect()
    }

    /// Notes every required key that is missing as a problem of the table at `at`.
    pub(super) fn require(&self, at: &Range<usize>) {
        for key in keys::of_table(&self.name).iter().filter(|key| key.is_required()) {
            if self.place(key.name).is_none() {
                self.problem(key.name, at.clone(), "is missing");
            }
        }
    }

    /// The table under `key`; empty when there is none.
    pub(super) fn section(&self, key: &'static str) -> TableReader<'s, 't> {
        let table = self.value(key).and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.problem(key, value.span(), "expected a table");
            }
            table
        });
        let mut section = TableReader::new(self.source, table, self.path(key));
        section.place = join(&self.place, key);
        section
    }

    /// The tables of `[[key]]`, each with the place where it begins.
    pub(super) fn sections(&self, key: &'static str) -> Vec<(TableReader<'s, 't>, Range<usize>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.problem(key, value.span(), "expected [[tables]]");
            return Vec::new();
        };
        let section = |(number, item): (usize, &'t Spanned<DeValue<'t>>)| {
            let table = item.get_ref().as_table();
            if table.is_none() {
                self.problem(key, item.span(), "expected a table");
            }
            let mut section = TableReader::new(self.source, table, self.path(key));
            section.place = format!("{}[{number}]", join(&self.place, key));
            (section, item.span())
        };
        items.iter().enumerate().map(section).collect()
    }

    /// The place of `key`, if it is set.
    pub(super) fn place(&self, key: &'static str) -> Option<Range<usize>> {
        self.value(key).map(Spanned::span)
    }

    /// The line in which a place begins, from 1.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        self.source.line(at)
    }

    /// A key whose feature does not exist yet: only the empty text is accepted.
    pub(super) fn later(&self, key: &'static str) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref().as_str() {
            Some("") => {}
            Some(_) => self.problem(key, value.span(), "not yet supported"),
            None => self.problem(
                key,
                value.span(),
                &format!("a {} does not fit here", value.get_ref().type_str()),
            ),
        }
    }

    /// Notes every key that was not read as a problem.
    pub(super) fn end(self) {
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            if !known.contains(key.get_ref().as_ref()) {
                self.problem(key.get_ref().as_ref(), key.span(), "unknown key");
            }
        }
    }
}

/// The values of a text that is valid TOML, by the paths of their keys.
pub(super) fn flat(text: &str) -> BTreeMap<String, toml::Value> {
    let mut all = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        flatten("", table, &mut all);
    }
    all
}

fn flatten(prefix: &str, table: toml::Table, all: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let path = join(prefix, &key);
        match value {
            toml::Value::Table(table) => flatten(&path, table, all),
            toml::Value::Array(items) if !items.is_empty() && items.iter().all(toml::Value::is_table) => {
                for (number, item) in items.into_iter().enumerate() {
                    if let toml::Value::Table(table) = item {
                        flatten(&format!("{path}[{number}]"), table, all);
                    }
                }
            }
            value @ (toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)) => drop(all.insert(path, value)),
        }
    }
}
