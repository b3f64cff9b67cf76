//! Mailboxes: bounded queues between workers, and from any thread to a worker.
//!
//! Off the request path: each message takes a short lock. The receiver's worker is woken through its waker:
//! by MSG_RING from a worker on io_uring, by eventfd from any other thread, and by nothing while it is awake.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::runtime::Runtime;

/// The message comes back: the mailbox held its capacity, or its receiver is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mailbox is full")
    }
}

impl<T: fmt::Debug> std::error::Error for Full<T> {}

struct Queue<T> {
    messages: VecDeque<T>,
    capacity: usize,
    waker: Option<Waker>,
    receiver_gone: bool,
    senders: usize,
}

type Shared<T> = Arc<Mutex<Queue<T>>>;

/// The sending end; clones send to the same receiver.
pub struct Sender<T>(Shared<T>);

/// The receiving end: one task waits on it.
pub struct Receiver<T>(Shared<T>);

/// A mailbox for up to `capacity` messages.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(Queue {
        messages: VecDeque::new(),
        capacity: capacity.max(1),
        waker: None,
        receiver_gone: false,
        senders: 1,
    }));
    (Sender(shared.clone()), Receiver(shared))
}

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, Queue<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send> Sender<T> {
    /// Puts a message into the mailbox and wakes its receiver.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full or its receiver gone.
    pub fn try_send(&self, message: T) -> Result<(), Full<T>> {
        let waker = {
            let mut queue = lock(&self.0);
            if queue.receiver_gone || queue.messages.len() >= queue.capacity {
                drop(queue);
                Runtime::try_with(|rt| rt.counters.mailbox_full.add(1));
                return Err(Full(message));
            }
            queue.messages.push_back(message);
            queue.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut queue = lock(&self.0);
            queue.senders -= 1;
            if queue.senders == 0 { queue.waker.take() } else { None }
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    /// The next message; `None` once every sender is gone and the mailbox is empty.
    pub async fn recv(&self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`Receiver::recv`].
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut queue = lock(&self.0);
        match queue.messages.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None if queue.senders == 0 => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next message, if there is one.
    pub fn try_recv(&self) -> Option<T> {
        lock(&self.0).messages.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let messages = {
            let mut queue = lock(&self.0);
            queue.receiver_gone = true;
            std::mem::take(&mut queue.messages)
        };
        drop(messages);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailbox::Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailbox::Receiver")
    }
}
