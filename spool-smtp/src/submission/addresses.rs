//! Lists of addresses as header fields and command lines write them (RFC 5322 section 3.4): names, comments, quoted strings, groups,
//! source routes.
//!
//! A list that cannot be read is refused as a whole: a guess could send mail to a wrong recipient. mail-parser is not used,
//! because it decodes encoded words and removes the quotes of `"a b"@example.org`, which leaves another address or none.

use spool_core::Address;

/// Tokens of one character; every other token is a word: text up to white space, a quoted string, or a domain literal.
const SPECIALS: &str = "<>,:;@.";

/// The addresses in `text`, in order. One without a domain gets `domain`.
///
/// # Errors
/// What is wrong, with the piece.
pub fn addresses(text: &str, domain: &str) -> Result<Vec<Address>, String> {
    let list = AddressList::parse(text, usize::MAX, Strays::Refused)?;
    let address = |mailbox: &Mailbox<'_>| mailbox.address(domain);
    list.mailboxes.iter().map(address).collect()
}

/// A list of addresses.
#[derive(Debug, Default)]
pub(super) struct AddressList<'t> {
    pub(super) mailboxes: Vec<Mailbox<'t>>,
    /// Whether a group is in it.
    pub(super) has_group: bool,
}

/// What a `;` outside a group and a `)` without a `(` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strays {
    /// A `;` ends an address; a `)` is an error.
    Refused,
    /// Words of a name, as in `Ada ;) <ada@example.org>`: the domain of an author must not depend on them.
    Ignored,
}

/// The tokens of one address, without its name, comments and a source route.
#[derive(Debug)]
pub(super) struct Mailbox<'t>(Vec<&'t str>);

impl<'t> AddressList<'t> {
    /// Parses `text`, up to `most` addresses.
    pub(super) fn parse(text: &'t str, most: usize, strays: Strays) -> Result<Self, String> {
        let (mut list, mut item, mut rest) = (Self::default(), Vec::new(), text);
        let (mut angle, mut group) = (false, false);
        while let Some(token) = token(&mut rest, strays).map_err(|what| wrong(text, what))? {
            match token {
                "<" if angle => return Err(wrong(text, "a < within <>")),
                ">" if !angle => return Err(wrong(text, "a > without a <")),
                "<" | ">" => angle = token == "<",
                // In a name before an address in brackets.
                ";" if !angle && !group && strays == Strays::Ignored => {}
                "," | ";" if !angle => {
                    group &= token == ",";
                    list.mailboxes.extend(Mailbox::of(&std::mem::take(&mut item))?);
                    if list.mailboxes.len() >= most {
                        return Ok(list);
                    }
                    continue;
                }
                ":" if !angle => {
                    if group || item.is_empty() {
                        return Err(wrong(text, "a : that begins no group"));
                    }
                    // The name of the group.
                    (group, list.has_group) = (true, true);
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(token);
        }
        if angle {
            return Err(wrong(text, "a < without a >"));
        }
        list.mailboxes.extend(Mailbox::of(&item)?);
        Ok(list)
    }
}

impl<'t> Mailbox<'t> {
    /// The address of an item of a list; none when there is nothing between two commas.
    fn of(item: &[&'t str]) -> Result<Option<Self>, String> {
        if item.is_empty() {
            return Ok(None);
        }
        let wrong = |what| Err(wrong(&shown(item), what));
        let spec = match (item.iter().position(|token| *token == "<"), item) {
            (None, _) => item,
            (Some(opens), [inner @ .., ">"]) if !inner.contains(&">") => {
                without_route(inner.get(opens + 1..).unwrap_or_default())
            }
            (Some(_), _) => return wrong("text behind the >"),
        };
        if spec
            .windows(2)
            .any(|pair| pair.iter().all(|token| !SPECIALS.contains(token)))
        {
            return wrong("words without a comma between them");
        }
        Ok(Some(Self(spec.to_vec())))
    }

    /// Its domain, if it has one and a local part.
    pub(super) fn domain(&self) -> Option<String> {
        let at = self.0.iter().rposition(|token| *token == "@")?;
        let (local, domain) = self.0.split_at_checked(at)?;
        let whole = !local.is_empty() && !local.contains(&"@");
        whole.then(|| domain.get(1..).unwrap_or_default().concat())
    }

    fn address(&self, domain: &str) -> Result<Address, String> {
        let mut text = self.0.concat();
        if !self.0.contains(&"@") {
            text = format!("{text}@{domain}");
        }
        Address::parse(&text).map_err(|error| wrong(&shown(&self.0), &error.to_string()))
    }
}

/// `@a,@b:c@d` is `c@d` (RFC 5321 section 4.1.1.3).
fn without_route<'i, 't>(inner: &'i [&'t str]) -> &'i [&'t str] {
    match (inner.first(), inner.iter().position(|token| *token == ":")) {
        (Some(&"@"), Some(colon)) => inner.get(colon + 1..).unwrap_or_default(),
        _ => inner,
    }
}

/// Takes the next token from `rest`; white space and comments are skipped.
fn token<'t>(rest: &mut &'t str, strays: Strays) -> Result<Option<&'t str>, &'static str> {
    while let Some(c) = rest.chars().next() {
        let end = match c {
            ')' if strays == Strays::Refused => return Err("a ) without a ("),
            ')' => 1,
            '(' => enclosed(rest, ')').ok_or("a comment without an end")?,
            '"' => enclosed(rest, '"').ok_or("a quote without an end")?,
            '[' => enclosed(rest, ']').ok_or("a [ without a ]")?,
            c if c.is_ascii_whitespace() || SPECIALS.contains(c) => 1,
            _ => rest
                .find(|c: char| c.is_ascii_whitespace() || SPECIALS.contains(c) || "()\"[".contains(c))
                .unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at_checked(end).unwrap_or((*rest, ""));
        *rest = behind;
        if c != '(' && !c.is_ascii_whitespace() {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// The length of the comment, quoted string or domain literal that `text` begins with. It ends with `end`; comments may be nested.
fn enclosed(text: &str, end: char) -> Option<usize> {
    let (mut depth, mut escaped) = (1_usize, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' if end == ')' => depth += 1,
            c if c == end && depth == 1 => return Some(at + 1),
            c if c == end => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Words with a blank between them.
fn shown(item: &[&str]) -> String {
    item.join(" ").replace(" @ ", "@").replace(" . ", ".")
}

fn wrong(text: &str, what: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...: {what}", text.get(..at).unwrap_or_default()),
        None => format!("{text}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<String> {
        let found = addresses(text, "here.example").unwrap_or_else(|why| panic!("{text}: {why}"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, expected) in [
            ("", &[][..]),
            (" , ,", &[]),
            ("a@b.example", &["a@b.example"]),
            ("root", &["root@here.example"]),
            ("a@b.example, c@d.example", &["a@b.example", "c@d.example"]),
            ("Ada Lovelace <ada@x.example>", &["ada@x.example"]),
            ("\"Lovelace, Ada\" <ada@x.example>", &["ada@x.example"]),
            (
                "\"a <evil@x.example>, \\\" b\" <ada@x.example>",
                &["ada@x.example"],
            ),
            (
                "=?utf-8?Q?Ad=C3=A0=2C_evil=40x=2Eexample?= <ada@x.example>",
                &["ada@x.example"],
            ),
            (
                "ada@x.example (Ada (the, first) \\) <evil@x.example>)",
                &["ada@x.example"],
            ),
            ("John Q. Public <j@x.example>", &["j@x.example"]),
            ("j@x.example <j@x.example>", &["j@x.example"]),
            ("\"a b\"@x.example", &["\"a b\"@x.example"]),
            ("\"a@b\"@x.example", &["\"a@b\"@x.example"]),
            ("undisclosed-recipients:;", &[]),
            (
                "Team: a@x.example, B <b@x.example>;, c@x.example",
                &["a@x.example", "b@x.example", "c@x.example"],
            ),
            ("<@r.example,@s.example:a@x.example>", &["a@x.example"]),
            ("a@[192.0.2.1]", &["a@[192.0.2.1]"]),
            ("a@[IPv6:2001:db8::1]", &["a@[IPv6:2001:db8::1]"]),
            ("a @ x . example", &["a@x.example"]),
            (
                "a@x.example\r\n ,\r\n\tb@x.example",
                &["a@x.example", "b@x.example"],
            ),
            ("用户@例子.广告", &["用户@例子.广告"]),
            (
                "ada+tag@x.example;bob@x.example",
                &["ada+tag@x.example", "bob@x.example"],
            ),
            ("-t", &["-t@here.example"]),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_whole() {
        for text in [
            "a@x.example, <b@x.example",
            "a@x.example> b",
            "<<a@x.example>>",
            "bob smith",
            "bob@x.example smith@x.example",
            "<a@x.example> b@x.example",
            "\"a@x.example",
            "a@x.example (b",
            "a@x.example) b",
            "a@[192.0.2.1",
            "<>",
            "a@",
            "@x.example",
            "a@b@c.example",
            "a b: c: d@x.example;;",
            ": a@x.example;",
            "a@x.example\0",
            "a\u{fffd}@x.example",
            "a\"b\"@x.example",
        ] {
            assert!(addresses(text, "here.example").is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c <>,:;@.()\"\\\\\\[\\]\r\n\u{c}\u{e9}]{0,40}") {
            if let Ok(found) = addresses(&text, "here.example") {
                for address in found {
                    prop_assert!(Address::parse(address.as_str()).is_ok());
                }
            }
        }

        #[test]
        fn names_and_comments_change_no_address(
            local in "[a-z]{1,8}|\"[a-z ,<>@;:]{1,8}\"",
            name in "[A-Z][a-z]{0,5}|\"[a-z ,<>@;:]{0,8}\"",
            comment in "[a-z ,<>@;:]{0,8}",
        ) {
            let address = format!("{local}@x.example");
            for text in [
                address.clone(),
                format!("<{address}>"),
                format!("{name} <{address}>"),
                format!("({comment}) {name} <{address}> ({comment})"),
                format!("{name}:{address}({comment});"),
            ] {
                prop_assert_eq!(read(&text), [address.clone()]);
            }
        }
    }
}
