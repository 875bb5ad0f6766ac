//! One row for each thing that a next hop does wrong, and for what is right although it looks odd: what becomes of the
//! message, what its record says, which events it has, how long an attempt takes, and what all of it costs in memory.
//!
//! All rows run at once, each against a sink of its own, through one service and its configuration file.

use crate::events::Follower;
use serde_json::Value;
use spool_smtp::sink::{Sink, SinkConfig, SinkCounts, SinkTls, TlsMode};
use spool_tests::http;
use spool_tests::process::{PATIENCE, serve};
use spool_tests::raw::RawClient;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// `SETTING | SCRIPT | END | RECORD`.
///
/// SETTING: `plain`, `starttls` or `implicit`; then the rule's `tls`, if it has one, and `login` with the `security` of its
/// login. SCRIPT: lines separated by `;`. END: the last event, but for `frozen` and `delivered` at least two of them. RECORD:
/// words of one attempt, which is written as `OUTCOME at STAGE: CODE ENHANCED TEXT`; more behind `&` are words of the page.
const ROWS: &str = r"
plain |                                           | delivered |

plain | connect reply 554 5.3.2 no service        | delayed   | refused at connect: 554
plain | connect reply-close 421 4.3.2 busy        | delayed   | refused at connect: 421 4.3.2
plain | connect hang                              | delayed   | no_connection: & no greeting: timed out
plain | connect drip 500ms 220 hello              | delayed   | no greeting: timed out
plain | connect reset                             | delayed   | no_connection: & reset by peer
plain | connect close                             | delayed   | no greeting: the peer closed
plain | connect lines 300 220 x                   | delivered |
plain | connect lines 1001 220 x                  | delayed   | more than 1000 lines
plain | connect endless 220-x\r\n                 | delayed   | more than 1000 lines
plain | connect endless x                         | delayed   | more than 65536 bytes
plain | connect raw what\r\n                      | delayed   | no SMTP reply
plain | connect raw 220 \xff\xfe\n                | delivered |
plain | connect delay 100ms                       | delivered |

plain | ehlo reply 451 4.3.0 later                | delayed   | refused at hello: 451
plain | ehlo reply-close 421 4.3.2 busy           | delayed   | refused at hello: 421
plain | ehlo hang                                 | delayed   | no reply to EHLO: timed out
plain | ehlo drip 500ms 250 hello                 | delayed   | no reply to EHLO: timed out
plain | ehlo reset                                | delayed   | no reply to EHLO
plain | ehlo close                                | delayed   | no reply to EHLO
plain | ehlo endless 250-x\r\n                    | delayed   | more than 1000 lines
plain | ehlo lines 250 250 X-LONG                | delivered |
plain | ehlo raw 250-\xff\xfe\r\n250 SIZE\r\n     | delivered |
plain | ehlo hide PIPELINING                      | delivered |
plain | ehlo reply 250 hello                      | delivered |
plain | ehlo reply 250 hello\nSIZE 100            | frozen    | refused at route: 552 5.3.4
plain | ehlo reply 502 5.5.1 what                 | delivered |
plain | ehlo reply 502 what; helo reply 550 no    | delayed   | refused at hello: 550
plain | ehlo reply 502 what; helo reply-close 421 no | delayed | refused at hello: 421
plain | ehlo reply 502 what; helo hang            | delayed   | broken at hello: timed out
plain | ehlo reply 502 what; helo reset           | delayed   | broken at hello
plain | ehlo reply 502 what; helo endless 250-x\r\n | delayed | more than 1000 lines

plain | mail reply 450 4.7.28 slow down           | delayed_rate_limited | refused at mail: 450 4.7.28
plain | mail reply 550 5.7.1 not you              | frozen    | refused at mail: 550 5.7.1
plain | mail raw 550 5.7.1 \xff\xfe\r\n           | frozen    | refused at mail: 550 5.7.1
plain | mail reply-close 421 4.3.2 busy           | delayed   | refused at mail: 421
plain | mail hang                                 | delayed   | broken at mail: timed out
plain | mail drip 500ms 250 ok                    | delayed   | broken at mail: timed out
plain | mail reset                                | delayed   | broken at mail
plain | mail close                                | delayed   | broken at mail
plain | mail endless x                            | delayed   | more than 65536 bytes
plain | mail reply 354 what                       | delayed   | broken at mail: a reply of the wrong kind

plain | rcpt first=1 reply 451 4.7.1 greylisted   | delivered |
plain | rcpt reply 450 4.2.2 full                 | delayed   | all_refused & ok 450 4.2.2 full
plain | rcpt reply 550 5.1.1 gone                 | frozen    | all_refused & ok 550 5.1.1 gone
plain | rcpt to=later* reply 450 4.2.2 full; rcpt to=gone* reply 550 5.1.1 gone | delayed | accepted & ok done & later remaining & gone failed & later 450 4.2.2
plain | rcpt reply-close 421 4.3.2 busy           | delayed   | refused at rcpt: 421
plain | rcpt hang                                 | delayed   | broken at rcpt: timed out
plain | rcpt drip 500ms 250 ok                    | delayed   | broken at rcpt: timed out
plain | rcpt reset                                | delayed   | broken at rcpt
plain | rcpt close                                | delayed   | broken at rcpt
plain | rcpt endless 250-x\r\n                    | delayed   | more than 1000 lines

plain | data reply 451 4.3.0 later                | delayed   | refused at data: 451
plain | data reply 554 5.7.1 no                   | frozen    | refused at data: 554 5.7.1
plain | data reply-close 421 4.3.2 busy           | delayed   | refused at data: 421
plain | data hang                                 | delayed   | broken at data: timed out
plain | data drip 500ms 354 go                    | delayed   | broken at data: timed out
plain | data reset                                | delayed   | broken at data
plain | data close                                | delayed   | broken at data
plain | data endless x                            | delayed   | more than 65536 bytes
plain | data reply 250 what                       | delayed   | broken at data: a reply of the wrong kind
plain | body reply-close 421 4.3.0 enough         | delayed   | refused at final_reply: 421
plain | body slow 5ms                             | delivered |

plain | dot reply 451 4.3.0 later                 | delayed   | refused at final_reply: 451
plain | dot reply 554 5.6.0 spam                  | frozen    | refused at final_reply: 554 5.6.0
plain | dot reply-close 421 4.3.2 busy            | delayed   | refused at final_reply: 421
plain | dot hang                                  | doubt     | broken at final_reply: timed out
plain | dot drip 500ms 451 later                  | doubt     | broken at final_reply: timed out
plain | dot reset                                 | doubt     | broken at final_reply
plain | dot close                                 | doubt     | broken at final_reply
plain | dot endless 250-x\r\n                     | doubt     | more than 1000 lines
plain | dot reply 354 what                        | doubt     | a reply of the wrong kind
plain | dot raw 250 \xff\n                        | delivered |
plain | dot reply 251 2.0.0 Ok                    | delivered |
plain | mail reply 251 fine; rcpt reply 252 fine  | delivered |
plain | dot reply-close 250 taken                 | delivered |

plain | quit hang                                 | delivered |
plain | quit reset                                | delivered |
plain | quit drip 500ms 221 bye                   | delivered |
plain | quit endless 221-x\r\n                    | delivered |

starttls               | mail tls=no reply 550 5.7.0 clear                   | delivered |
starttls none          | mail tls=yes reply 550 5.7.0 TLS                    | delivered |
starttls verify        | mail tls=no reply 550 5.7.0 clear                   | delivered |
implicit verify        | mail tls=no reply 550 5.7.0 clear                   | delivered |
plain required         |                                                     | delayed | refused at tls: 554 5.7.10
plain verify           |                                                     | delayed | refused at tls: 554 5.7.10
starttls required      | starttls reply 454 4.7.0 no                         | delayed | refused at tls: 454
starttls               | starttls reply 454 4.7.0 no                         | delivered |
starttls               | starttls reply 454 4.7.0 no; mail tls=no reply 530 5.7.0 no | delayed | refused at tls: 530
starttls               | starttls reply-close 421 4.3.2 busy                 | delayed | refused at tls: 421
starttls required      | starttls hang                                       | delayed | broken at tls: timed out
starttls required      | starttls drip 500ms 220 go                          | delayed | broken at tls: timed out
starttls required      | starttls reset                                      | delayed | broken at tls
starttls required      | starttls endless x                                  | delayed | more than 65536 bytes
starttls               | starttls raw 220 go\r\n250 forged\r\n               | delayed | sent more than was asked
starttls required      | tls raw \x15\x03\x03\x00\x02\x02\x28                | delayed | broken at tls: the handshake failed
starttls required      | tls raw 500 what\r\n                                | delayed | broken at tls: the handshake failed
starttls required      | tls endless x                                       | delayed | broken at tls: the handshake failed
starttls required      | tls reset                                           | delayed | broken at tls: the handshake failed
starttls required      | tls hang                                            | delayed | broken at tls: the handshake failed: timed out
starttls               | tls hang                                            | delivered |
starttls verify        | tls certificate expired                             | delayed | broken at tls: & xpired
starttls verify        | tls certificate self-signed                         | delayed | UnknownIssuer
starttls verify        | tls certificate other-name                          | delayed | not valid for name
starttls required      | tls certificate expired; mail tls=no reply 550 no   | delivered |
starttls               | tls certificate self-signed; mail tls=no reply 550 no | delivered |
starttls required      | ehlo tls=yes hang                                   | delayed | broken at hello: timed out
implicit               | tls hang                                            | delayed | timed out
implicit               | tls raw 220 plaintext here\r\n                      | delayed | the handshake failed

starttls login verify  |                                                     | delivered |
starttls login verify  | ehlo tls=yes reply 250 hello\nAUTH LOGIN            | delivered |
plain login none       |                                                     | delivered |
plain login verify     | auth reply 235 come in                              | delayed | refused at tls: 554 5.7.10
starttls login verify  | tls certificate self-signed; auth reply 235 come in | delayed | UnknownIssuer
starttls login required | tls certificate self-signed                        | delivered |
starttls login verify  | ehlo tls=yes hide AUTH                              | delayed | at auth
plain login none       | auth reply 535 5.7.8 wrong                          | delayed | refused at auth: 535 5.7.8
plain login none       | auth reply 454 4.7.0 later                          | delayed | refused at auth: 454
plain login none       | auth reply-close 421 4.3.2 busy                     | delayed | refused at auth: 421
plain login none       | auth raw 334 what\r\n                               | delayed | at auth
plain login none       | auth hang                                           | delayed | broken at auth: timed out
plain login none       | auth drip 500ms 235 in                              | delayed | broken at auth: timed out
plain login none       | auth reset                                          | delayed | broken at auth
plain login none       | auth endless 235-x\r\n                              | delayed | more than 1000 lines
";

/// Limits that make the silent and the slow rows quick. A step that a busy machine makes late is only one attempt more.
const LIMITS: &str = r#"
greeting_timeout = "2s"
tls_timeout = "2s"
command_timeout = "2s"
data_timeout = "2s"
final_reply_timeout = "1s"
attempt_timeout = "10s"
idle_timeout = "300ms"
"#;
/// Two steps that end with their limit, and what a busy machine adds.
const LONGEST_ATTEMPT_MS: u64 = 9_000;
/// What the service may grow by, over everything that is said to it.
const MEMORY_KIB: u64 = 16 * 1024;

struct Row {
    line: &'static str,
    setting: &'static str,
    script: String,
    end: &'static str,
    record: &'static str,
    domain: String,
    port: u16,
    counts: Arc<SinkCounts>,
}

/// The sinks; they run while this is kept.
struct Peers {
    rows: Vec<Row>,
    roots: String,
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Peers {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let (stop, stopped) = watch::channel(false);
        let tls = [TlsMode::StartTls, TlsMode::Implicit];
        let tls = tls.map(|mode| SinkTls::generated(mode, &["127.0.0.1".to_owned()]).unwrap());
        let lines = ROWS.lines().filter(|line| !line.is_empty());
        let rows = lines.enumerate().map(|(n, line)| {
            let [setting, script, end, record] = line
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .try_into()
                .expect(line);
            let script = script.replace(';', "\n");
            let mut config = SinkConfig::default();
            config.script = script.parse().expect(line);
            config.tls = match setting.split(' ').next().unwrap() {
                "starttls" => Some(tls[0].clone()),
                "implicit" => Some(tls[1].clone()),
                _ => None,
            };
            if setting.contains("login") {
                config.login = Some(("ada".to_owned(), "secret".to_owned()));
            }
            let sink = runtime.block_on(Sink::bind("127.0.0.1:0".parse().unwrap(), config));
            let sink = sink.unwrap();
            let (port, counts) = (sink.local_addr().unwrap().port(), sink.counts());
            runtime.spawn(sink.run(stopped.clone()));
            let domain = format!("row{n}.example");
            Row {
                line,
                setting,
                script,
                end,
                record,
                domain,
                port,
                counts,
            }
        });
        Self {
            rows: rows.collect(),
            roots: tls.iter().map(SinkTls::authority).collect(),
            _stop: stop,
            _runtime: runtime,
        }
    }

    /// The configuration file, and the files that it names.
    fn configure(&self, dir: &Path) -> String {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (roots, secret) = (file("roots.pem", &self.roots), file("secret", "secret\n"));
        let implicit = self.rows.iter().filter(|row| row.setting.starts_with("implicit"));
        let implicit: Vec<u16> = implicit.map(|row| row.port).collect();
        let mut text = format!(
            "[retry]\nintervals = [\"300ms\"]\non_failure = \"freeze\"\n[client]\ntls_roots = \"{roots}\"\nimplicit_tls_ports = {implicit:?}\n{LIMITS}"
        );
        for row in &self.rows {
            let (policy, security) = match row.setting.split(' ').collect::<Vec<_>>()[1..] {
                [] => (None, None),
                [policy] => (Some(policy), None),
                ["login", security] => (None, Some(security)),
                _ => panic!("{}", row.line),
            };
            let hop = format!("127.0.0.1:{}", row.port);
            text += &format!(
                "[[route.rule]]\ndomain = \"{}\"\nnext_hops = [\"{hop}\"]\n",
                row.domain
            );
            if let Some(policy) = policy {
                text += &format!("tls = \"{policy}\"\n");
            }
            if let Some(security) = security {
                text += &format!(
                    "[[client.login]]\nnext_hop = \"{hop}\"\nuser = \"ada\"\npassword_file = \"{secret}\"\nsecurity = \"{security}\"\n"
                );
            }
        }
        file("spool.toml", &text)
    }
}

impl Row {
    /// Spools its message, and gives its id.
    fn send(&self, client: &mut RawClient) -> String {
        let mut to = vec![format!("ok@{}", self.domain)];
        if self.script.contains("to=") {
            to.extend(["later", "gone"].map(|name| format!("{name}@{}", self.domain)));
        }
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let body = "a line of the text\r\n".repeat(400);
        let (code, reply) = client.transaction("a@example.org", &to, body.as_bytes()).unwrap();
        assert_eq!(code, 250, "{reply}");
        reply.split_whitespace().last().unwrap().to_owned()
    }

    /// Whether these events are all that it waits for.
    fn is_done(&self, events: &[String]) -> bool {
        let count = |kind: &str| events.iter().filter(|event| event.starts_with(kind)).count();
        match self.end {
            "delivered" | "frozen" => count(self.end) == 1,
            "doubt" => count("in_doubt") >= 2 && count("delayed") >= 2,
            delayed => count(delayed) >= 2,
        }
    }

    /// What is not as it should be.
    fn faults(&self, id: &str, admin: &str, events: &[String]) -> Option<String> {
        let (code, page) = http::ask(admin, "GET", &format!("/api/v1/messages/{id}"), "");
        let taken = self.counts.messages.load(Ordering::Relaxed);
        let happened = |kind: &str| events.iter().any(|event| event.starts_with(kind));
        let ends = ["delivered", "frozen", "in_doubt"].map(happened);
        let expected = ["delivered", "frozen", "doubt"].map(|end| self.end == end);
        let told = match code {
            200 => told(&serde_json::from_str(&page).unwrap()),
            _ => String::new(),
        };
        let mut words = self.record.split('&').map(str::trim);
        let right = ends == expected && ends[0] == (code == 404) && (!ends[0] || taken == 1);
        (!right || !words.all(|words| told.contains(words)))
            .then(|| format!("{}\nended with {events:?}, taken: {taken}\n{told}", self.line))
    }
}

/// A page in words: `NAME FATE` for each recipient, and for each attempt `OUTCOME at STAGE: CODE ENHANCED TEXT` with `NAME
/// CODE ENHANCED TEXT` of those that were refused.
fn told(page: &Value) -> String {
    let words = |value: &Value, keys: &[&str]| {
        let words = keys.iter().map(|key| {
            let number = || Some(value[*key].as_u64()?.to_string());
            let text = value[*key].as_str().map(str::to_owned);
            text.or_else(number).unwrap_or_default()
        });
        words
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let name = |value: &Value| {
        value["address"]
            .as_str()
            .unwrap()
            .split('@')
            .next()
            .unwrap()
            .to_owned()
    };
    let mut told = String::new();
    for recipient in page["recipients"].as_array().unwrap() {
        told += &format!("{} {}\n", name(recipient), words(recipient, &["fate"]));
    }
    for attempt in page["attempts"].as_array().unwrap() {
        let took = attempt["duration_ms"].as_u64().unwrap();
        assert!(took <= LONGEST_ATTEMPT_MS, "{attempt}");
        let stage = attempt["stage"].as_str().map(|stage| format!(" at {stage}"));
        let reply = words(attempt, &["code", "enhanced", "text"]);
        let outcome = words(attempt, &["outcome"]);
        told += &format!("{outcome}{}: {reply}\n", stage.unwrap_or_default());
        for refused in attempt["refused"].as_array().unwrap() {
            told += &format!(
                "{} {}\n",
                name(refused),
                words(refused, &["code", "enhanced", "text"])
            );
        }
    }
    told
}

#[test]
fn whatever_a_next_hop_does_the_message_ends_as_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let peers = Peers::start();
    let config = peers.configure(dir.path());
    let server = serve(&dir.path().join("spool"), &[], &["--config", &config]);
    let admin = server.field("admin");
    let before = server.peak_kib();
    let follower = Follower::start(&format!("http://{admin}"), &["--since", "0"]);
    let mut client = RawClient::hello(server.smtp());
    let sent: Vec<(String, &Row)> = peers
        .rows
        .iter()
        .map(|row| (row.send(&mut client), row))
        .collect();
    let mut waiting: HashMap<String, &Row> = sent.iter().cloned().collect();
    let mut events: HashMap<String, Vec<String>> = HashMap::new();
    let begun = Instant::now();
    while !waiting.is_empty() {
        let left: Vec<_> = waiting.values().map(|row| row.line).collect();
        assert!(begun.elapsed() < PATIENCE, "not as they should: {left:#?}");
        let event = follower.event();
        // Some have content.
        let kind = &event["kind"];
        let name = |kind: &Value| kind.as_object()?.keys().next().cloned();
        let kind = kind.as_str().map(str::to_owned).or_else(|| name(kind)).unwrap();
        let id = event["id"].as_str().unwrap().to_owned();
        let known = events.entry(id.clone()).or_default();
        known.push(kind);
        if waiting.get(&id).is_some_and(|row| row.is_done(known)) {
            waiting.remove(&id);
        }
    }
    let faults = sent
        .iter()
        .filter_map(|(id, row)| row.faults(id, admin, &events[id]));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let grown = server.peak_kib() - before;
    println!("{} rows; the service grew by {grown} KiB", peers.rows.len());
    assert!(grown < MEMORY_KIB, "the service grew by {grown} KiB");
    // No session holds it up.
    assert!(server.terminate().success());
}
