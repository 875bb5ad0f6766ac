//! STARTTLS and the handshake at the sink, and the script's actions for them.

use super::script::{ScriptAction, ScriptStage};
use super::session::{Ended, SinkSession};
use super::tls::TlsMode;

impl SinkSession<'_> {
    /// Whether TLS is offered in this mode and not active yet.
    pub(super) fn has_tls(&self, mode: TlsMode) -> bool {
        let tls = self.shared.config.tls.as_ref();
        tls.is_some_and(|tls| tls.mode == mode) && !self.stream.is_tls()
    }

    /// STARTTLS. A script may send more than a reply with its 220; the handshake still follows.
    pub(super) async fn start_tls(&mut self) -> Result<(), Ended> {
        let usual: &[u8] = match self.has_tls(TlsMode::StartTls) {
            true => b"220 2.0.0 go ahead\r\n",
            false => b"454 4.7.0 no TLS here\r\n",
        };
        if self.reply(ScriptStage::StartTls, "", usual).await? != b'2' {
            return Ok(());
        }
        self.flush().await?;
        // Plaintext input must not be read as input under TLS.
        if !self.input.is_empty() {
            return Err(Ended::Closed);
        }
        self.handshake().await
    }

    /// The handshake, or the script's action in its place, which ends the connection.
    pub(super) async fn handshake(&mut self) -> Result<(), Ended> {
        let shared = self.shared;
        let answer = self.answer(ScriptStage::Tls, "", &b""[..]);
        let flaw = match answer.action {
            Some(ScriptAction::Certificate(flaw)) => Some(*flaw),
            Some(action) if action.replaces_the_usual() => {
                // After the peer's first bytes: closing before they are read would send an RST.
                self.read().await?;
                self.give(answer).await?;
                return Err(Ended::Closed);
            }
            delayed => {
                if let Some(ScriptAction::Delay(span)) = delayed {
                    tokio::time::sleep(*span).await;
                }
                None
            }
        };
        let Some(tls) = &shared.config.tls else {
            return Err(Ended::Closed);
        };
        let tls = tls.shown(flaw);
        let handshake = self.stream.upgrade(|tcp| tls.accept(tcp));
        self.deadline.limit(shared.config.idle_timeout, handshake).await?;
        self.clear();
        self.is_known = false;
        Ok(())
    }
}
