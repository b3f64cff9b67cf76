//! How long a reload takes: until every worker uses the new configuration, and all in all with reading and checking.
//!
//! It starts the proxy with a file of many routes, changes the file and asks for a reload by the admin socket, again and again.
//! The proxy says itself how long it took (`live_us`, `took_ms` of the answer and the log).

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;

/// What is measured.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Routes of the file.
    #[arg(long, default_value_t = 5_000)]
    routes: usize,
    /// Clusters that they lead to.
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Reloads that are measured.
    #[arg(long, default_value_t = 50)]
    reloads: usize,
    /// The binary `ringway`; the one beside this program without it.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A proxy that ends with the measurement.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both can fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures, and prints a table.
pub fn run(args: &ReloadArgs) -> io::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("ringway");
    let binary = args.binary.clone().unwrap_or(beside);
    let directory = std::env::temp_dir().join(format!("ringway-reload-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = measure(args, &binary, &directory);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(args: &ReloadArgs, binary: &Path, directory: &Path) -> io::Result<()> {
    let (file, socket) = (directory.join("ringway.yaml"), directory.join("admin.sock"));
    std::fs::write(&file, yaml(args, 0))?;
    let workers = args.workers.to_string();
    let mut proxy = Command::new(binary)
        .args(["run", "--admin", "off", "--workers", &workers, "--config"])
        .arg(&file)
        .arg("--admin-socket")
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = proxy.stderr.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let _proxy = Proxy(proxy);
    let mut lines = BufReader::new(log).lines();
    loop {
        match lines.next() {
            Some(line) if line.as_ref().is_ok_and(|line| line.contains(" ready ")) => break,
            Some(line) => drop(line?),
            None => return Err(io::Error::other("the proxy ended")),
        }
    }
    // Nobody else reads the log: a full pipe would hold the proxy up.
    let (sender, reloaded) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok).filter(|line| line.contains("configuration reloaded")) {
            // The measurement may be over.
            let _ = sender.send(line);
        }
    });
    let (mut live, mut took) = (Vec::new(), Vec::new());
    for number in 1..=args.reloads {
        std::fs::write(&file, yaml(args, number))?;
        let output = Command::new(binary).arg("reload").arg("--admin-socket").arg(&socket).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let line = reloaded.recv().map_err(io::Error::other)?;
        let value = |key: &str| {
            let text = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            text.and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| io::Error::other(line.clone()))
        };
        live.push(value("live_us=")? / 1e3);
        took.push(value("took_ms=")?);
    }
    println!(
        "{} routes, {} clusters, {} workers, {} reloads",
        args.routes, args.clusters, args.workers, args.reloads
    );
    println!("| ms | median | largest |\n|---|---|---|");
    for (name, mut times) in [("live on every worker", live), ("with reading and checking", took)] {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("| {name} | {median:.2} | {:.2} |", times.last().copied().unwrap_or_default());
    }
    Ok(())
}

/// A file in which every route differs from the one before by its time.
fn yaml(args: &ReloadArgs, number: usize) -> String {
    let mut text = String::from("listeners:\n  - { name: web, bind: \"127.0.0.1:0\" }\nclusters:\n");
    for cluster in 0..args.clusters.max(1) {
        let _ = writeln!(
            text,
            "  - {{ name: c{cluster}, endpoints: [\"10.0.{}.{}:9000\"] }}",
            cluster / 250,
            cluster % 250 + 1
        );
    }
    text.push_str("routes:\n");
    for route in 0..args.routes {
        let _ = writeln!(
            text,
            "  - name: r{route}\n    hosts: [h{}.example.com]\n    match: [{{ path: {{ prefix: /service/{route} }} }}]\n    \
             timeout: {}s\n    policies:\n      - request_headers: {{ set: {{ x-route: r{route} }} }}\n    to: c{}",
            route / 10,
            number % 50 + 1,
            route % args.clusters.max(1),
        );
    }
    text
}
