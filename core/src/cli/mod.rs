//! The command line.
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{Config, ConfigSource, EndpointConfig, IoChoice, ProcessConfig};

/// Runs the command line of this process and returns its exit status.
pub fn main() -> ExitCode {
    match parse() {
        Ok((config, source)) => crate::server::run(Arc::new(config), source),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// A first reading of the flags.
fn parse() -> Result<(Config, ConfigSource), String> {
    let mut args = std::env::args().skip(1).peekable();
    args.next_if(|arg| arg == "run");
    let mut source = ConfigSource::default();
    let mut process = ProcessConfig::default();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--listen" => source.listen.push(value),
            "--upstream" => source.upstream.push(value),
            "--workers" => process.workers = value.parse().map_err(|e| format!("--workers: {e}"))?,
            "--admin" => process.admin = value.parse().ok(),
            "--io" => {
                process.io = match value.as_str() {
                    "auto" => IoChoice::Auto,
                    "uring" => IoChoice::Uring,
                    "epoll" => IoChoice::Epoll,
                    _ => return Err(format!("--io: expected auto, uring or epoll, found {value:?}")),
                }
            }
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if source.listen.is_empty() {
        source.listen.push("127.0.0.1:8080".to_owned());
    }
    let listen = source.listen.iter().map(|text| text.parse()).collect::<Result<Vec<_>, String>>()?;
    let endpoints = source.upstream.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, String>>()?;
    Ok((Config::simple(&listen, &endpoints, process), source))
}

fn endpoint(text: &str) -> Result<EndpointConfig, String> {
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if let Ok(address) = text.parse() {
        return Ok(EndpointConfig::Address(address));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("expected HOST:PORT, found {text:?}"))?;
    let port = port.parse().map_err(|_| format!("expected HOST:PORT, found {text:?}"))?;
    Ok(EndpointConfig::Name { host: host.to_owned(), port })
}
