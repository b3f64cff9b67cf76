//! Idle connections to one endpoint, kept by one worker.
//!
//! Last in, first out: the connection used last is warm in every cache, and the ones that load no longer
//! needs grow old at the bottom, where the idle timeout finds them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{BreakerPermit, EndpointShared};
use crate::config::PoolConfig;
use crate::io::Address;
use crate::transport::Transport;

/// One counted connection to an endpoint; given back when dropped. It travels with the connection.
pub struct ConnectionPermit {
    shared: Arc<EndpointShared>,
    /// Of the cluster as a whole.
    _breaker: BreakerPermit,
}

impl ConnectionPermit {
    /// Counts one more connection; `None` at the limit. `max` 0 is unlimited.
    pub fn acquire(shared: &Arc<EndpointShared>, max: u32, breaker: BreakerPermit) -> Option<Self> {
        let count = shared.connections.fetch_add(1, Relaxed);
        let permit = ConnectionPermit { shared: Arc::clone(shared), _breaker: breaker };
        (max == 0 || count < max).then_some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Relaxed);
    }
}

/// What stays with an upstream connection for its whole life, whichever worker has it.
pub struct Connection {
    pub stream: Transport,
    /// Boxed once for the connection: exchanges move it about.
    pub meta: Box<ConnectionMeta>,
}

/// A connection without its socket, as it travels between workers.
pub struct ConnectionMeta {
    pub address: Address,
    pub created: Instant,
    pub requests: u64,
    pub permit: ConnectionPermit,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// The pool of one worker for one endpoint.
pub struct Pool {
    worker: usize,
    shared: Arc<EndpointShared>,
    idle: RefCell<Vec<Idle>>,
}

impl Pool {
    pub fn new(worker: usize, shared: Arc<EndpointShared>) -> Self {
        Pool { worker, shared, idle: RefCell::default() }
    }

    /// The connection used last that can still be used; dead and expired ones on the way are closed.
    pub fn take(&self, config: &PoolConfig, now: Instant) -> Option<Connection> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            self.count(-1);
            if is_usable(&idle, config, now) {
                return Some(idle.connection);
            }
        }
    }

    /// The connection that has been idle longest, for a worker that has none.
    pub fn lend(&self, config: &PoolConfig, now: Instant) -> Option<Connection> {
        loop {
            let idle = {
                let mut all = self.idle.borrow_mut();
                if all.is_empty() {
                    return None;
                }
                all.remove(0)
            };
            self.count(-1);
            if is_usable(&idle, config, now) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps `connection` for the next request, or closes it where a limit says so.
    pub fn put(&self, connection: Connection, config: &PoolConfig, now: Instant) {
        // A splice or a hand-over ends the receive; only an armed one shows whether the connection is quiet.
        connection.stream.arm();
        let idle = Idle { connection, since: now };
        if !is_usable(&idle, config, now) || self.shared.idle.load(Relaxed) >= config.idle_max {
            return;
        }
        self.count(1);
        self.idle.borrow_mut().push(idle);
    }

    /// Closes what has expired or was closed by the origin. Returns how many.
    pub fn sweep(&self, config: &PoolConfig, now: Instant) -> usize {
        let mut closed = Vec::new();
        {
            let mut all = self.idle.borrow_mut();
            let mut index = 0;
            while index < all.len() {
                if is_usable(&all[index], config, now) {
                    index += 1;
                } else {
                    closed.push(all.remove(index));
                }
            }
        }
        self.count(-(closed.len() as i32));
        closed.len()
    }

    /// Closes connections whose address `keep` refuses, as after a change of DNS.
    pub fn retain(&self, keep: impl Fn(&Address) -> bool) {
        let before = self.idle.borrow().len();
        self.idle.borrow_mut().retain(|idle| keep(&idle.connection.meta.address));
        let removed = before - self.idle.borrow().len();
        self.count(-(removed as i32));
    }

    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn count(&self, change: i32) {
        // Two's complement: adding a negative number as `u32` subtracts.
        self.shared.idle.fetch_add(change as u32, Relaxed);
        if let Some(own) = self.shared.idle_by_worker.get(self.worker) {
            own.fetch_add(change as u32, Relaxed);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.count(-(self.len() as i32));
    }
}

fn is_usable(idle: &Idle, config: &PoolConfig, now: Instant) -> bool {
    let meta = &idle.connection.meta;
    idle.connection.stream.is_quiet()
        && now.saturating_duration_since(idle.since) < config.idle_timeout
        && (config.lifetime_max.is_zero()
            || now.saturating_duration_since(meta.created) < config.lifetime_max)
        && (config.requests_max == 0 || meta.requests < config.requests_max)
}
