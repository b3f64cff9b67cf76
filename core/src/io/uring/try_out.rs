//! Each thing that the driver needs of the ring, tried out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{Probe as OpProbe, opcode};

use super::Ring;
use super::buffers::BufferRing;
use super::ops::{self, Op};
use super::ring::{self, BATCH, Completion};
use crate::io::pool::Pool;
use crate::io::probe::{Probe, explain_setup};
use crate::io::socket::{self, SockAddr, cvt};

/// Operations by name.
const OPERATIONS: [(&str, u8); 10] = [
    ("IORING_OP_ACCEPT", opcode::Accept::CODE),
    ("IORING_OP_RECV", opcode::Recv::CODE),
    ("IORING_OP_SEND", opcode::Send::CODE),
    ("IORING_OP_SENDMSG", opcode::SendMsg::CODE),
    ("IORING_OP_CONNECT", opcode::Connect::CODE),
    ("IORING_OP_CLOSE", opcode::Close::CODE),
    ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("IORING_OP_POLL_ADD", opcode::PollAdd::CODE),
    ("IORING_OP_READ", opcode::Read::CODE),
    ("IORING_OP_MSG_RING", opcode::MsgRingData::CODE),
];

/// How long a completion that should be there at once may take.
const PATIENCE: Duration = Duration::from_secs(1);

pub(in crate::io) fn run() -> Probe {
    let mut found = Probe::default();
    let ring = match Ring::new(8) {
        Ok(ring) => ring,
        Err(error) => {
            found.setup_error = Some(explain_setup(&error));
            return found;
        }
    };
    found.missing.extend(missing_features(&ring));
    found.missing.extend(missing_operations(&ring));
    if !found.missing.is_empty() {
        return found;
    }
    let mut tried = |name: &'static str, result: io::Result<bool>| {
        if !matches!(result, Ok(true)) {
            found.missing.push(name);
        }
    };
    let pool = Pool::new(512, 8, 4096);
    match BufferRing::new(&ring, 8, &pool) {
        Ok(buffers) => tried("multishot recv into a buffer ring", try_recv(&ring, &buffers)),
        Err(_) => tried("provided-buffer rings (IORING_REGISTER_PBUF_RING)", Ok(false)),
    }
    tried("multishot accept", try_accept(&ring));
    tried("messages between rings (IORING_OP_MSG_RING)", try_message(&ring));
    found.optional_missing = ring.optional_missing();
    found
}

fn missing_features(ring: &Ring) -> Vec<&'static str> {
    ring.with(|ring| {
        let params = ring.params();
        [
            ("IORING_FEAT_NODROP", params.is_feature_nodrop()),
            ("IORING_FEAT_EXT_ARG", params.is_feature_ext_arg()),
            ("IORING_FEAT_FAST_POLL", params.is_feature_fast_poll()),
            ("IORING_FEAT_CQE_SKIP", params.is_feature_skip_cqe_on_success()),
        ]
        .into_iter()
        .filter_map(|(name, present)| (!present).then_some(name))
        .collect()
    })
}

fn missing_operations(ring: &Ring) -> Vec<&'static str> {
    let mut probe = OpProbe::new();
    if ring.with(|ring| ring.submitter().register_probe(&mut probe)).is_err() {
        return vec!["IORING_REGISTER_PROBE"];
    }
    OPERATIONS.iter().filter_map(|(name, code)| (!probe.is_supported(*code)).then_some(*name)).collect()
}

/// One byte through a socket pair must come in a provided buffer, and the operation must go on.
fn try_recv(ring: &Ring, buffers: &BufferRing) -> io::Result<bool> {
    let (a, b) = UnixStream::pair()?;
    buffers.refill();
    // SAFETY: the entry points to nothing; the buffers are registered and outlive the ring's operations, which end below.
    unsafe { ring.push(&ops::recv(b.as_raw_fd(), 1)) };
    io::Write::write_all(&mut &a, b"x")?;
    let completion = wait_for(ring, Op::Recv)?;
    let whole = completion.result == 1
        && ring::more(completion.flags)
        && ring::buffer_select(completion.flags).is_some();
    drop(a);
    if ring::more(completion.flags) {
        wait_for(ring, Op::Recv)?;
    }
    Ok(whole)
}

fn try_accept(ring: &Ring) -> io::Result<bool> {
    let listener = socket::stream_socket(libc::AF_UNIX, 0)?;
    let mut name = SockAddr::empty();
    let family = libc::AF_UNIX as libc::sa_family_t;
    name.storage.ss_family = family;
    // An address of nothing but the family asks for an abstract name of the kernel's choice (unix(7), autobind).
    // SAFETY: the name points to at least two initialised bytes.
    cvt(unsafe { libc::bind(listener.as_raw_fd(), name.as_ptr(), size_of_val(&family) as libc::socklen_t) })?;
    // SAFETY: no pointers are passed.
    cvt(unsafe { libc::listen(listener.as_raw_fd(), 8) })?;
    // SAFETY: at most `len` bytes of the storage are written, and the length.
    cvt(unsafe {
        libc::getsockname(listener.as_raw_fd(), (&raw mut name.storage).cast(), &raw mut name.len)
    })?;
    // SAFETY: the entry points to nothing.
    unsafe { ring.push(&ops::accept(listener.as_raw_fd(), 2)) };
    let client = socket::stream_socket(libc::AF_UNIX, libc::SOCK_NONBLOCK)?;
    // SAFETY: the name points to `len` bytes that getsockname wrote.
    cvt(unsafe { libc::connect(client.as_raw_fd(), name.as_ptr(), name.len) })?;
    let completion = wait_for(ring, Op::Accept)?;
    if completion.result >= 0 {
        socket::close(completion.result);
    }
    let multishot = completion.result >= 0 && ring::more(completion.flags);
    if multishot {
        // SAFETY: the entry points to nothing.
        unsafe { ring.push(&ops::cancel(Op::Accept, 2)) };
        wait_for(ring, Op::Accept)?;
    }
    drop(client);
    let _: OwnedFd = listener;
    Ok(multishot)
}

fn try_message(ring: &Ring) -> io::Result<bool> {
    let other = Ring::new(8)?;
    // SAFETY: the entry points to nothing.
    unsafe { ring.push(&ops::message(other.fd(), 0)) };
    let sent = wait_for(ring, Op::Messaged)?;
    let received = wait_for(&other, Op::Message)?;
    Ok(sent.result >= 0 && received.result == 0)
}

/// The next completion of a kind.
fn wait_for(ring: &Ring, wanted: Op) -> io::Result<Completion> {
    let mut batch = [Completion::default(); BATCH];
    for _ in 0..8 {
        ring.enter_and_wait(Some(PATIENCE), 1, 0);
        let n = ring.reap(&mut batch);
        if n == 0 {
            break;
        }
        let found = batch[..n].iter().find(|it| ops::of(it.user_data).is_some_and(|(op, _)| op == wanted));
        if let Some(completion) = found {
            return Ok(*completion);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
