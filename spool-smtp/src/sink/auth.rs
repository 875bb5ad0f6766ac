//! AUTH at the sink (RFC 4954): PLAIN and LOGIN, for its one user.

use super::script::ScriptStage;
use super::session::{Ended, SinkSession};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The usual challenges `Username:` and `Password:`.
const USERNAME: &[u8] = b"334 VXNlcm5hbWU6\r\n";
const PASSWORD: &[u8] = b"334 UGFzc3dvcmQ6\r\n";

impl SinkSession<'_> {
    /// Reads the name and the password, and then answers as the script says for `auth`.
    pub(super) async fn auth(&mut self, rest: &str) -> Result<(), Ended> {
        let mut words = rest.split_whitespace();
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().map(str::to_owned);
        let given = match mechanism.as_str() {
            "PLAIN" => self
                .response(initial, b"334 \r\n")
                .await?
                .map(|response| plain(&response)),
            "LOGIN" => match self.response(initial, USERNAME).await? {
                Some(user) => self
                    .response(None, PASSWORD)
                    .await?
                    .map(|secret| Some((user, secret))),
                None => None,
            },
            _ => Some(None),
        };
        let Some(given) = given else {
            return self.say(b"501 5.7.0 cancelled\r\n");
        };
        let usual: &[u8] = match (&self.shared.config.login, given) {
            (None, _) => b"503 5.5.1 nobody is asked who he is\r\n",
            (Some(_), _) if !matches!(mechanism.as_str(), "PLAIN" | "LOGIN") => {
                b"504 5.5.4 no such mechanism\r\n"
            }
            (Some(login), Some(given)) if *login == given => b"235 2.7.0 welcome\r\n",
            (Some(_), _) => b"535 5.7.8 wrong name or password\r\n",
        };
        self.is_known |= self.reply(ScriptStage::Auth, "", usual).await? == b'2';
        Ok(())
    }

    /// The client's response, decoded, after `challenge` unless it was sent already; `None` if the client cancels.
    async fn response(&mut self, initial: Option<String>, challenge: &[u8]) -> Result<Option<String>, Ended> {
        let given = match initial {
            Some(given) => given,
            None => {
                self.out.extend_from_slice(challenge);
                let line = self.next_line().await?;
                String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
            }
        };
        if given == "*" {
            return Ok(None);
        }
        let decoded = STANDARD.decode(given).unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(&decoded).into_owned()))
    }
}

/// Name and password of RFC 4616: an authorization identity that may be empty, NUL, name, NUL, password.
fn plain(response: &str) -> Option<(String, String)> {
    let mut parts = response.split('\0').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}
