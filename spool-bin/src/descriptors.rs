//! File descriptors: with all configured connections the service needs more of them than the usual limit of a process.

use rustix::io::Errno;

/// Descriptors beside those of connections: segments, logs, listeners, threads.
const OWN: usize = 256;

/// The least with which a service can start its threads and a few sessions.
const LEAST: u64 = 64;
/// How to raise the limit.
const ADVICE: &str =
    "raise the limit of open files of the process: `ulimit -n` in a shell, `LimitNOFILE=` of systemd";

/// Refuses a limit with which the service could not start: a thread would be the first to fail.
pub(crate) fn check() -> Result<(), String> {
    // Where the limit cannot be read, the system reports when it is reached.
    let limit = rlimit::increase_nofile_limit(LEAST).unwrap_or(LEAST);
    match limit < LEAST {
        true => Err(format!(
            "this process may have {limit} files open, and the service needs at least {LEAST} to start: {ADVICE}"
        )),
        false => Ok(()),
    }
}

/// Advice for an error whose text is that there are too many open files.
pub(crate) fn advice(error: &str) -> Option<String> {
    let says = |errno: Errno| error.contains(&format!("(os error {})", errno.raw_os_error()));
    if says(Errno::MFILE) {
        return Some(match rlimit::getrlimit(rlimit::Resource::NOFILE) {
            Ok((limit, _)) => format!("this process may have {limit} files open; {ADVICE}"),
            Err(_) => ADVICE.to_owned(),
        });
    }
    says(Errno::NFILE).then(|| {
        "the machine has as many files open as it may: raise `fs.file-max`, or end what holds them".to_owned()
    })
}

/// Raises the limit of this process to what the service needs with so many connections, as far as the system permits.
pub(crate) fn raise(connections: usize) {
    let needed = u64::try_from(connections + OWN).unwrap_or(u64::MAX);
    match rlimit::increase_nofile_limit(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "too few file descriptors for listen.limits.connections and client.connections: further connections wait"
        ),
        Err(error) => tracing::warn!(%error, needed, "cannot raise the limit of file descriptors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_about_open_files_names_the_limit_and_the_remedy() {
        let advice_for = |errno| {
            let error = io::Error::from(errno);
            advice(&format!("spool/journal/1: cannot open: {error}"))
        };
        let own = advice_for(Errno::MFILE).unwrap();
        let limit = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap().0;
        assert!(own.contains(&format!("may have {limit} files open")), "{own}");
        assert!(own.contains("ulimit -n") && own.contains("LimitNOFILE="), "{own}");
        assert!(advice_for(Errno::NFILE).unwrap().contains("fs.file-max"));
        assert_eq!(advice_for(Errno::NOENT), None);
    }
}
