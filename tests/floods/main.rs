//! Attacks by numbers over HTTP/2: frames that are legal one by one, mounted for real against a running proxy.
//!
//! Whatever comes, the same has to hold: the offender is told to go after a bounded count and for the right reason,
//! another client of the same worker is served all the while, the origin never has more to do at once than the limit
//! of streams, memory stays and processor time ends with the attack.

mod client_floods;
mod header_bombs;
mod origin_floods;
mod stalled;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringway_tests::http2::{Frame, Http2Client, flag, kind};
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, hpack, process, wait};

/// `http2.streams`, by default.
const STREAMS_MAX: usize = 100;
/// What memory may grow by under an attack, and what may be left of it after.
const MEMORY_BYTES: u64 = 2 << 20;

/// A proxy with one worker, an origin that counts what it has to do at once, and a neighbour who only wants service.
struct Stage {
    origin: Origin,
    proxy: Proxy,
    live_max: Arc<AtomicUsize>,
    memory: u64,
}

impl Stage {
    fn new(io: Io) -> Stage {
        Stage::with(io, |ringway| ringway)
    }

    fn with(io: Io, change: impl Fn(Ringway) -> Ringway) -> Stage {
        let (live, live_max) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let most = Arc::clone(&live_max);
        // The script asks nothing of a request but whether it is one to leave open.
        let origin = Origin::start(move |conn| {
            while let Some(request) = conn.request() {
                if request.target == "/neighbour" {
                    conn.reply(200, "served");
                    continue;
                }
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if request.target == "/hang" {
                    conn.until_closed();
                }
                live.fetch_sub(1, Ordering::SeqCst);
                conn.reply(200, "ok");
            }
        });
        let proxy = change(Ringway::to(&origin).io(io)).start();
        let mut stage = Stage { origin, proxy, live_max, memory: 0 };
        // What is allocated once is not the attack's.
        let mut warm = stage.connect();
        let ids: Vec<u32> = (0..STREAMS_MAX).map(|_| warm.get("/")).collect();
        ids.into_iter().for_each(|id| assert_eq!(warm.response(id).status, 200));
        drop(warm);
        stage.wait_until_idle();
        stage.live_max.store(0, Ordering::SeqCst);
        stage.memory = process::resident_bytes(stage.proxy.pid());
        stage
    }

    fn connect(&self) -> Http2Client {
        let mut client = Http2Client::connect(self.proxy.address());
        client.settled();
        client
    }

    /// An attacker of this many streams, which stay open.
    fn connect_with_streams(&self, count: usize) -> Http2Client {
        let mut client = self.connect();
        for _ in 0..count {
            client.get("/hang");
        }
        client
    }

    fn wait_until_idle(&self) {
        self.proxy.wait_for_stats("all exchanges to end", |stats| {
            stats.sum("ringway_exchanges_open") == 0.0 && stats.sum("ringway_http2_connections_open") == 0.0
        });
    }

    /// How often connections were ended for one of these reasons, which are separated by bars.
    fn ended_for(&self, reasons: &str) -> f64 {
        let stats = self.proxy.stats();
        let of = |reason| stats.sum_where("ringway_connections_refused_total", &format!("\"{reason}\""));
        reasons.split('|').map(of).sum()
    }

    /// What has to be true of the proxy after each attack.
    fn assert_unharmed(&self, what: &str) {
        self.wait_until_idle();
        let peak = process::resident_bytes(self.proxy.pid());
        let grown = peak.saturating_sub(self.memory);
        assert!(grown < MEMORY_BYTES, "{what}: {} KiB more than before", grown >> 10);
        let live = self.live_max.load(Ordering::SeqCst);
        assert!(live <= STREAMS_MAX, "{what}: {live} requests at the origin at once");
        self.assert_rests(what);
        assert_eq!(self.proxy.get("/neighbour").status, 200, "{what}");
        self.origin.assert_unambiguous();
    }

    /// A worker with nothing to do takes no time.
    fn assert_rests(&self, what: &str) {
        let before = process::cpu_time(self.proxy.pid());
        wait::pause(Duration::from_millis(200));
        let spent = process::cpu_time(self.proxy.pid()) - before;
        assert!(spent <= Duration::from_millis(60), "{what}: {spent:?} of 200 ms after the attack");
    }
}

/// Sends `make(0)`, `make(1)`, ... up to `count` times, many in a write, and reads what comes without answering.
/// Returns how many were sent, the last GOAWAY, and whether the connection ended.
fn flood(
    client: &mut Http2Client,
    count: u32,
    make: &mut dyn FnMut(u32) -> Vec<u8>,
) -> (u32, Option<(u32, u32)>) {
    const AT_ONCE: u32 = 50;
    let mut sent = 0;
    while sent < count {
        let part: Vec<u8> = (sent..(sent + AT_ONCE).min(count)).flat_map(&mut *make).collect();
        if !client.client().try_send(part) {
            break;
        }
        sent += AT_ONCE;
    }
    // All was sent, and it is not over: then the test waits in vain, and says so.
    (sent, client.until_closed())
}

/// Someone who is served all the while, and knows how long the longest took.
struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Duration)>>,
}

impl Neighbour {
    fn of(stage: &Stage) -> Neighbour {
        let address = stage.proxy.address();
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let (tell, first) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut count, mut longest) = (0, Duration::ZERO);
            let mut client = Client::connect(address);
            while !over.load(Ordering::SeqCst) || count == 0 {
                let start = Instant::now();
                assert_eq!(client.get("/neighbour").status, 200);
                longest = longest.max(start.elapsed());
                count += 1;
                let _ = tell.send(());
                wait::pause(Duration::from_millis(1));
            }
            (count, longest)
        });
        first.recv().expect("a first response");
        Neighbour { stop, thread: Some(thread) }
    }

    /// 50 ms is the rule; a debug build among other tests on a busy machine gets more, unless strictness is asked for.
    fn assert_was_served(mut self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        let (count, longest) = self.thread.take().expect("it runs").join().expect("every response came");
        println!("{what}: {count} responses to the neighbour, the slowest in {longest:?}");
        let strict = std::env::var_os("RINGWAY_TEST_STRICT").is_some();
        let bound = Duration::from_millis(if strict { 50 } else { 2000 });
        assert!(longest <= bound, "{what}: the neighbour waited {longest:?}");
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The identifier of the stream with this number.
fn id(number: u32) -> u32 {
    number * 2 + 1
}

fn request(stream: u32, method: &str, path: &str, end: bool) -> Vec<u8> {
    let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
    Frame::new(kind::HEADERS, flags, stream, hpack::request(method, path)).encode()
}
