//! What TLS handshakes may take of a worker: how many at a time, how often by one client, and how much of its time.
//!
//! A handshake costs as much as a hundred requests, and whoever connects can ask for one. So that others do not wait for
//! it, handshakes compute one after the other and only up to [`TURN_BUDGET`] in each turn of the loop; what is ready
//! beside them has its turn in between.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::io as rt;
use crate::shared::client_key;

/// Time of one turn of the loop in which handshakes may begin to compute. The last of them may take longer: a signature
/// cannot be interrupted.
const TURN_BUDGET: Duration = Duration::from_micros(300);
/// Clients whose handshakes a worker counts within one second. More than these are not one client's doing.
const CLIENTS_MAX: usize = 16 << 10;

/// A line of tasks of which only the first goes on.
#[derive(Default)]
struct Line {
    tasks: RefCell<VecDeque<(u64, Option<Waker>)>>,
    next_ticket: Cell<u64>,
}

/// A place in a line; given up when dropped.
struct Place<'a> {
    line: &'a Line,
    ticket: u64,
}

impl Line {
    fn stand(&self) -> Place<'_> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.tasks.borrow_mut().push_back((ticket, None));
        Place { line: self, ticket }
    }

    fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// Wakes who is first now.
    fn wake_first(&self) {
        let waker = self.tasks.borrow_mut().front_mut().and_then(|(_, waker)| waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        self.line.tasks.borrow().front().is_some_and(|(ticket, _)| *ticket == self.ticket)
    }

    /// Waits until it is the first and `ready` says yes. Whoever makes it so wakes the first of the line.
    async fn wait(&self, ready: impl Fn() -> bool) {
        poll_fn(|cx| {
            if self.is_first() && ready() {
                return Poll::Ready(());
            }
            let mut tasks = self.line.tasks.borrow_mut();
            // Tickets rise from the front to the back.
            let found = tasks.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket);
            if let Some((_, waker)) = found.ok().and_then(|index| tasks.get_mut(index)) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let was_first = self.is_first();
        let mut tasks = self.line.tasks.borrow_mut();
        if let Ok(index) = tasks.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            tasks.remove(index);
        }
        drop(tasks);
        if was_first {
            self.line.wake_first();
        }
    }
}

/// For whom a handshake is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client that asks to be served.
    Downstream,
    /// A request that is being served: it goes first.
    Upstream,
}

/// The time that the handshakes of a worker take. Everything that computes for one awaits [`Turns::take`] before.
#[derive(Default)]
pub struct Turns {
    downstream: Line,
    upstream: Line,
    /// The turn of the loop that `spent` is about.
    turn: Cell<u64>,
    spent: Cell<Duration>,
}

/// The right to compute, until it is dropped. It must not be held across an await.
pub struct Turn<'a> {
    turns: &'a Turns,
    began: Instant,
}

impl Turns {
    /// Waits until it is this handshake's turn.
    pub async fn take(&self, side: Side) -> Turn<'_> {
        let line = match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        };
        // The usual case waits for nothing.
        if !(line.is_empty() && self.may_compute(side)) {
            let place = line.stand();
            place.wait(|| true).await;
            while !self.may_compute(side) {
                rt::next_turn().await;
            }
        }
        Turn { turns: self, began: Instant::now() }
    }

    fn may_compute(&self, side: Side) -> bool {
        let turn = rt::turn();
        if self.turn.replace(turn) != turn {
            self.spent.set(Duration::ZERO);
        }
        let first = side == Side::Upstream || self.upstream.is_empty();
        first && self.spent.get() < TURN_BUDGET
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.spent.set(self.turns.spent.get() + self.began.elapsed());
    }
}

/// The handshakes of one listener that a worker has under way.
#[derive(Default)]
pub struct Slots {
    taken: Cell<u32>,
    waiting: Line,
}

/// One of them; given back when dropped.
pub struct Slot {
    slots: Rc<Slots>,
}

impl Slots {
    /// Waits until fewer than `max` are under way.
    pub async fn take(self: &Rc<Self>, max: u32) -> Slot {
        if !self.waiting.is_empty() || self.taken.get() >= max {
            self.waiting.stand().wait(|| self.taken.get() < max).await;
        }
        self.taken.set(self.taken.get() + 1);
        Slot { slots: Rc::clone(self) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.set(self.slots.taken.get() - 1);
        self.slots.waiting.wake_first();
    }
}

/// Handshakes that clients began within the present second.
#[derive(Default)]
pub struct ClientRates {
    second: Cell<Option<Instant>>,
    clients: RefCell<HashMap<IpAddr, u32, ahash::RandomState>>,
}

impl ClientRates {
    /// Whether `client` may begin another handshake, and counts it. `max` 0 is unlimited.
    pub fn admit(&self, client: IpAddr, max: u32, now: Instant) -> bool {
        if max == 0 {
            return true;
        }
        let mut clients = self.clients.borrow_mut();
        let begins = |second: Instant| now.saturating_duration_since(second) >= Duration::from_secs(1);
        if self.second.get().is_none_or(begins) {
            self.second.set(Some(now));
            clients.clear();
        }
        let key = client_key(client);
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&key) {
            return true;
        }
        let count = clients.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count <= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Driver, RuntimeConfig};

    fn run(test: impl AsyncFn()) {
        for driver in [Driver::Uring, Driver::Epoll] {
            let config = RuntimeConfig { driver, ring_entries: 64, ..RuntimeConfig::default() };
            rt::run(&config, async {
                rt::timeout_at(rt::now() + Duration::from_secs(60), test()).await.expect("it ends in time");
            })
            .expect("a runtime");
        }
    }

    /// Computes for about as long as a turn has.
    fn compute() {
        let began = Instant::now();
        while began.elapsed() < TURN_BUDGET {}
    }

    #[test]
    fn handshakes_that_compute_for_long_do_so_in_turns_of_their_own_and_in_order() {
        run(async || {
            let (turns, log) = (Rc::new(Turns::default()), Rc::new(RefCell::new(Vec::new())));
            for number in 0..5 {
                let (turns, log) = (Rc::clone(&turns), Rc::clone(&log));
                rt::spawn(async move {
                    let turn = turns.take(Side::Downstream).await;
                    log.borrow_mut().push((number, rt::turn()));
                    compute();
                    drop(turn);
                });
            }
            while log.borrow().len() < 5 {
                rt::next_turn().await;
            }
            let log = log.borrow();
            assert!(log.iter().map(|(number, _)| *number).eq(0..5), "{log:?}");
            assert!(log.windows(2).all(|pair| pair[0].1 < pair[1].1), "one in each turn: {log:?}");
        });
    }

    #[test]
    fn what_a_request_waits_for_goes_before_what_a_client_asks_for() {
        run(async || {
            let (turns, log) = (Rc::new(Turns::default()), Rc::new(RefCell::new(Vec::new())));
            let sides = [Side::Downstream, Side::Downstream, Side::Downstream, Side::Upstream];
            for side in sides {
                let (turns, log) = (Rc::clone(&turns), Rc::clone(&log));
                rt::spawn(async move {
                    let turn = turns.take(side).await;
                    log.borrow_mut().push(side);
                    compute();
                    drop(turn);
                });
            }
            while log.borrow().len() < sides.len() {
                rt::next_turn().await;
            }
            let place = log.borrow().iter().position(|side| *side == Side::Upstream);
            assert_eq!(place, Some(1), "behind the one that computed when it came");
        });
    }

    #[test]
    fn one_who_gives_up_in_the_line_holds_nobody_up() {
        run(async || {
            let turns = Rc::new(Turns::default());
            drop(turns.take(Side::Downstream).await);
            turns.spent.set(TURN_BUDGET);
            let done = Rc::new(Cell::new(0));
            let tasks: Vec<_> = (0..6)
                .map(|_| {
                    let (turns, done) = (Rc::clone(&turns), Rc::clone(&done));
                    rt::spawn(async move {
                        let turn = turns.take(Side::Downstream).await;
                        compute();
                        drop(turn);
                        done.set(done.get() + 1);
                    })
                })
                .collect();
            // The first of the line, and one in its middle.
            rt::next_turn().await;
            let before = done.get();
            [tasks[before], tasks[before + 2]].into_iter().for_each(rt::abort);
            while done.get() < 4 {
                rt::next_turn().await;
            }
        });
    }

    #[test]
    fn a_slot_that_is_given_back_goes_to_who_waits_longest() {
        run(async || {
            let slots = Rc::new(Slots::default());
            let first = slots.take(1).await;
            let log = Rc::new(RefCell::new(Vec::new()));
            for number in 0..3 {
                let (slots, log) = (Rc::clone(&slots), Rc::clone(&log));
                rt::spawn(async move {
                    let slot = slots.take(1).await;
                    log.borrow_mut().push(number);
                    rt::next_turn().await;
                    drop(slot);
                });
            }
            rt::next_turn().await;
            assert!(log.borrow().is_empty(), "all slots are taken");
            drop(first);
            while log.borrow().len() < 3 {
                rt::next_turn().await;
            }
            assert_eq!(*log.borrow(), [0, 1, 2]);
        });
    }

    #[test]
    fn a_client_begins_only_so_many_handshakes_a_second() {
        let (rates, now) = (ClientRates::default(), Instant::now());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let second = Duration::from_secs(1);
        let table = [
            (one, 0, Duration::ZERO, true),
            (one, 2, Duration::ZERO, true),
            (one, 2, second / 2, true),
            (one, 2, second * 9 / 10, false),
            (other, 2, second * 9 / 10, true),
            (one, 2, second, true),
        ];
        for (at, (client, max, later, expected)) in table.into_iter().enumerate() {
            assert_eq!(rates.admit(client, max, now + later), expected, "row {at}");
        }
    }
}
