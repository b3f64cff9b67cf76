//! Statistics → JSON, for `/stats`: each worker, and their sum.

use serde_json::{Map, Value, json};

use super::counter::Row;
use super::histogram::{Histogram, Snapshot};
use super::labels::Labels;
use super::reading::{Numbered, Reading};
use super::worker::{
    CLASS_NAMES, ClusterStats, ConnectionStats, EndpointStats, ExchangeStats, Http2Stats, IoStats,
    ListenerStats, PoolStats, RouteStats, TlsStats, UpstreamHttp2Stats, UpstreamTlsStats, WorkerStats,
};
use super::{ProcessStats, Stats};
use crate::access_log::LogStats;

/// Everything that is counted, for the names of `labels`.
pub fn render(stats: &Stats, labels: &Labels) -> Value {
    let workers: Vec<Value> = stats.workers().iter().map(|worker| Value::Object(one(worker))).collect();
    let statuses = stats.statuses().into_iter();
    let statuses =
        statuses.map(|(code, n)| (code.map_or("other".to_owned(), |code| code.to_string()), json!(n)));
    let reasons = |pairs: Vec<(&'static str, u64)>| -> Map<String, Value> {
        pairs.into_iter().filter(|(_, n)| *n > 0).map(|(code, n)| (code.to_owned(), json!(n))).collect()
    };
    let readings = stats.read(labels);
    let clusters = readings.clusters.iter().map(|(name, reading)| {
        let mut cluster = named::<ClusterStats>(reading);
        let own = readings.endpoints.iter().filter(|(of, ..)| of == name);
        let endpoints =
            own.map(|(_, endpoint, reading)| (endpoint.to_string(), named::<EndpointStats>(reading).into()));
        cluster.insert("endpoints".to_owned(), Value::Object(endpoints.collect()));
        (name.to_string(), Value::Object(cluster))
    });
    json!({
        "process": group(&stats.process, ProcessStats::ROWS),
        "access_log": group(&*stats.access_log, LogStats::ROWS),
        "workers": workers,
        "sum": sum(stats),
        "durations_us": {
            "exchange": durations(&stats.durations(|worker| &worker.duration)),
            "first_byte": durations(&stats.durations(|worker| &worker.first_byte)),
            "connect": durations(&stats.durations(|worker| &worker.connect)),
        },
        "responses": statuses.collect::<Map<_, _>>(),
        "reasons": reasons(stats.reasons(|worker| &worker.reasons)),
        "connections_refused": reasons(stats.reasons(|worker| &worker.refused)),
        "listeners": readings.listeners.iter().map(entry::<ListenerStats>).collect::<Map<_, _>>(),
        "routes": readings.routes.iter().map(entry::<RouteStats>).collect::<Map<_, _>>(),
        "clusters": clusters.collect::<Map<_, _>>(),
        "grpc": super::grpc::report(stats),
    })
}

fn entry<T: Numbered>((name, reading): &(std::sync::Arc<str>, Reading)) -> (String, Value) {
    (name.to_string(), named::<T>(reading).into())
}

fn group<G>(group: &G, rows: &[Row<G>]) -> Map<String, Value> {
    rows.iter().map(|row| (row.name.to_owned(), json!((row.read)(group)))).collect()
}

/// The plain numbers of one worker.
fn one(worker: &WorkerStats) -> Map<String, Value> {
    let mut numbers = Map::new();
    numbers.insert("worker".to_owned(), json!(worker.index()));
    numbers.extend(group(&worker.connections, ConnectionStats::ROWS));
    numbers.extend(group(&worker.exchanges, ExchangeStats::ROWS));
    numbers.extend(group(&worker.pool, PoolStats::ROWS));
    numbers.extend(group(&worker.http2, Http2Stats::ROWS));
    numbers.extend(group(&worker.upstream_http2, UpstreamHttp2Stats::ROWS));
    numbers.extend(group(&worker.tls, TlsStats::ROWS));
    numbers.extend(group(&worker.upstream_tls, UpstreamTlsStats::ROWS));
    numbers.extend(group(&worker.io, IoStats::ROWS));
    numbers
}

fn sum(stats: &Stats) -> Map<String, Value> {
    let mut sum: Map<String, Value> = Map::new();
    for worker in stats.workers() {
        for (name, value) in one(worker) {
            let before = sum.get(&name).and_then(Value::as_u64).unwrap_or(0);
            sum.insert(name, json!(before.wrapping_add(value.as_u64().unwrap_or(0))));
        }
    }
    sum.remove("worker");
    sum
}

fn named<T: Numbered>(reading: &Reading) -> Map<String, Value> {
    let mut map = Map::new();
    let classes = CLASS_NAMES.iter().zip(reading.responses).filter(|(_, n)| *n > 0);
    let classes = classes.map(|(class, n)| ((*class).to_owned(), json!(n)));
    map.insert("responses".to_owned(), Value::Object(classes.collect()));
    for (number, value) in T::NUMBERS.iter().zip(reading.numbers) {
        map.insert(number.name.to_owned(), json!(value));
    }
    if let (Some((name, _)), Some(snapshot)) = (T::DURATIONS, &reading.durations) {
        map.insert(format!("{name}_us"), durations(snapshot));
    }
    map
}

/// Quantiles are upper bounds of their bucket: at most 25 % too high.
pub(super) fn durations(snapshot: &Snapshot) -> Value {
    let count = snapshot.count();
    let mean = (snapshot.sum_nanos / 1_000).checked_div(count).unwrap_or(0);
    let q = |q| snapshot.quantile_micros(q);
    json!({ "count": count, "mean": mean, "p50": q(0.5), "p90": q(0.9), "p99": q(0.99), "p999": q(0.999) })
}

impl Stats {
    /// Exact statuses that occurred, summed.
    pub(super) fn statuses(&self) -> Vec<(Option<u16>, u64)> {
        let mut sum = std::collections::BTreeMap::<u16, u64>::new();
        for worker in self.workers() {
            for (status, count) in worker.statuses.read() {
                *sum.entry(status.unwrap_or(u16::MAX)).or_default() += count;
            }
        }
        sum.into_iter().map(|(status, count)| ((status != u16::MAX).then_some(status), count)).collect()
    }

    /// Every reason and its number, summed.
    pub(super) fn reasons(
        &self,
        of: fn(&WorkerStats) -> &super::worker::ByReason,
    ) -> Vec<(&'static str, u64)> {
        let mut sum: Vec<(&'static str, u64)> =
            crate::error::REASONS.iter().map(|info| (info.code, 0)).collect();
        for worker in self.workers() {
            for (total, (_, count)) in sum.iter_mut().zip(of(worker).read()) {
                total.1 += count;
            }
        }
        sum
    }

    /// A histogram, summed.
    pub(super) fn durations(&self, of: fn(&WorkerStats) -> &Histogram) -> Snapshot {
        let mut sum = Snapshot::default();
        self.workers().iter().for_each(|worker| of(worker).add_to(&mut sum));
        sum
    }
}
