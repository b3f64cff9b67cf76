//! System calls on simulated sockets, for `socket.rs`: `None` when the descriptor is not one of them.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use super::kernel::with;
use crate::io::Address;

/// socket(2).
pub(in crate::io) fn stream_socket() -> Option<io::Result<OwnedFd>> {
    with(|kernel| kernel.stream_socket())
}

/// bind(2) and listen(2).
pub(in crate::io) fn bind(address: &Address) -> Option<io::Result<OwnedFd>> {
    with(|kernel| kernel.listen(address))
}

/// The runtime takes charge of a descriptor.
pub(in crate::io) fn adopted(fd: RawFd) {
    with(|kernel| kernel.adopted(fd));
}

/// SO_LINGER 0.
pub(in crate::io) fn linger_zero(fd: RawFd) -> bool {
    on_socket(fd, |socket| socket.linger_zero = true).is_some()
}

/// shutdown(2).
pub(in crate::io) fn shutdown(fd: RawFd, how: i32) -> bool {
    with(|kernel| kernel.shutdown(fd, how)).unwrap_or(false)
}

/// close(2); the token itself is closed by the caller.
pub(in crate::io) fn close(fd: RawFd) {
    with(|kernel| kernel.close(fd));
}

/// SIOCOUTQ.
pub(in crate::io) fn outq(fd: RawFd) -> Option<io::Result<u32>> {
    on_socket(fd, |socket| Ok((socket.tx.len() + socket.flying) as u32))
}

/// getpeername(2).
pub(in crate::io) fn peer_address(fd: RawFd) -> Option<io::Result<Address>> {
    on_socket(fd, |socket| match (&socket.remote, socket.error) {
        (Some(address), 0) => Ok(address.clone()),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTCONN)),
    })
}

/// getsockname(2).
pub(in crate::io) fn local_address(fd: RawFd) -> Option<io::Result<Address>> {
    on_socket(fd, |socket| socket.local.clone().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN)))
}

/// Whether neither bytes nor a FIN nor an error wait. The runtime asks when it lets go of a descriptor.
pub(in crate::io) fn is_silent(fd: RawFd) -> Option<bool> {
    with(|kernel| kernel.released(fd)).flatten()
}

fn on_socket<R>(fd: RawFd, f: impl FnOnce(&mut super::socket::Socket) -> R) -> Option<R> {
    with(|kernel| kernel.by_fd(fd).map(f)).flatten()
}
