//! `spool passwd`: the file of users, and the terminal at which a password is asked for.

use crate::queue_commands::text;
use spool_tests::process::spool_binary;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `spool passwd` with `input` on standard input.
pub(crate) fn passwd(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(spool_binary())
        .arg("passwd")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Where it is refused before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn passwd_writes_one_line_and_keeps_the_rest_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let at = file.to_str().unwrap();
    let output = passwd(&["ada"], "first\n");
    let line = text(&output.stdout);
    assert!(
        output.status.success() && line.starts_with("ada:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{line}"
    );
    let output = passwd(&["ada", "--file", at], "first\nignored\n");
    assert_eq!(text(&output.stdout), "ada was added\n");
    assert_eq!(mode(&file), 0o600);
    let first = std::fs::read_to_string(&file).unwrap();
    let edited = format!(
        "# people\n{}:allow_from=*@example.org\nbob:{}",
        first.trim_end(),
        first.split_once(':').unwrap().1
    );
    std::fs::write(&file, &edited).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    // By a symbolic link, which stays one.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let output = passwd(&["ada", "--file", link.to_str().unwrap()], "second");
    assert_eq!(text(&output.stdout), "ada has a new password\n");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(mode(&file), 0o640);
    let now = std::fs::read_to_string(&file).unwrap();
    let (old, new): (Vec<_>, Vec<_>) = (edited.lines().collect(), now.lines().collect());
    assert_eq!((new.len(), new[0], new[2]), (3, old[0], old[2]));
    assert!(
        new[1] != old[1]
            && new[1].starts_with("ada:$argon2id$")
            && new[1].ends_with(":allow_from=*@example.org")
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing is left behind"
    );
    for (args, input, code) in [
        (vec!["a b"], "x\n", 2),
        (vec!["ada"], "\n", 2),
        (vec!["ada"], &*"x".repeat(1025), 2),
        (vec!["ada", "--file", "/no/such/dir/users"], "x\n", 1),
    ] {
        assert_eq!(passwd(&args, input).status.code(), Some(code), "{args:?}");
    }
    std::fs::write(&file, "nonsense\n").unwrap();
    let output = passwd(&["ada", "--file", at], "x\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("users:1: expected name:hash"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "nonsense\n");
}

/// Runs its first argument at a terminal, presses Ctrl-C at the prompt after the lines of the others, and prints what is shown.
const TERMINAL: &str = r#"
import os, pty, signal, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    # Whoever runs the tests may ignore it, as a shell does for a job in the background.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp("sh", ["sh", "-c", '"$0" passwd ada; echo "status $?"; stty -a', sys.argv[1]])
def at_prompt(nth):
    global out
    while out.count(b"ada: ") + out.count(b"more: ") < nth:
        out += os.read(fd, 4096)
    while termios.tcgetattr(fd)[3] & termios.ECHO:
        time.sleep(0.01)
out = b""
for nth, line in enumerate(sys.argv[2:]):
    at_prompt(nth + 1)
    os.write(fd, line.encode() + b"\n")
at_prompt(len(sys.argv) - 1)
os.write(fd, b"\x03")
try:
    while more := os.read(fd, 4096):
        out += more
except OSError:
    pass
os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
"#;

#[test]
fn an_interrupt_at_the_prompt_leaves_a_terminal_that_echoes() {
    for lines in [&[][..], &["s3cret-ada"]] {
        let python = Command::new("python3")
            .args(["-c", TERMINAL])
            .arg(spool_binary())
            .args(lines)
            .output();
        let Ok(output) = python else {
            println!("skipped: python3 is not installed, so there is no terminal");
            return;
        };
        let shown = text(&output.stdout);
        assert!(shown.contains("status 130"), "{shown} {}", text(&output.stderr));
        assert!(shown.split_whitespace().any(|word| word == "echo"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

/// Starts a program on a terminal of its own, sends it a signal, or Ctrl-C where it is 0, and prints by which signal it ended and whether the
/// terminal echoes afterwards.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys, termios
number, words = int(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    # Whoever runs the tests may ignore some, as nohup does.
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    os.execv(words[0], words)
echoes = lambda: bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
said = b""
while b"Password" not in said or echoes():
    said += os.read(terminal, 1000) if b"Password" not in said else b""
if number:
    os.kill(pid, number)
else:
    os.write(terminal, b"secr\x03")
signal.alarm(30)
_, status = os.waitpid(pid, 0)
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1, echoes())
"#;

#[test]
fn a_signal_ends_the_question_for_a_password_and_the_terminal_echoes_again() {
    for (sent, ended) in [(0, 2), (2, 2), (15, 15), (1, 1)] {
        let mut python = Command::new("python3");
        python.args(["-c", ON_A_TERMINAL, &sent.to_string()]);
        let Ok(output) = python.arg(spool_binary()).args(["passwd", "ada"]).output() else {
            println!("skipped: no python3 here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.trim(), format!("{ended} True"), "{sent}: {output:?}");
    }
}
