//! `--compare` and `added`: several targets in interleaved rounds, so that what changes on the machine meanwhile
//! meets all of them; medians, spread, and ratios with a confidence interval.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::{self, LoadArgs, OutputArgs, invalid, parse_duration};
use super::arrivals::Spacing;
use super::codec::Protocol;
use super::html;
use super::summary::{self, Document, Latency, time};
use super::tls::config::TlsArgs;

/// `ringway-load added`.
#[derive(Clone, Debug, Args)]
pub struct AddedArgs {
    /// The proxy.
    #[arg(long)]
    proxy: String,
    /// Its origin, asked without the proxy.
    #[arg(long)]
    direct: String,
    /// Requests per second to each: below the knee of both, or queues are measured.
    #[arg(long, short = 'R', default_value_t = 1000.0)]
    rate: f64,
    /// How they are spread.
    #[arg(long, value_enum, default_value_t = Spacing::Fixed)]
    arrivals: Spacing,
    /// Connections to each.
    #[arg(long, short = 'c', default_value_t = 16)]
    connections: u32,
    /// What to speak to both.
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Requests at a time on one connection.
    #[arg(long, short = 'm')]
    streams: Option<u32>,
    /// The method. Default: GET, or POST with --data.
    #[arg(long, short = 'X')]
    method: Option<String>,
    /// A header field, as `Name: value`. May be repeated.
    #[arg(long, short = 'H')]
    header: Vec<String>,
    /// The body, or @FILE.
    #[arg(long)]
    data: Option<String>,
    /// Threads. Default: one for each CPU that this process may use.
    #[arg(long, short = 't')]
    threads: Option<u32>,
    /// CPUs to pin the threads to: 0,2-3.
    #[arg(long)]
    cpus: Option<String>,
    /// Left out of each round at its beginning.
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    warmup: Duration,
    /// Of each round.
    #[arg(long, short = 'd', value_parser = parse_duration, default_value = "2s")]
    duration: Duration,
    /// Each asks both.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(flatten)]
    secure: TlsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A median with its spread over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// A ratio of two targets: the geometric mean over rounds, and where the true one lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

/// One target of a comparison.
#[derive(Debug, Serialize)]
pub struct Compared {
    pub name: String,
    pub url: String,
    pub requests_per_second: Spread,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub p999_us: Spread,
    pub errors: u64,
    /// Requests per second over the first target's.
    pub rate_ratio: Ratio,
    pub p99_ratio: Ratio,
    #[serde(skip)]
    rounds: Vec<Document>,
}

impl Compared {
    /// The round whose rate is in the middle: it stands for the others where only one can be shown.
    fn median_round(&self) -> Option<&Document> {
        let rate = |round: &&Document| round.summary.requests_per_second;
        let mut rounds: Vec<&Document> = self.rounds.iter().collect();
        rounds.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        rounds.get(rounds.len().saturating_sub(1) / 2).copied()
    }
}

/// Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom; then about 2.
const STUDENT: &[f64] = &[12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// `a=URL,b=URL`.
pub fn parse_list(list: &str) -> io::Result<Vec<(String, String)>> {
    let pairs: Vec<(String, String)> = list
        .split(',')
        .map(|pair| match pair.split_once('=') {
            Some((name, url)) if !name.is_empty() && !url.is_empty() => {
                Ok((name.trim().into(), url.trim().into()))
            }
            _ => {
                Err(invalid(format!("--compare {pair}: expected NAME=URL, several of them split by commas")))
            }
        })
        .collect::<io::Result<_>>()?;
    if pairs.len() < 2 { Err(invalid("--compare: expected at least two NAME=URL".into())) } else { Ok(pairs) }
}

pub fn execute(load: &LoadArgs, pairs: &[(String, String)]) -> io::Result<ExitCode> {
    load.output.refuse_files_of_one_run("--compare")?;
    let compared = rounds(load, pairs)?;
    let table = table(&compared);
    print!("{table}");
    output(&load.output, "compare", "Comparison", &compared, &table)?;
    Ok(ExitCode::from(if compared.iter().all(|one| one.errors == 0) { 0 } else { 3 }))
}

/// A line of the table of `added`.
type Column = (&'static str, fn(&Latency) -> f64);

/// Runs `added`.
pub fn added(args: &AddedArgs) -> io::Result<ExitCode> {
    args::catch_interrupt();
    args.output.refuse_files_of_one_run("added")?;
    let load = LoadArgs {
        rate: Some(args.rate),
        arrivals: args.arrivals,
        connections: args.connections,
        protocol: args.protocol,
        streams: args.streams,
        method: args.method.clone(),
        header: args.header.clone(),
        data: args.data.clone(),
        threads: args.threads,
        cpus: args.cpus.clone(),
        warmup: args.warmup,
        duration: Some(args.duration),
        rounds: args.rounds,
        secure: args.secure.clone(),
        output: args.output.clone(),
        ..LoadArgs::plain()
    };
    let pairs = [("direct".to_owned(), args.direct.clone()), ("proxy".to_owned(), args.proxy.clone())];
    let compared = rounds(&load, &pairs)?;
    let mut text =
        format!("{:8} {:>12} {:>12} {:>12}  over {} rounds\n", "", "direct", "proxy", "added", args.rounds);
    let columns: [Column; 5] = [
        ("p50", |latency| latency.p50_us),
        ("p90", |latency| latency.p90_us),
        ("p99", |latency| latency.p99_us),
        ("p99.9", |latency| latency.p999_us),
        ("p99.99", |latency| latency.p9999_us),
    ];
    for (name, of) in columns {
        let medians: Vec<f64> =
            compared.iter().map(|one| spread(&one.rounds, |round| of(&round.latency)).median).collect();
        let &[direct, proxy] = medians.as_slice() else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{name:8} {:>12} {:>12} {:>12}",
            time(direct),
            time(proxy),
            signed(proxy - direct)
        );
    }
    print!("{text}");
    output(&args.output, "added", "What the proxy adds", &compared, &text)?;
    Ok(ExitCode::from(if compared.iter().all(|one| one.errors == 0) { 0 } else { 3 }))
}

fn signed(us: f64) -> String {
    if us < 0.0 { format!("-{}", time(-us)) } else { format!("+{}", time(us)) }
}

/// All targets in every round, each time beginning with another one.
fn rounds(load: &LoadArgs, pairs: &[(String, String)]) -> io::Result<Vec<Compared>> {
    let mut configs: Vec<_> =
        pairs.iter().map(|(_, url)| load.config(std::slice::from_ref(url))).collect::<io::Result<_>>()?;
    configs.iter_mut().try_for_each(args::reach)?;
    let mut documents: Vec<Vec<Document>> = pairs.iter().map(|_| Vec::new()).collect();
    let mut round_of = |round: usize, position: usize| -> io::Result<()> {
        let position = (round + position) % configs.len();
        let (Some(config), Some((name, _)), Some(into)) =
            (configs.get(position), pairs.get(position), documents.get_mut(position))
        else {
            return Ok(());
        };
        let result = args::run_shown(config, &OutputArgs { quiet: true, ..OutputArgs::default() })?;
        let document = Document::new(config, &result);
        if !load.output.quiet {
            eprintln!(
                "round {} {name}: {:.0} requests/s, p99 {}, {} errors",
                round + 1,
                document.summary.requests_per_second,
                time(document.latency.p99_us),
                document.summary.errors
            );
        }
        into.push(document);
        Ok(())
    };
    for round in 0..load.rounds.max(1) as usize {
        for position in 0..pairs.len() {
            round_of(round, position)?;
        }
        if args::shared().stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(evaluate(pairs, documents))
}

fn evaluate(pairs: &[(String, String)], documents: Vec<Vec<Document>>) -> Vec<Compared> {
    let rate = |document: &Document| document.summary.requests_per_second;
    let p99 = |document: &Document| document.latency.p99_us;
    let values =
        |rounds: &[Document], of: &dyn Fn(&Document) -> f64| rounds.iter().map(of).collect::<Vec<f64>>();
    let base =
        documents.first().map(|rounds| (values(rounds, &rate), values(rounds, &p99))).unwrap_or_default();
    pairs
        .iter()
        .zip(documents)
        .map(|((name, url), rounds)| Compared {
            name: name.clone(),
            url: url.clone(),
            requests_per_second: spread(&rounds, rate),
            p50_us: spread(&rounds, |document| document.latency.p50_us),
            p99_us: spread(&rounds, p99),
            p999_us: spread(&rounds, |document| document.latency.p999_us),
            errors: rounds.iter().map(|document| document.summary.errors + document.summary.missed).sum(),
            rate_ratio: ratio(&values(&rounds, &rate), &base.0),
            p99_ratio: ratio(&values(&rounds, &p99), &base.1),
            rounds,
        })
        .collect()
}

fn spread(rounds: &[Document], of: impl Fn(&Document) -> f64) -> Spread {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let at = |position: usize| values.get(position).copied().unwrap_or(0.0);
    let median = (at(values.len().saturating_sub(1) / 2) + at(values.len() / 2)) / 2.0;
    Spread { median, min: at(0), max: at(values.len().saturating_sub(1)) }
}

/// Pairs the rounds, because they share the machine's weather; the logarithms of the pairs' ratios are taken as normal.
pub fn ratio(values: &[f64], base: &[f64]) -> Ratio {
    let logs: Vec<f64> = values
        .iter()
        .zip(base)
        .filter(|(value, base)| **value > 0.0 && **base > 0.0)
        .map(|(value, base)| (value / base).ln())
        .collect();
    let count = logs.len() as f64;
    if logs.is_empty() {
        return Ratio { ratio: 0.0, low: 0.0, high: 0.0 };
    }
    let mean = logs.iter().sum::<f64>() / count;
    if logs.len() < 2 {
        return Ratio { ratio: mean.exp(), low: 0.0, high: f64::MAX };
    }
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let student = STUDENT.get(logs.len() - 2).copied().unwrap_or(2.1);
    let half = student * (variance / count).sqrt();
    Ratio { ratio: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() }
}

fn table(compared: &[Compared]) -> String {
    let first = compared.first().map_or("", |one| one.name.as_str());
    // Names are as long as they are: the columns stay below each other.
    let width = compared.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).max(8);
    let mut out = format!(
        "{:width$} {:>24} {:>10} {:>30}  requests/s over {first} (95 %)\n",
        "", "requests/s (min–max)", "p50", "p99 (min–max)"
    );
    for one in compared {
        let rate = one.requests_per_second;
        let ratio = one.rate_ratio;
        let interval = if ratio.high == f64::MAX {
            "needs two rounds".to_owned()
        } else {
            format!("{:.3} ({:.3}–{:.3})", ratio.ratio, ratio.low, ratio.high)
        };
        let _ = writeln!(
            out,
            "{:width$} {:>24} {:>10} {:>30}  {interval}{}",
            one.name,
            format!("{:.0} ({:.0}–{:.0})", rate.median, rate.min, rate.max),
            time(one.p50_us.median),
            format!("{} ({}–{})", time(one.p99_us.median), time(one.p99_us.min), time(one.p99_us.max)),
            if one.errors > 0 { format!("  {} ERRORS", one.errors) } else { String::new() }
        );
    }
    out
}

fn output(output: &OutputArgs, mode: &str, title: &str, compared: &[Compared], text: &str) -> io::Result<()> {
    if let Some(path) = &output.json {
        let rounds = || compared.iter().flat_map(|one| &one.rounds);
        let requests: u64 = rounds().map(|round| round.summary.requests).sum();
        let errors: u64 = compared.iter().map(|one| one.errors).sum();
        let json = serde_json::json!({
            "tool": "ringway-load", "mode": mode, "summary": { "requests": requests, "errors": errors },
            "targets": compared,
        });
        summary::write("--json", path, &serde_json::to_string_pretty(&json)?)?;
    }
    if let Some(path) = &output.report {
        let documents: Vec<(String, &Document)> = compared
            .iter()
            .filter_map(|one| one.median_round().map(|round| (one.name.clone(), round)))
            .collect();
        let extra = html::bars(compared) + &html::preformatted(text);
        summary::write("--report", path, &html::page(title, &documents, &extra))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_the_interval_of_its_spread() {
        let same = ratio(&[200.0, 100.0, 300.0], &[100.0, 50.0, 150.0]);
        assert!((same.ratio - 2.0).abs() < 1e-9 && (same.high - same.low).abs() < 1e-9, "{same:?}");
        let noisy = ratio(&[110.0, 90.0, 100.0, 105.0], &[100.0; 4]);
        assert!(noisy.low < 1.0 && noisy.high > 1.0, "{noisy:?}");
        assert_eq!(ratio(&[1.0], &[1.0]).high, f64::MAX);
        assert_eq!(ratio(&[], &[]).ratio, 0.0);
    }

    #[test]
    fn the_list_names_its_targets() {
        let list = parse_list("a=http://x:1/?q=1,b=http://y:2").expect("valid");
        assert_eq!(list[0], ("a".to_owned(), "http://x:1/?q=1".to_owned()));
        for text in ["", "a=http://x", "a=,b=http://y", "http://x,http://y"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }
}
