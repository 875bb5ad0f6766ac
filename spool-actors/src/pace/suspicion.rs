//! Whether replies that sound like a limit hit everybody, or only the mailboxes and senders that they are said of.
//!
//! A full mailbox and a busy one are refused in the same words as a client that sends too much. That everybody is refused is believed when
//! [`SURE`] different ones were and nobody was taken in between.

/// Different mailboxes or senders in a row.
const SURE: usize = 4;

/// See the module. Most destinations never need the marks: they are in a box, so that a pace stays small.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspicion(Option<Box<[Option<u64>; SURE]>>);

impl Suspicion {
    /// These were refused; each mark names a mailbox or a sender. Gives whether everybody is.
    pub(super) fn refuse(&mut self, whose: &[u64]) -> bool {
        let refused = self.0.get_or_insert_default();
        for mark in whose {
            if !refused.contains(&Some(*mark))
                && let Some(free) = refused.iter_mut().find(|place| place.is_none())
            {
                *free = Some(*mark);
            }
        }
        refused.iter().all(Option::is_some)
    }

    /// A message was taken.
    pub(super) fn take(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_is_never_enough_and_four_in_a_row_are() {
        let mut suspicion = Suspicion::default();
        assert!((0..100).all(|_| !suspicion.refuse(&[1])));
        assert!(!suspicion.refuse(&[2]) && !suspicion.refuse(&[3]));
        assert!(suspicion.refuse(&[4]));
        assert!(suspicion.refuse(&[5]), "as long as nobody is taken");
        suspicion.take();
        for _ in 0..100 {
            assert!(!suspicion.refuse(&[1]) && !suspicion.refuse(&[2]) && !suspicion.refuse(&[3]));
            suspicion.take();
        }
        assert!(suspicion.refuse(&[1, 2, 3, 4]));
    }
}
