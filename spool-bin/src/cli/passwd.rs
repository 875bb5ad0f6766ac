//! `spool passwd`: the line of one user in a file of users.
//!
//! A new file is written, synced and renamed: a reader sees the old or the new one as a whole. Every other line is kept. The
//! password is never an argument, which other users of the machine could see.

use super::console;
use crate::failure::Failure;
use crate::files;
use crate::users;
use clap::Args;
use nix::sys::signal::{SigSet, Signal, raise};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use spool_smtp::server::{MAX_PASSWORD, PasswordHash, check_user_name};
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write, stdin};
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
        let file = self.file.as_deref().map(behind_links).transpose()?;
        let password = password(&self.name)?;
        let hash = PasswordHash::new(password.as_bytes()).map_err(Failure::Failed)?;
        let Some(file) = file else {
            return console::print(|out| writeln!(out, "{}:{}", self.name, hash.as_str()));
        };
        let had = set(&file, &self.name, hash.as_str())?;
        let what = if had { "has a new password" } else { "was added" };
        console::print(|out| writeln!(out, "{} {what}", self.name))
    }
}

fn password(name: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("reading the password: {error}"));
    let password = if stdin().is_terminal() {
        let ask = |prompt: String| asked(prompt).map_err(failed);
        let password = ask(format!("Password for {name}: "))?;
        if ask("Once more: ".to_owned())? != password {
            return Err(Failure::Failed("the two passwords are not the same".to_owned()));
        }
        password
    } else {
        let mut line = Vec::new();
        let mut input = stdin().lock().take(MAX_PASSWORD as u64 + 3);
        input.read_until(b'\n', &mut line).map_err(failed)?;
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
fn asked(prompt: String) -> io::Result<String> {
    let signals: SigSet = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
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

/// The file behind symbolic links, or the place for one. It is read, so that an error is reported before the password is asked for.
fn behind_links(path: &Path) -> Result<PathBuf, Failure> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(path, &error)),
    };
    text(&path).map(|_| path)
}

/// What the file of users `path` holds; `None`: it does not exist.
fn text(path: &Path) -> Result<Option<String>, Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
        Ok(_) => {}
    }
    let read = users::text(path).map_err(|problems| Failure::Failed(problems.join("\n")));
    read.map(|(text, _)| Some(text))
}

/// Sets the hash of `name` in the file `path`; returns whether the user existed.
fn set(path: &Path, name: &str, hash: &str) -> Result<bool, Failure> {
    // One at a time: otherwise the change of another process would be lost.
    let dir = locked(files::parent(path), LOCK_TIME)?;
    let old = text(path)?;
    let (text, had) = replaced(old.as_deref().unwrap_or_default(), name, hash);
    write(path, &text, old.is_some())
        .and_then(|()| dir.sync_all())
        .map_err(|error| failed(path, &error))?;
    Ok(had)
}

/// Puts `text` in the place of `path`, with its owner and its mode if it `exists`.
fn write(path: &Path, text: &str, exists: bool) -> io::Result<()> {
    let mut new = NamedTempFile::new_in(files::parent(path))?;
    new.write_all(text.as_bytes())?;
    if exists {
        let (data, made) = (fs::metadata(path)?, new.as_file().metadata()?);
        if (made.uid(), made.gid()) != (data.uid(), data.gid()) {
            fchown(new.as_file(), Some(data.uid()), Some(data.gid()))?;
        }
        let mode = Permissions::from_mode(data.mode() & 0o7777);
        new.as_file().set_permissions(mode)?;
    }
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
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
