//! Errors that the runtime makes itself.

use std::{fmt, io};

/// In place of an errno: the worker's buffers ran out and this stream held the most.
pub(super) const MEMORY_RESET: i32 = i32::MAX;

/// The worker's receive buffers ran out, and this stream held the most of them.
#[derive(Debug)]
struct MemoryReset;

impl fmt::Display for MemoryReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker's buffers ran out and this connection held the most of them")
    }
}

impl std::error::Error for MemoryReset {}

pub(super) fn errno_error(errno: i32) -> io::Error {
    if errno == MEMORY_RESET {
        return io::Error::other(MemoryReset);
    }
    io::Error::from_raw_os_error(errno)
}

/// Whether `error` says that the stream was reset because the worker's buffers had run out.
pub fn is_memory_reset(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<MemoryReset>())
}

/// A stream, listener or timer is used after the runtime it belongs to has ended.
pub(super) fn ended() -> io::Error {
    // A kind and no text: this is also the value that is prepared in case the runtime has ended, on every call.
    io::ErrorKind::NotConnected.into()
}
