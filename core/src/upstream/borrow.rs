//! Taking over an idle connection of another worker before an expensive dial.
//!
//! The borrower sends a request with a ticket to the worker that has idle connections and waits, for a bounded
//! time, for the answer. The owner ends the receive on the connection, waits for its last completion, and
//! discards the connection if any byte came; only a silent connection changes hands.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::pool::{Connection, ConnectionMeta};
use super::{Cluster, EndpointShared};
use crate::io::{self as rt, Stream};
use crate::worker::{Message, View, Worker};

/// How long a borrower waits before it dials after all. An owner answers within one loop turn, unless its
/// core is saturated; then a connection of one's own is the better answer anyway. An answer that comes later still
/// is not lost: its connection goes into the borrower's pool.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(20);
/// Requests to lend that one worker may have under way.
const TICKETS_MAX: usize = 256;

/// A request to lend a connection.
#[derive(Clone, Copy)]
pub struct BorrowRequest {
    pub cluster: usize,
    pub revision: u64,
    pub endpoint: usize,
    pub borrower: usize,
    pub ticket: u64,
}

/// The answer: the socket and what is known of it, or nothing.
pub struct Loan {
    pub request: BorrowRequest,
    pub connection: Option<(OwnedFd, Box<ConnectionMeta>)>,
}

/// Requests of this worker that have not been answered.
#[derive(Default)]
pub struct Tickets {
    next: std::cell::Cell<u64>,
    waiting: RefCell<Vec<Waiting>>,
}

struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
    answer: Option<Option<(OwnedFd, Box<ConnectionMeta>)>>,
}

impl Tickets {
    /// Hands an answer to who waits for it. One that came too late is given back.
    fn answered(&self, loan: Loan) -> Option<Loan> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(entry) = waiting.iter_mut().find(|entry| entry.ticket == loan.request.ticket) else {
            return Some(loan);
        };
        entry.answer = Some(loan.connection);
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
        None
    }
}

/// Removes the ticket however the wait ends.
struct Ticket<'a> {
    tickets: &'a Tickets,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.tickets.waiting.borrow_mut().retain(|entry| entry.ticket != self.number);
    }
}

/// Borrows an idle connection to an endpoint from the worker that has most of them.
pub async fn borrow(
    worker: &Worker,
    shared: &Arc<EndpointShared>,
    request: impl FnOnce(u64) -> BorrowRequest,
) -> Option<Connection> {
    if !rt::moves_descriptors() {
        return None;
    }
    let lender = richest(shared, worker.id)?;
    let tickets = &worker.tickets;
    if tickets.waiting.borrow().len() >= TICKETS_MAX {
        return None;
    }
    let number = tickets.next.get();
    tickets.next.set(number.wrapping_add(1));
    let sender = &worker.shared.workers.get(lender)?.sender;
    tickets.waiting.borrow_mut().push(Waiting { ticket: number, waker: None, answer: None });
    let ticket = Ticket { tickets, number };
    sender.try_send(Message::Borrow(request(number))).ok()?;
    let answer = rt::timeout_at(rt::now() + ANSWER_TIMEOUT, wait(&ticket)).await.ok()??;
    let (fd, meta) = answer;
    let stream = Stream::from_fd(fd).ok()?;
    Some(Connection { stream: stream.into(), meta })
}

async fn wait(ticket: &Ticket<'_>) -> Option<(OwnedFd, Box<ConnectionMeta>)> {
    poll_fn(|cx| {
        let mut waiting = ticket.tickets.waiting.borrow_mut();
        let Some(entry) = waiting.iter_mut().find(|entry| entry.ticket == ticket.number) else {
            return Poll::Ready(None);
        };
        match entry.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                entry.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Takes an answer in. A connection that nobody waits for any more goes into the pool.
pub fn receive(worker: &Worker, loan: Loan) {
    let Some(Loan { request, connection: Some((fd, meta)) }) = worker.tickets.answered(loan) else { return };
    let view = worker.view();
    let Some(cluster) = cluster_of(&view, &request) else { return };
    if let (Some(endpoint), Ok(stream)) = (cluster.endpoints.get(request.endpoint), Stream::from_fd(fd)) {
        endpoint.pool.put(Connection { stream: stream.into(), meta }, &cluster.config.pool, rt::now());
    }
}

/// The worker with most idle connections, other than `own`.
fn richest(shared: &EndpointShared, own: usize) -> Option<usize> {
    if shared.idle.load(Relaxed) == 0 {
        return None;
    }
    let counts = shared.idle_by_worker.iter().map(|count| count.load(Relaxed)).enumerate();
    counts
        .filter(|(index, count)| *index != own && *count > 0)
        .max_by_key(|(_, count)| *count)
        .map(|(index, _)| index)
}

/// Answers a request of another worker.
pub async fn lend(worker: Rc<Worker>, request: BorrowRequest) {
    let connection = take_idle(&worker, &request, rt::now());
    let connection = match connection {
        Some(Connection { stream, meta }) => stream.into_fd().await.ok().map(|fd| (fd, meta)),
        None => None,
    };
    if connection.is_some() {
        worker.stats.pool.lent.increment();
    }
    if let Some(borrower) = worker.shared.workers.get(request.borrower) {
        // A full mailbox drops the answer: the connection is closed, and the borrower dials at its time-out.
        let _ = borrower.sender.try_send(Message::Loan(Loan { request, connection }));
    }
}

fn take_idle(worker: &Worker, request: &BorrowRequest, now: Instant) -> Option<Connection> {
    let view = worker.view();
    let cluster = cluster_of(&view, request)?;
    cluster.endpoints.get(request.endpoint)?.pool.lend(&cluster.config.pool, now)
}

/// The cluster that a request means. After a change of the configuration the indices mean something else: better no loan
/// than one of another endpoint.
fn cluster_of<'a>(view: &'a View, request: &BorrowRequest) -> Option<&'a Rc<Cluster>> {
    (view.config().revision == request.revision).then(|| view.clusters.get(request.cluster)).flatten()
}
