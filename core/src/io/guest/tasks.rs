//! The foreign tasks: each moves bytes, connections or wake-ups between a socket and our tables.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::super::runtime::Runtime;
use super::super::slot::{Slot, flag};
use super::super::{Address, listener, socket, stream};
use super::buffers::{Alive, Batch, Buffer};
use super::{Gate, Host, Opened, Shared};

/// Which of the two wakers of a gate a task uses.
type Side = fn(&Gate) -> &RefCell<Option<Waker>>;
const RECEIVER: Side = |gate| &gate.receiver;
const SENDER: Side = |gate| &gate.sender;

/// Starts the two tasks of an open stream.
pub(super) fn serve<H: Host>(shared: &Rc<Shared>, key: u32, gate: &Rc<Gate>, opened: Opened<H>) {
    gate.opened.set(true);
    let Opened { reader, writer } = opened;
    spawn::<H>(shared, gate.clone(), RECEIVER, receive::<H>(shared.clone(), gate.clone(), key, reader));
    spawn::<H>(shared, gate.clone(), SENDER, send::<H>(shared.clone(), gate.clone(), key, writer));
}

/// Starts the task that connects and then serves.
pub(super) fn connect<H: Host>(shared: &Rc<Shared>, key: u32, gate: Rc<Gate>, to: Address) {
    let (shared_, gate_) = (shared.clone(), gate.clone());
    let connecting = async move {
        let result = H::connect(to).await;
        let opened = with_slot(&shared_, &gate_, key, |_, slot| {
            slot.clear(flag::CONNECTING);
            let opened = result.map(|(fd, reader, writer)| {
                // The foreign runtime connects a socket of its own.
                socket::close(std::mem::replace(&mut slot.fd, fd));
                socket::no_delay(fd);
                Opened { reader, writer }
            });
            if let Err(error) = &opened {
                slot.send_error = errno(error);
            }
            (opened, [slot.recv_waker.take(), None])
        });
        if let Some(Ok(opened)) = opened {
            serve::<H>(&shared_, key, &gate_, opened);
        }
    };
    spawn::<H>(shared, gate, RECEIVER, connecting);
}

/// Starts the task that accepts.
pub(super) fn accept<H: Host>(shared: &Rc<Shared>, key: u32, gate: Rc<Gate>, listener: H::Listener) {
    let (shared_, gate_) = (shared.clone(), gate.clone());
    let accepting = async move {
        loop {
            started(&gate_.receiving).await;
            let result = H::accept(&listener).await;
            Runtime::try_with(|rt| {
                rt.counters.completions.add(1);
                let go_on = match result {
                    Ok(fd) => {
                        listener::on_accepted(rt, key, fd);
                        rt.listeners.borrow().get(key).is_some_and(listener::ListenerSlot::has_room)
                    }
                    Err(error) => listener::on_accept_error(rt, key, errno(&error)),
                };
                if !go_on {
                    gate_.receiving.set(false);
                    if let Some(listener) = rt.listeners.borrow_mut().get_mut(key) {
                        listener.armed = false;
                    }
                }
                shared_.notify(rt);
            });
        }
    };
    spawn::<H>(shared, gate, RECEIVER, accepting);
}

/// Starts the task through which other threads wake the main future.
pub(super) fn listen_for_bell<H: Host>(shared: &Rc<Shared>, mut reader: H::Reader) {
    let shared_ = shared.clone();
    let listening = async move {
        loop {
            let Some(buffer) = Buffer::take(&shared_) else {
                H::sleep(Duration::from_millis(1)).await;
                continue;
            };
            match H::recv(&mut reader, buffer).await.0 {
                Ok(0) | Err(_) => return,
                Ok(_) => shared_.ring(),
            }
        }
    };
    spawn::<H>(shared, shared.bell.clone(), RECEIVER, listening);
}

async fn receive<H: Host>(shared: Rc<Shared>, gate: Rc<Gate>, key: u32, mut reader: H::Reader) {
    loop {
        started(&gate.receiving).await;
        let Some(buffer) = Buffer::take(&shared) else {
            starve(&shared, &gate, key);
            continue;
        };
        let (result, buffer) = H::recv(&mut reader, buffer).await;
        let go_on = with_slot(&shared, &gate, key, |rt, slot| {
            rt.counters.completions.add(1);
            received(rt, key, slot, result, buffer)
        });
        if go_on != Some(true) {
            gate.receiving.set(false);
        }
    }
}

/// No buffer was free: the driver starts the receive again when one is.
fn starve(shared: &Rc<Shared>, gate: &Rc<Gate>, key: u32) {
    gate.receiving.set(false);
    with_slot(shared, gate, key, |rt, slot| {
        rt.counters.enobufs.add(1);
        slot.clear(flag::RECV_ARMED);
        slot.set(flag::RECV_STARVED);
        ((), [None, None])
    });
    shared.starved.borrow_mut().push((key, gate.clone()));
    shared.ring();
}

/// Puts what arrived into the slot: whether to go on receiving, and who is to be told.
fn received(
    rt: &Runtime,
    key: u32,
    slot: &mut Slot,
    result: io::Result<usize>,
    buffer: Buffer,
) -> (bool, [Option<Waker>; 2]) {
    if slot.recv_error != 0 {
        slot.clear(flag::RECV_ARMED);
        return (false, [None, None]);
    }
    match result.map(|n| n as u32) {
        Ok(0) => {
            slot.clear(flag::RECV_ARMED);
            slot.set(flag::EOF);
            (false, [slot.recv_waker.take(), None])
        }
        Ok(n) => {
            // SAFETY: the operation has completed with `n` bytes and handed the buffer back.
            slot.push(unsafe { buffer.into_chunk(n, key) });
            let full = slot.is_full(rt.connection_bytes_max);
            if full {
                slot.clear(flag::RECV_ARMED);
                slot.set(flag::PAUSED);
                rt.counters.recv_pauses.add(1);
            }
            (!full, [slot.recv_waker.take(), None])
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => (true, [None, None]),
        Err(error) => {
            slot.clear(flag::RECV_ARMED);
            (false, slot.on_recv_error(errno(&error)))
        }
    }
}

async fn send<H: Host>(shared: Rc<Shared>, gate: Rc<Gate>, key: u32, mut writer: H::Writer) {
    let mut batch = Batch::new(&shared);
    loop {
        started(&gate.sending).await;
        let filled = with_slot(&shared, &gate, key, |_, slot| {
            let filled = match slot.send.as_mut().filter(|send| send.unsent > 0) {
                Some(send) => {
                    batch.fill(send);
                    true
                }
                None => {
                    slot.clear(flag::SEND_BUSY);
                    if slot.has(flag::SHUT_WANTED) {
                        stream::finish_shutdown(slot);
                    }
                    false
                }
            };
            (filled, [None, None])
        });
        if filled != Some(true) {
            gate.sending.set(false);
            continue;
        }
        let result;
        (result, batch) = H::send(&mut writer, batch).await;
        batch.clear();
        with_slot(&shared, &gate, key, |rt, slot| {
            rt.counters.completions.add(1);
            let waker = match result {
                Ok(n) if n > 0 => slot.on_sent(rt, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Ok(_) => slot.on_send_error(rt, libc::EPIPE),
                Err(error) => slot.on_send_error(rt, errno(&error)),
            };
            ((), [waker, None])
        });
    }
}

/// Runs `apply` on the gate's slot while that is the gate's, then wakes whom it names.
fn with_slot<R>(
    shared: &Shared,
    gate: &Gate,
    key: u32,
    apply: impl FnOnce(&Runtime, &mut Slot) -> (R, [Option<Waker>; 2]),
) -> Option<R> {
    if gate.closed.get() {
        return None;
    }
    Runtime::try_with(|rt| {
        let (result, wakers) = {
            let mut slots = rt.slots.borrow_mut();
            apply(rt, slots.get_mut(key)?)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
        shared.notify(rt);
        Some(result)
    })
    .flatten()
}

/// Spawns a foreign task that ends, whatever it waits for, when the gate closes.
fn spawn<H: Host>(
    shared: &Rc<Shared>,
    gate: Rc<Gate>,
    side: Side,
    future: impl Future<Output = ()> + 'static,
) {
    let alive = Alive::new(shared);
    H::spawn(async move {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if gate.closed.get() {
                return Poll::Ready(());
            }
            {
                let mut waker = side(&gate).borrow_mut();
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
            }
            future.as_mut().poll(cx)
        })
        .await;
        drop(alive);
    });
}

/// Waits for a flag of the task's gate; [`spawn`] has seen to the wake-up.
async fn started(flag: &std::cell::Cell<bool>) {
    poll_fn(|_| if flag.get() { Poll::Ready(()) } else { Poll::Pending }).await;
}

pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::ConnectionRefused => libc::ECONNREFUSED,
        _ => libc::EIO,
    })
}
