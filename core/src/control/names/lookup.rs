//! One question to a resolver: the addresses of a name, both families, or the hosts of a service, with the time to live.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::services::Service;
use crate::log_warning;

/// For one server and one attempt.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Whom to ask.
#[derive(Debug, Clone)]
pub(in crate::control) enum Servers {
    /// `/etc/hosts`, then what `/etc/resolv.conf` says.
    System,
    /// These, by UDP and TCP, and nothing else.
    These(Vec<SocketAddr>),
}

/// Asks, and follows changes of the system's files.
pub(super) struct Lookup {
    servers: Servers,
    /// Made at the first question: a configuration without names costs nothing.
    resolver: RefCell<Option<(Stamp, Rc<TokioResolver>)>>,
}

/// When the files were last changed that a resolver was made from.
type Stamp = [Option<SystemTime>; 2];

impl Lookup {
    pub(super) fn new(servers: Servers) -> Lookup {
        Lookup { servers, resolver: RefCell::default() }
    }

    /// The addresses of `host` and for how long they are good; the error is for a person.
    pub(super) async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        let resolver = self.resolver()?;
        let found = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
        let ttl = found.valid_until().saturating_duration_since(Instant::now());
        Ok((found.iter().collect(), ttl))
    }

    /// The hosts of a service and for how long they are good (RFC 2782); the error is for a person.
    pub(super) async fn services(&self, service: &str) -> Result<(Vec<Service>, Duration), String> {
        let resolver = self.resolver()?;
        let found = resolver.lookup(service, RecordType::SRV).await.map_err(|error| error.to_string())?;
        let ttl = found.valid_until().saturating_duration_since(Instant::now());
        let services = found.answers().iter().filter_map(|record| match &record.data {
            // A target of "." says that the service is not offered here.
            RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(Service {
                host: srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
            }),
            _ => None,
        });
        Ok((services.collect(), ttl))
    }

    fn resolver(&self) -> Result<Rc<TokioResolver>, String> {
        let stamp = match &self.servers {
            Servers::System => [RESOLV_CONF, HOSTS].map(changed),
            Servers::These(_) => Stamp::default(),
        };
        if let Some((of, resolver)) = &*self.resolver.borrow()
            && *of == stamp
        {
            return Ok(resolver.clone());
        }
        let resolver = Rc::new(build(&self.servers)?);
        *self.resolver.borrow_mut() = Some((stamp, resolver.clone()));
        Ok(resolver)
    }
}

fn changed(path: &str) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn build(servers: &Servers) -> Result<TokioResolver, String> {
    let mut builder = match servers {
        Servers::System => TokioResolver::builder_tokio().unwrap_or_else(|error| {
            log_warning!("{RESOLV_CONF} cannot be used, only names in {HOSTS} are known error={error}");
            Resolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        }),
        Servers::These(addresses) => {
            let servers = addresses.iter().map(|address| server(*address)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    set_options(builder.options_mut());
    builder.build().map_err(|error| format!("the resolver cannot be made: {error}"))
}

fn set_options(options: &mut ResolverOpts) {
    // Both families at once; the order is ours.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = options.timeout.min(SERVER_TIMEOUT);
    options.attempts = options.attempts.min(ATTEMPTS);
    // Each of our questions comes when an answer has run out: a cache would only make it later.
    options.cache_size = 0;
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connection = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}
