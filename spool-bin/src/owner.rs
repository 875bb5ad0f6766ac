//! The user of the program at the other end of a local TCP connection, by /proc/net/tcp, and whether that user may read a file.
//!
//! While a service is down any user can listen on its port. A token that a command takes from the configuration by itself is sent
//! only to a program whose user may read the token anyway.

use nix::unistd::{Gid, Group, Uid, User};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

// The states of a socket in the table.
const LISTENS: &str = "0A";
const CONNECTED: &str = "01";

/// Checks that `stream` leads to a program of a user who may read `file`.
///
/// # Errors
/// When it does not, or when that is not known.
pub(crate) fn check(stream: &TcpStream, file: &Path) -> io::Result<()> {
    let (there, here) = (stream.peer_addr()?, stream.local_addr()?);
    let (mut listening, mut all_may) = (false, true);
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = match File::open(table) {
            Ok(table) => BufReader::new(table),
            // Without IPv6 there is only one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in table.lines() {
            let Some((listens, uid)) = owner(&line?, there, here) else {
                continue;
            };
            listening |= listens;
            all_may &= may_read(uid, file)?;
        }
    }
    let why = match (listening, all_may) {
        (true, true) => return Ok(()),
        (_, false) => "a program of a user who may not read it listens there",
        (false, true) => "no program of this machine listens there; --token-file sends it nevertheless",
    };
    let file = file.display();
    Err(io::Error::other(format!(
        "the token in {file} was not sent: {why}"
    )))
}

/// A line of the table: whether the socket listens where `there` is reached (otherwise it is the other end of the connection from
/// `here` to `there`), and its user. `None` for every other line.
fn owner(line: &str, there: SocketAddr, here: SocketAddr) -> Option<(bool, u32)> {
    let mut words = line.split_whitespace();
    let (local, remote) = (address(words.nth(1)?)?, address(words.next()?)?);
    let state = words.next()?;
    let uid = words.nth(3)?.parse().ok()?;
    let there = canonical(there);
    let everywhere = local.ip().is_unspecified() && local.port() == there.port();
    match state {
        LISTENS if local == there || everywhere => Some((true, uid)),
        CONNECTED if local == there && remote == canonical(here) => Some((false, uid)),
        _ => None,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: the bytes of the address in words of the machine's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Ipv4Addr::from(v4).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Whether the user `uid` may read `file` by its mode.
fn may_read(uid: u32, file: &Path) -> io::Result<bool> {
    let found = fs::metadata(file)?;
    let (mode, group) = (found.mode(), Gid::from_raw(found.gid()));
    if uid == 0 || mode & 0o004 != 0 || uid == found.uid() && mode & 0o400 != 0 {
        return Ok(true);
    }
    if mode & 0o040 == 0 {
        return Ok(false);
    }
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else {
        return Ok(false);
    };
    let member = |group: Group| group.mem.contains(&user.name);
    Ok(user.gid == group || Group::from_gid(group)?.is_some_and(member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    fn file(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn lines_of_the_table_are_read() {
        let there = "127.0.0.1:8525".parse().unwrap();
        let here = "127.0.0.1:40000".parse().unwrap();
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (loopback, all) = (word([127, 0, 0, 1]), word([0; 4]));
        let mapped = format!("{all}{all}{}{loopback}", word([0, 0, 0xff, 0xff]));
        let v6_all = all.repeat(4);
        let line = |local: &str, remote: &str, state: &str| {
            format!(
                "   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  1000        0 3194100 1 0 100 0"
            )
        };
        for (line, expected) in [
            (
                line(&format!("{loopback}:214D"), &format!("{all}:0000"), "0A"),
                Some((true, 1000)),
            ),
            (
                line(&format!("{all}:214D"), &format!("{all}:0000"), "0A"),
                Some((true, 1000)),
            ),
            (
                line(&format!("{v6_all}:214D"), &format!("{v6_all}:0000"), "0A"),
                Some((true, 1000)),
            ),
            (
                line(&format!("{loopback}:214E"), &format!("{all}:0000"), "0A"),
                None,
            ),
            (
                line(&format!("{loopback}:214D"), &format!("{loopback}:9C40"), "01"),
                Some((false, 1000)),
            ),
            (
                line(&format!("{mapped}:214D"), &format!("{mapped}:9C40"), "01"),
                Some((false, 1000)),
            ),
            (
                line(&format!("{loopback}:214D"), &format!("{loopback}:9C41"), "01"),
                None,
            ),
            // The end of the one who asks.
            (
                line(&format!("{loopback}:9C40"), &format!("{loopback}:214D"), "01"),
                None,
            ),
            (
                line(&format!("{loopback}:214D"), &format!("{all}:0000"), "06"),
                None,
            ),
            (
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
                    .to_owned(),
                None,
            ),
            (String::new(), None),
        ] {
            assert_eq!(owner(&line, there, here), expected, "{line}");
        }
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a skipped part is said")]
    fn a_program_of_the_same_user_is_found_at_each_kind_of_address() {
        let (_dir, token) = file(0o600);
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("skipped: no {address} here");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let to = if address == "[::1]:0" { "::1" } else { "127.0.0.1" };
            let stream = TcpStream::connect((to, port)).unwrap();
            check(&stream, &token).unwrap();
            let _accepted = listener.accept().unwrap();
            check(&stream, &token).unwrap();
        }
    }

    #[test]
    fn no_token_is_sent_to_a_closed_listener() {
        let (_dir, token) = file(0o600);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        drop(listener);
        assert!(check(&stream, &token).is_err());
        drop(accepted);
    }

    #[test]
    fn the_mode_decides_who_may_read() {
        // Nobody has this user.
        const OTHER: u32 = 4_000_000_000;
        let owner = fs::metadata("/proc/self").unwrap().uid();
        for (mode, uid, expected) in [
            (0o600, owner, true),
            (0o600, 0, true),
            (0o600, OTHER, false),
            (0o640, OTHER, false),
            (0o644, OTHER, true),
        ] {
            let (_dir, token) = file(mode);
            assert_eq!(may_read(uid, &token).unwrap(), expected, "{mode:o} {uid}");
        }
    }
}
