//! Addresses as header fields and command lines write them (RFC 5322 section 3.4): names, comments, quoted strings, groups,
//! source routes. Pure.
//!
//! A list that cannot be read is refused as a whole: a guess could send mail to a wrong recipient. mail-parser is not used,
//! because it decodes encoded words and removes the quotes of `"a b"@example.org`, which leaves another address or none.

use spool_core::Address;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lexeme<'t> {
    /// One of `<>,:;@.`
    Special(char),
    /// Anything else up to white space, with quotes or brackets.
    Word(&'t str),
}

/// The addresses in `text`, in order. One without a domain gets `domain`.
///
/// # Errors
/// What is wrong, with the piece.
pub(super) fn addresses(text: &str, domain: &str) -> Result<Vec<Address>, String> {
    let mut found = Vec::new();
    let mut item: Vec<Lexeme<'_>> = Vec::new();
    let (mut angle, mut group) = (false, false);
    for token in tokens(text)? {
        match token {
            Lexeme::Special('<') if angle => return Err(wrong(text, "a < within <>")),
            Lexeme::Special('<') => angle = true,
            Lexeme::Special('>') if !angle => return Err(wrong(text, "a > without a <")),
            Lexeme::Special('>') => angle = false,
            Lexeme::Special(',') if !angle => {
                found.extend(mailbox(&std::mem::take(&mut item), domain)?);
                continue;
            }
            Lexeme::Special(':') if !angle => {
                if group || item.is_empty() {
                    return Err(wrong(text, "a : that begins no group"));
                }
                // The name of the group.
                group = true;
                item.clear();
                continue;
            }
            Lexeme::Special(';') if !angle => {
                group = false;
                found.extend(mailbox(&std::mem::take(&mut item), domain)?);
                continue;
            }
            Lexeme::Special(_) | Lexeme::Word(_) => {}
        }
        item.push(token);
    }
    if angle {
        return Err(wrong(text, "a < without a >"));
    }
    found.extend(mailbox(&item, domain)?);
    Ok(found)
}

/// One address of a list; none when there is nothing between two commas.
fn mailbox(item: &[Lexeme<'_>], domain: &str) -> Result<Option<Address>, String> {
    if item.is_empty() {
        return Ok(None);
    }
    let shown = || shown(item);
    let opens = item.iter().position(|token| *token == Lexeme::Special('<'));
    let spec = match opens {
        None => item,
        Some(opens) => {
            let inner = item.get(opens + 1..).unwrap_or_default();
            let closes = inner.iter().position(|token| *token == Lexeme::Special('>'));
            let (inner, behind) = inner.split_at(closes.unwrap_or(inner.len()));
            if behind.len() > 1 {
                return Err(format!("{}: text behind the >", shown()));
            }
            without_route(inner)
        }
    };
    let mut text = String::new();
    let mut word_before = false;
    for token in spec {
        let is_word = matches!(token, Lexeme::Word(_));
        if is_word && word_before {
            return Err(format!("{}: words without a comma between them", shown()));
        }
        word_before = is_word;
        match token {
            Lexeme::Word(word) => text.push_str(word),
            Lexeme::Special(special) => text.push(*special),
        }
    }
    if !spec.contains(&Lexeme::Special('@')) {
        text.push('@');
        text.push_str(domain);
    }
    let address = Address::parse(&text).map_err(|error| format!("{}: {error}", shown()))?;
    Ok(Some(address))
}

/// `@a,@b:c@d` is `c@d` (RFC 5321 section 4.1.1.3).
fn without_route<'i, 't>(inner: &'i [Lexeme<'t>]) -> &'i [Lexeme<'t>] {
    let colon = inner.iter().position(|token| *token == Lexeme::Special(':'));
    match (inner.first(), colon) {
        (Some(Lexeme::Special('@')), Some(colon)) => inner.get(colon + 1..).unwrap_or_default(),
        _ => inner,
    }
}

fn tokens(text: &str) -> Result<Vec<Lexeme<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            c if c.is_ascii_whitespace() => 1,
            ')' => return Err(wrong(text, "a ) without a (")),
            '(' => comment(rest).ok_or_else(|| wrong(text, "a comment without an end"))?,
            '<' | '>' | ',' | ':' | ';' | '@' | '.' => {
                tokens.push(Lexeme::Special(c));
                1
            }
            _ => {
                let end = match c {
                    '"' => enclosed(rest, '"').ok_or_else(|| wrong(text, "a quote without an end"))?,
                    '[' => enclosed(rest, ']').ok_or_else(|| wrong(text, "a [ without a ]"))?,
                    _ => rest
                        .find(|c: char| c.is_ascii_whitespace() || "<>,:;@.()\"[".contains(c))
                        .unwrap_or(rest.len()),
                };
                tokens.push(Lexeme::Word(rest.get(..end).unwrap_or(rest)));
                end
            }
        };
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(tokens)
}

/// Bytes of the comment at the begin of `text`: comments nest.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Bytes of what begins `text` and ends with `end`.
fn enclosed(text: &str, end: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == end => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

fn shown(item: &[Lexeme<'_>]) -> String {
    let mut text = String::new();
    for token in item {
        match token {
            Lexeme::Special(special) => text.push(*special),
            Lexeme::Word(word) => {
                if text.ends_with(|last: char| !"<@.".contains(last)) {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
    }
    cut(&text)
}

fn wrong(text: &str, what: &str) -> String {
    format!("{}: {what}", cut(text.trim()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
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
