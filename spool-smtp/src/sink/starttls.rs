//! STARTTLS and the handshake at the sink, and the script's actions for them.

use super::script::{Flaw, ScriptAction, ScriptStage};
use super::session::{Flow, SinkSession};
use super::tls::TlsMode;
use std::io;

impl SinkSession<'_> {
    /// Whether TLS is offered in this mode and not active yet.
    pub(super) fn has_tls(&self, mode: TlsMode) -> bool {
        let tls = self.shared.config.tls.as_ref();
        tls.is_some_and(|tls| tls.mode() == mode) && !self.stream.is_tls()
    }

    /// STARTTLS. A script may send more than a reply with its 220; the handshake still follows.
    pub(super) async fn start_tls(&mut self) -> io::Result<Flow> {
        let usual: &[u8] = match self.has_tls(TlsMode::StartTls) {
            true => b"220 2.0.0 go ahead\r\n",
            false => b"454 4.7.0 no TLS here\r\n",
        };
        let answer = self.answer(ScriptStage::StartTls, "", usual);
        let goes_over = answer.class() == b'2';
        if !self.give(answer).await? {
            return Ok(Flow::End);
        }
        if !goes_over {
            return Ok(Flow::On);
        }
        self.flush().await?;
        // Plaintext input must not be read as input under TLS.
        if !self.input.is_empty() {
            return Ok(Flow::End);
        }
        self.handshake().await
    }

    /// The handshake, or the script's action in its place, which ends the connection.
    pub(super) async fn handshake(&mut self) -> io::Result<Flow> {
        let shared = self.shared;
        let answer = self.answer(ScriptStage::Tls, "", &b""[..]);
        let flaw: Option<Flaw> = match answer.action {
            None => None,
            Some(ScriptAction::Certificate(flaw)) => Some(*flaw),
            Some(ScriptAction::Delay(span)) => {
                tokio::time::sleep(*span).await;
                None
            }
            Some(
                ScriptAction::Say(_)
                | ScriptAction::Drip(..)
                | ScriptAction::Endless(_)
                | ScriptAction::SayAndClose(_)
                | ScriptAction::Hang
                | ScriptAction::Close
                | ScriptAction::Reset
                | ScriptAction::Hide(_)
                | ScriptAction::Offer(_)
                | ScriptAction::Slow(_),
            ) => {
                // After the peer's first bytes: closing before they are read would send an RST.
                self.read().await?;
                self.give(answer).await?;
                return Ok(Flow::End);
            }
        };
        let Some(tls) = &shared.config.tls else {
            return Ok(Flow::End);
        };
        let patience = self.patience();
        self.stream.upgrade(tls.acceptor(flaw), patience).await?;
        self.clear();
        self.is_known = false;
        Ok(Flow::On)
    }
}
