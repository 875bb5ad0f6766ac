//! Signing on a pool of threads, while keys are replaced.

use super::*;

fn signing(rules: Rules, threads: usize) -> (Signing, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    (
        Signing::new(rules, Arc::clone(&clock) as Arc<dyn Clock>, threads),
        clock,
    )
}

#[test]
fn a_message_is_signed_in_place_and_counted() {
    let (signing, _clock) = signing(both(), 1);
    let zone = Zone::of(&both());
    let message = run(signing.sign(Bytes::from_static(MESSAGE.as_bytes()))).unwrap();
    assert_eq!(results(&message, &zone, NOW), [Ok(()), Ok(())]);
    let other = Bytes::from_static(b"From: a@example.com\r\n\r\n");
    assert_eq!(run(signing.sign(other.clone())).unwrap().as_ptr(), other.as_ptr());
    let expected = SigningCounts {
        signed: 1,
        no_key: 1,
        ..SigningCounts::default()
    };
    assert_eq!(signing.counts(), expected);
}

#[test]
fn keys_are_exchanged_while_it_runs() {
    let (signing, _clock) = signing(Rules::default(), 1);
    assert!(!signing.has_keys());
    let message = Bytes::from_static(MESSAGE.as_bytes());
    assert_eq!(run(signing.sign(message.clone())).unwrap(), message);
    signing.replace(both());
    assert!(signing.has_keys());
    assert_ne!(run(signing.sign(message.clone())).unwrap(), message);
}

#[test]
fn mail_of_expired_keys_is_refused_or_left_unsigned() {
    let ended = |on_failure| {
        let mut rules = rules(vec![key("example.org", "r1", PKCS8)]);
        rules.keys[0].until = Some(NOW);
        rules.on_failure = on_failure;
        rules
    };
    let message = Bytes::from_static(MESSAGE.as_bytes());
    let (deferring, _clock) = signing(ended(OnSigningFailure::Defer), 1);
    let refused = run(deferring.sign(message.clone()));
    assert!(
        matches!(&refused, Err(SignError::Failed(why)) if why.contains("example.org")),
        "{refused:?}"
    );
    let (lenient, _clock) = signing(ended(OnSigningFailure::Unsigned), 1);
    assert_eq!(run(lenient.sign(message.clone())), Ok(message));
    assert_eq!((deferring.counts().failed, lenient.counts().failed), (1, 1));
}

#[tokio::test]
async fn the_queue_for_signatures_is_bounded() {
    let (signing, _clock) = signing(rules(vec![key("example.org", "e1", ED25519)]), 2);
    let message = Bytes::from_static(MESSAGE.as_bytes());
    let threads = signing.threads();
    let held = threads.acquire_many(2).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..MAX_WAITING + 76 {
        all.spawn(signing.sign(message.clone()));
    }
    // While no signature is made, only messages beyond the limit get an answer.
    for _ in 0..76 {
        let refused = all.join_next().await.unwrap().unwrap();
        assert_eq!(refused, Err(SignError::Busy));
    }
    drop(held);
    while let Some(result) = all.join_next().await {
        assert!(result.unwrap().unwrap().len() > message.len());
    }
    assert_eq!(signing.counts().busy, 76);
    // The permits are returned.
    assert!(signing.sign(message).await.is_ok());
}
