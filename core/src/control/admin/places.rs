//! Places for connections: so many at once, and the oldest that waits for its peer makes room for a new one.
//!
//! So a peer that opens connections and stays silent holds nobody else out; only connections for which we work
//! ourselves are never put out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

/// The places of one listener.
#[derive(Default)]
pub(super) struct Places {
    taken: RefCell<VecDeque<Rc<Place>>>,
}

/// The place of one connection.
#[derive(Default)]
pub(super) struct Place {
    /// Whether a request is being answered.
    busy: Cell<bool>,
    put_out: Notify,
}

impl Places {
    /// Takes a place. Where all of `max` are taken, the oldest connection that is not busy loses its own; `None` when
    /// all are busy. Also says whether somebody was put out.
    pub(super) fn take(&self, max: usize) -> (Option<Rc<Place>>, bool) {
        let mut taken = self.taken.borrow_mut();
        let mut put_out = false;
        if taken.len() >= max {
            let Some(oldest) = taken.iter().position(|place| !place.busy.get()) else { return (None, false) };
            if let Some(place) = taken.remove(oldest) {
                place.put_out.notify_one();
                put_out = true;
            }
        }
        let place = Rc::new(Place::default());
        taken.push_back(place.clone());
        (Some(place), put_out)
    }

    /// The connection has ended.
    pub(super) fn give_back(&self, place: &Rc<Place>) {
        self.taken.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
    }
}

impl Place {
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// Completes when the connection has to go.
    pub(super) async fn put_out(&self) {
        self.put_out.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_waits_makes_room_and_busy_ones_stay() {
        let places = Places::default();
        let take = || places.take(3).0;
        let (first, second, third) = (take().expect("room"), take().expect("room"), take().expect("room"));
        first.set_busy(true);
        let (fourth, put_out) = places.take(3);
        assert!(put_out && fourth.is_some());
        let fourth = fourth.expect("room was made");
        let left: Vec<Rc<Place>> = places.taken.borrow().iter().cloned().collect();
        assert!(
            left.iter().zip([&first, &third, &fourth]).all(|(a, b)| Rc::ptr_eq(a, b)),
            "second had to go"
        );
        drop(second);
        third.set_busy(true);
        fourth.set_busy(true);
        assert!(take().is_none());
        places.give_back(&third);
        assert!(take().is_some());
    }
}
