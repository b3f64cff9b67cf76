//! The loop: one thread, one ring, a client and an origin on it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::client::{Client, ClientConfig};
use crate::origin::{Origin, OriginConfig};
use crate::process::{self, CpuTime};
use crate::report::{Latency, ProxyUse, Report};
use crate::ring::{Completion, Ring, RingConfig};

/// How long the client runs, and what is watched meanwhile.
#[derive(Clone, Debug)]
pub struct RunConfig {
    pub warmup: Duration,
    pub duration: Duration,
    /// Processes whose CPU time and memory are reported.
    pub pids: Vec<u32>,
}

/// A ring with whatever runs on it.
pub struct Engine {
    ring: Ring,
    client: Option<Client>,
    origin: Option<Origin>,
    batch: Vec<Completion>,
}

/// After the window, requests may end for so long before they count as unanswered.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The longest sleep: phases change at a turn of the loop.
const TURN_MAX: Duration = Duration::from_millis(20);

impl Engine {
    pub fn new(connections: u32) -> io::Result<Engine> {
        // Each connection of the client and each of the origin has at most a send, a receive and a connect.
        let completions = connections.saturating_mul(4).clamp(4096, 32768).next_power_of_two();
        let ring = Ring::new(RingConfig { entries: 1024, completions, buffers: 512, buffer_bytes: 4096 })?;
        Ok(Engine { ring, client: None, origin: None, batch: Vec::with_capacity(completions as usize) })
    }

    pub fn with_origin(mut self, config: OriginConfig) -> io::Result<Engine> {
        self.origin = Some(Origin::new(config, &mut self.ring)?);
        Ok(self)
    }

    /// With an origin on a socket that listens already.
    pub fn with_listener(mut self, listener: OwnedFd, body_bytes: u64) -> io::Result<Engine> {
        self.origin = Some(Origin::on(listener, body_bytes, &mut self.ring)?);
        Ok(self)
    }

    /// Serves the origin until the process is ended.
    pub fn serve(&mut self) -> io::Result<()> {
        loop {
            self.turn(None)?;
        }
    }

    /// Serves the origin while `until` says so: it is called at least every 20 ms.
    pub fn serve_while(&mut self, mut until: impl FnMut() -> bool) -> io::Result<()> {
        while until() {
            self.turn(Some(TURN_MAX))?;
        }
        Ok(())
    }

    /// Runs a client through warm-up, window and drain.
    pub fn run(&mut self, client: ClientConfig, run: &RunConfig) -> io::Result<Report> {
        let (target, connections, rate) = (client.target, client.connections, client.rate);
        self.client = Some(Client::new(client, &mut self.ring)?);
        self.run_until(Instant::now() + run.warmup)?;

        let begin = Sample::take(&run.pids)?;
        self.with_client(|client| client.begin_window(begin.at));
        self.run_until(begin.at + run.duration)?;

        let end = Sample::take(&run.pids)?;
        self.with_client(|client| client.stop(end.at));
        let client = self.client.as_ref().ok_or_else(|| io::Error::other("no client"))?;
        let (requests, body_bytes, connects) =
            (client.totals.requests, client.totals.body_bytes, client.totals.connects);
        self.drain()?;

        let Some(client) = self.client.take() else { return Err(io::Error::other("no client")) };
        let seconds = (end.at - begin.at).as_secs_f64();
        let mut errors = client.totals.errors;
        errors.unanswered = u64::from(client.in_flight);
        let memory = process::memory(&run.pids)?;
        let tester_us = (end.tester - begin.tester).total_us();
        Ok(Report {
            target: target.to_string(),
            connections,
            seconds,
            rate,
            requests,
            requests_per_second: requests as f64 / seconds,
            body_bytes_per_second: body_bytes as f64 / seconds,
            connects,
            errors,
            latency: Latency::of(&client.totals.latency_ns),
            proxy: (!run.pids.is_empty())
                .then(|| ProxyUse::new(end.proxy - begin.proxy, requests, seconds, memory)),
            tester_us_per_request: tester_us / requests.max(1) as f64,
            tester_cpu_share: tester_us / 1e6 / seconds,
        })
    }

    fn run_until(&mut self, end: Instant) -> io::Result<()> {
        while self.turn(Some(TURN_MAX))? < end {}
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        let end = Instant::now() + DRAIN_MAX;
        loop {
            let now = self.turn(Some(TURN_MAX))?;
            if now >= end || self.client.as_ref().is_none_or(|client| client.is_drained(now)) {
                return Ok(());
            }
        }
    }

    fn with_client(&mut self, f: impl FnOnce(&mut Client)) {
        if let Some(client) = &mut self.client {
            f(client);
        }
    }

    /// One turn: start what is due, submit, wait, handle what completed. Returns the time before the wait.
    fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<Instant> {
        let now = Instant::now();
        let mut wait = wait_max;
        if let Some(client) = &mut self.client
            && let Some(at) = client.tick(now, &mut self.ring)?
        {
            let until = at.saturating_duration_since(now);
            wait = Some(wait.map_or(until, |wait| wait.min(until)));
        }
        self.ring.turn(1, wait, &mut self.batch)?;
        for position in 0..self.batch.len() {
            let completion = self.batch[position];
            let taken = match &mut self.origin {
                Some(origin) => origin.complete(&completion, &mut self.ring)?,
                None => false,
            };
            if !taken && let Some(client) = &mut self.client {
                client.complete(&completion, &mut self.ring)?;
            }
        }
        Ok(now)
    }
}

/// CPU times at one moment.
struct Sample {
    at: Instant,
    proxy: CpuTime,
    tester: CpuTime,
}

impl Sample {
    fn take(pids: &[u32]) -> io::Result<Sample> {
        let proxy = process::cpu_time(pids)?;
        Ok(Sample { proxy, tester: process::cpu_time(&[std::process::id()])?, at: Instant::now() })
    }
}
