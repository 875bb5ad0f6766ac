//! `spool passwd`: the line of one user in a file of users.
//!
//! A new file is written, synced and renamed: a reader sees the old or the new one as a whole. Every other line is kept. The
//! password is never an argument, which other users of the machine could see.

use super::console;
use crate::failure::Failure;
use crate::files;
use crate::users::MAX_USERS;
use clap::Args;
use nix::sys::signal::{SigSet, Signal, raise};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use spool_smtp::server::{MAX_PASSWORD, PasswordHash, Users, check_user_name};
use std::fs::{File, Permissions, TryLockError};
use std::io::{BufRead, IsTerminal, Read, Write, stdin};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// How long to wait for the lock of the directory.
const LOCK_TIME: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool passwd ada --file /etc/spool/users     asks for the password twice, and writes the line
  pwgen 20 1 | spool passwd ada                prints the line; the password is the first line of standard input

The file is the one that relay.users_file names. A user who is in it keeps his allow_from; a new file may be \
read by its owner alone. The service reads the file at its start and on SIGHUP.")]
pub(super) struct Passwd {
    /// The name that the user logs in with
    #[arg(value_name = "NAME")]
    name: String,
    /// Write the line there; without it, the line is printed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Passwd {
    pub(super) fn run(self) -> Result<(), Failure> {
        check_user_name(&self.name).map_err(|why| Failure::Usage(format!("{}: {why}", self.name)))?;
        // Before the password is asked for.
        let file = self.file.as_deref().map(UsersFile::open).transpose()?;
        let password = password(&self.name)?;
        let hash = PasswordHash::new(password.as_bytes()).map_err(Failure::Failed)?;
        let Some(file) = file else {
            return console::print(|out| writeln!(out, "{}:{}", self.name, hash.as_str()));
        };
        let had = file.write(&self.name, hash.as_str())?;
        let what = if had { "has a new password" } else { "was added" };
        console::print(|out| writeln!(out, "{} {what}", self.name))
    }
}

fn password(name: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("reading the password: {error}"));
    let password = if stdin().is_terminal() {
        let ask = |prompt: String| asked(prompt).map_err(failed);
        let password = ask(format!("Password for {name}: "))?;
        if ask("Once more: ".to_owned())? != password {
            return Err(Failure::Failed("the two passwords are not the same".to_owned()));
        }
        password
    } else {
        let mut line = Vec::new();
        let most = MAX_PASSWORD as u64 + 3;
        stdin()
            .lock()
            .take(most)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        let line = String::from_utf8(line);
        let line = line.map_err(|_| Failure::Usage("the password is not UTF-8 text".to_owned()))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() || password.len() > MAX_PASSWORD || password.contains('\0') {
        return Err(Failure::Usage(format!(
            "a password has 1 to {MAX_PASSWORD} bytes, none of them NUL"
        )));
    }
    Ok(password)
}

/// Asks without echo. A signal that ends the program does so after the echo is on again. rpassword raises SIGINT for Ctrl-C before it
/// restores the terminal: that one waits for this thread. One from elsewhere is taken by a thread that restores the terminal.
fn asked(prompt: String) -> std::io::Result<String> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    signals.thread_block()?;
    if let Ok(terminal) = File::open("/dev/tty") {
        let before = tcgetattr(&terminal)?;
        std::thread::spawn(move || end_on(&signals, &terminal, &before));
    }
    let password = rpassword::prompt_password(prompt);
    signals.thread_unblock()?;
    password
}

/// Waits for one of `signals`, gives `terminal` its state from `before`, and lets the signal end the program.
fn end_on(signals: &SigSet, terminal: &File, before: &Termios) {
    let Ok(signal) = signals.wait() else { return };
    // Without it the program ends all the same.
    let _ = tcsetattr(terminal, OptionalActions::Now, before);
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}

/// A file of users, or the place for one.
struct UsersFile {
    /// Behind symbolic links.
    path: PathBuf,
    dir: PathBuf,
}

impl UsersFile {
    /// Finds the file and reads it, so that an error is reported before the password is asked for.
    fn open(path: &Path) -> Result<Self, Failure> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(failed(path, &error)),
        };
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let file = Self { path, dir };
        file.text()?;
        Ok(file)
    }

    /// What it holds; `None`: it does not exist.
    fn text(&self) -> Result<Option<String>, Failure> {
        match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.path, &error)),
            Ok(_) => {}
        }
        let text = files::read_text(&self.path, MAX_USERS).map_err(|why| failed(&self.path, &why))?;
        Users::parse(&text).map_err(|problems| {
            let lines = problems
                .iter()
                .map(|problem| format!("{}:{}: {}", self.path.display(), problem.line, problem.text));
            Failure::Failed(lines.collect::<Vec<_>>().join("\n"))
        })?;
        Ok(Some(text))
    }

    /// Sets the hash of `name`; returns whether the user existed.
    fn write(&self, name: &str, hash: &str) -> Result<bool, Failure> {
        let told = |error: std::io::Error| failed(&self.path, &error);
        // One at a time: otherwise the change of another process would be lost.
        let dir = locked(&self.dir, LOCK_TIME)?;
        let old = self.text()?;
        let (text, had) = replaced(old.as_deref().unwrap_or_default(), name, hash);
        let mut new = NamedTempFile::new_in(&self.dir).map_err(|error| failed(&self.dir, &error))?;
        new.write_all(text.as_bytes()).map_err(told)?;
        if old.is_some() {
            let data = std::fs::metadata(&self.path).map_err(told)?;
            let made = new.as_file().metadata().map_err(told)?;
            if (made.uid(), made.gid()) != (data.uid(), data.gid()) {
                fchown(new.as_file(), Some(data.uid()), Some(data.gid())).map_err(told)?;
            }
            let mode = Permissions::from_mode(data.mode() & 0o7777);
            new.as_file().set_permissions(mode).map_err(told)?;
        }
        new.as_file().sync_all().map_err(told)?;
        new.persist(&self.path).map_err(|error| told(error.error))?;
        dir.sync_all().map_err(told)?;
        Ok(had)
    }
}

/// The directory `dir`, locked. Every user who may read it can hold the lock, so it is waited for no longer than `most`.
fn locked(dir: &Path, most: Duration) -> Result<File, Failure> {
    let file = File::open(dir).map_err(|error| failed(dir, &error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(dir, &error)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= most => {
                let why = format!(
                    "spool passwd waited {} s for the lock of this directory, which another process holds (lslocks lists it); \
                     nothing was changed",
                    most.as_secs()
                );
                return Err(failed(dir, &why));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {why}", path.display()))
}

/// `text` with the line of `name` replaced, or one more; and whether it was there.
fn replaced(text: &str, name: &str, hash: &str) -> (String, bool) {
    let mut out = String::with_capacity(text.len() + name.len() + hash.len() + 2);
    let mut had = false;
    for line in text.split_inclusive('\n') {
        let mut fields = line.trim_end_matches(['\r', '\n']).splitn(3, ':');
        if fields.next() != Some(name) {
            out.push_str(line);
            continue;
        }
        had = true;
        let more = fields.nth(1).map_or(String::new(), |more| format!(":{more}"));
        out.push_str(&format!("{name}:{hash}{more}\n"));
    }
    if !had {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&format!("{name}:{hash}\n"));
    }
    (out, had)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_holds_is_waited_for_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let other = locked(dir.path(), Duration::ZERO).unwrap();
        let told = locked(dir.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(
            told.starts_with(&dir.path().display().to_string())
                && told.contains("lock of this directory, which another process holds"),
            "{told}"
        );
        let end = std::thread::spawn(move || {
            std::thread::sleep(LOCK_PAUSE);
            drop(other);
        });
        assert!(locked(dir.path(), Duration::from_secs(60)).is_ok());
        end.join().unwrap();
    }

    #[test]
    fn one_line_is_replaced_and_the_others_stay_as_they_are() {
        let old = "# people\r\nada:old:allow_from=*@a.example\n\n adam:x\nbob:y";
        let (text, had) = replaced(old, "ada", "new");
        assert_eq!(
            (text.as_str(), had),
            (
                "# people\r\nada:new:allow_from=*@a.example\n\n adam:x\nbob:y",
                true
            )
        );
        let (text, had) = replaced(old, "bob", "new");
        assert_eq!(
            (text.as_str(), had),
            (
                "# people\r\nada:old:allow_from=*@a.example\n\n adam:x\nbob:new\n",
                true
            )
        );
        let (text, had) = replaced(old, "ad", "new");
        assert!(!had && text == format!("{old}\nad:new\n"));
        assert_eq!(replaced("", "ada", "new"), ("ada:new\n".to_owned(), false));
    }
}
