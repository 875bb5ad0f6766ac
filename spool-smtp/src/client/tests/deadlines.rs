//! Peers that are silent or slow are left in time.

use super::peer::Act::{self, Body, Drip, Hang};
use super::peer::{EHLO, GO, HELLO, OK};
use super::{attempt_with, hasty};
use spool_core::AttemptResult;

#[tokio::test]
async fn silence_and_drips_end_with_the_deadline() {
    let at = |stage: usize, act: Act| {
        let mut script = vec![HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];
        script.truncate(stage);
        script.push(act);
        script
    };
    for stage in 0..6 {
        let report = attempt_with(hasty(), &at(stage, Hang)).await.0;
        assert!(!matches!(report.result, AttemptResult::Accepted(_)), "{stage}");
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
    }
    for stage in 0..5 {
        let report = attempt_with(hasty(), &at(stage, Drip(&[b'2'; 4000]))).await.0;
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
    }
}
