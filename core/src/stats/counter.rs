//! Numbers with one writer and any number of readers.
//!
//! **Invariant:** only the worker that owns a number changes it. A change is a plain load and a plain store: no
//! locked instruction, and no reader ever slows the writer. A reader may be one event behind, never torn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`; only for the owning worker.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes over a total that is counted elsewhere (the runtime keeps its own).
    #[inline]
    pub fn set(&self, total: u64) {
        self.0.store(total, Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Never goes below zero: a gauge that was decremented twice shows 0, not 18 quintillion.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(n), Relaxed);
    }

    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    #[inline]
    pub fn decrement(&self) {
        self.sub(1);
    }

    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Whether a number only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// One number of a group `G`: its name, what it means, and how to read it.
pub struct Row<G> {
    /// Name in `/metrics` without the prefix `ringway_` and without `_total`; the name in `/stats` as well.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub read: fn(&G) -> u64,
}

/// Declares a group of numbers and the table that exports it, so that no number can be left out of `/metrics`.
macro_rules! group {
    ($(#[$doc:meta])* $vis:vis struct $group:ident { $($field:ident: $kind:ident $name:literal $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        $vis struct $group {
            $(#[doc = $help] pub $field: $crate::stats::counter::$kind,)*
        }

        impl $group {
            /// Every number of the group.
            pub const ROWS: &'static [$crate::stats::counter::Row<$group>] = &[$($crate::stats::counter::Row {
                name: $name,
                help: $help,
                kind: $crate::stats::counter::Kind::$kind,
                read: |group| group.$field.get(),
            }),*];
        }
    };
}
pub(crate) use group;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_never_falls_below_zero() {
        let gauge = Gauge::default();
        gauge.increment();
        gauge.sub(2);
        assert_eq!(gauge.get(), 0);
        gauge.add(3);
        assert_eq!(gauge.get(), 3);
    }
}
