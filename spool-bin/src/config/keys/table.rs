//! The table of all keys.

#[cfg(test)]
use super::key::Kind;
use super::key::{Key, Table, TakesEffect, Value, keys};

/// Every table of the file with its keys.
pub(in crate::config) const KEYS: &[Table] = keys! {
    table [] {
        /// Directory of the spool; it is created when it is missing.
        spool_dir: Text = "./spool-data", Restart;
        /// Name in EHLO, in the greeting and in trace headers, sent as A-labels; empty: the name of the machine.
        hostname: Text = "", Restart;
        /// Delivery sessions at the same time; 0 pauses delivery.
        max_concurrent_jobs: Number = 200, Reload;
        /// Time for open sessions and running deliveries to finish when the service stops.
        shutdown_timeout: Span = "30s", Reload;
        /// Threads for sessions, beside the thread of the spool; 0: one thread per core in all.
        threads: Number = 0, Restart;
    }

    /// Where the service listens.
    table ["listen"] {
        /// Addresses that accept SMTP; `unix:/PATH` is a Unix socket for programs of this machine.
        smtp: List = ["127.0.0.1:2525"], Restart;
        /// Addresses that accept SMTP over implicit TLS; they need a certificate.
        smtps: List = [], Restart;
        /// The addresses above on which each connection begins with a PROXY header from a proxy in `relay.proxies`.
        proxy_protocol: List = [], Restart;
        /// Address of the admin API; empty: off.
        admin: Text = "127.0.0.1:8525", Restart;
    }

    /// Limits of the SMTP server.
    table ["listen.limits"] {
        /// Open connections.
        connections: Count = 1000, Reload;
        /// Open connections of one client: an IPv4 address, an IPv6 /64, or a user at a Unix socket.
        connections_per_client: Count = 100, Reload;
        /// Largest message, without the trace header that is added; at least 1024B.
        message_size: Size = "35MiB", Restart;
        /// Recipients of one message.
        recipients: Count = 1000, Restart;
        /// Longest command line, CRLF included; at least 512B.
        line_length: Size = "8KiB", Reload;
        /// 5xx replies after which a session is closed.
        errors_per_session: Count = 20, Reload;
        /// Time for a command to arrive, and for the client to read the replies.
        command_timeout: Timeout = "5m", Reload;
        /// Time for the text of one message to arrive.
        data_timeout: Timeout = "10m", Reload;
        /// Time for a TLS handshake.
        tls_timeout: Timeout = "1m", Reload;
        /// Memory for arriving messages, their recipients, and large HTTP requests and answers; beyond it: 451, RCPT 452,
        /// HTTP 503.
        memory: Size = "256MiB", Restart;
        /// A message with a CR without LF or an LF without CR: `reject` refuses it, `normalize` makes each a CRLF.
        bare_newline: Text = "reject", Reload;
        /// `Received` headers of a message; one with more is in a mail loop and is refused.
        received_headers: Count = 50, Reload;
        /// New connections of one client, as `60/1m`; empty: no limit.
        connections_per_client_rate: Rate = "", Reload;
        /// Messages of one client that has not logged in, as `100/1m`; empty: no limit.
        messages_per_client: Rate = "", Reload;
        /// Recipients of one client that has not logged in, as `1000/1h`; empty: no limit.
        recipients_per_client: Rate = "", Reload;
        /// Failed logins of one client, as `20/1h`; empty: no limit.
        failed_logins_per_client: Rate = "", Reload;
        /// Messages of one user who has logged in, from any address, as `500/1d`; empty: no limit.
        messages_per_user: Rate = "", Reload;
        /// Recipients of one user who has logged in, from any address, as `2000/1d`; empty: no limit.
        recipients_per_user: Rate = "", Reload;
    }

    /// Certificate of the SMTP server; both empty: no TLS. The files are read again on SIGHUP, and within a minute after a
    /// change. To switch TLS on or off, restart the service.
    table ["listen.tls"] {
        /// PEM file with the server's own certificate first and then its chain.
        certificate: Text = "", Reload;
        /// PEM file with the key of the certificate.
        key: Text = "", Reload;
    }

    /// Who may send mail through the service.
    table ["relay"] {
        /// Clients in these networks may send to any recipient.
        allow_networks: List = ["127.0.0.0/8", "::1/128"], Reload;
        /// Recipient domains that are accepted from any client.
        allow_domains: List = [], Reload;
        /// Networks of proxies that name their clients, by PROXY where `listen.proxy_protocol` says so, otherwise by XCLIENT.
        proxies: List = [], Reload;
        /// Absolute path of the directory where sendmail leaves mail while the service is down, outside of `spool_dir`; empty: none.
        drop_dir: Text = "", Restart;
        /// File with lines `name:password-hash`, written by `spool passwd`; AUTH is offered under TLS only. Empty: no users.
        users_file: Text = "", Reload;
        /// Whose mail gets a missing Date and Message-ID and loses its Bcc: `never`, `authenticated` users, or `networks` too.
        fix_submissions: Text = "authenticated", Reload;
    }

    /// Where mail goes.
    table ["route"] {
        /// Smart hosts in order, as `host:port`; empty: the MX of the recipient's domain.
        next_hops: List = [], Reload;
        /// Port of mail exchangers.
        mx_port: Count = 25, Reload;
        /// Name servers, as `192.0.2.53` or `[::1]:5353`, asked one at a time in this order; empty: those of `resolv_conf`.
        dns_servers: List = [], Restart;
        /// File that names the name servers; it is read again when it changes.
        resolv_conf: Text = "/etc/resolv.conf", Restart;
        /// More names and addresses of this relay, beside `hostname` and `listen.smtp`: an MX that leads back to them is a mail loop.
        own: List = [], Restart;
        /// Networks in which no MX is used.
        ignore_networks: List = ["0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"], Restart;
    }

    /// A rule for some recipient domains; the first rule that matches applies.
    table [["route.rule"]] {
        /// Recipient domain, also `*.example.org`.
        domain: Text ! "example.org", Reload;
        /// Next hops in order, as `host:port` or `mx:example.net:25`; without: the MX of the recipient's domain.
        next_hops: List ~ ["10.0.0.5:25", "10.0.0.6:25"], Reload;
        /// TLS policy; without: `client.tls`.
        tls: Text ~ "required", Reload;
        /// In place of `client.connections_per_destination`, fewer or more.
        max_connections: Count ~ 5, Reload;
        /// Messages in a time; without: no limit.
        rate: Rate ~ "100/1m", Reload;
    }

    /// How often delivery is tried, and what happens to mail that cannot be delivered.
    table ["retry"] {
        /// Waits between the attempts.
        intervals: List = ["1m", "5m", "15m", "30m", "1h", "2h", "4h", "8h"], Reload;
        /// Whether the last interval repeats until `expire_after`; otherwise the message fails when the list ends.
        repeat_last: Flag = true, Reload;
        /// Share of its interval by which each wait randomly is longer or shorter.
        jitter: Share = 0.2, Reload;
        /// Age at which a message is given up.
        expire_after: Timeout = "4d", Reload;
        /// `bounce` returns a notice to the sender; `freeze` keeps the message for a person.
        on_failure: Text = "bounce", Reload;
        /// Address in From of notices; empty: MAILER-DAEMON at `hostname`.
        bounce_from: Text = "", Reload;
        /// A larger message is returned without its body, only with its headers.
        bounce_size: Size = "50000B", Reload;
        /// Submissions of one sender about which notices are returned in an hour; beyond it messages are frozen. 0: no limit.
        bounces_per_hour: Number = 20, Reload;
        /// Age at which the sender is told once that a message is delayed, as `4h`; empty: never.
        delay_warning_after: Timeout = "", Reload;
    }

    /// The SMTP client, which delivers mail.
    table ["client"] {
        /// TLS policy of destinations whose rule has none: `none`, `opportunistic`, `required` or `verify`.
        tls: Text = "opportunistic", Reload;
        /// PEM file of the certificates to trust; empty: those of the machine.
        tls_roots: Text = "", Restart;
        /// Ports on which TLS begins before the greeting.
        implicit_tls_ports: List = [465], Restart;
        /// With `opportunistic`: how long a peer whose TLS failed is sent mail without TLS before TLS is tried again.
        plaintext_memory: Span = "10m", Restart;
        /// Whether a small message to a peer that offers CHUNKING and has just taken one goes out in one write with its envelope.
        chunking: Flag = true, Restart;
        /// Whether the MTA-STS policies of domains (RFC 8461) are looked up and enforced.
        mta_sts: Flag = false, Restart;
        /// Whether hosts must match their TLSA records (RFC 7672); needs name servers that hand out DNSSEC signatures.
        dane: Flag = false, Restart;
        /// File of the DNSKEY records where DNSSEC begins, in the format of a zone file; empty: the keys of the root zone.
        dnssec_anchors: Text = "", Restart;
        /// Open connections to all hosts.
        connections: Count = 500, Restart;
        /// Open connections to the hosts of one path, which destinations with the same hosts share.
        connections_per_destination: Count = 10, Restart;
        /// Messages after which a connection is closed.
        messages_per_connection: Count = 100, Restart;
        /// How long an unused connection is kept.
        idle_timeout: Span = "5s", Restart;
        /// Time for one address to accept a connection, and for a connection to become free.
        connect_timeout: Timeout = "30s", Restart;
        /// Time for the greeting.
        greeting_timeout: Timeout = "5m", Restart;
        /// Time for the reply to STARTTLS, and for the handshake.
        tls_timeout: Timeout = "1m", Restart;
        /// Time for the reply to EHLO, AUTH, MAIL, RCPT and RSET.
        command_timeout: Timeout = "5m", Restart;
        /// Time for the reply to DATA, and without progress while the body is sent.
        data_timeout: Timeout = "5m", Restart;
        /// Time for the reply after the body.
        final_reply_timeout: Timeout = "10m", Restart;
        /// Time for one attempt over all hosts, plus one second for each 16 KiB of the body.
        attempt_timeout: Timeout = "1h", Restart;
        /// Addresses of this machine to send from; empty: the system chooses.
        source_addresses: List = [], Restart;
    }

    /// Credentials for one host.
    table [["client.login"]] {
        /// The host.
        next_hop: Text ! "smtp.example.net:587", Reload;
        /// Name of the user.
        user: Text ! "relay@example.org", Reload;
        /// File with the password; or `token_file`.
        password_file: Text ~ "/etc/spool/smtp.example.net", Reload;
        /// File with the token for XOAUTH2; or `password_file`.
        token_file: Text ~ "", Reload;
        /// Over which sessions credentials are sent: `verify` (verified TLS), `required` (any TLS) or `none` (plaintext too).
        security: Text = "verify", Reload;
    }

    /// The spool on disk and in memory.
    table ["spool"] {
        /// Size of a segment of the journal; at least 64KiB.
        segment_size: Size = "64MiB", Restart;
        /// Free disk space below which new mail is refused (SMTP 452).
        min_free_space: Size = "256MiB", Restart;
        /// Messages above which new mail is refused (SMTP 452); 0: no limit.
        max_messages: Number = 0, Restart;
        /// Bodies, envelopes and index entries in memory; beyond it new mail is answered 451.
        memory_limit: Size = "512MiB", Restart;
        /// Bytes a second at which mail that has not been read for long is read again and checked; 0B: off.
        scrub_rate: Size = "2MiB", Restart;
        /// Not yet supported: must be empty.
        purge_removed_after: Text = "", Restart;
    }

    /// Idempotency keys of submissions.
    table ["idempotency"] {
        /// How long a key is remembered.
        window: Timeout = "1d", Restart;
        /// Keys that are remembered, about 150 bytes of memory each; the oldest is forgotten first, which is logged.
        keys: Count = 1000000, Restart;
    }

    /// Access to the admin API.
    table ["admin"] {
        /// File whose first line requests must bring, as `Authorization: Bearer`; empty: no token.
        token_file: Text = "", Restart;
        /// Whether the token may travel without TLS when `listen.admin` is not on loopback.
        allow_plaintext: Flag = false, Restart;
    }

    /// DKIM signatures of submitted mail; without a key, nothing is signed.
    table ["dkim"] {
        /// A message that must be signed and cannot be: `defer` answers 451, `unsigned` takes it and logs that.
        on_failure: Text = "defer", Reload;
        /// How long a signature is valid, at least two days more than `retry.expire_after`; empty: signatures do not say.
        expiration: Timeout = "", Reload;
        /// Header fields that are signed where a message has them; From always is.
        headers: List = [
            "From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References", "MIME-Version",
            "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description",
            "Sender", "Resent-From", "Resent-To", "Resent-Cc", "Resent-Sender", "Resent-Date", "Resent-Message-ID",
            "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Post", "List-Help", "List-Archive",
            "List-Owner", "List-Subscribe"
        ], Reload;
        /// Header fields of which one more than the message has is signed, so that none can be added; From always is.
        oversign: List = [
            "From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding"
        ], Reload;
    }

    /// A signing key for mail whose From has an address in its domain; `spool dkim new` makes one.
    table [["dkim.key"]] {
        /// The domain.
        domain: Text ! "example.org", Reload;
        /// The selector under which DNS has the public key.
        selector: Text ! "s2026", Reload;
        /// PEM file with the private key: RSA from 2048 bits, or Ed25519 beside an RSA key.
        file: Text ! "/etc/spool/dkim/example.org.s2026.pem", Reload;
        /// Whether it also signs mail from subdomains that have no keys of their own.
        subdomains: Flag = false, Reload;
        /// When it begins to sign, in UTC; of several keys the one that began last signs.
        from: Date ~ "2026-12-01", Reload;
        /// When it ends to sign, in UTC.
        until: Date ~ "2027-12-01", Reload;
    }

    /// The log.
    table ["log"] {
        /// Whether mail addresses and logins are logged as keyed hashes, with their domains.
        redact: Flag = false, Reload;
        /// File whose first line is the key of the hashes; empty: a random key at each start.
        redact_key_file: Text = "", Reload;
    }
};
