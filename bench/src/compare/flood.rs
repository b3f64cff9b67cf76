//! A flood of TLS handshakes beside plain traffic: what it does to the latency of those who are served already.
//!
//! The handshakes are full ones with RSA of 2048 bits, which cost the proxy many times what they cost the client: as many as
//! the proxy can make. They go to a listener of their own on the same worker, from a process with the lowest priority, so
//! that the client whose latency is measured never waits for it.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_loadtest::report::Report;

use super::http2::Said;
use super::measure::Run;
use super::peers::{Peer, find};
use super::{CompareArgs, Workload, child, http2};

/// One proxy in one round, without the flood and with it.
pub(super) struct Flooded {
    pub(super) peer: Peer,
    pub(super) round: u32,
    pub(super) quiet: Report,
    pub(super) flooded: Report,
    pub(super) handshakes_per_second: f64,
}

impl Flooded {
    /// For the files with single measurements: traffic that is left alone is that of another workload.
    pub(super) fn into_runs(self) -> [Run; 2] {
        let Flooded { peer, round, quiet, flooded, .. } = self;
        [(Workload::Rate, quiet), (Workload::TlsFlood, flooded)].map(|(workload, report)| Run {
            workload,
            peer,
            round,
            report,
        })
    }
}

/// Makes handshakes while something else is measured.
pub(super) struct Flood {
    nice: PathBuf,
    json: PathBuf,
    cpu: usize,
    seconds: f64,
}

/// Connections that shake hands at a time.
const CONNECTIONS: u32 = 64;
/// The flood is there that long before the measurement, and that much longer.
const MARGIN: Duration = Duration::from_millis(500);

impl Flood {
    pub(super) fn new(args: &CompareArgs, dir: &Path, cpu: usize) -> io::Result<Flood> {
        let seconds = args.warmup + args.seconds + 3.0 * MARGIN.as_secs_f64();
        let nice = find(None, "nice", "it is a part of coreutils")?;
        Ok(Flood { nice, json: dir.join("flood.json"), cpu, seconds })
    }

    /// Measures while handshakes are made, and says how many a second.
    pub(super) fn during<T>(
        &self,
        to: SocketAddr,
        measure: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, f64)> {
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| self.run(to));
            std::thread::sleep(MARGIN);
            let measured = measure();
            let said = flood.join().unwrap_or_else(|_| Err(io::Error::other("the flood panicked")))?;
            Ok((measured?, said.summary.connects as f64 / said.summary.seconds.max(1e-3)))
        })
    }

    fn run(&self, to: SocketAddr) -> io::Result<Said> {
        let (connections, duration) = (CONNECTIONS.to_string(), format!("{}ms", (self.seconds * 1e3) as u64));
        let (url, json) = (format!("https://{to}/small"), self.json.display().to_string());
        let program = std::env::current_exe()?;
        let mut args: Vec<OsString> = vec!["-n".into(), "19".into(), program.into()];
        let load = ["load", "--quiet", "--threads", "1", "--connections", &connections, "--insecure"];
        let more = ["--groups", "X25519", "--new-connection", "--duration", &duration, "--json", &json, &url];
        args.extend(load.iter().chain(&more).map(OsString::from));
        let printed = child::output(&self.nice, &args, self.cpu)?;
        http2::read_said(&self.json, &printed)
    }
}
