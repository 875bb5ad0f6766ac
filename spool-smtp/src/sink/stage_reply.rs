//! The reply of the sink at a stage of a session.

use super::script::ScriptAction;
use std::borrow::Cow;

/// The action at a stage: the usual reply, unless the script has another.
pub(super) struct StageReply<'s> {
    pub(super) action: Option<&'s ScriptAction>,
    pub(super) usual: Cow<'static, [u8]>,
}

impl StageReply<'_> {
    /// The first digit of the reply; 0 when there is none.
    pub(super) fn class(&self) -> u8 {
        let said = match self.action {
            Some(
                ScriptAction::Say(bytes) | ScriptAction::Drip(bytes, _) | ScriptAction::SayAndClose(bytes),
            ) => bytes,
            Some(action) if action.replaces_the_usual() => return 0,
            Some(_) | None => self.usual.as_ref(),
        };
        said.first().copied().unwrap_or_default()
    }
}
