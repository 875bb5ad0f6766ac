//! Completes and signs the messages of submitters before they are added to the spool.
//!
//! Relayed mail of others is not changed. Clones share the settings, which a reload replaces.

use crate::config::Config;
use bytes::Bytes;
use spool_core::{AddError, Admission, Budget, Clock, FlowId, Held, SignError, Signer, SystemClock};
use spool_smtp::dkim::{Rules, Signing, SigningCounts};
use spool_smtp::submission::{Completion, FixSubmissions, complete};
use std::sync::Arc;
use tokio::sync::watch;

/// The settings for submitted mail.
#[derive(Debug, Clone)]
pub(crate) struct Submissions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fix: watch::Sender<FixSubmissions>,
    /// For `Message-ID`.
    hostname: String,
    signing: Signing,
    /// For arriving mail: the growth of messages is charged to it.
    memory: Budget,
}

impl Submissions {
    /// With the settings of `config` and the keys in `rules`.
    pub(crate) fn new(config: &Config, rules: Rules, memory: &Budget) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner {
            fix: watch::Sender::new(config.fix_submissions),
            hostname: config.hostname.clone(),
            signing: Signing::new(rules, Arc::new(SystemClock), threads),
            memory: memory.clone(),
        }))
    }

    /// Replaces the settings by those of `config` and `rules`.
    pub(crate) fn replace(&self, config: &Config, rules: Rules) {
        self.0.fix.send_replace(config.fix_submissions);
        self.0.signing.replace(rules);
    }

    /// The signer.
    pub(crate) fn signer(&self) -> Arc<dyn Signer> {
        Arc::new(self.0.signing.clone())
    }

    /// Logs how many messages were signed and how many were not, if any could have been.
    pub(crate) fn log_counts(&self) {
        let counts = self.0.signing.counts();
        if counts != SigningCounts::default() {
            tracing::info!(
                signed = counts.signed,
                fragile_long_line = counts.fragile_long_line,
                fragile_eight_bit = counts.fragile_eight_bit,
                no_key = counts.no_key,
                no_author = counts.no_author,
                several_authors = counts.several_authors,
                malformed = counts.malformed,
                too_large = counts.too_large,
                failed = counts.failed,
                busy = counts.busy,
                "messages of submitters signed since the start"
            );
        }
    }

    fn fixes(&self, admission: &Admission) -> bool {
        self.0.fix.borrow().applies_to(admission)
    }

    /// Whether mail of this admission is completed or signed.
    pub(crate) fn concern(&self, admission: &Admission) -> bool {
        self.fixes(admission) || admission.is_submission() && self.0.signing.has_keys()
    }

    /// The completed message, and the charge for its growth, to be held until the spool has the message. `id` is that of its
    /// envelope, and becomes part of its `Message-ID`.
    pub(crate) async fn finish(
        &self,
        admission: &Admission,
        mut body: Bytes,
        id: Option<&FlowId>,
    ) -> Result<(Bytes, Held), AddError> {
        let size = |body: &Bytes| u64::try_from(body.len()).unwrap_or(u64::MAX);
        let before = size(&body);
        let mut held = self.0.memory.hold_nothing();
        if !body.is_unique() && !held.grow(before) {
            // It is shared, so it must be copied.
            return Err(AddError::Busy);
        }
        if self.fixes(admission) {
            let id = id.map_or_else(|| FlowId::random().to_string(), ToString::to_string);
            let completion = Completion {
                now: SystemClock.now(),
                message_id: &format!("{id}@{}", self.0.hostname),
            };
            body = complete(Vec::from(body), &completion).into();
        }
        if admission.is_submission() {
            let signed = self.0.signing.sign(body).await;
            body = signed.inspect_err(|error| {
                if let SignError::Failed(why) = error {
                    tracing::error!(%why, "message refused for now: it cannot be signed");
                }
            })?;
        }
        // It has grown by a few lines of bounded length. They are charged, but never a reason to refuse it.
        held.resize(size(&body).saturating_sub(before));
        Ok((body, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Received: x\r\nFrom: ada@example.org\r\nBcc: eve@example.net\r\n\r\nhello\r\n";

    fn submissions(text: &str, memory: &Budget) -> Submissions {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        std::fs::write(
            &path,
            include_str!("../../spool-smtp/src/dkim/testdata/ed25519.pem"),
        )
        .unwrap();
        let config = Config::parse(&text.replace("KEY", &path.display().to_string())).unwrap();
        Submissions::new(&config, crate::signing::rules(&config).unwrap(), memory)
    }

    async fn finished(submissions: &Submissions, admission: &Admission) -> (String, u64) {
        let body = Bytes::from(MESSAGE.to_vec());
        let (body, held) = submissions.finish(admission, body, None).await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), held.bytes())
    }

    const SIGN: &str = "hostname = \"mx.example.org\"\n[relay]\nfix_submissions = \"networks\"\n[[dkim.key]]\ndomain = \"example.org\"\nselector = \"s\"\nfile = \"KEY\"\n";

    #[tokio::test]
    async fn submitted_mail_is_completed_signed_and_its_growth_charged() {
        let memory = Budget::new(1 << 20);
        let submissions = submissions(SIGN, &memory);
        for admission in [Admission::Network, Admission::User("ada".into())] {
            assert!(submissions.concern(&admission));
            let (text, held) = finished(&submissions, &admission).await;
            assert!(
                text.starts_with("DKIM-Signature: v=1; a=ed25519-sha256;"),
                "{text}"
            );
            assert!(
                text.contains("\r\nReceived: x\r\n") && !text.contains("Bcc"),
                "{text}"
            );
            assert!(
                text.contains("\r\nDate: ") && text.contains("@mx.example.org>\r\n\r\nhello\r\n"),
                "{text}"
            );
            // The date and the identifier are signed.
            assert!(
                text.replace("\r\n\t", "")
                    .contains("Date:Date:Message-ID:Message-ID"),
                "{text}"
            );
            assert_eq!(held, (text.len() - MESSAGE.len()) as u64);
            assert_eq!(memory.used(), 0, "given back");
        }
    }

    #[tokio::test]
    async fn mail_for_others_stays_as_it_is() {
        let submissions = submissions(SIGN, &Budget::new(1 << 20));
        assert!(!submissions.concern(&Admission::Domain));
        let (text, _) = finished(&submissions, &Admission::Domain).await;
        assert_eq!(text.as_bytes(), MESSAGE);
    }

    #[tokio::test]
    async fn by_default_only_users_mail_is_completed_and_nothing_signed() {
        let submissions = submissions("hostname = \"localhost\"\n", &Budget::new(1 << 20));
        assert!(
            !submissions.concern(&Admission::Network) && submissions.concern(&Admission::User("ada".into()))
        );
        let (text, _) = finished(&submissions, &Admission::User("ada".into())).await;
        assert!(
            text.starts_with("Received: x\r\nFrom") && text.contains("@localhost>\r\n"),
            "{text}"
        );
        let config = Config::parse("[relay]\nfix_submissions = \"never\"\n").unwrap();
        submissions.replace(&config, Rules::default());
        assert!(!submissions.concern(&Admission::User("ada".into())));
    }

    /// Counts what is logged at level ERROR.
    #[derive(Clone, Default)]
    struct Errors(Arc<std::sync::atomic::AtomicUsize>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Errors {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            let is_error = *event.metadata().level() == tracing::Level::ERROR;
            self.0
                .fetch_add(is_error.into(), std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn unsigned_is_logged_for_messages_and_not_for_notices() {
        use tracing_subscriber::layer::SubscriberExt;
        let submissions = submissions(&format!("{SIGN}until = \"2020-01-01\"\n"), &Budget::new(1 << 20));
        let errors = Errors::default();
        let logged = || errors.0.load(std::sync::atomic::Ordering::Relaxed);
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(errors.clone()));
        let message = || Bytes::from(MESSAGE.to_vec());
        // A notice is signed this way, and its caller returns it unsigned.
        let failed = submissions.signer().sign(message()).await;
        assert!(matches!(failed, Err(SignError::Failed(_))), "{failed:?}");
        assert_eq!(logged(), 0);
        let refused = submissions.finish(&Admission::Network, message(), None).await;
        assert!(matches!(refused, Err(AddError::Unsigned(_))), "{refused:?}");
        assert_eq!(logged(), 1);
    }

    #[tokio::test]
    async fn a_shared_message_is_copied_only_with_memory_for_it() {
        let memory = Budget::new(1 << 20);
        let submissions = submissions(SIGN, &memory);
        let _other = memory.hold(1 << 20).unwrap();
        let shared = Bytes::from(MESSAGE.to_vec());
        let refused = submissions
            .finish(&Admission::Network, shared.clone(), None)
            .await;
        assert!(matches!(refused, Err(AddError::Busy)), "{refused:?}");
        // Nobody else: in place, whatever the memory.
        assert!(
            submissions
                .finish(&Admission::Network, Bytes::from(MESSAGE.to_vec()), None)
                .await
                .is_ok()
        );
        drop(shared);
    }
}
