//! Timers of the face; the wheel itself is checked against an oracle beside its code.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_never_early() {
    each(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let delays = [30u64, 5, 70, 1, 15, 0, 66, 64, 63];
        for delay in delays {
            let order = order.clone();
            spawn(async move {
                let (started, delay) = (Instant::now(), Duration::from_millis(delay));
                sleep_until(started + delay).await;
                assert!(started.elapsed() >= delay);
                order.borrow_mut().push(delay.as_millis() as u64);
            });
        }
        until(|| order.borrow().len() == delays.len()).await;
        let mut sorted = delays;
        sorted.sort_unstable();
        assert_eq!(*order.borrow(), sorted);
    });
}

#[test]
fn a_timer_moves_both_ways_and_is_disarmed() {
    each(async || {
        let timer = Timer::new();
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        timer.arm(after(10_000));
        timer.arm(after(20));
        timer.arm(after(5));
        timer.arm(after(40));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(!timer.is_armed());
        timer.arm(now() + Duration::from_millis(5));
        timer.disarm();
        let waited =
            timeout_at(now() + Duration::from_millis(20), poll_fn(|cx| timer.poll_expired(cx))).await;
        assert_eq!(waited, Err(Elapsed));
    });
}

#[test]
fn timeout_gives_the_output_or_elapsed() {
    each(async || {
        assert_eq!(timeout_at(now(), async { 7 }).await, Ok(7), "the future goes first");
        let late = timeout_at(now() + Duration::from_millis(3), std::future::pending::<()>()).await;
        assert_eq!(late, Err(Elapsed));
    });
}
