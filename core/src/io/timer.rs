//! Timers: a hierarchical wheel of 1 ms ticks (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987).
//!
//! Arming, disarming and expiry are O(1). Moving a deadline later, which is what every request does to its
//! connection's timers, only writes the new deadline: the wheel looks at it when the old one comes up.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::runtime::Runtime;
use super::slab::Slab;

/// 64 slots on each of 7 levels reach 139 years.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 7;
const NIL: u32 = u32::MAX;
/// Deadline of a disarmed timer.
const NEVER: u64 = u64::MAX;
const TICK_MAX: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

struct Entry {
    /// When it expires, in ticks; [`NEVER`] while disarmed or once expired.
    deadline: u64,
    /// Where it hangs in the wheel, in ticks: at or before the deadline.
    hangs_at: u64,
    next: u32,
    prev: u32,
    /// Level and slot it hangs in; `NIL` when it hangs nowhere.
    slot: u32,
    expired: bool,
    waker: Option<Waker>,
}

/// All timers of one worker.
pub(crate) struct Wheel {
    entries: Slab<Entry>,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// Everything before this tick has been expired.
    elapsed: u64,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel { entries: Slab::new(), heads: [[NIL; SLOTS]; LEVELS], occupied: [0; LEVELS], elapsed: 0 }
    }

    fn insert(&mut self) -> u32 {
        self.entries.insert(Entry {
            deadline: NEVER,
            hangs_at: 0,
            next: NIL,
            prev: NIL,
            slot: NIL,
            expired: false,
            waker: None,
        })
    }

    fn remove(&mut self, key: u32) -> Option<Waker> {
        self.unlink(key);
        self.entries.remove(key).and_then(|entry| entry.waker)
    }

    fn arm(&mut self, key: u32, deadline: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.deadline = deadline.min(TICK_MAX);
        entry.expired = false;
        // It hangs at an earlier tick: looked at again then.
        if entry.slot != NIL && entry.hangs_at <= entry.deadline {
            return;
        }
        self.unlink(key);
        self.link(key);
    }

    fn disarm(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.deadline = NEVER;
            entry.expired = false;
        }
    }

    fn is_armed(&self, key: u32) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.deadline != NEVER)
    }

    fn poll_expired(&mut self, key: u32, cx: &Context<'_>) -> Poll<()> {
        let Some(entry) = self.entries.get_mut(key) else { return Poll::Pending };
        if entry.expired {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The next tick at which [`Wheel::expire`] has something to do.
    pub(super) fn next(&self) -> Option<u64> {
        let mut next: Option<u64> = None;
        for (level, &occupied) in self.occupied.iter().enumerate().filter(|(_, occupied)| **occupied != 0) {
            let shift = level as u32 * SLOT_BITS;
            let position = (self.elapsed >> shift) as u32 % SLOTS as u32;
            // The first occupied slot at or after the current position: none lies before it, because an entry's
            // level is the highest digit in which its time exceeds the time of linking.
            let distance = u64::from(occupied.rotate_right(position).trailing_zeros());
            let tick = (((self.elapsed >> shift) + distance) << shift).max(self.elapsed);
            next = Some(next.map_or(tick, |next| next.min(tick)));
        }
        next
    }

    /// Expires what is due at `now` and hands each waker to `woken`.
    pub(super) fn expire(&mut self, now: u64, woken: &mut Vec<Waker>) {
        while let Some(tick) = self.next().filter(|tick| *tick <= now) {
            self.elapsed = tick;
            // From the coarsest level down: what does not expire moves to a finer one.
            for level in (0..LEVELS).rev() {
                let slot = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
                if self.occupied[level] & (1 << slot) != 0 {
                    self.expire_slot(level, slot, tick, woken);
                }
            }
        }
        self.elapsed = self.elapsed.max(now + 1);
    }

    fn expire_slot(&mut self, level: usize, slot: usize, tick: u64, woken: &mut Vec<Waker>) {
        let mut key = std::mem::replace(&mut self.heads[level][slot], NIL);
        self.occupied[level] &= !(1 << slot);
        while key != NIL {
            let Some(entry) = self.entries.get_mut(key) else { break };
            let next = entry.next;
            (entry.slot, entry.next, entry.prev) = (NIL, NIL, NIL);
            if entry.deadline <= tick {
                entry.deadline = NEVER;
                entry.expired = true;
                woken.extend(entry.waker.take());
            } else if entry.deadline != NEVER {
                self.link(key);
            }
            key = next;
        }
    }

    fn link(&mut self, key: u32) {
        let elapsed = self.elapsed;
        let Some(entry) = self.entries.get_mut(key) else { return };
        let at = entry.deadline.max(elapsed);
        // The highest bit in which the time differs from now names the level.
        let level = ((at ^ elapsed) | (SLOTS as u64 - 1)).ilog2() / SLOT_BITS;
        let slot = (at >> (level * SLOT_BITS)) as usize % SLOTS;
        let level = level as usize;
        let head = self.heads[level][slot];
        entry.hangs_at = at;
        entry.slot = (level * SLOTS + slot) as u32;
        entry.next = head;
        entry.prev = NIL;
        if let Some(head) = self.entries.get_mut(head) {
            head.prev = key;
        }
        self.heads[level][slot] = key;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (slot, next, prev) = (entry.slot, entry.next, entry.prev);
        if slot == NIL {
            return;
        }
        (entry.slot, entry.next, entry.prev) = (NIL, NIL, NIL);
        if let Some(next) = self.entries.get_mut(next) {
            next.prev = prev;
        }
        match self.entries.get_mut(prev) {
            Some(prev) => prev.next = next,
            None => {
                let (level, slot) = (slot as usize / SLOTS, slot as usize % SLOTS);
                self.heads[level][slot] = next;
                if next == NIL {
                    self.occupied[level] &= !(1 << slot);
                }
            }
        }
    }
}

/// The runtime's clock: read once per loop turn.
pub(crate) struct Clock {
    base: Instant,
    now: Cell<Instant>,
}

impl Clock {
    pub(super) fn new() -> Clock {
        let base = read_clock();
        Clock { base, now: Cell::new(base) }
    }

    pub(super) fn update(&self) {
        self.now.set(read_clock());
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Ticks that have fully passed.
    pub(super) fn tick(&self) -> u64 {
        self.now().duration_since(self.base).as_millis() as u64
    }

    /// The first tick at or after `at`.
    fn tick_at(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        since
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(u64::from(since.subsec_nanos().div_ceil(1_000_000)))
    }

    /// From now until a tick begins.
    pub(super) fn until(&self, tick: u64) -> Duration {
        Duration::from_millis(tick).saturating_sub(self.now().duration_since(self.base))
    }
}

/// The one place of the runtime that reads the clock.
fn read_clock() -> Instant {
    #[cfg(feature = "sim")]
    if let Some(now) = super::sim::now() {
        return now;
    }
    Instant::now()
}

/// The time, as of the start of this loop turn.
///
/// # Panics
/// Outside of a runtime.
pub fn now() -> Instant {
    Runtime::with(|rt| rt.clock.now())
}

/// A deadline that may be moved often. One task waits on it at a time.
#[derive(Debug)]
pub struct Timer {
    key: Cell<u32>,
    runtime: Cell<u16>,
    not_send: PhantomData<*const ()>,
}

impl Timer {
    /// A disarmed timer. It takes its place in the wheel when it is first armed.
    pub const fn new() -> Timer {
        Timer { key: Cell::new(NIL), runtime: Cell::new(0), not_send: PhantomData }
    }

    /// Sets the deadline, whether or not one was set before. A past one expires within a tick.
    pub fn arm(&self, at: Instant) {
        self.with(|rt, key| {
            let tick = rt.clock.tick_at(at);
            rt.timers.borrow_mut().arm(key, tick);
        });
    }

    /// Takes the deadline away.
    pub fn disarm(&self) {
        if self.key.get() != NIL {
            self.with(|rt, key| rt.timers.borrow_mut().disarm(key));
        }
    }

    /// Ready once the deadline has passed, and until it is armed or disarmed again.
    pub fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        self.with(|rt, key| rt.timers.borrow_mut().poll_expired(key, cx))
    }

    /// Whether a deadline is set that has not expired.
    pub fn is_armed(&self) -> bool {
        self.key.get() != NIL && self.with(|rt, key| rt.timers.borrow().is_armed(key))
    }

    fn with<R>(&self, f: impl FnOnce(&Runtime, u32) -> R) -> R {
        Runtime::with(|rt| {
            if self.key.get() == NIL || self.runtime.get() != rt.id {
                self.key.set(rt.timers.borrow_mut().insert());
                self.runtime.set(rt.id);
            }
            f(rt, self.key.get())
        })
    }
}

impl Default for Timer {
    fn default() -> Self {
        Timer::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.key.get() != NIL {
            let waker = Runtime::try_with(|rt| {
                let ours = rt.id == self.runtime.get();
                if ours { rt.timers.borrow_mut().remove(self.key.get()) } else { None }
            });
            drop(waker);
        }
    }
}

/// Waits until `at`.
pub async fn sleep_until(at: Instant) {
    let timer = Timer::new();
    timer.arm(at);
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

/// The deadline of [`timeout_at`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl std::error::Error for Elapsed {}

/// Drives a future until it is ready or `at` has passed; the future goes first when both are.
pub async fn timeout_at<F: Future>(at: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let timer = Timer::new();
    timer.arm(at);
    poll_fn(|cx| match Pin::as_mut(&mut future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => timer.poll_expired(cx).map(|()| Err(Elapsed)),
    })
    .await
}

#[cfg(test)]
pub(super) const fn timer_bytes() -> usize {
    super::slab::entry_bytes::<Entry>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Wheel;

    /// Random arming, moving, disarming and removing, and steps of random length, against a map of deadlines.
    #[test]
    fn the_wheel_agrees_with_an_ordered_map() {
        let seed =
            std::env::var("RINGWAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
            });
        eprintln!("RINGWAY_SEED={seed}");
        let mut state = seed | 1;
        let mut random = move |n: u64| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
        };
        for _ in 0..50 {
            let (mut wheel, mut oracle, mut now) = (Wheel::new(), BTreeMap::new(), 0u64);
            let mut keys: Vec<u32> = (0..50).map(|_| wheel.insert()).collect();
            for _ in 0..1000 {
                let i = random(keys.len() as u64) as usize;
                let key = keys[i];
                match random(10) {
                    0 => {
                        wheel.disarm(key);
                        oracle.remove(&key);
                    }
                    1 => {
                        wheel.remove(key);
                        oracle.remove(&key);
                        keys[i] = wheel.insert();
                    }
                    2..8 => {
                        let shift = random(24);
                        let deadline = (now + random(1 << shift)).saturating_sub(random(3));
                        wheel.arm(key, deadline);
                        oracle.insert(key, deadline.max(wheel.elapsed));
                    }
                    _ => {
                        let shift = random(22);
                        now += random(1 << shift);
                        // A turn of the loop looks at the wheel's own idea of when it has to wake up: never too late.
                        if let Some(first) = oracle.values().min() {
                            assert!(wheel.next().is_some_and(|next| next <= (*first).max(wheel.elapsed)));
                        }
                        wheel.expire(now, &mut Vec::new());
                        for key in &keys {
                            let expired = wheel.entries.get(*key).unwrap().expired;
                            let due = oracle.get(key).is_some_and(|deadline| *deadline <= now);
                            assert_eq!(expired, due, "key {key} at {now}: {:?}", oracle.get(key));
                        }
                        oracle.retain(|key, deadline| {
                            if *deadline <= now {
                                wheel.disarm(*key);
                            }
                            *deadline > now
                        });
                    }
                }
            }
        }
    }

    #[test]
    fn a_deadline_in_the_past_expires_at_the_next_tick() {
        let mut wheel = Wheel::new();
        wheel.expire(1000, &mut Vec::new());
        let key = wheel.insert();
        wheel.arm(key, 3);
        assert_eq!(wheel.next(), Some(1001));
        wheel.expire(1001, &mut Vec::new());
        assert!(wheel.entries.get(key).unwrap().expired);
        assert_eq!(wheel.next(), None);
    }
}
