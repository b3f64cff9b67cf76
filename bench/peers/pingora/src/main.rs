//! The smallest proxy on Pingora: everything goes to one origin, by one worker, with keep-alive on both sides, no logs and no
//! fields of its own, as the other peers do it. `ringway-bench compare` starts it.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use pingora_core::Result;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[derive(Debug, Parser)]
struct Args {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// What it forwards to.
    #[arg(long)]
    origin: SocketAddr,
    /// Clients may speak HTTP/2 with prior knowledge.
    #[arg(long)]
    client_http2: bool,
    /// The origin speaks HTTP/2.
    #[arg(long)]
    origin_http2: bool,
}

struct Proxy {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

/// As many as the other peers may keep.
const UPSTREAM_CONNECTIONS_MAX: usize = 256;
/// Streams of one connection to the origin: those that a client may have, so that a few connections do.
const STREAMS_MAX: usize = 128;

fn main() {
    let args = Args::parse();
    let conf = ServerConf {
        threads: 1,
        // With one thread there is nobody to steal from, and the runtime of one thread is the cheaper one.
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_CONNECTIONS_MAX,
        // It would wait for five minutes.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut peer = HttpPeer::new(args.origin, false, String::new());
    peer.options.connection_timeout = Some(Duration::from_secs(5));
    if args.origin_http2 {
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = STREAMS_MAX;
    }
    let mut service = http_proxy_service(&server.configuration, Proxy { peer });
    if args.client_http2 {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        if let Some(proxy) = service.app_logic_mut() {
            proxy.server_options = Some(options);
        }
    }
    service.add_tcp(&args.listen.to_string());
    server.add_service(service);
    server.run_forever();
}
