//! What the admin listeners answer.

use std::time::UNIX_EPOCH;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::guard::{MayWrite, is_read};
use super::weights;
use crate::control::lifecycle::{Ask, Control, Phase};
use crate::stats::labels::endpoint_text;
use crate::stats::{metrics, report};

/// What a path offers.
enum Route {
    Read(fn(&Control) -> Response<Full<Bytes>>),
    Reload,
    Drain,
    /// New weights of the route of this name, where the path has one.
    Weights(String),
    /// All requests of the route of this name to one of its clusters.
    Switch(String),
}

const INDEX: &str = "GET  /ready    200 while the proxy takes traffic, 503 while it starts or drains\n\
                     GET  /live     200 while the process answers\n\
                     GET  /metrics  Prometheus text\n\
                     GET  /stats    the same numbers as JSON, for each worker and summed\n\
                     GET  /config   the configuration in use and the last reload\n\
                     POST /reload   load the configuration file again (admin socket, or token)\n\
                     GET  /endpoints  the endpoints of each cluster, where they come from, and whether that is stale\n\
                     GET  /weights  the weights of routes with several clusters\n\
                     POST /weights/ROUTE?CLUSTER=WEIGHT&...  change them (admin socket, or token)\n\
                     POST /switch/ROUTE?to=CLUSTER           all requests to one cluster (admin socket, or token)\n\
                     POST /drain    stop accepting, let exchanges end, exit (admin socket, or token)\n";

/// Answers a request that passed the guard.
pub(super) async fn answer(
    control: &Control,
    asks: &mpsc::Sender<Ask>,
    parts: &Parts,
    may_write: MayWrite,
) -> Response<Full<Bytes>> {
    let route = match parts.uri.path() {
        "/" => Route::Read(|_| text(StatusCode::OK, INDEX)),
        "/ready" => Route::Read(ready),
        "/live" => Route::Read(|_| text(StatusCode::OK, "live\n")),
        "/metrics" => Route::Read(show_metrics),
        "/stats" => Route::Read(show_stats),
        "/config" => Route::Read(show_config),
        "/reload" => Route::Reload,
        "/drain" => Route::Drain,
        "/endpoints" => Route::Read(show_endpoints),
        "/weights" => Route::Read(weights::show),
        path if let Some(route) = path.strip_prefix("/weights/") => Route::Weights(route.to_owned()),
        path if let Some(route) = path.strip_prefix("/switch/") => Route::Switch(route.to_owned()),
        _ => return text(StatusCode::NOT_FOUND, "no such path; GET / lists them\n"),
    };
    match route {
        Route::Read(read) if is_read(&parts.method) => read(control),
        Route::Read(_) => not_allowed("GET, HEAD"),
        _ if parts.method != Method::POST => not_allowed("POST"),
        _ if may_write != MayWrite::Yes => {
            control.stats.process.admin_refused.increment();
            may_write.refusal().unwrap_or_else(|| not_allowed("POST"))
        }
        Route::Reload => reload(asks).await,
        Route::Weights(route) => weights::set(control, &route, parts.uri.query().unwrap_or_default()),
        Route::Switch(route) => weights::switch(control, &route, parts.uri.query().unwrap_or_default()),
        Route::Drain => match asks.try_send(Ask::Drain) {
            Ok(()) => text(StatusCode::ACCEPTED, "draining\n"),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once, try again\n"),
        },
    }
}

fn ready(control: &Control) -> Response<Full<Bytes>> {
    let (status, message) = match (control.phase(), control.identities.missing()) {
        (Phase::Running, None) => (StatusCode::OK, "ready".to_owned()),
        (Phase::Running, Some(missing)) => (StatusCode::SERVICE_UNAVAILABLE, missing),
        (phase, _) => (StatusCode::SERVICE_UNAVAILABLE, phase.name().to_owned()),
    };
    with_type(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn show_metrics(control: &Control) -> Response<Full<Bytes>> {
    control.count_generations();
    let generation = control.generations.current();
    let mut text = metrics::render(&control.stats, &generation.labels);
    text.push_str(&metrics::certificates(&generation.config));
    with_type(StatusCode::OK, metrics::CONTENT_TYPE, text)
}

fn show_stats(control: &Control) -> Response<Full<Bytes>> {
    control.count_generations();
    let mut report = report::render(&control.stats, &control.generations.current().labels);
    report["phase"] = json!(control.phase().name());
    report["uptime_s"] = json!(control.started.elapsed().as_secs());
    report["version"] = json!(env!("CARGO_PKG_VERSION"));
    show_json(&report)
}

fn show_config(control: &Control) -> Response<Full<Bytes>> {
    let current = control.generations.current();
    let last_reload = control.generations.last_reload().map(|reload| {
        let at = reload.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut time = String::new();
        crate::access_log::date::push_iso(&mut time, at.as_secs(), at.subsec_millis());
        let (ok, key) = (reload.result.is_ok(), if reload.result.is_ok() { "message" } else { "error" });
        json!({ "at": time, "ok": ok, key: reload.result.unwrap_or_else(|error| error) })
    });
    show_json(&json!({
        "generation": current.config.generation,
        "old_generations_in_use": control.generations.old(),
        "last_reload": last_reload,
        "config": current.config.to_json(),
    }))
}

fn show_endpoints(control: &Control) -> Response<Full<Bytes>> {
    let current = control.generations.current();
    let clusters = current.config.clusters.iter().map(|cluster| {
        let endpoints = cluster.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let traits = cluster.traits(index);
            json!({
                "address": endpoint_text(endpoint), "weight": traits.weight,
                "priority": traits.priority, "zone": traits.zone.as_deref(),
            })
        });
        json!({
            "name": cluster.name,
            "from": cluster.discovery.as_ref().map_or("configuration".to_owned(), ToString::to_string),
            "stale": control.stale(cluster),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    show_json(&json!({ "revision": current.config.revision, "clusters": clusters.collect::<Vec<_>>() }))
}

async fn reload(asks: &mpsc::Sender<Ask>) -> Response<Full<Bytes>> {
    let (sender, answer) = oneshot::channel();
    if asks.try_send(Ask::Reload(sender)).is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once, try again\n");
    }
    match answer.await {
        Ok(Ok(message)) => {
            with_type(StatusCode::OK, "text/plain; charset=utf-8", format!("reloaded {message}\n"))
        }
        Ok(Err(error)) => {
            let message = format!("{error}\nthe configuration in use did not change\n");
            with_type(StatusCode::UNPROCESSABLE_ENTITY, "text/plain; charset=utf-8", message)
        }
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is shutting down\n"),
    }
}

pub(super) fn show_json(value: &Value) -> Response<Full<Bytes>> {
    with_type(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this path does not know that method\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// A plain text answer.
pub(super) fn text(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", message)
}

pub(super) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
