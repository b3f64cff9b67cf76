//! The thread that writes what the workers formatted.
//!
//! A target that takes nothing (a full disk, a pipe nobody reads) holds up this thread and nobody else: it keeps the
//! batch that it has, tries again with a growing pause, and meanwhile the queue fills and the workers drop and count.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::target::Target;
use super::{AccessLog, BATCH_BYTES, BATCHES_MAX, Format, LogStats};
use crate::config::{AccessLogConfig, AccessLogTarget};
use crate::stats::WorkerStats;
use crate::{log_info, log_warning};

/// Pause after the first failure; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Buffers that grew beyond this are not used again.
const KEEP_BYTES_MAX: usize = 4 * BATCH_BYTES;

/// Whole lines of one worker.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

impl Batch {
    pub(super) fn emptied(mut self) -> Batch {
        self.bytes.clear();
        self.lines = 0;
        self
    }
}

/// What workers and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    full: ArrayQueue<Batch>,
    /// Written buffers on their way back.
    empty: ArrayQueue<Batch>,
    reopen: AtomicBool,
    closing: AtomicBool,
    writer: Thread,
}

impl Shared {
    fn new(writer: Thread) -> Shared {
        Shared {
            full: ArrayQueue::new(BATCHES_MAX),
            empty: ArrayQueue::new(BATCHES_MAX),
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            writer,
        }
    }

    pub(super) fn empty_batch(&self) -> Batch {
        self.empty.pop().unwrap_or_else(|| Batch { bytes: Vec::new(), lines: 0 })
    }

    /// Hands a batch to the writer, or gives it back when too many wait already. Never blocks.
    pub(super) fn push(&self, batch: Batch) -> Result<(), Batch> {
        let result = self.full.push(batch);
        self.writer.unpark();
        result
    }

    fn give_back(&self, batch: Batch) {
        if batch.bytes.capacity() <= KEEP_BYTES_MAX {
            // A full queue of empty buffers needs no more of them.
            let _ = self.empty.push(batch.emptied());
        }
    }
}

/// The writer thread, seen from outside.
pub struct LogWriter {
    format: Arc<Format>,
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl LogWriter {
    /// Starts the writer of `config`.
    ///
    /// A target that cannot be opened, or a template that is wrong, is an error here, at start; later it is tried
    /// again.
    pub fn start(config: &AccessLogConfig, stats: Arc<LogStats>) -> io::Result<LogWriter> {
        let format = Format::compile(&config.format).map_err(io::Error::other)?;
        let output = Target::open(&config.target)?;
        let (ended_sender, ended) = mpsc::channel();
        let (shared_sender, shared_receiver) = mpsc::channel::<Arc<Shared>>();
        let mut writer =
            Writer { target: config.target.clone(), output: Some(output), stats, failing: false };
        let handle = thread::Builder::new().name("access-log".into()).spawn(move || {
            if let Ok(shared) = shared_receiver.recv() {
                writer.run(&shared);
            }
            drop(ended_sender);
        })?;
        let shared = Arc::new(Shared::new(handle.thread().clone()));
        // The thread waits for exactly this.
        let _ = shared_sender.send(shared.clone());
        Ok(LogWriter { format: Arc::new(format), shared, ended })
    }

    /// The log of one worker.
    pub fn handle(&self, stats: Arc<WorkerStats>) -> AccessLog {
        AccessLog::on(stats, self.format.clone(), self.shared.clone())
    }

    /// Opens the file again by its name: after it was moved away. Returns at once.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.shared.writer.unpark();
    }

    /// Writes what was handed over, for at most `timeout`; then gives up what is left. Returns whether all was written.
    pub fn close(self, timeout: Duration) -> bool {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.writer.unpark();
        matches!(self.ended.recv_timeout(timeout), Err(mpsc::RecvTimeoutError::Disconnected))
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.writer.unpark();
    }
}

/// The state of the thread.
struct Writer {
    target: AccessLogTarget,
    /// `None` after a failure to open it.
    output: Option<Target>,
    stats: Arc<LogStats>,
    failing: bool,
}

impl Writer {
    fn run(&mut self, shared: &Shared) {
        loop {
            self.reopen_if_told(shared);
            if let Some(batch) = shared.full.pop() {
                self.write_batch(shared, &batch);
                shared.give_back(batch);
            } else if shared.closing.load(Ordering::Acquire) {
                // Looked at the queue after the flag: what was handed over before the end is written.
                if shared.full.is_empty() {
                    return;
                }
            } else {
                // Returns at once when something was pushed since the queue was looked at.
                thread::park();
            }
        }
    }

    /// Writes one batch, however long it takes; gives it up only when the process ends and the target takes nothing.
    fn write_batch(&mut self, shared: &Shared, batch: &Batch) {
        let mut written = 0;
        let mut pause = PAUSE_MIN;
        while let Some(rest) = batch.bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.write_some(rest) {
                Ok(0) => self.failed(&io::ErrorKind::WriteZero.into(), &mut pause, shared),
                Ok(n) => {
                    written += n;
                    pause = PAUSE_MIN;
                    self.stats.bytes.add(n as u64);
                    continue;
                }
                Err(error) => self.failed(&error, &mut pause, shared),
            }
            if shared.closing.load(Ordering::Acquire) && pause >= PAUSE_MAX {
                let whole =
                    batch.bytes.get(..written).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
                self.stats.lost.add(batch.lines.saturating_sub(whole as u64));
                return;
            }
            if self.reopen_if_told(shared) {
                // The file is another one: begin the line that was cut again.
                let done = batch.bytes.get(..written).unwrap_or_default();
                written = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            }
        }
        self.stats.lines.add(batch.lines);
        self.recovered();
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let output = match &mut self.output {
            Some(output) => output,
            none => none.insert(Target::open(&self.target)?),
        };
        output.write(bytes)
    }

    /// Says so once, then waits for a while or until it is told something.
    fn failed(&mut self, error: &io::Error, pause: &mut Duration, shared: &Shared) {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match error.kind() {
            Interrupted => return,
            // A pipe whose reader is slow is no failure until it lasts.
            WouldBlock if *pause < PAUSE_MAX => {}
            _ => {
                self.stats.errors.increment();
                if !self.failing {
                    self.failing = true;
                    self.stats.blocked.set(1);
                    let target = describe(&self.target);
                    log_warning!(
                        "the access log cannot be written, lines are dropped target={target} error={error}"
                    );
                }
            }
        }
        // Told to reopen or to close: at once. Woken by a worker that pushed: not yet.
        let deadline = std::time::Instant::now() + *pause;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || shared.reopen.load(Ordering::Acquire) {
                break;
            }
            thread::park_timeout(left);
        }
        *pause = (*pause * 2).min(PAUSE_MAX);
        if shared.closing.load(Ordering::Acquire) {
            *pause = (*pause * 4).min(PAUSE_MAX);
        }
    }

    fn recovered(&mut self) {
        if self.failing {
            self.failing = false;
            self.stats.blocked.set(0);
            log_info!("the access log is written again target={}", describe(&self.target));
        }
    }

    /// Returns whether the target was opened again.
    fn reopen_if_told(&mut self, shared: &Shared) -> bool {
        if !shared.reopen.swap(false, Ordering::AcqRel) {
            return false;
        }
        match Target::open(&self.target) {
            Ok(output) => {
                self.output = Some(output);
                self.stats.reopened.increment();
                log_info!("access log reopened target={}", describe(&self.target));
                true
            }
            Err(error) => {
                // The old file is still good for writing.
                self.stats.errors.increment();
                log_warning!(
                    "the access log cannot be reopened target={} error={error}",
                    describe(&self.target)
                );
                false
            }
        }
    }
}

fn describe(target: &AccessLogTarget) -> String {
    match target {
        AccessLogTarget::Stdout => "stdout".to_owned(),
        AccessLogTarget::File(path) => path.display().to_string(),
    }
}
