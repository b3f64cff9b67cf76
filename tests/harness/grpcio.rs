//! grpcio (PyPI) as client and as origin: `peer.py`, in a Python that has it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::peers::{find, run};

/// The Python to use, or `None` after printing that the test is skipped. `RINGWAY_TEST_PYTHON` names one of a virtual
/// environment with `pip install grpcio`.
pub fn python() -> Option<PathBuf> {
    let python = match std::env::var_os("RINGWAY_TEST_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => find("python3")?,
    };
    if run(&python, &["-c", "import grpc"]).status.success() {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} lacks grpcio, and under CI nothing is skipped",
        python.display()
    );
    println!(
        "SKIPPED: needs grpcio (python3 -m venv V; V/bin/pip install grpcio; RINGWAY_TEST_PYTHON=V/bin/python)"
    );
    None
}

fn script() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/grpc/peer.py").display().to_string()
}

/// A server by grpcio; killed when dropped, and it ends when its standard input does.
pub struct GrpcioOrigin {
    child: Child,
    address: SocketAddr,
    _input: Option<ChildStdin>,
}

impl GrpcioOrigin {
    pub fn start(python: &Path) -> GrpcioOrigin {
        GrpcioOrigin::start_with(python, &[])
    }

    /// With the files of a certificate and its key.
    pub fn start_tls(python: &Path, cert: &Path, key: &Path) -> GrpcioOrigin {
        GrpcioOrigin::start_with(python, &[cert, key])
    }

    fn start_with(python: &Path, files: &[&Path]) -> GrpcioOrigin {
        let mut command = Command::new(python);
        command.args([&script(), "serve"]).args(files).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("a port, not {line:?}"));
        let input = child.stdin.take();
        GrpcioOrigin { child, address: ([127, 0, 0, 1], port).into(), _input: input }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcioOrigin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that the client knows to ask.
pub fn ask_everything(python: &Path, of: SocketAddr) {
    ask(python, of, &[]);
}

/// The same over TLS: `tls` is the file of an authority and the name asked for, and then perhaps a certificate and its key.
pub fn ask_everything_tls(python: &Path, of: SocketAddr, tls: &[&str]) {
    ask(python, of, tls);
}

fn ask(python: &Path, of: SocketAddr, tls: &[&str]) {
    let output = run(&python.to_owned(), &[&[&script()[..], "client", &of.to_string()], tls].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
