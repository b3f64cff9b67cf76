//! Submission entries, and the words that name their completions.

use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::buffers::GROUP;
use crate::io::slot::SendState;
use crate::io::socket::SockAddr;

/// What an operation is. With the key of its stream or listener it makes up `user_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Op {
    Recv = 1,
    Send,
    Connect,
    Accept,
    Poll,
    /// Cancels and closes: nobody waits for them, and they post only failures.
    Quiet,
    /// The read of the eventfd.
    Eventfd,
    /// A message from another ring.
    Message,
    /// Our end of a message to another ring.
    Messaged,
    /// A poll for room to send.
    SendReady,
    /// The cancel of a receive: posts only failures.
    CancelRecv,
}

const KIND_SHIFT: u32 = 56;

pub(super) fn user_data(op: Op, key: u32) -> u64 {
    (op as u64) << KIND_SHIFT | u64::from(key)
}

/// The operation and key of a completion; `None` for words that we never submitted.
pub(super) fn of(user_data: u64) -> Option<(Op, u32)> {
    let op = match user_data >> KIND_SHIFT {
        1 => Op::Recv,
        2 => Op::Send,
        3 => Op::Connect,
        4 => Op::Accept,
        5 => Op::Poll,
        6 => Op::Quiet,
        7 => Op::Eventfd,
        8 => Op::Message,
        9 => Op::Messaged,
        10 => Op::SendReady,
        11 => Op::CancelRecv,
        _ => return None,
    };
    Some((op, user_data as u32))
}

pub(super) fn recv(fd: RawFd, key: u32) -> Entry {
    opcode::RecvMulti::new(types::Fd(fd), GROUP).build().user_data(user_data(Op::Recv, key))
}

/// A multishot receive that ends by itself after `bytes` in all (Linux 6.17).
pub(super) fn recv_up_to(fd: RawFd, key: u32, bytes: u32) -> Entry {
    const { assert!(size_of::<Entry>() == 64) };
    let mut entry = recv(fd, key);
    // SAFETY: an entry is a `struct io_uring_sqe`, whose `optlen` (unknown to the crate for this operation) is the word at
    // offset 44.
    unsafe { (&raw mut entry).cast::<u32>().add(OPTLEN_WORD).write(bytes) };
    entry
}

/// `offsetof(struct io_uring_sqe, optlen) / 4`.
const OPTLEN_WORD: usize = 44 / 4;

/// One receive, into one buffer.
pub(super) fn recv_once(fd: RawFd, key: u32) -> Entry {
    opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0)
        .buf_group(GROUP)
        .build()
        .flags(Flags::BUFFER_SELECT)
        .user_data(user_data(Op::Recv, key))
}

const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Sends the first `count` iovecs of `send`, which points to memory that it owns.
pub(super) fn send(fd: RawFd, key: u32, send: &mut SendState, count: usize) -> Entry {
    let entry = if let [iovec] = &send.iovecs[..count] {
        // One operation covers at most SEND_BYTES_MAX, so the length fits.
        opcode::Send::new(types::Fd(fd), iovec.iov_base.cast(), iovec.iov_len as u32)
            .flags(SEND_FLAGS)
            .build()
    } else {
        send.header.msg_iov = send.iovecs.as_mut_ptr();
        send.header.msg_iovlen = count;
        opcode::SendMsg::new(types::Fd(fd), &raw const send.header).flags(SEND_FLAGS as u32).build()
    };
    entry.user_data(user_data(Op::Send, key))
}

pub(super) fn connect(fd: RawFd, key: u32, to: &SockAddr) -> Entry {
    opcode::Connect::new(types::Fd(fd), to.as_ptr(), to.len).build().user_data(user_data(Op::Connect, key))
}

pub(super) fn accept(fd: RawFd, key: u32) -> Entry {
    opcode::AcceptMulti::new(types::Fd(fd))
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(user_data(Op::Accept, key))
}

pub(super) fn poll(fd: RawFd, key: u32, events: u32) -> Entry {
    opcode::PollAdd::new(types::Fd(fd), events).build().user_data(user_data(Op::Poll, key))
}

pub(super) fn poll_for_send(fd: RawFd, key: u32) -> Entry {
    opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build().user_data(user_data(Op::SendReady, key))
}

/// Cancels one operation, found by its word.
pub(super) fn cancel(op: Op, key: u32) -> Entry {
    let own = if op == Op::Recv { Op::CancelRecv } else { Op::Quiet };
    opcode::AsyncCancel::new(user_data(op, key))
        .build()
        .user_data(user_data(own, key))
        .flags(Flags::SKIP_SUCCESS)
}

/// Cancels every operation on a descriptor.
pub(super) fn cancel_fd(fd: RawFd) -> Entry {
    opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(fd)).all())
        .build()
        .user_data(user_data(Op::Quiet, 0))
        .flags(Flags::SKIP_SUCCESS)
}

/// Cancels everything.
pub(super) fn cancel_all() -> Entry {
    opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(user_data(Op::Quiet, 0))
}

pub(super) fn close(fd: RawFd) -> Entry {
    opcode::Close::new(types::Fd(fd)).build().user_data(user_data(Op::Quiet, 0)).flags(Flags::SKIP_SUCCESS)
}

pub(super) fn read_eventfd(fd: RawFd, into: *mut u64) -> Entry {
    opcode::Read::new(types::Fd(fd), into.cast(), 8).build().user_data(user_data(Op::Eventfd, 0))
}

/// Posts a completion to another ring; `key` names our own completion, which says whether that worked.
pub(super) fn message(ring: RawFd, key: u32) -> Entry {
    opcode::MsgRingData::new(types::Fd(ring), 0, user_data(Op::Message, 0), None)
        .build()
        .user_data(user_data(Op::Messaged, key))
}
