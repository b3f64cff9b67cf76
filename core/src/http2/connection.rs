//! One connection as its task and its handles share it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use ringway_protocols::http2::{Connection as Machine, ConnectionConfig, ErrorCode, Role, StreamKey};

use super::counts::Counts;
use super::inbox;
use super::output::Output;
use super::stream::{StreamError, StreamState};
use crate::io::{Address, give_vec, take_vec};
use crate::stats::WorkerStats;
use crate::transport::{TlsFacts, Transport};

/// After its window was closed, a stream sends again when this much can go at once (or all that it has, or half of the
/// peer's window): one-byte window updates do not make one-byte frames (RFC 1122 4.2.3.4, for TCP).
const FRAME_WORTH_BYTES: usize = 1024;

/// A connection with its streams. The task that drives it and the handles of its streams hold it.
pub struct Connection {
    pub(super) state: RefCell<State>,
    pub(super) role: Role,
    /// Our end of the socket, where it has an IP address.
    pub(super) local_address: Option<SocketAddr>,
    /// What the peers agreed on in TLS, where that is spoken.
    pub(super) tls: Option<Rc<TlsFacts>>,
    limits: QueueLimits,
}

/// What may wait on its way through a connection.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Bytes that may wait for the socket before streams wait.
    pub unsent_bytes_max: usize,
    /// Bytes that all streams of the worker may hold because nobody reads them.
    pub held_bytes_max: usize,
}

pub(super) struct State {
    pub(super) machine: Machine,
    /// By slot of the stream's key.
    pub(super) streams: Vec<StreamState>,
    pub(super) output: Output,
    /// The socket's, when the task last looked.
    unsent: usize,
    /// Streams that have something to send and wait for room, the longest waiting first.
    waiting: VecDeque<StreamKey>,
    /// Room that was promised to streams and not used yet.
    reserved: usize,
    /// Streams that hold receive buffers since this turn of the connection.
    pub(super) fresh: Vec<usize>,
    pub(super) handles: u32,
    task: Option<Waker>,
    /// The task runs or is about to.
    awake: bool,
    /// Some stream waits for a window worth a frame: when it waited long enough.
    pub(super) patience_ends: Option<Instant>,
    /// What the peer's GOAWAY said.
    pub(super) goaway: Option<ErrorCode>,
    pub(super) counts: Counts,
    /// PINGs that were answered.
    pub(super) pongs: u64,
    pub(super) received_at: Instant,
    /// Client role: no new streams, and the end when the last has ended.
    pub(super) ending: bool,
    /// Counts what a user of a client's connection may want to know.
    pub(super) changes: u64,
    watcher: Option<Waker>,
    /// The task has ended.
    pub(super) closed: bool,
}

impl Connection {
    pub(super) fn new(
        role: Role,
        config: &ConnectionConfig,
        limits: QueueLimits,
        stats: &Arc<WorkerStats>,
        socket: &Transport,
    ) -> Rc<Connection> {
        let now = crate::io::now();
        let state = State {
            machine: Machine::new(role, config, now),
            streams: Vec::new(),
            output: Output::default(),
            unsent: 0,
            waiting: VecDeque::new(),
            reserved: 0,
            fresh: Vec::new(),
            handles: 0,
            task: None,
            awake: true,
            patience_ends: None,
            goaway: None,
            counts: Counts::new(stats, role),
            pongs: 0,
            received_at: now,
            ending: false,
            changes: 0,
            watcher: None,
            closed: false,
        };
        let local_address = match socket.local_addr() {
            Ok(Address::Tcp(local)) => Some(local),
            Ok(_) | Err(_) => None,
        };
        let tls = socket.tls().map(Rc::clone);
        Rc::new(Connection { state: RefCell::new(state), role, local_address, tls, limits })
    }

    /// The task begins to run: whom to wake, and that it need not be woken now.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        let mut state = self.state.borrow_mut();
        state.awake = true;
        if !state.task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
    }

    /// The task goes to sleep, for the next event; at once runs again if data was handed out by reference that its readers
    /// may not take.
    pub(super) fn leave(&self, cx: &Context<'_>, again: bool) {
        self.state.borrow_mut().awake = again;
        if again {
            cx.waker().wake_by_ref();
        }
    }

    /// Copies received data that was not taken since the last turn out of the receive buffers. When the worker holds more of
    /// it than it may, those of its streams that hold the most are given up.
    pub(super) fn copy_stalled(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for slot in state.fresh.drain(..) {
            if let Some(stream) = state.streams.get_mut(slot)
                && stream.inbox.holds_buffers()
            {
                stream.inbox.copy_out();
            }
        }
        while inbox::held() > self.limits.held_bytes_max && state.give_up_largest() {}
    }

    /// Gives streams their turns, and the socket everything that is to be sent.
    ///
    /// # Errors
    /// When the socket takes nothing more.
    pub(super) fn flush(&self, socket: &Transport, cx: &Context<'_>) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.unsent = socket.unsent();
        // What a peer that reads nothing makes us say stays in the machine, which bounds it.
        if state.has_output() && state.unsent <= self.limits.unsent_bytes_max {
            socket.send_all(state.output.take(state.machine.output()))?;
            state.unsent = socket.unsent();
        }
        state.grant(self.limits.unsent_bytes_max);
        if state.has_output() || !state.waiting.is_empty() {
            // Where there is room already, others have been promised it, and this runs again when they have used it; or it is
            // the connection's window that is closed, which the peer opens.
            if let Poll::Ready(Err(error)) = socket.poll_room(cx, self.limits.unsent_bytes_max / 2) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends every stream.
    pub(super) fn fail_streams(&self, error: StreamError) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        state.changed();
        state.streams.iter_mut().filter(|stream| stream.id != 0).for_each(|stream| stream.fail(error));
    }

    /// Bytes that wait for the socket to take them.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.state.borrow_mut().queued()
    }

    /// Says why the connection ends.
    pub(super) fn goaway(&self, code: ErrorCode) {
        let mut state = self.state.borrow_mut();
        state.counts.goaways_out().increment();
        state.machine.goaway(code);
    }

    /// Gives the socket what is left to say, however much it has.
    pub(super) fn write_rest(&self, socket: &Transport) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        // The socket's error shows where its end is waited for.
        let _ = socket.send_all(state.output.take(state.machine.output()));
    }

    /// Bytes that may wait for the socket before streams wait.
    pub(super) fn window(&self) -> usize {
        self.limits.unsent_bytes_max
    }

    /// Lets streams send less than a frame's worth that waited for long.
    pub(super) fn end_patience(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        if state.patience_ends.is_none_or(|at| at > now) {
            return;
        }
        state.patience_ends = None;
        for stream in state.streams.iter_mut().filter(|stream| stream.id != 0 && stream.window_closed) {
            stream.impatient = true;
            stream.wake();
        }
    }

    /// Lets memory go that an idle connection does not need.
    pub(super) fn shrink(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.handles > 0 {
            return;
        }
        state.streams = Vec::new();
        state.waiting = VecDeque::new();
        state.fresh = Vec::new();
        state.output.shrink();
        if state.machine.output().is_empty() {
            give_vec(std::mem::take(state.machine.output()));
        }
        state.machine.release_memory();
    }
}

impl State {
    /// The stream of a key, unless its place has another one by now.
    pub(super) fn stream(&mut self, key: StreamKey) -> Option<&mut StreamState> {
        self.streams.get_mut(key.slot()).filter(|stream| stream.id == key.id())
    }

    /// Makes a place for a new stream.
    pub(super) fn begin(&mut self, key: StreamKey) -> &mut StreamState {
        let slot = key.slot();
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, StreamState::default);
        }
        if self.machine.output().capacity() == 0 {
            *self.machine.output() = take_vec();
        }
        self.handles += 1;
        self.counts.streams().increment();
        self.counts.streams_open().increment();
        let stream = &mut self.streams[slot];
        stream.begin(key);
        stream
    }

    /// Resets the stream that holds the most of what nobody reads. False: none holds anything.
    fn give_up_largest(&mut self) -> bool {
        let streams = self.streams.iter_mut().filter(|stream| stream.inbox.copied_bytes() > 0);
        let Some(stream) = streams.max_by_key(|stream| stream.inbox.copied_bytes()) else { return false };
        let key = stream.key;
        stream.inbox.clear();
        stream.fail(StreamError::MEMORY);
        if let Some(key) = key {
            self.reset(key, StreamError::MEMORY.code);
        }
        true
    }

    /// Resets a stream.
    pub(super) fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        self.counts.resets_out().increment();
        self.machine.reset(key, code);
    }

    /// Makes the connection's task run in this turn, once.
    pub(super) fn wake_task(&mut self) {
        if !self.awake {
            self.awake = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// Something has changed that a user of the connection may wait for.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }

    /// Whom to tell of the next change.
    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        if !self.watcher.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.watcher = Some(cx.waker().clone());
        }
    }

    pub(super) fn has_output(&mut self) -> bool {
        !self.machine.output().is_empty() || !self.output.parts.is_empty()
    }

    /// Bytes that wait for the socket to take them.
    fn queued(&mut self) -> usize {
        self.unsent + self.output.bytes() + self.machine.output().len()
    }

    /// Whether one more frame of data may be queued.
    fn has_room(&mut self, window: usize) -> bool {
        self.queued() + self.reserved < window && self.machine.connection_window() > self.reserved
    }

    /// Tells those who wait that it is their turn, in order, for as long as there is room.
    fn grant(&mut self, window: usize) {
        while !self.waiting.is_empty() && self.has_room(window) {
            let Some(key) = self.waiting.pop_front() else { break };
            let frame = self.machine.peer_settings().frame_bytes_max as usize;
            let Some(stream) = self.stream(key) else { continue };
            stream.listed = false;
            stream.granted = frame;
            stream.wake();
            self.reserved += frame;
        }
    }

    /// See [`super::StreamHandle::poll_capacity`].
    pub(super) fn poll_capacity(
        &mut self,
        key: StreamKey,
        cx: &Context<'_>,
        wanted: usize,
        window: usize,
    ) -> Poll<Result<usize, StreamError>> {
        let own = self.machine.stream_window(key);
        let enough =
            wanted.min(self.machine.peer_settings().stream_window as usize / 2).clamp(1, FRAME_WORTH_BYTES);
        let Some(stream) = self.stream(key) else { return Poll::Ready(Err(StreamError::GONE)) };
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        let too_little = own == 0 || (stream.window_closed && own < enough && !stream.impatient);
        stream.window_closed = too_little;
        if too_little {
            stream.wait(cx);
            let granted = std::mem::take(&mut stream.granted);
            self.give_back(granted);
            if own > 0 && self.patience_ends.is_none() {
                self.patience_ends = Some(crate::io::now() + PATIENCE);
                self.wake_task();
            }
            return Poll::Pending;
        }
        stream.impatient = false;
        let granted = stream.granted > 0;
        if !granted && (!self.waiting.is_empty() || !self.has_room(window)) {
            let Some(stream) = self.stream(key) else { return Poll::Ready(Err(StreamError::GONE)) };
            stream.wait(cx);
            if !std::mem::replace(&mut stream.listed, true) {
                self.waiting.push_back(key);
            }
            self.wake_task();
            return Poll::Pending;
        }
        let capacity = self.machine.send_capacity(key);
        debug_assert!(capacity > 0, "both windows are open");
        Poll::Ready(Ok(capacity))
    }

    /// A stream does not use the room that was promised to it, or did use it.
    pub(super) fn give_back(&mut self, granted: usize) {
        self.reserved -= granted;
        if granted > 0 && !self.waiting.is_empty() {
            self.wake_task();
        }
    }
}

/// How long a stream waits for a window worth a frame.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);
