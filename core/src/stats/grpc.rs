//! What is counted for each gRPC method.
//!
//! Methods are not named by the configuration alone: those that origins take get statistics when they are first seen. There
//! are never more than [`METHODS_MAX`] of them, so that no client can make series without end.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use ringway_protocols::grpc::{STATUSES, split_path};
use serde_json::{Map, Value, json};

use super::counter::Counter;
use super::histogram::{Histogram, Measured, Snapshot};
use super::labels::OVERFLOW;
use super::report::durations;
use super::{Stats, WorkerStats};
use crate::grpc::CallOutcome;

/// Methods that are told apart; calls of all others are counted together as `_other`.
pub const METHODS_MAX: usize = 1_000;
/// Longest path of a method that gets statistics of its own.
const PATH_BYTES_MAX: usize = 256;

/// The paths of methods, for all workers. A slot is the index of its path plus one; slot 0 is for what has none.
#[derive(Debug, Default)]
pub struct MethodNames {
    /// Locked when a worker sees a method for the first time, and when somebody reads.
    paths: Mutex<Vec<Arc<[u8]>>>,
}

impl MethodNames {
    /// The slot of a path, which is added where there is room.
    pub(super) fn add(&self, path: &[u8]) -> u32 {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let found = paths.iter().position(|known| **known == *path);
        let index = match found {
            Some(index) => index,
            None if paths.len() >= METHODS_MAX || path.len() > PATH_BYTES_MAX => return 0,
            None => {
                paths.push(path.into());
                paths.len() - 1
            }
        };
        u32::try_from(index + 1).unwrap_or(0)
    }

    fn find(&self, path: &[u8]) -> Option<u32> {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let index = paths.iter().position(|known| **known == *path)?;
        u32::try_from(index + 1).ok()
    }

    fn all(&self) -> Vec<Arc<[u8]>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The slots that one worker knows, so that it asks for each only once.
#[derive(Default)]
pub struct MethodSlots {
    known: RefCell<AHashMap<Box<[u8]>, u32>>,
}

impl MethodSlots {
    /// The slot to count a call in.
    pub fn slot(&self, stats: &WorkerStats, call: &CallOutcome<'_>) -> u32 {
        if let Some(slot) = self.known.borrow().get(call.path) {
            return *slot;
        }
        // What no origin has taken may be a name that a client made up: it uses up no room.
        let names = &stats.method_names;
        if self.known.borrow().len() >= METHODS_MAX {
            return 0;
        }
        let slot = if call.known { names.add(call.path) } else { names.find(call.path).unwrap_or(0) };
        if slot > 0 {
            stats.methods.reserve(slot);
            self.known.borrow_mut().insert(call.path.into(), slot);
        }
        slot
    }
}

/// Numbers of one method.
#[derive(Debug, Default)]
pub struct MethodStats {
    statuses: [Counter; STATUSES.len()],
    messages_in: Counter,
    messages_out: Counter,
    duration: OnceLock<Box<Histogram>>,
}

impl WorkerStats {
    /// Counts a finished call.
    pub fn on_call(&self, slot: u32, call: &CallOutcome<'_>, duration: Duration) {
        let method = self.methods.get(slot);
        if let Some(counter) = method.statuses.get(usize::from(call.status.code())) {
            counter.increment();
        }
        method.messages_in.add(call.messages_in);
        method.messages_out.add(call.messages_out);
        method.duration.get_or_init(Box::default).add(Measured::of(duration));
    }
}

/// What all workers counted for one method.
#[derive(Debug, Default)]
pub struct MethodReading {
    pub service: String,
    pub method: String,
    pub statuses: [u64; STATUSES.len()],
    pub messages_in: u64,
    pub messages_out: u64,
    pub durations: Snapshot,
}

impl MethodReading {
    pub fn calls(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// Statuses that occurred, by name.
    pub fn statuses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        STATUSES
            .iter()
            .zip(self.statuses)
            .filter(|(_, count)| *count > 0)
            .map(|((_, name, _), count)| (*name, count))
    }
}

impl Stats {
    /// What was counted for every method that was called.
    pub fn methods(&self) -> Vec<MethodReading> {
        let paths = self.methods.all();
        let named = paths.iter().enumerate().map(|(index, path)| {
            let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            let (service, method) = split_path(path).unwrap_or((b"", b""));
            (u32::try_from(index + 1).unwrap_or(0), text(service), text(method))
        });
        let other = std::iter::once((0, OVERFLOW.to_owned(), OVERFLOW.to_owned()));
        let readings = named.chain(other).map(|(slot, service, method)| {
            let mut sum = MethodReading { service, method, ..MethodReading::default() };
            for stats in self.workers().iter().filter_map(|worker| worker.methods.find(slot)) {
                for (total, counter) in sum.statuses.iter_mut().zip(&stats.statuses) {
                    *total += counter.get();
                }
                sum.messages_in += stats.messages_in.get();
                sum.messages_out += stats.messages_out.get();
                if let Some(duration) = stats.duration.get() {
                    duration.add_to(&mut sum.durations);
                }
            }
            sum
        });
        readings.filter(|reading| reading.calls() > 0).collect()
    }
}

/// Methods by service, for `/stats`.
pub(super) fn report(stats: &Stats) -> Value {
    let mut services: Map<String, Value> = Map::new();
    for reading in stats.methods() {
        let statuses: Map<_, _> = reading.statuses().map(|(name, n)| (name.to_owned(), json!(n))).collect();
        let method = json!({
            "calls": reading.calls(),
            "statuses": statuses,
            "messages_in": reading.messages_in,
            "messages_out": reading.messages_out,
            "duration_us": durations(&reading.durations),
        });
        let service =
            services.entry(reading.service.clone()).or_insert_with(|| json!({ "calls": 0, "methods": {} }));
        let calls = service.get("calls").and_then(Value::as_u64).unwrap_or(0) + reading.calls();
        if let Some(service) = service.as_object_mut() {
            service.insert("calls".to_owned(), json!(calls));
            if let Some(methods) = service.get_mut("methods").and_then(Value::as_object_mut) {
                methods.insert(reading.method.clone(), method);
            }
        }
    }
    Value::Object(services)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_protocols::grpc::Status;

    fn call(path: &str, status: Status) -> CallOutcome<'_> {
        let (service, method) = split_path(path.as_bytes()).expect("a path");
        let known = status != Status::Unimplemented;
        CallOutcome { path: path.as_bytes(), service, method, status, known, messages_in: 1, messages_out: 2 }
    }

    fn count(stats: &Stats, slots: &MethodSlots, worker: usize, call: &CallOutcome<'_>) {
        let worker = &stats.workers()[worker];
        worker.on_call(slots.slot(worker, call), call, Duration::from_millis(1));
    }

    #[test]
    fn methods_are_counted_by_status_over_all_workers() {
        let stats = Stats::new(2);
        let slots = [MethodSlots::default(), MethodSlots::default()];
        for (worker, path, status) in [
            (0, "/a.S/M", Status::Ok),
            (1, "/a.S/M", Status::Unavailable),
            (1, "/a.S/N", Status::Ok),
            (0, "/made.Up/Name", Status::Unimplemented),
        ] {
            count(&stats, &slots[worker], worker, &call(path, status));
        }
        let readings = stats.methods();
        let names: Vec<_> = readings.iter().map(|r| format!("{}/{}", r.service, r.method)).collect();
        assert_eq!(names, ["a.S/M", "a.S/N", "_other/_other"]);
        let statuses: Vec<_> = readings[0].statuses().collect();
        assert_eq!(statuses, [("OK", 1), ("UNAVAILABLE", 1)]);
        assert_eq!((readings[0].messages_in, readings[0].messages_out), (2, 4));
        assert_eq!(report(&stats)["a.S"]["calls"], 3);
    }

    #[test]
    fn there_are_never_more_methods_than_the_bound() {
        let stats = Stats::new(1);
        let slots = MethodSlots::default();
        for index in 0..METHODS_MAX + 10 {
            count(&stats, &slots, 0, &call(&format!("/a.S/M{index}"), Status::Ok));
        }
        let readings = stats.methods();
        assert_eq!(readings.len(), METHODS_MAX + 1);
        let other = readings.last().expect("the last");
        assert_eq!((other.service.as_str(), other.calls()), ("_other", 10));
    }
}
