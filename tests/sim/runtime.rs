//! The runtime alone on the simulated kernel: executor, timers, buffers and streams under random use.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringway_core::config::BufferConfig;
use ringway_core::io::sim::{self, Faults, Rng, SimConfig};
use ringway_core::io::{self as rt, Address, Chunk, Listener, Parts, RuntimeConfig, Stream};

use crate::plan::body_of;

/// What one run has to say.
#[derive(Default)]
struct Log {
    violations: std::cell::RefCell<Vec<String>>,
    /// Connections that carried all their bytes both ways.
    whole: Cell<u32>,
    /// Connections that were closed because they were not idle.
    closed: Cell<u32>,
}

impl Log {
    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.borrow_mut().push(what());
        }
    }
}

/// Runs one seed.
///
/// # Errors
/// Everything that did not hold.
pub fn run(seed: u64) -> Result<(), Vec<String>> {
    let rng = &mut Rng::new(seed ^ 0x5255_4e54_494d_4521);
    let fair = rng.chance(500);
    let mut some = |max: u64| if rng.chance(500) { rng.below(max) as u32 } else { 0 };
    let faults = Faults {
        short_sends: some(400),
        splits: some(500),
        late_completions: some(500),
        late_cancels: some(800),
        no_buffers: some(300),
        ended_multishots: some(400),
        small_windows: some(800),
        resets: if fair { 0 } else { some(300) },
        failed_accepts: if fair { 0 } else { some(200) },
        ..Faults::default()
    };
    let buffer_bytes = *rng.pick(&[512, 2048, 16 * 1024]);
    let runtime = RuntimeConfig {
        buffers: BufferConfig {
            buffer_bytes,
            ring_buffers: *rng.pick(&[8, 32]),
            // Both ends of each connection hold buffers of the one pool.
            worker_bytes_max: 32 << 20,
            connection_bytes_max: buffer_bytes * rng.between(1, 6) as u32,
        },
        ..RuntimeConfig::default()
    };
    let log = Rc::new(Log::default());
    let config = SimConfig { seed, faults, verbose: false };
    let (_, report) = sim::run(&config, &runtime, script(Rc::clone(&log), rng.fork(), fair))
        .map_err(|error| vec![error.to_string()])?;
    log.check(report.open_descriptors == 0, || format!("{} descriptors leak", report.open_descriptors));
    log.check(report.open_operations == 0, || format!("{} operations leak", report.open_operations));
    let violations = log.violations.take();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

async fn script(log: Rc<Log>, mut rng: Rng, fair: bool) {
    let address = Address::Tcp(([10, 0, 0, 2], 7).into());
    let listener = Listener::from_fd(sim::listen(&address).expect("a descriptor")).expect("a listener");
    let echo = rt::spawn(serve(Rc::clone(&log), listener, rng.fork()));
    let connections = rng.between(1, 12);
    let mut tasks = Vec::new();
    for id in 0..connections {
        let (log, address, rng) = (Rc::clone(&log), address.clone(), rng.fork());
        tasks.push(rt::spawn(async move { converse(&log, &address, id, rng).await }));
    }
    for _ in 0..rng.below(30) {
        rt::spawn(watch_a_timer(Rc::clone(&log), rng.fork()));
    }
    // Tasks may be ended at any moment: memory and descriptors must come back all the same.
    let aborted = if fair { 0 } else { rng.below(connections + 1) };
    for _ in 0..aborted {
        rt::sleep_until(rt::now() + Duration::from_micros(rng.below(20_000))).await;
        rt::abort(*rng.pick(&tasks));
    }
    let limit = rt::now() + Duration::from_secs(900);
    while rt::counters().tasks > 1 && rt::now() < limit {
        rt::sleep_until(rt::now() + Duration::from_millis(20)).await;
    }
    rt::abort(echo);
    while rt::counters().streams > 0 && rt::now() < limit {
        rt::sleep_until(rt::now() + Duration::from_millis(20)).await;
    }
    let end = rt::counters();
    let left = (end.tasks, end.streams, end.buffers_in_use, end.panics);
    log.check(left == (0, 0, 0, 0), || format!("tasks, streams, buffers left and panics: {left:?}"));
    let (whole, closed) = (u64::from(log.whole.get()), u64::from(log.closed.get()));
    log.check(!fair || whole + closed >= connections, || {
        format!("{whole} of {connections} connections were whole, {closed} were closed")
    });
}

/// Echoes every connection, sometimes by way of a descriptor.
async fn serve(log: Rc<Log>, listener: Listener, mut rng: Rng) {
    loop {
        let Ok((fd, _)) = listener.accept().await else {
            log.check(false, || "accept failed".to_owned());
            return;
        };
        let (log, mut rng) = (Rc::clone(&log), rng.fork());
        rt::spawn(async move {
            let Ok(mut stream) = Stream::from_fd(fd) else { return };
            loop {
                let Ok(chunk) = stream.recv().await else { return };
                if chunk.is_empty() {
                    stream.shutdown_write();
                    let _ = stream.sent().await;
                    return;
                }
                if stream.send(shuffle(chunk, &mut rng)).is_err() || stream.sent().await.is_err() {
                    return;
                }
                if stream.is_quiet() && rng.chance(20) {
                    // Only a silent connection changes hands; the others are closed, which the client sees.
                    let Ok(fd) = stream.into_fd().await else {
                        log.closed.set(log.closed.get() + 1);
                        return;
                    };
                    let Ok(back) = Stream::from_fd(fd) else { return };
                    stream = back;
                }
            }
        });
    }
}

/// The same bytes in up to three pieces: shared, copied, or in part the one and the other.
fn shuffle(mut chunk: Chunk, rng: &mut Rng) -> Parts {
    let first = chunk.split_to(rng.below(chunk.len() as u64) as usize);
    let second = chunk.split_to(rng.below(chunk.len() as u64) as usize);
    let copy =
        |chunk: Chunk, rng: &mut Rng| if rng.chance(300) { Chunk::from(chunk.copy_out()) } else { chunk };
    let (first, second) = (copy(first, rng), copy(second, rng));
    Parts::from(first).and(second).and(chunk)
}

/// Sends bytes, reads them back, and compares.
async fn converse(log: &Log, address: &Address, id: u64, mut rng: Rng) {
    let Ok(stream) = Stream::connect(address).await else { return };
    let expected = body_of(id, false, rng.below(60_000) as usize);
    let (mut sent, mut received) = (0, Vec::new());
    let mut shut = false;
    while received.len() < expected.len() {
        // Up to so much is under way at once.
        while sent < expected.len() && sent - received.len() < 20_000 {
            let end = expected.len().min(sent + 1 + rng.below(8_000) as usize);
            if stream.send(expected[sent..end].to_vec()).is_err() {
                return;
            }
            sent = end;
        }
        if sent == expected.len() && !shut && rng.chance(500) {
            stream.shutdown_write();
            shut = true;
        }
        match stream.recv().await {
            Ok(chunk) if !chunk.is_empty() => received.extend_from_slice(&chunk),
            // Cut off, which only a fault or a descriptor that was not idle explains.
            _ => break,
        }
        log.check(expected.starts_with(&received), || {
            format!("{id}: mixed up before byte {}", received.len())
        });
        if rng.chance(50) {
            rt::sleep_until(rt::now() + Duration::from_micros(rng.below(5_000))).await;
        }
    }
    if received == expected {
        log.whole.set(log.whole.get() + 1);
    }
}

/// Moves a deadline about and looks at when it expires.
async fn watch_a_timer(log: Rc<Log>, mut rng: Rng) {
    let timer = rt::Timer::new();
    for _ in 0..rng.between(1, 10) {
        let at = rt::now() + Duration::from_micros(rng.below(3_000_000));
        timer.arm(at);
        if rng.chance(300) {
            rt::sleep_until(rt::now() + Duration::from_micros(rng.below(1_000_000))).await;
        }
        let at = if rng.chance(300) {
            let moved = rt::now() + Duration::from_micros(rng.below(4_000_000));
            timer.arm(moved);
            moved
        } else {
            at
        };
        let asked = rt::now().max(at);
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        let late = rt::now().saturating_duration_since(asked);
        log.check(rt::now() >= at, || "a timer expired early".to_owned());
        log.check(late <= Duration::from_millis(1), || format!("a timer expired {late:?} late"));
    }
}
