//! Postfix with a configuration and a queue of its own, logins from a sasldb, and mailboxes as maildir.

use super::{Ends, Mta, PASSWORD, USER, port, run_text, until};
use spool_tests::authority::Authority;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Its services, beside those that listen and those that send.
const MASTER: &str = "\
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
";

/// A running Postfix.
pub(super) struct Running {
    pub(super) version: String,
    process: Ends,
}

/// Starts one with a configuration and a queue of its own in `dir`/postfix. `prepare` is called with that directory before it starts.
///
/// # Errors
/// It is not installed.
pub(super) fn run(
    dir: &Path,
    main: &str,
    master: &str,
    prepare: impl FnOnce(&Path),
) -> Result<Running, &'static str> {
    let version = run_text("postconf", &["-dh", "mail_version"]);
    if version.is_empty() {
        return Err("not installed");
    }
    let config = dir.join("postfix");
    let daemons = run_text("postconf", &["-dh", "daemon_directory"]);
    // Its own processes run as another user.
    for (name, mode) in [("", "755"), ("queue", "755"), ("data", "755"), ("mail", "755")] {
        std::fs::create_dir_all(config.join(name)).unwrap();
        run_text("chmod", &[mode, config.join(name).to_str().unwrap()]);
    }
    run_text("chmod", &["755", dir.to_str().unwrap()]);
    for name in ["data", "mail"] {
        run_text("chown", &["postfix:postfix", config.join(name).to_str().unwrap()]);
    }
    prepare(&config);
    let main = format!(
        "compatibility_level = 3.6
config_directory = {at}
queue_directory = {at}/queue
data_directory = {at}/data
daemon_directory = {}
maillog_file = {at}/log
maillog_file_prefixes = {at}
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
local_header_rewrite_clients =
message_size_limit = 0
smtpd_client_connection_count_limit = 0
{main}",
        daemons.trim(),
        at = config.display(),
    );
    std::fs::write(config.join("main.cf"), main).unwrap();
    std::fs::write(config.join("master.cf"), format!("{master}{MASTER}")).unwrap();
    let mut process = Command::new("postfix");
    process
        .arg("-c")
        .arg(&config)
        .arg("start-fg")
        .stdin(Stdio::null());
    let child = process
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stop = Command::new("postfix");
    stop.arg("-c").arg(&config).arg("stop");
    Ok(Running {
        version: format!("Postfix {}", version.trim()),
        process: Ends { child, stop },
    })
}

/// Starts one that takes mail after a login.
///
/// # Errors
/// It is not installed.
pub(super) fn start(dir: &Path, authority: &Authority) -> Result<Mta, &'static str> {
    let (config, port) = (dir.join("postfix"), port());
    let uid = run_text("id", &["-u", "postfix"]);
    let gid = run_text("id", &["-g", "postfix"]);
    let at = config.display();
    let main = format!(
        "mynetworks =
virtual_mailbox_limit = 0
virtual_mailbox_domains = example.net
virtual_mailbox_base = {at}/mail
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:{}
virtual_gid_maps = static:{}
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {}
smtpd_tls_key_file = {}
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = postfix.test
cyrus_sasl_config_path = {at}/sasl
smtpd_forbid_unauth_pipelining = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
",
        uid.trim(),
        gid.trim(),
        authority.certificate.display(),
        authority.key.display(),
    );
    let master = format!("127.0.0.1:{port} inet  n - n - - smtpd\n");
    let running = run(dir, &main, &master, logins)?;
    until("Postfix", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Ok(Mta {
        version: running.version,
        next_hop: format!("127.0.0.1:{port}"),
        mail: config.join("mail/all/new"),
        log: config.join("log"),
        proof: "sasl_username=ada",
        by_bdat: " bdat=",
        alters: &[],
        _process: running.process,
    })
}

/// Where Postfix looks for names and passwords.
fn logins(config: &Path) {
    let sasl = config.join("sasl");
    std::fs::create_dir_all(&sasl).unwrap();
    let database = sasl.join("sasldb2");
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN LOGIN\n",
        database.display()
    );
    std::fs::write(sasl.join("smtpd.conf"), text).unwrap();
    let mut add = Command::new("saslpasswd2");
    add.args(["-c", "-p", "-u", "postfix.test", "-f"])
        .arg(&database)
        .arg(USER);
    let mut add = add.stdin(Stdio::piped()).spawn().unwrap();
    add.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(add.wait().unwrap().success(), "saslpasswd2");
    run_text("chmod", &["-R", "a+rX", sasl.to_str().unwrap()]);
}
