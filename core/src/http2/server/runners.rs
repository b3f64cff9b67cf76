//! Tasks that run the exchanges of streams, one after the other: a request of a busy worker then makes no task of its own,
//! whose memory is the largest piece that a request needs.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::Incoming;
use crate::exchange;
use crate::io::{self as rt, Timer};
use crate::worker::Worker;

/// Tasks of one worker that wait for a request; beyond them, tasks end with their exchange.
const IDLE_MAX: usize = 1024;

/// The waiting tasks of one worker.
#[derive(Default)]
pub struct Runners {
    idle: RefCell<Vec<Rc<Desk>>>,
    /// The fewest that were waiting since the last [`Runners::trim`].
    idle_min: Cell<usize>,
}

/// Where a task finds its next request.
#[derive(Default)]
struct Desk {
    next: RefCell<Option<Incoming>>,
    waker: Cell<Option<Waker>>,
    /// The task is not needed any more.
    closed: Cell<bool>,
}

impl Runners {
    /// Starts the exchange of a request.
    pub(super) fn run(&self, worker: &Rc<Worker>, incoming: Incoming) {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(desk) => {
                self.idle_min.set(self.idle_min.get().min(self.idle.borrow().len()));
                *desk.next.borrow_mut() = Some(incoming);
                desk.wake();
            }
            None => {
                let desk = Rc::new(Desk { next: RefCell::new(Some(incoming)), ..Desk::default() });
                rt::spawn(serve(Rc::clone(worker), desk));
            }
        }
    }

    /// Ends the tasks that had nothing to do since the last call.
    pub fn trim(&self) {
        let mut idle = self.idle.borrow_mut();
        let keep = idle.len() - self.idle_min.get().min(idle.len());
        for desk in idle.drain(keep..) {
            desk.closed.set(true);
            desk.wake();
        }
        if idle.is_empty() {
            *idle = Vec::new();
        }
        self.idle_min.set(idle.len());
    }

    /// Whether the task may wait for another request.
    fn park(&self, desk: &Rc<Desk>) -> bool {
        let mut idle = self.idle.borrow_mut();
        let may = idle.len() < IDLE_MAX;
        if may {
            idle.push(Rc::clone(desk));
        }
        may
    }
}

impl Desk {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

async fn serve(worker: Rc<Worker>, desk: Rc<Desk>) {
    // Kept from one exchange to the next: what hangs in the wheel already is only written to.
    let timer = Timer::new();
    loop {
        let next = poll_fn(|cx| {
            let next = desk.next.borrow_mut().take();
            if next.is_some() || desk.closed.get() {
                return Poll::Ready(next);
            }
            desk.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        let Some(incoming) = next else { return };
        exchange::run_stream(&worker, &timer, incoming).await;
        timer.disarm();
        if !worker.runners.park(&desk) {
            return;
        }
    }
}
