//! The `spool` program as a child process, ended with the test.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything in a scenario may take before it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, as built for the tests of spool-bin by the same cargo command.
#[must_use]
pub fn spool_binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("spool");
    assert!(
        path.exists(),
        "{} is missing: run `cargo test --workspace`",
        path.display()
    );
    path
}

/// Runs the program to its end.
#[must_use]
pub fn run(args: &[&str]) -> Output {
    Command::new(spool_binary())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A running `spool serve` or `spool sink`.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The ready line.
    pub ready: String,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts the program and waits for its ready line.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(spool_binary()).args(args))
    }

    /// The same for a prepared command.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while err.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = out.read_line(&mut line);
            let _ = tell.send(line);
            let _ = std::io::copy(&mut out.by_ref(), &mut std::io::sink());
        });
        let ready = told.recv_timeout(PATIENCE).unwrap_or_default();
        let running = Self { child, ready, log };
        assert!(
            running.ready.starts_with("ready "),
            "not ready: {:?}\n{}",
            running.ready,
            running.log()
        );
        running
    }

    /// The value of `key=` in the ready line.
    #[must_use]
    pub fn field(&self, key: &str) -> &str {
        let found = self
            .ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {key} in {}", self.ready))
    }

    /// Where it takes mail.
    #[must_use]
    pub fn smtp(&self) -> std::net::SocketAddr {
        self.field("smtp").split(',').next().unwrap().parse().unwrap()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log contains `words`. A line is written a moment after what it is about.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_for_log(&self, words: &str) {
        until(&format!("{words:?} in the log"), || {
            self.log().contains(words).then_some(())
        });
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had, in KiB.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that it has now, in KiB.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit status, if it has ended by itself.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGTERM, and the exit status.
    #[must_use]
    pub fn terminate(mut self) -> std::process::ExitStatus {
        signal(self.pid(), "TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    /// A tracer that is killed would leave what it traces running: that goes first, and the tracer with it.
    fn drop(&mut self) {
        let traced = traced(self.pid());
        for pid in &traced {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        if traced.is_empty() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The programs started by `pid`.
fn traced(pid: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// `serve` on free ports with this spool and these next hops.
#[must_use]
pub fn serve(spool: &Path, next_hops: &[&str], more: &[&str]) -> Running {
    let spool = spool.to_str().unwrap();
    let mut args = vec![
        "serve",
        "--spool",
        spool,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    for hop in next_hops {
        args.extend(["--next-hop", hop]);
    }
    args.extend(more);
    Running::start(&args)
}

/// Asks `what` again and again until it has an answer, up to [`PATIENCE`]. For what another process does, where there
/// is nothing to wait on.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// An address on which no program listens. It is not 127.0.0.1: a port there that is free now may be another test's in a moment.
///
/// # Panics
/// When the machine has no port left.
#[must_use]
pub fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.77.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
