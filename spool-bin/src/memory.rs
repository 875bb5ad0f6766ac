//! Free memory is returned to the system, also when it lies between memory that is in use.
//!
//! glibc keeps what was freed below anything that is still used: a message that arrived last would hold the buffers of ten
//! thousand connections that have left. It gives all free pages back when it is asked to. That locks its heaps for some
//! milliseconds, so it is asked only when it is worth it.

use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// The interval at which the size of the process is read.
const LOOK: Duration = Duration::from_secs(5);
/// By how much the process has to have grown since it last gave memory back.
const WORTH_IT: u64 = 8 << 20;

/// Returns free memory to the system from time to time. It never ends.
pub(crate) async fn give_back() {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut growth = Growth::default();
    loop {
        looks.tick().await;
        let Some(before) = resident() else { continue };
        if !growth.is_over(before) {
            continue;
        }
        let begun = Instant::now();
        // A panic here must not end the service.
        let _ = tokio::task::spawn_blocking(trim).await;
        let after = resident().unwrap_or(before);
        growth.gave_back(after);
        let (took, bytes) = (begun.elapsed(), before.saturating_sub(after));
        tracing::debug!(bytes, ?took, "free memory was given back to the system");
    }
}

/// How the process grows and shrinks.
#[derive(Debug, Default)]
struct Growth {
    /// As small as it was since memory was last given back.
    least: u64,
    /// At the last look.
    last: u64,
}

impl Growth {
    /// Whether it has grown enough, and grows no more, now that `resident` bytes are in memory.
    fn is_over(&mut self, resident: u64) -> bool {
        self.least = self.least.min(resident);
        let last = std::mem::replace(&mut self.last, resident);
        resident <= last && resident - self.least >= WORTH_IT
    }

    fn gave_back(&mut self, resident: u64) {
        (self.least, self.last) = (resident, resident);
    }
}

/// Bytes of its own that the process has in memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (all, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(all.saturating_sub(shared) * page)
}

#[cfg(target_env = "gnu")]
fn trim() {
    #[expect(
        unsafe_code,
        reason = "nothing else in glibc gives back what lies between blocks that are in use"
    )]
    // SAFETY: it takes no pointer, and any thread may call it at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_is_given_back_when_the_process_has_grown_and_grows_no_more() {
        let mut growth = Growth::default();
        let mut over = |mib: u64| growth.is_over(mib * MIB);
        assert!(!over(10), "it grows");
        assert!(over(10), "from nothing");
        growth.gave_back(6 * MIB);
        let mut over = |mib: u64| growth.is_over(mib * MIB);
        assert!(!over(6) && !over(13) && !over(13), "not worth it");
        assert!(!over(20) && !over(200), "it grows");
        assert!(over(150));
        growth.gave_back(140 * MIB);
        let mut over = |mib: u64| growth.is_over(mib * MIB);
        assert!(!over(140), "all of it is in use");
        assert!(
            !over(100) && !over(110) && over(110),
            "the least of all looks counts"
        );
    }

    #[test]
    fn what_is_free_between_blocks_in_use_is_given_back() {
        let mut blocks: Vec<Option<Vec<u8>>> = (0..20_000).map(|_| Some(vec![1; 4096])).collect();
        for (number, block) in blocks.iter_mut().enumerate() {
            if number % 100 > 0 {
                *block = None;
            }
        }
        let before = resident().unwrap();
        trim();
        let after = resident().unwrap();
        assert!(before - after > 20 << 20, "{before} {after}");
        drop(blocks);
    }
}
