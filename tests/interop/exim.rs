//! Exim with a configuration and a spool of its own, logins by its plaintext authenticators, and a file for each message.

use super::{Ends, Mta, PASSWORD, USER, port, run_text, until};
use spool_tests::authority::Authority;
use std::path::Path;
use std::process::{Command, Stdio};

const CONFIG: &str = r#"
primary_hostname = exim.test
exim_path = PROGRAM
spool_directory = DIR/spool
log_file_path = DIR/log/%slog
pid_file_path = DIR/exim.pid
daemon_smtp_ports = PORT
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = CERTIFICATE
tls_privatekey = KEY
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
host_lookup =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
message_size_limit = 100M
recipients_max = 1000
received_headers_max = 100

begin acl
rcpt:
  deny  !encrypted = *
  accept authenticated = *
  deny

begin routers
all:
  driver = accept
  transport = files

begin transports
files:
  driver = appendfile
  directory = DIR/mail
  user = Debian-exim
  envelope_to_add
  maildir_format
  message_prefix =

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{USER}}{eq{$auth3}{PASSWORD}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${if and{{eq{$auth1}{USER}}{eq{$auth2}{PASSWORD}}}}
  server_set_id = $auth1
"#;

/// Starts the one that `prepare.sh` unpacked in `packages`.
///
/// # Errors
/// It is not there.
pub(super) fn start(dir: &Path, packages: &Path, authority: &Authority) -> Result<Mta, &'static str> {
    let program = packages.join("exim/usr/sbin/exim4");
    if !program.exists() {
        return Err("not unpacked");
    }
    let (home, port) = (dir.join("exim"), port());
    for name in ["spool", "log", "mail"] {
        std::fs::create_dir_all(home.join(name)).unwrap();
    }
    run_text("chmod", &["755", dir.to_str().unwrap()]);
    run_text("chown", &["-R", "Debian-exim", home.to_str().unwrap()]);
    run_text("chown", &["Debian-exim", authority.key.to_str().unwrap()]);
    let mut text = CONFIG.to_owned();
    for (name, value) in [
        ("DIR", home.to_str().unwrap()),
        ("PROGRAM", program.to_str().unwrap()),
        ("PORT", &port.to_string()),
        ("CERTIFICATE", authority.certificate.to_str().unwrap()),
        ("KEY", authority.key.to_str().unwrap()),
        ("USER", USER),
        ("PASSWORD", PASSWORD),
    ] {
        text = text.replace(name, value);
    }
    // The one place that the packaged Exim trusts: prepare.sh saw to it.
    let config = packages.canonicalize().unwrap().join("exim.conf");
    std::fs::write(&config, text).unwrap();
    let version = run_text(
        program.to_str().unwrap(),
        &["-C", config.to_str().unwrap(), "-bV"],
    );
    let mut process = Command::new(&program);
    process.arg("-C").arg(&config).arg("-bdf").stdin(Stdio::null());
    let child = process.stderr(Stdio::null()).spawn().unwrap();
    let mut stop = Command::new("kill");
    stop.arg(child.id().to_string());
    let process = Ends { child, stop };
    until("Exim", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Ok(Mta {
        version: version.lines().next().unwrap_or("Exim").to_owned(),
        next_hop: format!("127.0.0.1:{port}"),
        mail: home.join("mail/new"),
        log: home.join("log/mainlog"),
        proof: "A=plain:ada",
        by_bdat: " K S=",
        // RFC 5322 has a header end with an empty line only where a body follows; Exim writes it in any case.
        alters: &[
            ("no body", "an empty line more"),
            ("header without body or newline", "an empty line more"),
        ],
        _process: process,
    })
}
