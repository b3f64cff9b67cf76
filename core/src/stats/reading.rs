//! What the workers counted for one name, summed at one moment.

use super::histogram::{Histogram, Snapshot};
use super::worker::{CLASSES, ClusterStats, EndpointStats, ListenerStats, RouteStats};

/// Most single numbers that a name has.
const NUMBERS_MAX: usize = 4;

/// The sum over all workers.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Exchanges by class of their status.
    pub responses: [u64; CLASSES],
    /// In the order of [`Numbered::NUMBERS`].
    pub numbers: [u64; NUMBERS_MAX],
    /// `None` as long as nothing was measured.
    pub durations: Option<Box<Snapshot>>,
}

impl Reading {
    /// Exchanges of all classes.
    pub fn exchanges(&self) -> u64 {
        self.responses.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Takes away what `earlier` holds.
    pub(super) fn subtract(&mut self, earlier: &Reading) {
        let pairs = self.responses.iter_mut().zip(&earlier.responses);
        for (now, then) in pairs.chain(self.numbers.iter_mut().zip(&earlier.numbers)) {
            *now = now.wrapping_sub(*then);
        }
        if let (Some(now), Some(then)) = (&mut self.durations, &earlier.durations) {
            now.subtract(then);
        }
    }

    fn add(&mut self, responses: [u64; CLASSES], numbers: &[u64], durations: Option<&Histogram>) {
        let pairs = self.responses.iter_mut().zip(&responses);
        for (sum, n) in pairs.chain(self.numbers.iter_mut().zip(numbers)) {
            *sum = sum.wrapping_add(*n);
        }
        if let Some(durations) = durations {
            durations.add_to(self.durations.get_or_insert_default());
        }
    }
}

/// One single number of a kind of name: its name, what it means, and whether it only rises.
pub struct Number {
    pub name: &'static str,
    pub help: &'static str,
    pub rises: bool,
}

const fn counter(name: &'static str, help: &'static str) -> Number {
    Number { name, help, rises: true }
}

const fn gauge(name: &'static str, help: &'static str) -> Number {
    Number { name, help, rises: false }
}

/// Statistics of a listener, route, cluster or endpoint.
pub trait Numbered {
    /// What it is called in the name of a metric.
    const KIND: &'static str;
    const NUMBERS: &'static [Number];
    /// Name and meaning of its histogram.
    const DURATIONS: Option<(&'static str, &'static str)>;

    /// Adds what one worker counted.
    fn add_to(&self, sum: &mut Reading);
}

impl Numbered for ListenerStats {
    const KIND: &'static str = "listener";
    const NUMBERS: &'static [Number] = &[
        counter("connections_accepted", "Client connections accepted"),
        gauge("connections_open", "Client connections open now"),
        counter("connections_refused", "Client connections closed unserved at a limit"),
        counter("response_body_bytes", "Bytes of response bodies"),
    ];
    const DURATIONS: Option<(&'static str, &'static str)> = None;

    fn add_to(&self, sum: &mut Reading) {
        let numbers = [
            self.connections_accepted.get(),
            self.connections_open.get(),
            self.connections_refused.get(),
            self.body_bytes_out.get(),
        ];
        sum.add(self.responses.read(), &numbers, None);
    }
}

impl Numbered for RouteStats {
    const KIND: &'static str = "route";
    const NUMBERS: &'static [Number] = &[
        counter("request_body_bytes", "Bytes of request bodies"),
        counter("response_body_bytes", "Bytes of response bodies"),
    ];
    const DURATIONS: Option<(&'static str, &'static str)> =
        Some(("duration", "First byte of the request to the end of the exchange"));

    fn add_to(&self, sum: &mut Reading) {
        let numbers = [self.body_bytes_in.get(), self.body_bytes_out.get()];
        sum.add(self.responses.read(), &numbers, self.duration.get().map(|boxed| &**boxed));
    }
}

impl Numbered for ClusterStats {
    const KIND: &'static str = "cluster";
    const NUMBERS: &'static [Number] = &[
        counter("retries", "Requests sent upstream again"),
        counter("connects", "Connections made"),
        counter("connect_failures", "Connections that failed"),
        gauge("connections_open", "Connections open now, busy and idle"),
    ];
    const DURATIONS: Option<(&'static str, &'static str)> =
        Some(("first_byte", "Complete request head to the first byte of the response"));

    fn add_to(&self, sum: &mut Reading) {
        let numbers = [
            self.retries.get(),
            self.connects.get(),
            self.connect_failures.get(),
            self.connections_open.get(),
        ];
        sum.add(self.responses.read(), &numbers, self.first_byte.get().map(|boxed| &**boxed));
    }
}

impl Numbered for EndpointStats {
    const KIND: &'static str = "endpoint";
    const NUMBERS: &'static [Number] = &[
        counter("connects", "Connections made"),
        counter("connect_failures", "Connections that failed"),
        gauge("connections_open", "Connections open now, busy and idle"),
    ];
    const DURATIONS: Option<(&'static str, &'static str)> = None;

    fn add_to(&self, sum: &mut Reading) {
        let numbers = [self.connects.get(), self.connect_failures.get(), self.connections_open.get()];
        sum.add(self.responses.read(), &numbers, None);
    }
}
