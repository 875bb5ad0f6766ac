//! The message of a transaction at the sink, and the script's actions for it.

use super::data::DataScanner;
use super::script::{ScriptAction, ScriptStage};
use super::session::{Ended, SinkSession};
use super::text::Text;
use socket2::SockRef;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many bytes are read at once of a message that is read slowly.
const SIP: u64 = 1024;

impl SinkSession<'_> {
    /// DATA.
    pub(super) async fn begin_data(&mut self) -> Result<(), Ended> {
        if self.to.is_empty() {
            return self.say(b"554 5.5.1 no valid recipients\r\n");
        }
        // A script may give DATA another reply.
        match self
            .reply(ScriptStage::Data, "", &b"354 go ahead\r\n"[..])
            .await?
        {
            b'3' => self.data().await,
            _ => Ok(()),
        }
    }

    /// Reads a message, and answers it.
    async fn data(&mut self) -> Result<(), Ended> {
        let (mut scanner, mut text) = (DataScanner::default(), Text::default());
        let noted = self.shared.ledger.is_some();
        let pace = self.begin_text().await?;
        loop {
            let end = scanner.scan(&self.input, |content| text.take(content, noted));
            if let Some(end) = end {
                drop(self.input.split_to(end));
                return self.end_of_text(&text).await;
            }
            self.input.clear();
            self.read_text(pace).await?;
        }
    }

    /// Waits for the first bytes of a message, and performs the script's action for `body`. Returns how slowly the rest is read.
    pub(super) async fn begin_text(&mut self) -> Result<Option<Duration>, Ended> {
        self.flush().await?;
        if self.input.is_empty() {
            self.read().await?;
        }
        let body = self.answer(ScriptStage::Body, "", &b""[..]);
        let pace = if let Some(ScriptAction::Slow(span)) = body.action {
            // As small as the system allows.
            let tcp = self.stream.connection().map(SockRef::from);
            tcp.map_or(Ok(()), |tcp| tcp.set_recv_buffer_size(1))?;
            Some(*span)
        } else {
            None
        };
        self.give(body).await?;
        self.flush().await?;
        Ok(pace)
    }

    /// Answers a complete message.
    pub(super) async fn end_of_text(&mut self, text: &Text) -> Result<(), Ended> {
        let shared = self.shared;
        if text.size > shared.config.message_size {
            return self.say(b"552 5.3.4 too large\r\n");
        }
        let answer = self.answer(ScriptStage::Dot, "", &b"250 2.0.0 taken\r\n"[..]);
        if answer.class() == b'2' {
            if let Some(ledger) = &shared.ledger {
                ledger.write(&self.from, &self.to, text)?;
            }
            shared.counts.messages.fetch_add(1, Ordering::Relaxed);
            shared.counts.bytes.fetch_add(text.size, Ordering::Relaxed);
        }
        self.clear();
        self.give(answer).await
    }

    pub(super) async fn read_text(&mut self, pace: Option<Duration>) -> Result<(), Ended> {
        let Some(span) = pace else {
            return self.read().await;
        };
        tokio::time::sleep(span).await;
        self.read_at_most(SIP).await
    }
}
