//! Random histories against a simple reference: operations, replies of next hops, restarts and power cuts, on a disk and a
//! clock that are simulated. After every restart, and at the end, the spool must agree with what it has answered.
//!
//! `SPOOL_HISTORIES` sets how many histories are played, `SPOOL_SEED` where they begin. One that fails prints its seed.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod checks;
mod history;
mod next_hop;
mod notices;
mod operations;
mod reference;
mod tally;

use history::History;

#[test]
fn histories_agree_with_the_reference() {
    let number = |name: &str, default: u64| {
        let set = std::env::var(name).ok();
        set.map_or(default, |text| text.parse().expect("a number"))
    };
    let (histories, first) = (number("SPOOL_HISTORIES", 300), number("SPOOL_SEED", 1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut total = tally::Tally::default();
    for seed in first..first + histories {
        // Named before it is played: a panic on another thread shows no more than this.
        let guard = NameOnPanic(seed);
        total += runtime.block_on(History::new(seed).play());
        std::mem::forget(guard);
    }
    println!("{histories} histories: {total}");
    assert!(
        total.is_varied() || histories < 100,
        "the histories exercise too little: {total}"
    );
}

/// Says which history it was.
struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        eprintln!(
            "played history {}: SPOOL_SEED={} SPOOL_HISTORIES=1 plays it again",
            self.0, self.0
        );
    }
}
