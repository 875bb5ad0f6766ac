//! Which messages in line keep their content in memory, so that it is found when memory is short.
//!
//! The list of them is never much longer than the lines: places of messages that left are swept out.

use super::{Phase, Queue, SWEEP};
use crate::engine::World;
use spool_core::MessageId;
use std::collections::HashSet;

impl<W: World> Queue<W> {
    fn keeps_content(&self, id: MessageId) -> bool {
        matches!(self.phase(id), Some(Phase::Ready(Some(_))))
    }

    /// Notes that a message in line has its content.
    pub(super) fn keep_in_line(&mut self, id: MessageId) {
        self.kept.push_back(id);
        // The first in line may stand there for long while others come and go.
        if self.kept.len() > 2 * self.counts.in_line + SWEEP {
            let mut kept = std::mem::take(&mut self.kept);
            let mut seen = HashSet::new();
            kept.retain(|id| self.keeps_content(*id) && seen.insert(*id));
            self.kept = kept;
        }
    }

    /// Memory is wanted for what must be sent now: all that waits in line is read again when its turn comes.
    pub(in crate::engine) fn let_go_of_all(&mut self) {
        for id in std::mem::take(&mut self.kept) {
            self.let_go(id);
        }
    }

    /// The same as long as a line waits for memory. Since that wait began, messages may have come into line with their content: from another
    /// line, or as the next one of a line that does not move any more.
    pub(in crate::engine) fn let_go_if_starved(&mut self) {
        if !self.starved.is_empty() {
            self.let_go_of_all();
        }
    }

    /// Memory is short: what waits in line is read again when its turn comes.
    pub(in crate::engine) fn let_go(&mut self, id: MessageId) {
        if let Some(Phase::Ready(content)) = self.entries.get_mut(&id).map(|entry| &mut entry.phase) {
            *content = None;
        }
    }
}
