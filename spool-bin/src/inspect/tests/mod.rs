//! Findings in configurations that name files of a directory made for the test.

mod dkim;
mod network;
mod paths;
mod secrets;

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file that only its owner may read.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// What is found, with `DIR` for this bench's directory: `line gravity key: text`.
    fn found(&self, text: &str) -> Vec<String> {
        let dir = self.0.path().display().to_string();
        let text = text.replace("DIR", &dir);
        let text = match text.contains("spool_dir") {
            true => text,
            false => format!("spool_dir = \"{dir}/new\"\n{text}"),
        };
        // Bounces that no key signs have a test of their own.
        let text = match text.contains("dkim.key") && !text.contains("[retry]") {
            true => format!("{text}\n[retry]\nbounce_from = \"bounces@example.org\"\n"),
            false => text,
        };
        let config = Config::parse(&text).unwrap();
        let line = |finding: ConfigFinding| {
            let line = finding.line.map_or("-".to_owned(), |line| line.to_string());
            format!("{line} {finding}").replace(&dir, "DIR")
        };
        inspect(&config).into_iter().map(line).collect()
    }

    #[track_caller]
    fn finds(&self, text: &str, begin: &str, part: &str) {
        let found = self.found(text);
        assert!(
            found.len() == 1 && found[0].starts_with(begin) && found[0].contains(part),
            "{text}\n{found:#?}"
        );
    }
}

const LOGIN: &str = "[[client.login]]\nnext_hop = \"mx.example.net:587\"\nuser = \"ada\"\n";

#[test]
fn the_defaults_have_no_findings() {
    assert_eq!(Bench::new().found(""), [""; 0]);
}
