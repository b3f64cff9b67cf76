//! The corpus: files with the messages that they must give.

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringway_core::config::{Config, Severity};
use ringway_tests::temp::TempDir;

use super::{data, expect_file, file_source};

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data("corpus")).expect("the corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 40, "the corpus is there");
    files
}

#[test]
fn every_file_gives_its_messages() {
    let directory = format!("{}/", data("corpus").display());
    for path in files() {
        let result = Config::load(&file_source(&path));
        let findings = match &result {
            Ok(config) => &config.warnings,
            Err(errors) => errors,
        };
        let mut text = String::new();
        for finding in findings {
            let _ = writeln!(text, "{finding}");
            let _ = writeln!(text, "--- {}", finding.one_line());
        }
        let outcome = if result.is_ok() { "accepted" } else { "refused" };
        let _ = writeln!(text, "{outcome}");
        expect_file(&path.with_extension("expected"), &text.replace(&directory, ""));
    }
}

#[test]
fn names_say_what_a_file_is() {
    for path in files() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let result = Config::load(&file_source(&path));
        let fine = ["good-", "warnings", "text-byte-order-mark", "yaml-aliases", "yaml-directive"];
        let fine = fine.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(result.is_ok(), fine, "{name}");
        if let Err(errors) = result {
            assert!(errors.iter().all(|error| error.severity == Severity::Error), "{name}");
        }
    }
}

/// A file of the operator may be damaged in any way: it is refused or accepted in bounded time, never a panic.
#[test]
fn damaged_files_are_refused_or_accepted_and_never_more() {
    let seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let directory = TempDir::new();
    let originals: Vec<Vec<u8>> = files().iter().map(|path| std::fs::read(path).expect("a file")).collect();
    const PIECES: [&[u8]; 14] =
        [b"\n", b": ", b"- ", b"[", b"{", b"}", b"]", b"\"", b"&a ", b"*a", b"\t", b"|\n", b"\xff", b"!x "];
    for round in 0..1_500 {
        let mut bytes = originals[random(originals.len())].clone();
        bytes.truncate(4096);
        for _ in 0..=random(4) {
            let at = random(bytes.len() + 1);
            match random(3) {
                0 => drop(bytes.splice(at..at, PIECES[random(PIECES.len())].iter().copied())),
                1 => drop(bytes.drain(at..(at + random(20)).min(bytes.len()))),
                _ => bytes.truncate(at),
            }
        }
        let path = directory.write("damaged.yaml", &bytes);
        let start = Instant::now();
        let outcome =
            catch_unwind(|| Config::load(&file_source(path)).map(drop).map_err(|errors| errors.len()));
        let text = String::from_utf8_lossy(&bytes);
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed} round {round}: panicked on {text}"));
        assert!(
            outcome.is_ok_and(|()| true) || outcome.is_err_and(|count| count > 0),
            "an error has a message"
        );
        assert!(start.elapsed() < Duration::from_secs(5), "seed {seed} round {round}: slow on {text}");
    }
}

/// What a hostile file makes us print and compute is bounded.
#[test]
fn huge_files_take_bounded_time_and_output() {
    let directory = TempDir::new();
    let unknown_keys: String = (0..100_000).map(|number| format!("unknown_{number}: 1\n")).collect();
    let clusters: String =
        (0..10_000).map(|n| format!("  - {{ name: c{n}, endpoints: [\"10.0.0.1:9\"] }}\n")).collect();
    let routes: String =
        (0..20_000).map(|n| format!("  - {{ name: r{n}, hosts: [h{n}.example], to: d{n} }}\n")).collect();
    let dangling =
        format!("listeners: [{{ name: w, bind: \":80\" }}]\nclusters:\n{clusters}routes:\n{routes}");
    let long_line = format!("workers: {}\n", "9".repeat(1_000_000));
    for (name, text) in [("unknown", unknown_keys), ("dangling", dangling), ("long", long_line)] {
        let path = directory.write(name, &text);
        let start = Instant::now();
        let errors = Config::load(&file_source(path)).map(drop).expect_err(name);
        assert!(errors.len() <= 201, "{name}: {} errors", errors.len());
        let printed: usize = errors.iter().map(|error| error.to_string().len()).sum();
        assert!(printed < 200_000, "{name}: {printed} bytes");
        // Work that grows with the square of a file would take hours; a busy machine takes its time, too.
        assert!(start.elapsed() < Duration::from_secs(120), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn five_thousand_routes_load() {
    let directory = TempDir::new();
    let routes: String = (0..5_000)
        .map(|n| format!("  - {{ name: r{n}, hosts: [h{n}.example], match: [{{ path: {{ prefix: /p{n} }} }}], to: app }}\n"))
        .collect();
    let text = format!(
        "listeners: [{{ name: w, bind: \":80\" }}]\nclusters: [{{ name: app, endpoints: [\"10.0.0.1:9\"] }}]\nroutes:\n{routes}"
    );
    let config = Config::load(&file_source(directory.write("many.yaml", &text))).expect("a configuration");
    assert_eq!(config.routes.len(), 5_000);
}
