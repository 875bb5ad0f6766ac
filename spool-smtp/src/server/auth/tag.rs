//! Credentials hashed under a random key: they can be compared later, but not recovered from memory.

use super::sasl::LoginAttempt;
use crate::hidden::Hidden;
use ring::hmac;
use ring::rand::SystemRandom;

/// A name and a password under a [`TagKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Tag(Hidden<[u8; 32]>);

impl Tag {
    /// For tests: some credentials.
    #[cfg(test)]
    pub(in crate::server) fn of_test(number: u8) -> Self {
        Self(Hidden([number; 32]))
    }
}

/// The key; it never leaves the process.
#[derive(Debug, Clone)]
pub(super) struct TagKey(hmac::Key);

impl TagKey {
    /// A new one; `None`: the system has no random numbers.
    pub(super) fn random() -> Option<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .ok()
            .map(Self)
    }

    pub(super) fn tag(&self, attempt: &LoginAttempt) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        // The length comes first, so that different names and passwords never give the same input.
        context.update(&attempt.name.0.len().to_le_bytes());
        context.update(attempt.name.0.as_bytes());
        context.update(&attempt.password.0);
        let mut bytes = [0; 32];
        for (byte, signed) in bytes.iter_mut().zip(context.sign().as_ref()) {
            *byte = *signed;
        }
        Tag(Hidden(bytes))
    }
}
