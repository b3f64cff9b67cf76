//! A DNS server that answers as it is told to: addresses (A) and hosts of services (SRV), over UDP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const A: u16 = 1;
const SRV: u16 = 33;
const INTERNET: u16 = 1;
const SERVFAIL: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// The data of one record, with its type.
type Record = (u16, Vec<u8>);

/// A running server; it ends when dropped.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Zone>,
}

#[derive(Default)]
struct Zone {
    records: Mutex<HashMap<String, Vec<Record>>>,
    fails: AtomicBool,
    questions: AtomicUsize,
    stop: AtomicBool,
}

impl Dns {
    /// A server that knows no name yet. Everything that it says is good for a second.
    pub fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (address, zone) = (socket.local_addr().expect("an address"), Arc::new(Zone::default()));
        let of_thread = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !of_thread.stop.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                if let Some(answer) = of_thread.answer(&bytes[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Dns { address, zone }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says from now on that a name has these addresses.
    pub fn set_addresses(&self, name: &str, addresses: &[Ipv4Addr]) {
        let records = addresses.iter().map(|address| (A, address.octets().to_vec()));
        self.records().insert(name.to_owned(), records.collect());
    }

    /// Says from now on that a service has these hosts: priority, weight, port and name of each.
    pub fn set_service(&self, service: &str, hosts: &[(u16, u16, u16, &str)]) {
        let records = hosts.iter().map(|(priority, weight, port, host)| {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend_from_slice(&number.to_be_bytes());
            }
            push_name(&mut data, host);
            (SRV, data)
        });
        self.records().insert(service.to_owned(), records.collect());
    }

    /// Whether every question is answered with a failure (SERVFAIL).
    pub fn set_fails(&self, fails: bool) {
        self.zone.fails.store(fails, Relaxed);
    }

    /// How many questions were asked.
    pub fn questions(&self) -> usize {
        self.zone.questions.load(Relaxed)
    }

    fn records(&self) -> MutexGuard<'_, HashMap<String, Vec<Record>>> {
        self.zone.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.zone.stop.store(true, Relaxed);
    }
}

impl Zone {
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (name, kind, end) = read_question(question)?;
        self.questions.fetch_add(1, Relaxed);
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let known = records.get(&name);
        let code = match known {
            _ if self.fails.load(Relaxed) => SERVFAIL,
            None => NO_SUCH_NAME,
            Some(_) => 0,
        };
        let fitting = known.into_iter().flatten().filter(|(of, _)| code == 0 && *of == kind);
        let mut answers = Vec::new();
        let mut count = 0_u16;
        for (kind, data) in fitting {
            push_name(&mut answers, &name);
            answers.extend_from_slice(&kind.to_be_bytes());
            answers.extend_from_slice(&INTERNET.to_be_bytes());
            answers.extend_from_slice(&1_u32.to_be_bytes());
            answers.extend_from_slice(&(data.len() as u16).to_be_bytes());
            answers.extend_from_slice(data);
            count += 1;
        }
        // An authoritative answer; recursion is available (RFC 1035 section 4.1.1).
        let mut message = question[..2].to_vec();
        message.extend_from_slice(&[0x84, 0x80 | code, 0, 1]);
        message.extend_from_slice(&count.to_be_bytes());
        message.extend_from_slice(&[0, 0, 0, 0]);
        message.extend_from_slice(&question[12..end]);
        message.extend_from_slice(&answers);
        Some(message)
    }
}

/// Appends a name as labels.
fn push_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
}

/// Name, type, and where the question ends.
fn read_question(message: &[u8]) -> Option<(String, u16, usize)> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push_str(std::str::from_utf8(message.get(at..at + length)?).ok()?);
        name.push('.');
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((name.trim_end_matches('.').to_ascii_lowercase(), kind, at + 4))
}
