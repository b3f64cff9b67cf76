//! Ringway as a running process: written configuration, known addresses, readable logs, and an end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::client::Client;
use crate::http::Response;
use crate::origin::Origin;
use crate::process::{self, Signal};
use crate::stats::Stats;
use crate::temp::TempDir;
use crate::wait::{PATIENCE, eventually};

/// The driver under the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    Uring,
    Epoll,
    Monoio,
    Glommio,
}

impl Io {
    /// The value of `--io`.
    pub fn name(self) -> &'static str {
        match self {
            Io::Uring => "uring",
            Io::Epoll => "epoll",
            Io::Monoio => "monoio",
            Io::Glommio => "glommio",
        }
    }

    /// What the proxy calls it when it starts.
    fn log_name(self) -> &'static str {
        match self {
            Io::Uring => "io_uring",
            io => io.name(),
        }
    }

    /// The driver that `RINGWAY_TEST_IO` chooses for every test, if it does.
    pub fn chosen() -> Option<Io> {
        let name = std::env::var("RINGWAY_TEST_IO").ok()?;
        let all = [Io::Uring, Io::Epoll, Io::Monoio, Io::Glommio];
        let found = all.into_iter().find(|io| io.name() == name);
        Some(found.unwrap_or_else(|| panic!("RINGWAY_TEST_IO={name}: expected one of {all:?} in lower case")))
    }
}

/// Runs a test on a driver, or on the chosen one; see [`each_driver`](crate::each_driver).
pub fn on_driver(io: Io, test: fn(Io)) {
    match Io::chosen() {
        None => test(io),
        Some(chosen) if io == Io::Uring => test(chosen),
        Some(chosen) => println!("SKIPPED: runs once, on {}", chosen.name()),
    }
}

/// How to start the proxy. The lines are YAML, indented as they stand under their list item (four blanks are added).
#[derive(Debug, Clone)]
pub struct Ringway {
    io: Io,
    workers: usize,
    top: String,
    listener: String,
    cluster: String,
    route: String,
    upstreams: Vec<String>,
    /// The whole file, in place of the one made of the lines above.
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Ringway {
    /// One listener, one route and one cluster: this origin.
    pub fn to(origin: &Origin) -> Ringway {
        Ringway::to_address(origin.address())
    }

    pub fn to_address(origin: SocketAddr) -> Ringway {
        Ringway::to_endpoints([origin.to_string()])
    }

    pub fn to_endpoints(endpoints: impl IntoIterator<Item = String>) -> Ringway {
        Ringway {
            io: Io::chosen().unwrap_or(Io::Uring),
            workers: 1,
            top: String::new(),
            listener: String::new(),
            cluster: String::new(),
            route: String::new(),
            upstreams: endpoints.into_iter().collect(),
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    pub fn io(mut self, io: Io) -> Ringway {
        self.io = io;
        self
    }

    pub fn workers(mut self, workers: usize) -> Ringway {
        self.workers = workers;
        self
    }

    /// Adds a line at the top level.
    pub fn top(mut self, line: &str) -> Ringway {
        self.top += &format!("{line}\n");
        self
    }

    /// Adds a line to the listener.
    pub fn listener(mut self, line: &str) -> Ringway {
        self.listener += &format!("    {line}\n");
        self
    }

    /// Adds a line to the cluster.
    pub fn cluster(mut self, line: &str) -> Ringway {
        self.cluster += &format!("    {line}\n");
        self
    }

    /// Adds a line to the route.
    pub fn route(mut self, line: &str) -> Ringway {
        self.route += &format!("    {line}\n");
        self
    }

    /// Takes this whole file instead; `workers`, `io` and `admin` still come from here, as flags.
    pub fn config(mut self, yaml: impl Into<String>) -> Ringway {
        self.config = Some(yaml.into());
        self
    }

    /// Sets any setting by its flag, without the dashes.
    pub fn set(self, flag: &str, value: impl std::fmt::Display) -> Ringway {
        self.argument(format!("--{flag}")).argument(value.to_string())
    }

    pub fn argument(mut self, argument: impl Into<String>) -> Ringway {
        self.arguments.push(argument.into());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Ringway {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the proxy under another program, which must `exec` it so that it keeps the process id.
    pub fn under(mut self, program: &[&str]) -> Ringway {
        self.wrapper = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The file that [`Ringway::start`] writes; for a test that changes it and reloads.
    pub fn yaml(&self) -> String {
        if let Some(config) = &self.config {
            return config.clone();
        }
        let endpoints: Vec<String> = self.upstreams.iter().map(|address| format!("\"{address}\"")).collect();
        format!(
            "{}listeners:\n  - name: web\n    bind: \"127.0.0.1:0\"\n{}clusters:\n  - name: origin\n    \
             endpoints: [{}]\n{}routes:\n  - name: all\n    to: origin\n{}",
            self.top,
            self.listener,
            endpoints.join(", "),
            self.cluster,
            self.route,
        )
    }

    /// Starts the proxy and waits until it serves.
    pub fn start(&self) -> Proxy {
        let directory = TempDir::new();
        let config = directory.write("ringway.yaml", self.yaml());
        let mut child = self.command(&config).spawn().expect("the proxy starts");
        let stderr = Lines::read(child.stderr.take().expect("a pipe"));
        let stdout = Lines::read(child.stdout.take().expect("a pipe"));
        let mut proxy = Proxy {
            child,
            stderr,
            stdout,
            directory,
            config,
            listeners: Vec::new(),
            admin: None,
            ended: None,
        };
        proxy.wait_until_ready();
        if Io::chosen().is_some() && !self.arguments.iter().any(|argument| argument == "--io") {
            proxy.wait_for_log(&format!(" io={}", self.io.log_name()));
        }
        proxy
    }

    /// Runs a proxy that must not start, and returns its exit status and what it wrote to stderr.
    pub fn start_refused(&self) -> (ExitStatus, String) {
        let directory = TempDir::new();
        let config = directory.write("ringway.yaml", self.yaml());
        let mut child = self.command(&config).spawn().expect("the proxy runs");
        let stderr = Lines::read(child.stderr.take().expect("a pipe"));
        let status = wait_for_exit(&mut child, &stderr);
        stderr.wait_until_closed();
        (status, stderr.all().join("\n"))
    }

    fn command(&self, config: &Path) -> Command {
        let binary = binary("ringway-under-test");
        let mut words: Vec<String> = self.wrapper.clone();
        words.push(binary.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("run").arg("--config").arg(config);
        // What a test sets by itself is not given twice.
        let (workers, io) = (self.workers.to_string(), self.io.name());
        let own = [("--workers", workers.as_str()), ("--io", io), ("--admin", "127.0.0.1:0")];
        for (flag, value) in own.iter().filter(|(flag, _)| !self.arguments.iter().any(|set| set == flag)) {
            command.args([flag, value]);
        }
        command.args(&self.arguments);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGWAY_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running proxy; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    stderr: Lines,
    stdout: Lines,
    directory: TempDir,
    config: PathBuf,
    listeners: Vec<(String, String)>,
    admin: Option<SocketAddr>,
    ended: Option<ExitStatus>,
}

impl Proxy {
    /// The address of the listener `web`.
    pub fn address(&self) -> SocketAddr {
        self.address_of("web")
    }

    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        let (_, address) = found.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.listeners));
        address.parse().unwrap_or_else(|_| panic!("{address} is no TCP address"))
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    /// A new connection to the listener `web`.
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One `GET` over a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// One request over a connection of its own.
    pub fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().exchange(request)
    }

    /// `GET path` at the admin listener.
    pub fn admin_get(&self, path: &str) -> Response {
        let admin = self.admin();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        Client::connect(admin).exchange(request)
    }

    /// The statistics of this moment.
    pub fn stats(&self) -> Stats {
        Stats::parse(&self.admin_get("/stats").body, &self.admin_get("/metrics").body_text())
    }

    /// Waits until a condition on the statistics holds.
    pub fn wait_for_stats(&self, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
        eventually(what, || Some(self.stats()).filter(&condition))
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Writes a new configuration file in place of the old one; HUP makes the proxy read it.
    pub fn write_config(&self, yaml: impl AsRef<[u8]>) {
        std::fs::write(&self.config, yaml).expect("the configuration file");
    }

    /// Writes a configuration, sends HUP and waits for the line that says how it went.
    pub fn reload(&self, yaml: impl AsRef<[u8]>) -> String {
        self.write_config(yaml);
        let before = self.stderr.count();
        self.signal(Signal::HUP);
        let done = |line: &str| line.contains("configuration reloaded") || line.contains("reload refused");
        self.stderr.wait_for_line(before, "a line about the reload", done)
    }

    /// Waits for a line on stderr.
    pub fn wait_for_log(&self, part: &str) -> String {
        self.stderr.wait_for_line(0, part, |line| line.contains(part))
    }

    /// What was written to stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits for a line on stdout (the access log, where it goes there).
    pub fn wait_for_stdout(&self, part: &str) -> String {
        self.stdout.wait_for_line(0, part, |line| line.contains(part))
    }

    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let status = wait_for_exit(&mut self.child, &self.stderr);
        self.ended = Some(status);
        status
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().ok().flatten().is_some()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.stderr.all();
            self.listeners = lines.iter().filter_map(|line| listening(line)).collect();
            self.admin = lines
                .iter()
                .find_map(|line| value(line.split_once("admin listens ")?.1, "address")?.parse().ok());
            if lines.iter().any(|line| line.contains(" ready ")) && !self.listeners.is_empty() {
                break;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                self.stderr.wait_until_closed();
                panic!("the proxy ended at once, {status}:\n{}", self.stderr.all().join("\n"));
            }
            assert!(Instant::now() < deadline, "not ready after {PATIENCE:?}:\n{}", lines.join("\n"));
            self.stderr.wait_for_more(lines.len());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("stderr of the proxy:\n{}", self.stderr.all().join("\n"));
        }
    }
}

/// Where Cargo put a binary of this package: beside the directory of the running test.
pub fn binary(name: &str) -> PathBuf {
    if let (Some(path), "ringway-under-test") = (std::env::var_os("RINGWAY_TEST_BINARY"), name) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the path of the test");
    let directory = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    directory.join(name)
}

/// The name and address in a line `listening name=web address=127.0.0.1:8080`.
fn listening(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("listening ")?;
    Some((value(rest, "name")?, value(rest, "address")?))
}

/// The value of `key=value` in a line.
fn value(line: &str, key: &str) -> Option<String> {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
    Some(word.trim_matches('"').to_owned())
}

fn wait_for_exit(child: &mut Child, stderr: &Lines) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the process is ours") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {PATIENCE:?}:\n{}", stderr.all().join("\n"));
        }
        crate::wait::pause(std::time::Duration::from_millis(5));
    }
}

/// The lines of a pipe, read by a thread so that the writer never blocks.
#[derive(Debug, Clone)]
struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines(Arc::default());
        let shared = lines.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                line.clear();
                shared.change(|collected| collected.lines.push(text));
            }
            shared.change(|collected| collected.closed = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Collected)) {
        change(&mut self.0.0.lock().unwrap_or_else(|e| e.into_inner()));
        self.0.1.notify_all();
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(|e| e.into_inner()).lines.clone()
    }

    fn count(&self) -> usize {
        self.0.0.lock().unwrap_or_else(|e| e.into_inner()).lines.len()
    }

    fn wait_until_closed(&self) {
        self.wait("the end of the output", |collected| collected.closed.then_some(()));
    }

    /// Waits, though not for ever, until there are more than `count` lines or none will come.
    fn wait_for_more(&self, count: usize) {
        let short = std::time::Duration::from_millis(50);
        let collected = self.0.0.lock().unwrap_or_else(|e| e.into_inner());
        let more = |collected: &mut Collected| collected.lines.len() <= count;
        drop(self.0.1.wait_timeout_while(collected, short, more).unwrap_or_else(|e| e.into_inner()));
    }

    fn wait_for_line(&self, skip: usize, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait(what, |collected| collected.lines.iter().skip(skip).find(|line| wanted(line)).cloned())
    }

    fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Collected) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.0.0.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if let Some(answer) = ask(&collected) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {PATIENCE:?} in vain for {what:?} in:\n{}",
                collected.lines.join("\n")
            );
            collected = self.0.1.wait_timeout(collected, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }
}
