//! The users file: who may log in, with which password hash, and from which addresses each may send.
//!
//! One user a line, `name:hash` or `name:hash:allow_from=PATTERN,PATTERN...`. Lines that are empty or begin with `#` are
//! comments. Names are printable ASCII and compared exactly. If a line is wrong, the whole file is refused.

use super::password::PasswordHash;
use crate::LineError;
use crate::glob::glob;
use spool_core::{ReversePath, a_labels};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a user name.
const MAX_NAME: usize = 255;
/// The word before the patterns of a user's third field.
const ALLOW_FROM: &str = "allow_from=";
/// The null reverse-path, as a pattern. No other pattern matches it, because each has an `@`.
const NULL: &str = "<>";

/// A user who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: Arc<str>,
    hash: PasswordHash,
    /// Patterns for reverse-paths as [`normal`] writes them; `None`: any reverse-path.
    allow_from: Option<Vec<String>>,
}

impl User {
    /// The name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    /// Whether the user may send mail with this reverse-path. Without `allow_from` any is allowed, the null reverse-path
    /// included; with it `<>` must be one of the patterns.
    #[must_use]
    pub fn may_send_from(&self, path: &ReversePath) -> bool {
        let Some(patterns) = &self.allow_from else {
            return true;
        };
        let path = match path {
            ReversePath::Null => NULL.to_owned(),
            ReversePath::Mailbox(address) => normal(address.local_part(), address.domain()),
        };
        patterns.iter().any(|pattern| glob(pattern, &path))
    }
}

/// All users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    by_name: HashMap<Arc<str>, Arc<User>>,
    /// Unknown names are checked against this user's hash, so that they take as long as known ones.
    first: Option<Arc<User>>,
}

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    /// Every line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        let mut users = Self::default();
        let mut lines: HashMap<Arc<str>, usize> = HashMap::new();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(nth, line)| (nth + 1, line)) {
            if number == 1 && line.starts_with('\u{feff}') {
                let text = "the file begins with a byte order mark; save it without".to_owned();
                problems.push(LineError { line: number, text });
                continue;
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let user = user(line).and_then(|user| match lines.insert(Arc::clone(&user.name), number) {
                None => Ok(Arc::new(user)),
                Some(before) => Err(format!("user {} is in line {before} already", user.name)),
            });
            match user {
                Ok(user) => {
                    users.first.get_or_insert_with(|| Arc::clone(&user));
                    users.by_name.insert(Arc::clone(&user.name), user);
                }
                Err(text) => problems.push(LineError { line: number, text }),
            }
        }
        match problems.is_empty() {
            true => Ok(users),
            false => Err(problems),
        }
    }

    /// The user of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// The number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The hash for unknown names.
    pub(super) fn dummy(&self) -> PasswordHash {
        self.first
            .as_ref()
            .map_or_else(PasswordHash::dummy, |user| user.hash.clone())
    }
}

/// Why `name` cannot be that of a user.
///
/// # Errors
/// The reason, in words that follow the name.
pub fn check_user_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a user name is empty");
    }
    if name.len() > MAX_NAME {
        return Err("a user name has at most 255 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') || name.starts_with('#') {
        return Err(
            "a user name has printable ASCII characters alone, no space and no colon, and does not begin with #",
        );
    }
    Ok(())
}

fn user(line: &str) -> Result<User, String> {
    // A colon may stand in a pattern's address literal.
    let mut fields = line.splitn(3, ':');
    let (name, hash, more) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
    check_user_name(name)?;
    let hash = hash.ok_or("expected name:hash")?;
    let hash = PasswordHash::parse(hash).map_err(|error| error.to_string())?;
    let allow_from = more.map(allow_from).transpose()?;
    Ok(User {
        name: name.into(),
        hash,
        allow_from,
    })
}

fn allow_from(field: &str) -> Result<Vec<String>, String> {
    let patterns = field
        .strip_prefix(ALLOW_FROM)
        .ok_or("after the hash there may be allow_from=PATTERN,PATTERN... and nothing else")?;
    patterns.split(',').map(pattern).collect()
}

/// Which reverse-paths: `ada@example.org`, `*@example.org`, `bounces+*@example.org`, `<>`. A star stands for any number
/// of characters; the case of ASCII letters makes no difference.
fn pattern(text: &str) -> Result<String, String> {
    if text == NULL {
        return Ok(NULL.to_owned());
    }
    if text.contains(char::is_whitespace) {
        return Err(format!(
            "allow_from: {text:?} has white space; between patterns there is a comma alone"
        ));
    }
    let (local, domain) = text
        .rsplit_once('@')
        .filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
        .ok_or_else(|| {
            format!("allow_from: {text:?} is neither <> nor a pattern for addresses, as *@example.org")
        })?;
    Ok(normal(local, domain))
}

/// An address, or a pattern for some, as it is compared: in ASCII lower case, the domain in A-labels.
fn normal(local: &str, domain: &str) -> String {
    format!(
        "{}@{}",
        // Other letters may become ASCII ones: U+212A, the Kelvin sign, is a k in lower case.
        local.to_ascii_lowercase(),
        a_labels(domain).to_ascii_lowercase()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "$2b$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi";

    fn path(text: &str) -> ReversePath {
        ReversePath::parse(text).unwrap()
    }

    #[test]
    fn a_file_is_read_with_its_comments_and_patterns() {
        let text = format!(
            "# people\n\nada:{HASH}\r\nbob@example.org:{HASH}:allow_from=*@Example.ORG,bounces+*@b\u{fc}cher.example\n"
        );
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        let (ada, bob) = (users.get("ada").unwrap(), users.get("bob@example.org").unwrap());
        assert!(users.get("ADA").is_none() && users.get("").is_none());
        for (from, by_ada, by_bob) in [
            ("x@example.org", true, true),
            ("X@EXAMPLE.org", true, true),
            ("x@sub.example.org", true, false),
            ("x@example.org.evil.net", true, false),
            ("bounces+7@xn--bcher-kva.example", true, true),
            ("bounces+7@B\u{fc}cher.example", true, true),
            ("bounces@xn--bcher-kva.example", true, false),
            ("\"x@example.org\"@evil.net", true, false),
            ("", true, false),
        ] {
            assert_eq!(ada.may_send_from(&path(from)), by_ada, "{from}");
            assert_eq!(bob.may_send_from(&path(from)), by_bob, "{from}");
        }
        let users = Users::parse(&format!("c:{HASH}:allow_from=<>,c@example.org\n")).unwrap();
        let user = users.get("c").unwrap();
        assert!(user.may_send_from(&ReversePath::Null) && user.may_send_from(&path("c@example.org")));
        assert!(!user.may_send_from(&path("d@example.org")));
    }

    #[test]
    fn each_bad_line_is_reported_by_number_without_its_hash() {
        let text = format!(
            "ada:{HASH}\nada:{HASH}\nnobody\n:{HASH}\na b:{HASH}\n\u{fc}:{HASH}\nplain:{{PLAIN}}secret\n\
             x:{HASH}:\ny:{HASH}:allow_from=\nz:{HASH}:allow_from=example.org\nw:{HASH}:uid=5\nv:{HASH}:allow_from=a@b:c\n\
             {}:{HASH}\n",
            "n".repeat(256)
        );
        let problems = Users::parse(&text).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "line 2: user ada is in line 1 already");
        assert!(told[5].contains("unknown password scheme"), "{told:?}");
        assert!(
            told.iter()
                .all(|text| !text.contains("s8Mm") && !text.contains("secret")),
            "{told:?}"
        );
    }

    #[test]
    fn a_letter_that_only_looks_like_one_of_ascii_is_another() {
        let users = Users::parse(&format!("ada:{HASH}:allow_from=kada@example.org\n")).unwrap();
        let ada = users.get("ada").unwrap();
        assert!(ada.may_send_from(&path("Kada@example.org")));
        assert!(!ada.may_send_from(&path("\u{212a}ada@example.org")));
    }

    #[test]
    fn a_pattern_with_white_space_is_refused_with_its_line() {
        for patterns in [
            "*@a.example, *@b.example",
            "*@a.example ",
            "\t<>",
            "a\u{a0}b@a.example",
            "<> ",
        ] {
            let text = format!("# people\nada:{HASH}:allow_from={patterns}\n");
            let problems = Users::parse(&text).unwrap_err();
            assert_eq!((problems.len(), problems[0].line), (1, 2), "{patterns:?}");
            assert!(problems[0].text.contains("has white space"), "{problems:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_called_by_its_name() {
        for line in ["# people", &format!("ada:{HASH}")] {
            let problems = Users::parse(&format!("\u{feff}{line}\n")).unwrap_err();
            let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(
                told,
                ["line 1: the file begins with a byte order mark; save it without"]
            );
        }
    }

    #[test]
    fn an_unknown_name_is_checked_against_a_hash_of_its_kind() {
        assert_eq!(Users::parse("").unwrap().dummy(), PasswordHash::dummy());
        let users = Users::parse(&format!("ada:{HASH}\n")).unwrap();
        assert_eq!(users.dummy().as_str(), HASH);
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "([a-c#: ]{0,4}(:(\\$6\\$|\\$2b\\$05\\$|\\{ARGON2\\}\\$argon2id\\$v=19\\$m=8)?[a-z$=,{}*@<>]{0,20}){0,3}\n){0,6}") {
            let _ = Users::parse(&text);
        }
    }
}
