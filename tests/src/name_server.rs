//! A name server on loopback, over UDP and TCP, with the records of a text. It speaks RFC 1035 by hand, so that a mistake
//! made in the library that asks it is not made here again.
//!
//! It answers as a recursive one does: a CNAME with what it leads to, and over UDP nothing longer than was asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

/// The kinds of records that it knows, with their numbers.
const KINDS: [(&str, u16); 5] = [("A", 1), ("CNAME", 5), ("MX", 15), ("TXT", 16), ("AAAA", 28)];
const OPT: u16 = 41;

/// A running name server; it ends with the process.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens, over UDP and TCP.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, Clone)]
struct Zone {
    /// Owners, and the words of their records.
    records: Arc<Vec<(String, Vec<String>)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Knows the records in `text`, one a line, and no other name: `OWNER A 192.0.2.1`, `OWNER AAAA 2001:db8::1`,
    /// `OWNER CNAME host`, `OWNER MX 10 host`, `OWNER TXT one two` (strings of one record), or what every question about the owner ends in: `OWNER SERVFAIL`,
    /// `OWNER REFUSED`, `OWNER NOTIMP`, `OWNER FORMERR`, `OWNER SILENCE`. The owner `*` is every name that has no line of its own.
    ///
    /// `OWNER ENDLESS`: each name below the owner is an alias of another one, and so on; one link in each answer. `. WITHOUT EDNS`: a question
    /// with an OPT record is answered with FORMERR and a bare header, as by a server that cannot read it. `. DROPS EDNS`: it is not answered.
    #[must_use]
    pub fn start(text: &str) -> Self {
        let record = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?.to_lowercase(), words.collect()))
        };
        let zone = Zone {
            records: Arc::new(text.lines().filter_map(record).collect()),
            asked: Arc::default(),
        };
        // The same port for both: a few tries, for others look for ports, too.
        let pair = || {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
            Some((udp, tcp))
        };
        let (udp, tcp) = (0..20).find_map(|_| pair()).unwrap();
        let (address, asked) = (udp.local_addr().unwrap(), Arc::clone(&zone.asked));
        let other = zone.clone();
        std::thread::spawn(move || other.serve_udp(&udp));
        std::thread::spawn(move || zone.serve_tcp(&tcp));
        Self { address, asked }
    }

    /// The questions so far, as `UDP MX example.org`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A question as it came.
struct Question<'m> {
    id: [u8; 2],
    name: String,
    kind: u16,
    /// The section as it is in the message, to be repeated.
    section: &'m [u8],
    /// The longest reply over UDP.
    limit: usize,
    edns: bool,
}

impl<'m> Question<'m> {
    fn read(message: &'m [u8]) -> Self {
        let (mut labels, mut at) = (Vec::new(), 12);
        while message[at] != 0 {
            let end = at + 1 + usize::from(message[at]);
            labels.push(std::str::from_utf8(&message[at + 1..end]).unwrap().to_lowercase());
            at = end;
        }
        let end = at + 5;
        // What may follow is one OPT record (RFC 6891): the root, its kind, and the limit in place of a class.
        let opt = match message.get(end..end + 5) {
            Some([0, kind @ .., high, low]) if *kind == OPT.to_be_bytes() => {
                Some(u16::from_be_bytes([*high, *low]))
            }
            Some(_) | None => None,
        };
        Self {
            id: [message[0], message[1]],
            name: labels.join("."),
            kind: u16::from_be_bytes([message[at + 1], message[at + 2]]),
            section: &message[12..end],
            limit: usize::from(opt.unwrap_or(512).max(512)),
            edns: opt.is_some(),
        }
    }
}

impl Zone {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = Question::read(&buffer[..length]);
            if let Some(reply) = self.reply(&question, "UDP") {
                let _ = socket.send_to(&reply, from);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, zone) = (stream, self.clone());
            std::thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message).ok()?;
                    let reply = zone.reply(&Question::read(&message), "TCP")?;
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &reply].concat()).ok()?;
                }
                Some(())
            });
        }
    }

    fn records(&self, name: &str) -> Vec<&[String]> {
        let of = |name: &str| -> Vec<_> {
            let records = self.records.iter().filter(|(owner, _)| owner == name);
            records.map(|(_, words)| words.as_slice()).collect()
        };
        let own = of(name);
        if own.is_empty() { of("*") } else { own }
    }

    /// Another name, of which this one is an alias without an end.
    fn endless(&self, name: &str) -> Option<String> {
        let (_, parent) = name.split_once('.')?;
        let ends = self
            .records
            .iter()
            .any(|(owner, words)| owner == parent && words[0] == "ENDLESS");
        let number = self.asked.lock().unwrap().len();
        ends.then(|| format!("n{number}.{parent}"))
    }

    /// `None` for silence.
    fn reply(&self, question: &Question<'_>, over: &str) -> Option<Vec<u8>> {
        let kind = KINDS.iter().find(|(_, number)| *number == question.kind);
        let kind = kind.map_or("?", |(kind, _)| kind);
        self.asked
            .lock()
            .unwrap()
            .push(format!("{over} {kind} {}", question.name));
        let without_edns = self
            .records
            .iter()
            .any(|(owner, words)| owner == "." && words[0] == "WITHOUT");
        if question.edns && without_edns {
            return Some([&question.id[..], &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
        }
        let drops_edns = self
            .records
            .iter()
            .any(|(owner, words)| owner == "." && words[0] == "DROPS");
        if question.edns && drops_edns {
            return None;
        }
        let (mut answers, mut code) = (Vec::new(), 0);
        let mut name = question.name.clone();
        loop {
            if let Some(to) = self.endless(&name) {
                answers.push(record(&name, &["CNAME".to_owned(), to]));
                break;
            }
            let records = self.records(&name);
            match records.first().map(|words| words[0].as_str()) {
                None => code = 3,
                Some("FORMERR") => code = 1,
                Some("SERVFAIL") => code = 2,
                Some("NOTIMP") => code = 4,
                Some("REFUSED") => code = 5,
                Some("SILENCE") => return None,
                Some("CNAME") => {
                    answers.push(record(&name, records[0]));
                    name.clone_from(&records[0][1]);
                    // A circle is handed out as it is, a few links of it.
                    if answers.len() < 8 {
                        continue;
                    }
                }
                Some(_) => {
                    let fitting = records.iter().filter(|words| words[0] == kind);
                    answers.extend(fitting.map(|words| record(&name, words)));
                }
            }
            break;
        }
        let whole = message(question, code, &answers);
        let truncated = over == "UDP" && whole.len() > question.limit;
        Some(if truncated {
            message(question, 0x200, &[])
        } else {
            whole
        })
    }
}

/// A response with recursion, these flags beside, and these records.
fn message(question: &Question<'_>, flags: u16, answers: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(answers.len()).unwrap();
    let mut message = question.id.to_vec();
    for number in [0x8180 | flags, 1, count, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(question.section);
    message.extend(answers.concat());
    message
}

/// One record, of class IN and good for a minute.
fn record(owner: &str, words: &[String]) -> Vec<u8> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == words[0]).unwrap().1;
    let data = match words[0].as_str() {
        "A" => words[1].parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        "AAAA" => words[1].parse::<Ipv6Addr>().unwrap().octets().to_vec(),
        "MX" => [
            &words[1].parse::<u16>().unwrap().to_be_bytes(),
            &wire(&words[2])[..],
        ]
        .concat(),
        "TXT" => words[1..].iter().flat_map(|word| string(word)).collect(),
        _ => wire(&words[1]),
    };
    let length = u16::try_from(data.len()).unwrap();
    let mut record = wire(owner);
    for number in [kind, 1, 0, 60, length] {
        record.extend(number.to_be_bytes());
    }
    record.extend(data);
    record
}

/// A text behind its length.
fn string(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A name, each label behind its length.
fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.extend(string(label));
    }
    wire.push(0);
    wire
}
