//! Accepting connections: limits, and handing a connection to a lighter worker.
//!
//! **Invariant:** what the kernel has accepted is always taken off the queue. A worker at its limit hands the
//! connection over or refuses it with an answer; it never leaves clients waiting in the backlog.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::config::ListenerConfig;
use crate::downstream::{self, Downstream};
use crate::error::Reason;
use crate::handshakes::Slots;
use crate::io::{self as rt, Address, Listener, Stream};
use crate::reply;
use crate::shared::Permit;
use crate::stats::ListenerStats;
use crate::worker::{Message, Worker};

/// Pause after a listening socket has failed.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a refused connection gets to take its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Refused connections of one worker that may be under way; more are closed without an answer.
const REFUSALS_MAX: u32 = 256;

/// A listener of one worker, as its connections see it across reloads.
pub struct ListenerSlot {
    pub bind: Address,
    /// Index into the current configuration; `None` once the listener was removed.
    pub index: Cell<Option<usize>>,
    /// Connections of this listener over all workers.
    pub count: Arc<AtomicU32>,
    /// Those of them that this worker has.
    pub open: Cell<u32>,
    /// TLS handshakes that this worker has under way for it.
    pub handshakes: Rc<Slots>,
}

/// An accepted connection on its way to the worker that will own it.
pub struct Handover {
    pub fd: OwnedFd,
    pub peer: Option<SocketAddr>,
    pub bind: Address,
    /// Already counted for the worker that receives it.
    pub permit: Permit,
}

/// Accepts until the task is aborted.
pub async fn accept_loop(worker: Rc<Worker>, slot: Rc<ListenerSlot>, fd: OwnedFd) {
    let listener = match Listener::from_fd(fd) {
        Ok(listener) => listener,
        Err(error) => {
            crate::log_error!("listener failed address={} error={error}", slot.bind);
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((fd, peer)) => admit(&worker, &slot, fd, peer),
            // The runtime backs off by itself where descriptors or memory run out, and passes over connections that
            // failed. What reaches this place is the socket itself; it is asked again, but not in a tight loop.
            Err(error) => {
                crate::log_error!("accept failed address={} error={error}", slot.bind);
                rt::sleep_until(rt::now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(worker: &Rc<Worker>, slot: &Rc<ListenerSlot>, fd: OwnedFd, peer: Option<SocketAddr>) {
    let view = worker.view();
    let Some(config) = slot.index.get().and_then(|index| view.config().listeners.get(index)) else {
        return;
    };
    worker.stats.connections.accepted.increment();
    of_listener(worker, slot, |stats| stats.connections_accepted.increment());
    let owner = worker.shared.lightest(worker.id);
    let permit = permit(worker, slot, owner);
    if slot.count.load(Relaxed) > config.limits.connections_max {
        of_listener(worker, slot, |stats| stats.connections_refused.increment());
        refuse(worker, fd, Reason::ConnectionLimit, config);
        return;
    }
    let mut handover = Handover { fd, peer, bind: slot.bind.clone(), permit };
    if owner != worker.id
        && let Some(other) = worker.shared.workers.get(owner)
    {
        match other.sender.try_send(Message::Accepted(handover)) {
            Ok(()) => return worker.stats.connections.handed_over.increment(),
            Err(full) => {
                // The lighter worker does not keep up with its mailbox: then this one is the better place.
                let Message::Accepted(back) = full.0 else { return };
                handover = Handover { permit: self::permit(worker, slot, worker.id), ..back };
            }
        }
    }
    start(worker, Rc::clone(slot), handover);
}

/// Counts for a listener by its name in the current configuration.
fn of_listener(worker: &Worker, slot: &ListenerSlot, count: impl Fn(&ListenerStats)) {
    if let Some(index) = slot.index.get() {
        count(worker.stats.listener(&worker.view().generation.labels, index));
    }
}

fn permit(worker: &Worker, slot: &ListenerSlot, owner: usize) -> Permit {
    slot.count.fetch_add(1, Relaxed);
    if let Some(slot) = worker.shared.workers.get(owner) {
        slot.connections.fetch_add(1, Relaxed);
    }
    Permit { shared: Arc::clone(&worker.shared), worker: owner, listener: Arc::clone(&slot.count) }
}

/// Takes a connection that another worker accepted.
pub fn adopt(worker: &Rc<Worker>, handover: Handover) {
    // A listener removed meanwhile, or a drain: the connection has sent nothing that was read, so closing is fair.
    if let Some(slot) = worker.listener_slot(&handover.bind) {
        worker.stats.connections.taken_over.increment();
        start(worker, slot, handover);
    }
}

fn start(worker: &Rc<Worker>, slot: Rc<ListenerSlot>, handover: Handover) {
    let Handover { fd, peer, permit, .. } = handover;
    let view = worker.view();
    let Some(config) = slot.index.get().and_then(|index| view.config().listeners.get(index)) else {
        return;
    };
    let per_client = config.limits.connections_per_client_max;
    let client_permit = match peer {
        Some(peer) if per_client > 0 => match worker.shared.admit_client(peer.ip(), per_client) {
            Some(permit) => Some(permit),
            None => {
                of_listener(worker, &slot, |stats| stats.connections_refused.increment());
                return refuse(worker, fd, Reason::ClientConnectionLimit, config);
            }
        },
        _ => None,
    };
    let stream = Stream::from_accepted(fd);
    let connection = Downstream::new(worker, stream.into(), peer, slot, permit, client_permit);
    rt::spawn(downstream::serve(Rc::clone(worker), connection));
}

/// Answers with the reason and closes, without reading a request.
fn refuse(worker: &Rc<Worker>, fd: OwnedFd, reason: Reason, config: &ListenerConfig) {
    worker.stats.refused.count(reason);
    if worker.refusals.get() >= REFUSALS_MAX {
        return;
    }
    let stream = Stream::from_accepted(fd);
    if config.tcp.is_some() || config.tls.is_some() {
        // Whatever is spoken, it has no words of ours, and nobody's handshake is paid for to say so.
        return stream.reset_on_close();
    }
    worker.refusals.set(worker.refusals.get() + 1);
    let worker = Rc::clone(worker);
    let answer = reply::unread_refusal(reason, config.forwarded.reason_header);
    rt::spawn(async move {
        let answered = async {
            stream.send(answer)?;
            stream.sent().await?;
            stream.shutdown_write();
            // Wait for the client to close first: closing with unread bytes would reset the answer away.
            while !stream.recv().await?.is_empty() {}
            std::io::Result::Ok(())
        };
        let _ = rt::timeout_at(rt::now() + REFUSAL_TIMEOUT, answered).await;
        worker.refusals.set(worker.refusals.get() - 1);
    });
}
