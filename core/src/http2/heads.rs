//! Heads with their bytes, kept for reuse by each worker: a request then allocates neither.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use ringway_protocols::message::{RequestHead, ResponseHead};

/// Heads of each kind that one worker keeps.
const HEADS_MAX: usize = 256;
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
    fn pool<R>(f: impl FnOnce(&RefCell<Vec<Box<Received<Self>>>>) -> R) -> R;
}

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is pooled")]
    static REQUESTS: RefCell<Vec<Box<Received<RequestHead>>>> = const { RefCell::new(Vec::new()) };
    #[expect(clippy::vec_box, reason = "the boxes are what is pooled")]
    static RESPONSES: RefCell<Vec<Box<Received<ResponseHead>>>> = const { RefCell::new(Vec::new()) };
}

impl Head for RequestHead {
    fn reset(&mut self) {
        self.clear();
    }

    fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }

    fn pool<R>(f: impl FnOnce(&RefCell<Vec<Box<Received<Self>>>>) -> R) -> R {
        REQUESTS.with(f)
    }
}

impl Head for ResponseHead {
    fn reset(&mut self) {
        self.clear();
    }

    fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }

    fn pool<R>(f: impl FnOnce(&RefCell<Vec<Box<Received<Self>>>>) -> R) -> R {
        RESPONSES.with(f)
    }
}

impl<H: Head> Pooled<H> {
    /// An empty head, with capacity where the worker has one to spare.
    pub fn take() -> Self {
        let pooled = H::pool(|pool| pool.borrow_mut().pop());
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
            let mut pool = pool.borrow_mut();
            if pool.len() < HEADS_MAX {
                pool.push(received);
            }
        });
    }
}
