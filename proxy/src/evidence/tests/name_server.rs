//! A name server that answers from a script, over UDP and TCP on loopback, and remembers what it was asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, PTR};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// What is answered to a question.
#[derive(Clone)]
pub(in crate::evidence) enum Reply {
    Records(Vec<RData>),
    Failure(ResponseCode),
    /// Nothing, until the script is told to go on; then the records.
    Held(Vec<RData>),
}

/// The records of a zone; what is not in it does not exist.
#[derive(Default, Clone)]
pub(in crate::evidence) struct Script(HashMap<(String, RecordType), Reply>);

impl Script {
    pub(in crate::evidence) fn on(mut self, name: &str, record_type: RecordType, reply: Reply) -> Script {
        self.0.insert((name.to_ascii_lowercase(), record_type), reply);
        self
    }

    /// The address has these names.
    pub(in crate::evidence) fn names(self, address: &str, names: &[&str]) -> Script {
        self.on(
            &reverse(address),
            RecordType::PTR,
            Reply::Records(names.iter().map(|name| ptr(name)).collect()),
        )
    }

    /// The name has these addresses.
    pub(in crate::evidence) fn addresses(self, name: &str, addresses: &[&str]) -> Script {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        let data = |addresses: Vec<IpAddr>| {
            let data = addresses.into_iter().map(|address| match address {
                IpAddr::V4(v4) => RData::A(A(v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
            });
            Reply::Records(data.collect())
        };
        self.on(name, RecordType::A, data(v4)).on(name, RecordType::AAAA, data(v6))
    }
}

pub(in crate::evidence) fn ptr(name: &str) -> RData {
    RData::PTR(PTR(full(name)))
}

pub(in crate::evidence) fn cname(name: &str) -> RData {
    RData::CNAME(CNAME(full(name)))
}

/// The name under which an address's names are found.
pub(in crate::evidence) fn reverse(address: &str) -> String {
    let address: IpAddr = address.parse().expect("an address");
    Name::from(address).to_ascii().trim_end_matches('.').to_owned()
}

fn full(name: &str) -> Name {
    Name::from_str(&format!("{}.", name.trim_end_matches('.'))).expect("a name")
}

pub(in crate::evidence) struct NameServer {
    pub(in crate::evidence) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    go_on: watch::Sender<bool>,
}

#[derive(Clone)]
struct Answering {
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    may_go_on: watch::Receiver<bool>,
}

impl NameServer {
    pub(in crate::evidence) async fn start(script: Script) -> NameServer {
        // The same port for both: UDP chooses, TCP follows, and another pair is tried if that is taken.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a UDP port");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
                break (Arc::new(udp), tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let (go_on, may_go_on) = watch::channel(false);
        let asked = Arc::default();
        let answering = Answering { script: Arc::new(script), asked: Arc::clone(&asked), may_go_on };

        let over_udp = answering.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                let (udp, answering, question) =
                    (Arc::clone(&udp), over_udp.clone(), buffer[..length].to_vec());
                tokio::spawn(async move {
                    let answer = answering.answer(&question, 1232).await;
                    udp.send_to(&answer, peer).await.expect("loopback takes it");
                });
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let answering = answering.clone();
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.expect("a whole question");
                        let answer = answering.answer(&question, usize::from(u16::MAX)).await;
                        stream.write_u16(answer.len() as u16).await.expect("the client reads");
                        stream.write_all(&answer).await.expect("the client reads");
                    }
                });
            }
        });
        NameServer { address, asked, go_on }
    }

    /// Lets the held answers go.
    pub(in crate::evidence) fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    /// How often a name was asked for.
    pub(in crate::evidence) fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().expect("no test panicked here");
        asked.iter().filter(|(asked, _)| asked.eq_ignore_ascii_case(name)).count()
    }

    /// How many questions came in all.
    pub(in crate::evidence) fn questions(&self) -> usize {
        self.asked.lock().expect("no test panicked here").len()
    }
}

impl Answering {
    async fn answer(&self, question: &[u8], length_max: usize) -> Vec<u8> {
        let question = Message::from_vec(question).expect("a DNS message");
        let query = question.queries[0].clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        self.asked.lock().expect("no test panicked here").push((name.clone(), query.query_type()));
        let script = &self.script.0;
        let alias = (name.clone(), RecordType::CNAME);
        let reply = script.get(&(name, query.query_type())).or_else(|| script.get(&alias)).cloned();

        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let records = match reply {
            Some(Reply::Records(records)) => records,
            Some(Reply::Held(records)) => {
                self.may_go_on.clone().wait_for(|go| *go).await.expect("the server is alive");
                records
            }
            Some(Reply::Failure(code)) => {
                answer.metadata.response_code = code;
                Vec::new()
            }
            None => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                Vec::new()
            }
        };
        for data in records {
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
        let bytes = answer.to_vec().expect("it can be written");
        if bytes.len() <= length_max { bytes } else { answer.truncate().to_vec().expect("it can be written") }
    }
}
