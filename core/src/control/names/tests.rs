//! Names against a DNS server of the test's own, which answers as it is told to: well, badly, or not at all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::config::{ClusterConfig, ProcessConfig};
use crate::stats::labels::endpoint_text;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What the server says to one question.
#[derive(Clone)]
enum Answer {
    /// Addresses with this time to live.
    Addresses(Vec<IpAddr>, u32),
    /// Hosts of a service: priority, weight, port, name.
    Services(Vec<(u16, u16, u16, &'static str)>, u32),
    /// Name error (NXDOMAIN).
    NoSuchName,
    /// A response code: 2 is SERVFAIL.
    Code(u8),
    /// CNAME records from the name asked for through these names; the last one names the first again if `loops`.
    Chain {
        length: usize,
        loops: bool,
    },
    /// The answer of `Addresses`, cut after so many bytes, the TC bit not set.
    Cut(usize),
    /// A compression pointer that points to itself.
    PointerLoop,
    /// These bytes after the question's number.
    Garbage(Vec<u8>),
    /// Addresses, with the TC bit set over UDP; the truth comes over TCP.
    OverTcp(Vec<IpAddr>),
    /// An answer to another question than the one asked.
    OtherName,
    /// The right answer, with a number that nobody asked with.
    WrongId,
    Silence,
}

#[derive(Default)]
struct Zone {
    answers: Mutex<HashMap<String, Answer>>,
    questions: AtomicUsize,
    questions_by_name: Mutex<HashMap<String, usize>>,
    stop: AtomicBool,
}

/// A DNS server on loopback, UDP and TCP on one port.
struct Server {
    address: SocketAddr,
    zone: Arc<Zone>,
}

impl Server {
    fn start() -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
            // The same port may be taken for TCP: then another.
            if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().expect("an address")) {
                break (udp, tcp);
            }
        };
        let (address, zone) = (udp.local_addr().expect("an address"), Arc::new(Zone::default()));
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let of_udp = zone.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !of_udp.stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut bytes) else { continue };
                if let Some(answer) = of_udp.answer(&bytes[..length], false) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let of_tcp = zone.clone();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in tcp.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    // Closed at once: that is how the end of the test looks.
                    return;
                }
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut question).is_ok()
                    && let Some(answer) = of_tcp.answer(&question, true)
                {
                    let length = (answer.len() as u16).to_be_bytes();
                    let _ = stream.write_all(&[length.as_slice(), &answer].concat());
                }
            }
        });
        Server { address, zone }
    }

    fn set(&self, host: &str, answer: Answer) {
        self.zone.answers.lock().expect("not poisoned").insert(host.to_owned(), answer);
    }

    fn questions(&self) -> usize {
        self.zone.questions.load(Ordering::Relaxed)
    }

    fn questions_for(&self, host: &str) -> usize {
        self.zone.questions_by_name.lock().expect("not poisoned").get(host).copied().unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.zone.stop.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(self.address);
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

fn push_record(out: &mut Vec<u8>, name: &str, kind: u16, ttl: u32, data: &[u8]) {
    push_name(out, name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

impl Zone {
    fn answer(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (name, kind, question_end) = read_question(question)?;
        self.questions.fetch_add(1, Ordering::Relaxed);
        *self.questions_by_name.lock().expect("not poisoned").entry(name.clone()).or_default() += 1;
        let answer =
            self.answers.lock().expect("not poisoned").get(&name).cloned().unwrap_or(Answer::NoSuchName);
        let (mut code, mut flags, mut records, mut count) = (0, 0x84, Vec::new(), 0_u16);
        let mut add = |addresses: &[IpAddr], ttl: u32, name: &str| {
            for address in addresses {
                match address {
                    IpAddr::V4(v4) if kind == A => push_record(&mut records, name, A, ttl, &v4.octets()),
                    IpAddr::V6(v6) if kind == AAAA => {
                        push_record(&mut records, name, AAAA, ttl, &v6.octets())
                    }
                    _ => continue,
                }
                count += 1;
            }
        };
        match &answer {
            Answer::Addresses(addresses, ttl) => add(addresses, *ttl, &name),
            Answer::Services(services, ttl) => {
                for (priority, weight, port, host) in services.iter().filter(|_| kind == SRV) {
                    let mut data: Vec<u8> = [priority, weight, port]
                        .into_iter()
                        .flat_map(|number| number.to_be_bytes())
                        .collect();
                    push_name(&mut data, host);
                    push_record(&mut records, &name, SRV, *ttl, &data);
                    count += 1;
                }
            }
            Answer::NoSuchName => code = 3,
            Answer::Code(other) => code = *other,
            Answer::Chain { length, loops } => {
                let link = |n: usize| {
                    if n == 0 || (*loops && n == *length) { name.clone() } else { format!("l{n}.test") }
                };
                for n in 0..*length {
                    let mut target = Vec::new();
                    push_name(&mut target, &link(n + 1));
                    push_record(&mut records, &link(n), CNAME, 60, &target);
                    count += 1;
                }
                if !loops && kind == A {
                    push_record(&mut records, &link(*length), A, 60, &[10, 0, 0, 9]);
                    count += 1;
                }
            }
            Answer::Cut(_) => add(&[IpAddr::from([10, 0, 0, 1])], 60, &name),
            Answer::OverTcp(addresses) if tcp => add(addresses, 60, &name),
            Answer::OverTcp(_) => flags |= 2,
            Answer::OtherName => add(&[IpAddr::from([10, 6, 6, 6])], 60, "other.test"),
            Answer::WrongId => add(&[IpAddr::from([10, 6, 6, 6])], 60, &name),
            Answer::PointerLoop => {
                // The record's name is a pointer to itself (its offset is where the records begin).
                let at = 0xc000_u16 | question_end as u16;
                records.extend_from_slice(&at.to_be_bytes());
                records.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 6, 6, 6]);
                count = 1;
            }
            Answer::Garbage(bytes) => return Some([&question[..2], bytes].concat()),
            Answer::Silence => return None,
        }
        let mut message = question[..2].to_vec();
        if matches!(answer, Answer::WrongId) {
            message[0] ^= 0x55;
        }
        message.extend_from_slice(&[flags, 0x80 | code, 0, 1]);
        message.extend_from_slice(&count.to_be_bytes());
        message.extend_from_slice(&[0, 0, 0, 0]);
        message.extend_from_slice(&question[12..question_end]);
        message.extend_from_slice(&records);
        if let Answer::Cut(length) = answer {
            message.truncate(length);
        }
        Some(message)
    }
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

fn config(names: &[&str]) -> Config {
    let endpoints: Vec<_> =
        names.iter().map(|host| EndpointConfig::Name { host: (*host).to_owned(), port: 80 }).collect();
    Config::simple(&[], &endpoints, ProcessConfig::default())
}

/// Runs a test on a thread like the control thread.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Server, Rc<Names>, Arc<Stats>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (server, stats) = (Server::start(), Stats::new(1));
        let names = Names::new(stats.clone(), Servers::These(vec![server.address]));
        test(server, names, stats).await;
    });
}

fn shown(known: &[Resolved]) -> Vec<String> {
    known
        .iter()
        .map(|r| {
            format!("{} {}", r.host, r.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        })
        .collect()
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[test]
fn both_families_are_asked_for_and_take_turns() {
    run(|server, names, stats| async move {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        server.set("both.test", Answer::Addresses(vec![v4(2), v4(1), v6], 60));
        server.set("four.test", Answer::Addresses(vec![v4(3)], 60));
        let config = config(&["both.test", "four.test", "none.test", "both.test"]);
        names.follow(&config);
        names.tried_all().await;
        let both =
            if order::is_reachable(v6) { "::1 127.0.0.1 127.0.0.2" } else { "127.0.0.1 127.0.0.2 ::1" };
        assert_eq!(
            shown(&names.known(&config)),
            [format!("both.test {both}"), "four.test 127.0.0.3".to_owned()]
        );
        assert_eq!(stats.process.resolution_failures.get(), 1);
    });
}

#[test]
fn hostile_answers_give_no_address_and_end() {
    run(|server, names, _| async move {
        let mut hosts = vec!["good.test".to_owned()];
        server.set("good.test", Answer::Addresses(vec![v4(1)], 60));
        let cases = [
            Answer::Code(2),
            Answer::Code(5),
            Answer::Addresses(Vec::new(), 60),
            Answer::Chain { length: 2, loops: true },
            Answer::Chain { length: 1, loops: true },
            Answer::Cut(5),
            Answer::Cut(12),
            Answer::Cut(30),
            Answer::Cut(50),
            Answer::PointerLoop,
            Answer::Garbage(Vec::new()),
            Answer::Garbage(vec![0xff; 600]),
            Answer::Garbage(vec![0; 10]),
            Answer::OtherName,
            Answer::WrongId,
            Answer::Silence,
        ];
        for (number, answer) in cases.into_iter().enumerate() {
            let host = format!("case{number}.test");
            server.set(&host, answer);
            hosts.push(host);
        }
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let config = config(&hosts);
        let begin = Instant::now();
        names.follow(&config);
        names.tried_all().await;
        assert_eq!(shown(&names.known(&config)), ["good.test 127.0.0.1"]);
        assert!(begin.elapsed() < 2 * LOOKUP_TIMEOUT + Duration::from_secs(5), "{:?}", begin.elapsed());
        assert!(server.questions() < hosts.len() * 20, "no flood of questions: {}", server.questions());
    });
}

#[test]
fn a_chain_of_names_is_followed_and_a_truncated_answer_asked_for_again_by_tcp() {
    run(|server, names, _| async move {
        server.set("chain.test", Answer::Chain { length: 3, loops: false });
        server.set("big.test", Answer::OverTcp((1..=200).map(v4).collect()));
        let config = config(&["chain.test", "big.test"]);
        names.follow(&config);
        names.tried_all().await;
        let known = names.known(&config);
        assert_eq!(known.len(), 2, "{known:?}");
        assert_eq!(*known[0].addresses, [IpAddr::from([10, 0, 0, 9])]);
        assert_eq!(known[1].addresses.len(), ADDRESSES_MAX, "the number of addresses is bounded");
    });
}

#[test]
fn a_time_to_live_of_zero_makes_no_flood_and_news_only_when_something_changed() {
    run(|server, names, stats| async move {
        let news = Rc::new(RefCell::new(Vec::new()));
        let heard = news.clone();
        names.on_news(move |resolved| heard.borrow_mut().push(shown(std::slice::from_ref(resolved))));
        server.set("zero.test", Answer::Addresses(vec![v4(1), v4(2)], 0));
        names.follow(&config(&["zero.test"]));
        names.tried_all().await;
        // Rotated: the same set.
        server.set("zero.test", Answer::Addresses(vec![v4(2), v4(1)], 0));
        until("a second answer", || stats.process.resolutions.get() >= 2).await;
        assert!(server.questions() <= 8, "{}", server.questions());
        assert_eq!(*news.borrow(), [["zero.test 127.0.0.1 127.0.0.2"]]);
        server.set("zero.test", Answer::Addresses(vec![v4(3)], 0));
        until("the change", || news.borrow().len() == 2).await;
        assert_eq!(news.borrow()[1], ["zero.test 127.0.0.3"]);
    });
}

#[test]
fn what_worked_stays_in_use_while_the_name_flaps() {
    run(|server, names, stats| async move {
        let news = Rc::new(Cell::new(0));
        let heard = news.clone();
        names.on_news(move |_| heard.set(heard.get() + 1));
        server.set("flap.test", Answer::Addresses(vec![v4(1)], 1));
        let config = config(&["flap.test"]);
        names.follow(&config);
        names.tried_all().await;
        for (failure, times) in [(Answer::NoSuchName, 1), (Answer::Addresses(Vec::new(), 1), 2)] {
            server.set("flap.test", failure);
            until("a failure", || stats.process.resolution_failures.get() >= times).await;
            assert_eq!(shown(&names.known(&config)), ["flap.test 127.0.0.1"]);
        }
        server.set("flap.test", Answer::Addresses(vec![v4(1)], 1));
        let before = stats.process.resolutions.get();
        until("an answer again", || stats.process.resolutions.get() > before).await;
        assert_eq!(news.get(), 1, "the same addresses are no news");
    });
}

#[test]
fn names_that_left_the_configuration_are_asked_for_no_more() {
    run(|server, names, _| async move {
        server.set("old.test", Answer::Addresses(vec![v4(1)], 0));
        server.set("new.test", Answer::Addresses(vec![v4(2)], 0));
        names.follow(&config(&["old.test"]));
        names.tried_all().await;
        let next = config(&["new.test"]);
        names.follow_more(&next);
        names.tried(&next, Duration::from_secs(10)).await;
        assert_eq!(shown(&names.known(&next)), ["new.test 127.0.0.2"]);
        names.follow(&next);
        let (old, new) = (server.questions_for("old.test"), server.questions_for("new.test"));
        // Both live equally long, and each turn asks for two families: in two turns of the new one, one of the old
        // one would have come.
        until("two turns of the new one", || server.questions_for("new.test") >= new + 4).await;
        assert_eq!(server.questions_for("old.test"), old);
    });
}

/// A configuration of one cluster whose endpoints are found by this.
fn discovering(discovery: &DiscoveryConfig) -> Config {
    let mut config = config(&[]);
    let cluster =
        ClusterConfig { discovery: Some(discovery.clone()), ..ClusterConfig::new("found", Vec::new()) };
    config.clusters = vec![Arc::new(cluster)];
    config
}

fn endpoints(names: &Names, discovery: &DiscoveryConfig) -> Vec<String> {
    let found = names.endpoints(discovery).unwrap_or_default();
    let show = |(endpoint, traits): &(EndpointConfig, EndpointTraits)| {
        format!("{} {} {}", endpoint_text(endpoint), traits.weight, traits.priority)
    };
    found.iter().map(show).collect()
}

#[test]
fn a_service_is_its_hosts_and_a_name_its_addresses() {
    run(|server, names, _| async move {
        server.set(
            "_http._tcp.app.test",
            Answer::Services(
                vec![(10, 5, 81, "b.test"), (0, 7, 80, "A.test"), (10, 0, 0, "portless.test")],
                60,
            ),
        );
        server.set("app.test", Answer::Addresses(vec![v4(2), v4(1)], 60));
        let service = DiscoveryConfig::Srv { service: "_http._tcp.app.test".to_owned() };
        let name = DiscoveryConfig::Dns { host: "app.test".to_owned(), port: 8080 };
        for discovery in [&service, &name] {
            names.follow_more(&discovering(discovery));
        }
        names.tried_all().await;
        assert_eq!(endpoints(&names, &service), ["a.test:80 7 0", "b.test:81 5 1"]);
        assert_eq!(endpoints(&names, &name), ["127.0.0.1:8080 1 0", "127.0.0.2:8080 1 0"]);
    });
}

#[test]
fn a_service_that_is_not_offered_any_more_stays_known_and_is_stale() {
    run(|server, names, stats| async move {
        let service = DiscoveryConfig::Srv { service: "_http._tcp.app.test".to_owned() };
        server.set("_http._tcp.app.test", Answer::Services(vec![(0, 1, 80, "a.test")], 1));
        names.follow(&discovering(&service));
        names.tried_all().await;
        assert_eq!((names.stale(&service), names.stale_count()), (None, 0));
        // A single target of "." says that there is none (RFC 2782), which looks like a mistake.
        for (times, answer) in [(1, Answer::Services(vec![(0, 0, 80, "")], 1)), (2, Answer::Code(2))] {
            server.set("_http._tcp.app.test", answer);
            until("a failure", || stats.process.resolution_failures.get() >= times).await;
            assert_eq!(endpoints(&names, &service), ["a.test:80 1 0"]);
            assert!(names.stale(&service).is_some() && names.stale_count() == 1);
        }
    });
}

#[test]
fn hostile_answers_about_services_give_no_host() {
    run(|server, names, _| async move {
        let answers = [
            Answer::Addresses(vec![v4(1)], 60),
            Answer::Cut(30),
            Answer::PointerLoop,
            Answer::Garbage(vec![0xff; 600]),
            Answer::OtherName,
        ];
        let mut all = Vec::new();
        for (number, answer) in answers.into_iter().enumerate() {
            let service = format!("_http._tcp.case{number}.test");
            server.set(&service, answer);
            all.push(DiscoveryConfig::Srv { service });
        }
        all.iter().for_each(|discovery| names.follow_more(&discovering(discovery)));
        names.tried_all().await;
        for discovery in &all {
            assert_eq!(endpoints(&names, discovery), [""; 0], "{discovery}");
        }
    });
}
