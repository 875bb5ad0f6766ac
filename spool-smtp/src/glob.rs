//! Patterns with stars.

/// Whether `text` matches `pattern`, in which a star is any number of characters. Takes time in proportion to the product
/// of their lengths at most.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    let Some(mut rest) = rest.strip_suffix(last) else {
        return false;
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pattern_matches_as_a_regular_expression_does(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            // The obvious matcher, which takes exponential time.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) if slow(rest, text) => true,
                    (Some((b'*', _)), Some((_, text))) => slow(pattern, text),
                    (Some((p, pattern)), Some((t, text))) => p == t && slow(pattern, text),
                    (None, Some(_)) | (Some(_), None) => false,
                }
            }
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
