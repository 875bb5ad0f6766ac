//! A cell of a grid: a text, and how it is cut.

use super::units::hops as hops_text;
use spool_core::NextHop;

/// Width of the ellipsis.
pub(super) const MARK: usize = 1;

/// The text of a cell, and the parts of it that are never cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// A longer text for wide columns.
    pub(super) in_full: Option<String>,
    /// Characters at the beginning and at the end that are never cut.
    head: usize,
    tail: usize,
}

impl Cell {
    /// Never cut.
    pub(super) fn whole(text: impl ToString) -> Self {
        let text = text.to_string();
        let head = text.chars().count();
        Self::text(text, head)
    }

    /// Cut at its end, but not in its first `head` characters.
    pub(super) fn text(text: impl Into<String>, head: usize) -> Self {
        Self {
            text: text.into(),
            head,
            ..Self::default()
        }
    }

    /// Cut in its middle, but not in its last `tail` characters.
    pub(super) fn name(text: impl Into<String>, tail: usize) -> Self {
        Self {
            text: text.into(),
            tail,
            ..Self::default()
        }
    }

    /// Next hops: all of them, or the first with its port and the count of the others.
    pub(super) fn hops(hops: &[NextHop]) -> Self {
        let Some(first) = hops.first() else {
            return Self::whole(hops_text(&[]));
        };
        let more = match hops.len() {
            1 => String::new(),
            count => format!(" +{}", count - 1),
        };
        let tail = format!(":{}{more}", first.port()).chars().count();
        let all = hops_text(hops);
        Self {
            text: format!("{first}{more}"),
            in_full: (!more.is_empty()).then_some(all),
            head: if first.is_mx() { 3 } else { 0 },
            tail,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The width of the whole text.
    pub(super) fn most(&self) -> usize {
        self.in_full.as_ref().unwrap_or(&self.text).chars().count()
    }

    /// The least width.
    pub(super) fn least(&self) -> usize {
        let whole = self.text.chars().count();
        whole.min(self.head + MARK + self.tail)
    }

    /// The text in `width` columns, which are at least [`Self::least`].
    pub(super) fn fit(&self, width: usize) -> String {
        let in_full = self.in_full.as_ref();
        if let Some(text) = in_full.filter(|text| text.chars().count() <= width) {
            return text.clone();
        }
        let length = self.text.chars().count();
        if length <= width {
            return self.text.clone();
        }
        let room = width.saturating_sub(self.head + MARK + self.tail);
        let before = self.head + if self.tail == 0 { room } else { room / 2 };
        let after = width.saturating_sub(before + MARK);
        let start: String = self.text.chars().take(before).collect();
        let end: String = self.text.chars().skip(length.saturating_sub(after)).collect();
        format!("{start}…{end}")
    }
}
