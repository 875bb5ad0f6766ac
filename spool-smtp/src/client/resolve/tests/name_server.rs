//! A name server on loopback, over UDP and TCP, with the records of a text.
//!
//! It answers as a recursive one does: a CNAME with what it leads to, and over UDP nothing that is longer than asked for.

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

/// One line: who, and `MX 10 host`, `A address`, `AAAA address`, `CNAME host`, or what happens to every question about
/// it: `SERVFAIL`, `REFUSED`, `SILENCE`.
type Line = (String, Vec<String>);

/// A running name server; it ends with the process.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Zone {
    lines: Arc<Vec<Line>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Knows the records in `text` and no other name.
    pub(crate) fn start(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.collect()))
        };
        let zone = Zone {
            lines: Arc::new(text.lines().filter_map(line).collect()),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&zone.asked);
        // The same port for both: a few tries, for others look for ports, too.
        let pair = || {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
            Some((udp, tcp))
        };
        let (udp, tcp) = (0..20).find_map(|_| pair()).unwrap();
        let address = udp.local_addr().unwrap();
        let other = zone.clone();
        std::thread::spawn(move || serve_udp(&udp, &other));
        std::thread::spawn(move || serve_tcp(&tcp, &zone));
        Self { address, asked }
    }

    /// The questions so far, as `UDP MX example.org`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Zone) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let limit = usize::from(question.max_payload().max(512));
        let Some(mut answer) = zone.answer(&question, "UDP") else {
            continue;
        };
        if answer.to_vec().unwrap().len() > limit {
            answer.answers.clear();
            answer.metadata.truncation = true;
        }
        let _ = socket.send_to(&answer.to_vec().unwrap(), from);
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Zone) {
    for stream in listener.incoming() {
        let (mut stream, zone) = (stream.unwrap(), zone.clone());
        std::thread::spawn(move || {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).ok()?;
                let answer = zone.answer(&Message::from_vec(&question).unwrap(), "TCP")?;
                let answer = answer.to_vec().unwrap();
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).ok()?;
            }
            Some(())
        });
    }
}

impl Zone {
    fn lines(&self, name: &Name) -> Vec<&[String]> {
        let name = name.to_ascii();
        let name = name.trim_end_matches('.');
        let lines = self
            .lines
            .iter()
            .filter(|(owner, _)| owner.eq_ignore_ascii_case(name));
        lines.map(|(_, words)| words.as_slice()).collect()
    }

    /// `None` for silence.
    fn answer(&self, question: &Message, over: &str) -> Option<Message> {
        let query = question.queries[0].clone();
        let kind = query.query_type();
        let text = query.name().to_ascii();
        self.asked
            .lock()
            .unwrap()
            .push(format!("{over} {kind} {}", text.trim_end_matches('.')));
        let mut answer = Message::response(question.id, question.op_code);
        answer.metadata.recursion_available = true;
        let mut name = query.name().clone();
        answer.add_query(query);
        loop {
            let lines = self.lines(&name);
            match lines.first().map(|words| words[0].as_str()) {
                None => answer.metadata.response_code = ResponseCode::NXDomain,
                Some("SERVFAIL") => answer.metadata.response_code = ResponseCode::ServFail,
                Some("REFUSED") => answer.metadata.response_code = ResponseCode::Refused,
                Some("SILENCE") => return None,
                Some("CNAME") => {
                    let next = Name::from_ascii(format!("{}.", lines[0][1])).unwrap();
                    answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(next.clone()))));
                    // A loop is handed out as it is, one link of it.
                    if answer.answers.len() < 2 {
                        name = next;
                        continue;
                    }
                }
                Some(_) => {
                    let data = lines.iter().filter_map(|words| data(words, kind));
                    answer.add_answers(data.map(|data| Record::from_rdata(name.clone(), 60, data)));
                }
            }
            return Some(answer);
        }
    }
}

fn data(words: &[String], kind: RecordType) -> Option<RData> {
    let data = match words[0].as_str() {
        "A" => RData::A(words[1].parse().unwrap()),
        "AAAA" => RData::AAAA(words[1].parse().unwrap()),
        "MX" => {
            let host = Name::from_ascii(format!("{}.", words[2].trim_end_matches('.'))).unwrap();
            RData::MX(MX::new(words[1].parse().unwrap(), host))
        }
        other => panic!("{other}"),
    };
    (data.record_type() == kind).then_some(data)
}
