//! Heads with their bytes, kept for reuse by each worker: a request then allocates neither.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use ringway_protocols::message::{RequestHead, ResponseHead};

/// Heads of each kind that one worker keeps.
const HEADS_MAX: usize = 1024;
/// A head whose bytes grew beyond this is freed rather than kept.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Likewise for the number of its fields.
const FIELDS_MAX: usize = 128;

/// The head of a message, as received.
#[derive(Debug, Default)]
pub struct Received<H> {
    pub head: H,
    pub bytes: Vec<u8>,
}

/// A head of the worker's pool. It goes back when dropped.
#[derive(Debug)]
pub struct Pooled<H: Head>(Option<Box<Received<H>>>);

/// A request head with its bytes.
pub type ReceivedRequest = Pooled<RequestHead>;
/// A response head with its bytes.
pub type ReceivedResponse = Pooled<ResponseHead>;

/// What is kept in a pool.
pub trait Head: Default + 'static {
    fn reset(&mut self);
    fn fields_capacity(&self) -> usize;
    fn pool<R>(f: impl FnOnce(&mut Pool<Self>) -> R) -> R;
}

/// The heads of one kind that a worker keeps.
#[derive(Debug)]
pub struct Pool<H> {
    /// The boxes are what is pooled.
    heads: Vec<Box<Received<H>>>,
    /// The fewest that were there since the last [`trim`].
    idle_min: usize,
}

impl<H> Pool<H> {
    const fn new() -> Pool<H> {
        Pool { heads: Vec::new(), idle_min: 0 }
    }

    fn trim(&mut self) {
        self.heads.truncate(self.heads.len() - self.idle_min.min(self.heads.len()));
        if self.heads.is_empty() {
            self.heads = Vec::new();
        }
        self.idle_min = self.heads.len();
    }
}

thread_local! {
    static REQUESTS: RefCell<Pool<RequestHead>> = const { RefCell::new(Pool::new()) };
    static RESPONSES: RefCell<Pool<ResponseHead>> = const { RefCell::new(Pool::new()) };
}

/// Frees the heads of this worker that were not used since the last call.
pub fn trim() {
    RequestHead::pool(Pool::trim);
    ResponseHead::pool(Pool::trim);
}

impl Head for RequestHead {
    fn reset(&mut self) {
        self.clear();
    }

    fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }

    fn pool<R>(f: impl FnOnce(&mut Pool<Self>) -> R) -> R {
        REQUESTS.with_borrow_mut(f)
    }
}

impl Head for ResponseHead {
    fn reset(&mut self) {
        self.clear();
    }

    fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }

    fn pool<R>(f: impl FnOnce(&mut Pool<Self>) -> R) -> R {
        RESPONSES.with_borrow_mut(f)
    }
}

impl<H: Head> Pooled<H> {
    /// An empty head, with capacity where the worker has one to spare.
    pub fn take() -> Self {
        let pooled = H::pool(|pool| {
            let head = pool.heads.pop();
            pool.idle_min = pool.idle_min.min(pool.heads.len());
            head
        });
        Pooled(Some(pooled.unwrap_or_default()))
    }
}

impl<H: Head> Deref for Pooled<H> {
    type Target = Received<H>;

    fn deref(&self) -> &Received<H> {
        // It is only taken out by `drop`.
        self.0.as_ref().expect("a pooled head is there until it is dropped")
    }
}

impl<H: Head> DerefMut for Pooled<H> {
    fn deref_mut(&mut self) -> &mut Received<H> {
        self.0.as_mut().expect("a pooled head is there until it is dropped")
    }
}

impl<H: Head> Drop for Pooled<H> {
    fn drop(&mut self) {
        let Some(mut received) = self.0.take() else { return };
        if received.bytes.capacity() > HEAD_BYTES_MAX || received.head.fields_capacity() > FIELDS_MAX {
            return;
        }
        received.head.reset();
        received.bytes.clear();
        H::pool(|pool| {
            if pool.heads.len() < HEADS_MAX {
                pool.heads.push(received);
            }
        });
    }
}
