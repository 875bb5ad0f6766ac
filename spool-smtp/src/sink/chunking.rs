//! BDAT at the sink (RFC 3030): the message in chunks of announced sizes, without dot-stuffing and without 354.
//!
//! The sink always accepts it, and offers it when its script says so. The ledger is the same for DATA and BDAT.

use super::script::ScriptStage;
use super::session::{Ended, SinkSession};
use super::text::Text;

impl SinkSession<'_> {
    /// Reads one chunk and answers it; the last one is answered for the message.
    pub(super) async fn chunk(&mut self, arguments: &str) -> Result<(), Ended> {
        let Some((octets, last)) = parse(arguments) else {
            // The end of the chunk is unknown: its octets cannot be distinguished from commands.
            self.say(b"501 5.5.4 a number of octets, and LAST\r\n")?;
            return Err(Ended::Closed);
        };
        // A reply here is that of a server that does not know the command and reads the octets as commands.
        if self.reply(ScriptStage::Bdat, "", &b""[..]).await? != 0 {
            return Ok(());
        }
        let wanted = !self.to.is_empty();
        let mut text = self.chunks.take().unwrap_or_default();
        self.octets(octets, &mut text).await?;
        if !wanted {
            return self.say(b"503 5.5.1 no valid recipients\r\n");
        }
        if last {
            return self.end_of_text(&text).await;
        }
        self.chunks = Some(text);
        self.say(b"250 2.0.0 go on\r\n")
    }

    async fn octets(&mut self, octets: u64, text: &mut Text) -> Result<(), Ended> {
        let noted = self.shared.ledger.is_some();
        let pace = match text.size == 0 && octets > 0 {
            true => self.begin_text().await?,
            false => None,
        };
        let mut left = octets;
        while left > 0 {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            text.take(&self.input.split_to(here), noted);
            left -= u64::try_from(here).unwrap_or(u64::MAX);
            if left > 0 {
                self.read_text(pace).await?;
            }
        }
        Ok(())
    }
}

/// `n` or `n LAST`.
fn parse(arguments: &str) -> Option<(u64, bool)> {
    let mut words = arguments.split_ascii_whitespace();
    let octets = words.next()?.parse().ok()?;
    match (words.next(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Some((octets, true)),
        (Some(_), _) => None,
    }
}
