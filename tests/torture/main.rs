//! Clients and origins that misbehave in every way that a random choice comes to, over both protocols at once. Beside them
//! others behave and must get what they ask for; afterwards nothing may be left of anything.
//!
//! `RINGWAY_TORTURE_SEED=7` chooses the choices, `RINGWAY_TORTURE_SESSIONS=10000` how many connections misbehave in each
//! of two rounds. Unlike the simulation a seed is not a run: how threads meet is up to the machine.

mod chance;
mod clients;
mod origins;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use ringway_tests::http2::{Frame, Http2Client};
use ringway_tests::stats::Stats;
use ringway_tests::wait::eventually;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver, process};

use chance::Chance;

each_driver! {
    misbehaviour_of_both_sides_harms_nobody_and_leaves_nothing_behind,
}

/// Connections that misbehave at a time.
const CLIENTS: usize = 8;
/// What two rounds may differ by in resident memory: what the allocator keeps for later.
const GROWTH_BYTES: u64 = 8 << 20;

/// What has to be at zero when nobody is there any more.
const OPEN: [&str; 9] = [
    "ringway_connections_open",
    "ringway_exchanges_open",
    "ringway_tunnels_open",
    "ringway_http2_connections_open",
    "ringway_http2_streams_open",
    "ringway_upstream_connections_open",
    "ringway_upstream_http2_connections_open",
    "ringway_upstream_http2_streams_open",
    "ringway_buffers_used",
];

fn misbehaviour_of_both_sides_harms_nobody_and_leaves_nothing_behind(io: Io) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seed = number("RINGWAY_TORTURE_SEED").unwrap_or(1);
    let sessions = number("RINGWAY_TORTURE_SESSIONS").unwrap_or(240) as usize;
    println!("again: RINGWAY_TORTURE_SEED={seed} cargo test -p ringway-tests --test torture");
    let stage = Stage::start(io, seed);
    let before = stage.left();
    stage.round(seed, sessions);
    let first = stage.left_of(&before);
    stage.round(seed + 1, sessions);
    let second = stage.left_of(&before);
    // Pipes of splices stay for later: two ends for each that ran at the same time.
    assert!(
        second.descriptors <= first.descriptors + 2 * CLIENTS,
        "descriptors: {} after one round, {} after two",
        first.descriptors,
        second.descriptors,
    );
    assert!(
        second.resident_bytes <= first.resident_bytes + GROWTH_BYTES,
        "bytes: {} after one round, {} after two",
        first.resident_bytes,
        second.resident_bytes,
    );
    stage.still_serves();
}

struct Stage {
    proxy: Proxy,
    good: [Origin; 2],
    _bad: [Origin; 2],
}

/// What there is while nobody asks for anything.
struct Left {
    tasks: f64,
    descriptors: usize,
    resident_bytes: u64,
}

impl Stage {
    fn start(io: Io, seed: u64) -> Stage {
        let good = [origins::good_http1(), origins::good_http2()];
        let bad = [origins::bad_http1(seed), origins::bad_http2(seed)];
        let [good1, good2] = [good[0].address(), good[1].address()];
        let [bad1, bad2] = [bad[0].address(), bad[1].address()];
        // Less than there will be of anything in a round: what a permit leaks from soon refuses everybody.
        let limits = "limits: { requests: 150, connections: 150, pending: 20, retries: 20 }";
        let pool = "pool: { idle_timeout: 300ms, requests: 50 }";
        let policies =
            "policies: [{ concurrency_limit: { limit: 150 } }, { response_headers: { set: { x-a: b } } }]";
        // Of a client that has sent FIN nobody knows whether it is there: what it waits for has to end by itself.
        let timeouts = "timeouts: { response_head: 2s, response_body: 2s }";
        let retry = "retry: { on: [reset, connect_failure, refused_stream, gateway_error], attempts: 3 }";
        let proxy = Ringway::to(&good[0])
            .io(io)
            .config(format!(
                "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  \
                 - {{ name: good1, endpoints: [\"{good1}\"], {limits}, {pool} }}\n  \
                 - {{ name: good2, endpoints: [\"{good2}\"], protocol: http2, {limits}, {pool} }}\n  \
                 - {{ name: bad1, endpoints: [\"{bad1}\"], {limits}, {pool}, {timeouts} }}\n  \
                 - {{ name: bad2, endpoints: [\"{bad2}\"], protocol: http2, {limits}, {pool}, {timeouts} }}\nroutes:\n  \
                 - {{ name: good1, match: [{{ path: {{ prefix: /good1 }} }}], to: good1, {policies} }}\n  \
                 - {{ name: good2, match: [{{ path: {{ prefix: /good2 }} }}], to: good2, {policies} }}\n  \
                 - {{ name: bad1, match: [{{ path: {{ prefix: /bad1 }} }}], to: bad1, {policies}, {retry} }}\n  \
                 - {{ name: bad2, match: [{{ path: {{ prefix: /bad2 }} }}], to: bad2, {policies} }}\n"
            ))
            .start();
        Stage { proxy, good, _bad: bad }
    }

    /// So many connections misbehave, and two behave all the while.
    fn round(&self, seed: u64, sessions: usize) {
        let over = &AtomicBool::new(false);
        thread::scope(|scope| {
            let bystanders = [false, true].map(|http2| scope.spawn(move || self.behave(http2, over)));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn(move || {
                        let mut chance = Chance::new(seed.wrapping_mul(1000) + client as u64);
                        for _ in 0..sessions.div_ceil(CLIENTS) {
                            clients::session(self.proxy.address(), &mut chance);
                        }
                    })
                })
                .collect();
            let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
            over.store(true, Relaxed);
            let served =
                bystanders.map(|bystander| bystander.join().expect("a client that behaves is served"));
            assert!(served.iter().all(|served| *served > 0), "{served:?}");
            assert!(results.iter().all(Result::is_ok));
        });
    }

    /// Asks the good origins, one request after the other, and insists on the answers. Returns how many there were.
    fn behave(&self, http2: bool, over: &AtomicBool) -> usize {
        let mut served = 0;
        while !over.load(Relaxed) {
            let path = ["/good1/x", "/good2/x"][served % 2];
            let body = vec![b'a' + (served % 26) as u8; served * 97 % 5000];
            let (status, echo) = self.ask(http2, path, &body);
            assert_eq!(status, 200, "{path} over {}", if http2 { "HTTP/2" } else { "HTTP/1.1" });
            assert!(echo == body, "{path}: {} bytes came back as {}", body.len(), echo.len());
            served += 1;
        }
        served
    }

    fn ask(&self, http2: bool, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        if !http2 {
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
            let response = self.proxy.exchange([head.as_bytes(), body].concat());
            return (response.status, response.body.clone());
        }
        let mut client = Http2Client::connect(self.proxy.address());
        let id = client.post(path);
        client.send(&Frame::data(id, body, true));
        let response = client.response(id);
        (response.status, response.body)
    }

    /// Waits until nothing is open any more; what there is then.
    fn left(&self) -> Left {
        // Levels are published at each tick: before the first there are no tasks.
        let is_over = |stats: &Stats| {
            stats.sum("ringway_tasks") > 0.0 && OPEN.iter().all(|name| stats.sum(name) == 0.0)
        };
        let stats = eventually("everything to end", || {
            let stats = self.proxy.stats();
            let over = is_over(&stats);
            if !over {
                let open = OPEN.map(|name| (name, stats.sum(name)));
                println!("open: {:?}", open.iter().filter(|(_, count)| *count != 0.0).collect::<Vec<_>>());
            }
            over.then_some(stats)
        });
        Left {
            tasks: stats.sum("ringway_tasks"),
            descriptors: process::open_descriptors(self.proxy.pid()),
            resident_bytes: process::resident_bytes(self.proxy.pid()),
        }
    }

    /// The same after a round, with as many tasks as there were before.
    fn left_of(&self, before: &Left) -> Left {
        let left = eventually("the tasks of streams to end", || {
            let left = self.left();
            println!("tasks: {} before, {} now", before.tasks, left.tasks);
            Some(left).filter(|left| left.tasks <= before.tasks)
        });
        let stats = self.proxy.stats();
        assert_eq!(stats.sum("ringway_task_panics_total"), 0.0);
        assert_eq!(stats.sum("ringway_memory_resets_total"), 0.0);
        assert!(!self.proxy.log().iter().any(|line| line.contains("panicked")), "{:#?}", self.proxy.log());
        // Whatever clients sent, an origin gets one request after the other, whole or cut.
        self.good.iter().for_each(Origin::assert_unambiguous);
        left
    }

    /// Over every pair of protocols.
    fn still_serves(&self) {
        for (http2, path) in [(false, "/good1"), (false, "/good2"), (true, "/good1"), (true, "/good2")] {
            assert_eq!(self.ask(http2, path, b"still there"), (200, b"still there".to_vec()));
        }
    }
}
