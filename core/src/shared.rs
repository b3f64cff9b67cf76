//! What the workers of one process share: mailboxes, and counts that a limit over all workers is drawn from.
//!
//! **Invariant:** nothing here is locked on the request path. The maps are locked when a connection is
//! accepted or closed (only with a limit per client), and when a configuration is applied.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::io::Address;
use crate::io::mailbox::Sender;
use crate::upstream::{ClusterShared, EndpointShared};
use crate::worker::Message;

/// State of the process that every worker sees.
pub struct Shared {
    pub workers: Vec<WorkerSlot>,
    /// When the process began: the zero of [`Shared::nanos`].
    started: Instant,
    clients: ClientTable,
    listeners: Mutex<HashMap<Address, Arc<AtomicU32>>>,
    clusters: Mutex<HashMap<String, Arc<ClusterShared>>>,
    endpoints: Mutex<HashMap<(String, String), Arc<EndpointShared>>>,
}

/// One worker as the others see it.
#[repr(align(128))] // a cache line pair each: the counts of two workers never share one
pub struct WorkerSlot {
    /// Downstream connections that belong to the worker, those on their way to it included.
    pub connections: AtomicU32,
    pub sender: Sender<Message>,
}

impl Shared {
    pub fn new(senders: Vec<Sender<Message>>) -> Self {
        let workers =
            senders.into_iter().map(|sender| WorkerSlot { connections: AtomicU32::new(0), sender }).collect();
        Shared {
            workers,
            started: Instant::now(),
            clients: ClientTable::default(),
            listeners: Mutex::default(),
            clusters: Mutex::default(),
            endpoints: Mutex::default(),
        }
    }

    /// Nanoseconds since the process began: a moment as all workers write it.
    pub fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The worker that should own a connection which `own` accepted: the one with the fewest connections, if
    /// it has clearly fewer. The margin grows with the count, so that a busy proxy does not pass sockets
    /// around for nothing.
    pub fn lightest(&self, own: usize) -> usize {
        let own_count = self.workers.get(own).map_or(0, |slot| slot.connections.load(Relaxed));
        let lightest = self.workers.iter().enumerate().min_by_key(|(_, slot)| slot.connections.load(Relaxed));
        match lightest {
            Some((index, slot)) => {
                let count = slot.connections.load(Relaxed);
                if own_count > count + count / 16 { index } else { own }
            }
            None => own,
        }
    }

    /// The connection count of the listener at `bind`, over all workers and configurations.
    pub fn listener_count(&self, bind: &Address) -> Arc<AtomicU32> {
        Arc::clone(lock(&self.listeners).entry(bind.clone()).or_default())
    }

    /// The counts of an endpoint; they outlive a reload that keeps cluster name and endpoint.
    pub fn endpoint(&self, cluster: &str, endpoint: &str) -> Arc<EndpointShared> {
        let mut endpoints = lock(&self.endpoints);
        let key = (cluster.to_owned(), endpoint.to_owned());
        let now = self.millis(Instant::now());
        Arc::clone(
            endpoints.entry(key).or_insert_with(|| Arc::new(EndpointShared::new(self.workers.len(), now))),
        )
    }

    /// What all workers know of a cluster; it outlives a reload that keeps the name.
    pub fn cluster(&self, name: &str) -> Arc<ClusterShared> {
        let mut clusters = lock(&self.clusters);
        Arc::clone(clusters.entry(name.to_owned()).or_default())
    }

    /// Forgets clusters and endpoints that no worker uses any more, so that reloads do not add up.
    pub fn forget_unused(&self) {
        lock(&self.clusters).retain(|_, shared| Arc::strong_count(shared) > 1);
        lock(&self.endpoints).retain(|_, shared| Arc::strong_count(shared) > 1);
    }

    /// Milliseconds of one clock for all workers; never 0.
    pub fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64 + 1
    }

    /// Counts one more connection of `client`; `None` when it already has `max`.
    pub fn admit_client(self: &Arc<Self>, client: IpAddr, max: u32) -> Option<ClientPermit> {
        let key = client_key(client);
        self.clients.admit(key, max).then(|| ClientPermit { shared: Arc::clone(self), key })
    }
}

/// One counted connection of a client address; given back when dropped.
pub struct ClientPermit {
    shared: Arc<Shared>,
    key: IpAddr,
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.shared.clients.leave(self.key);
    }
}

/// One counted connection of a worker and of a listener; given back when dropped.
pub struct Permit {
    pub shared: Arc<Shared>,
    pub worker: usize,
    pub listener: Arc<AtomicU32>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.listener.fetch_sub(1, Relaxed);
        if let Some(slot) = self.shared.workers.get(self.worker) {
            slot.connections.fetch_sub(1, Relaxed);
        }
    }
}

/// Who counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber gets.
pub fn client_key(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

/// Connections per client address, in shards so that two workers seldom meet.
struct ClientTable {
    shards: [Mutex<HashMap<IpAddr, u32, ahash::RandomState>>; 16],
    hasher: ahash::RandomState,
}

impl Default for ClientTable {
    fn default() -> Self {
        ClientTable { shards: Default::default(), hasher: ahash::RandomState::new() }
    }
}

impl ClientTable {
    fn shard(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32, ahash::RandomState>> {
        let index = (self.hasher.hash_one(client) % self.shards.len() as u64) as usize;
        lock(&self.shards[index])
    }

    /// The table holds an entry per address with an open connection, so `connections_max` bounds it.
    fn admit(&self, client: IpAddr, max: u32) -> bool {
        let mut shard = self.shard(client);
        let count = shard.entry(client).or_insert(0);
        if *count >= max {
            return false;
        }
        *count += 1;
        true
    }

    fn leave(&self, client: IpAddr) {
        let mut shard = self.shard(client);
        if let Some(count) = shard.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&client);
            }
        }
    }
}

/// The maps stay consistent at every step, so a panic elsewhere does not make them unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_refused_at_its_limit_and_admitted_after_leaving() {
        let shared = Arc::new(Shared::new(Vec::new()));
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let first = shared.admit_client(client, 2).unwrap();
        let _second = shared.admit_client(client, 2).unwrap();
        assert!(shared.admit_client(client, 2).is_none());
        drop(first);
        assert!(shared.admit_client(client, 2).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_client() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(client_key(a.parse().unwrap()) == client_key(b.parse().unwrap()), same, "{a} {b}");
        };
        check("2001:db8::1", "2001:db8::2", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
    }
}
