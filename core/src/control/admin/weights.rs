//! Weights of the targets of routes, shown and changed while the proxy runs.
//!
//! A change is in force at once, for every worker, and lasts over reloads until the file says something else.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::routes::{show_json, text, with_type};
use crate::config::{Config, Targets};
use crate::control::lifecycle::Control;
use crate::log_info;

/// The weights of every route with several targets.
pub(super) fn show(control: &Control) -> Response<Full<Bytes>> {
    let config = &control.generations.current().config;
    let mut routes = Map::new();
    for route in config.routes.iter().filter(|route| route.targets.list.len() > 1) {
        // Of the routes that one with several matches has become, the first stands for all.
        routes.entry(route.name.clone()).or_insert_with(|| of_targets(config, &route.targets));
    }
    show_json(&Value::Object(routes))
}

fn of_targets(config: &Config, targets: &Targets) -> Value {
    let each = config.weights(targets).into_iter();
    each.map(
        |(name, weight, written)| json!({ "cluster": name, "weight": weight, "weight_of_file": written }),
    )
    .collect()
}

/// `CLUSTER=WEIGHT&…`: clusters that are not named keep their weights.
pub(super) fn set(control: &Control, route: &str, query: &str) -> Response<Full<Bytes>> {
    let mut wanted = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').map(|(cluster, weight)| (cluster, weight.parse::<u32>())) {
            Some((cluster, Ok(weight))) => wanted.push((cluster, weight)),
            _ => return refuse(format!("expected CLUSTER=WEIGHT; found `{}`", pair.escape_debug())),
        }
    }
    if wanted.is_empty() {
        return refuse("expected ?CLUSTER=WEIGHT&...; found nothing".to_owned());
    }
    change(control, route, &wanted, false)
}

/// `to=CLUSTER`: the others get nothing more.
pub(super) fn switch(control: &Control, route: &str, query: &str) -> Response<Full<Bytes>> {
    match query.strip_prefix("to=") {
        Some(cluster) => change(control, route, &[(cluster, 100)], true),
        None => refuse("expected ?to=CLUSTER".to_owned()),
    }
}

fn change(control: &Control, route: &str, wanted: &[(&str, u32)], only: bool) -> Response<Full<Bytes>> {
    let config = &control.generations.current().config;
    let Some(targets) = config.targets_of(route) else {
        return text(StatusCode::NOT_FOUND, "there is no route of that name\n");
    };
    if let Err(problem) = config.set_weights(targets, wanted, only) {
        return refuse(problem);
    }
    let now = of_targets(config, targets);
    log_info!("weights changed route={route} weights={now}");
    show_json(&now)
}

fn refuse(problem: String) -> Response<Full<Bytes>> {
    with_type(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", format!("{problem}\n"))
}
