//! Where lines go: a file, or the standard output of the process. Writing to either never blocks for long.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::config::AccessLogTarget;

/// Longest time in which a socket as standard output (journald's) may block one write.
const SOCKET_TIMEOUT: Duration = Duration::from_millis(100);

/// An open target.
#[derive(Debug)]
pub(super) enum Target {
    /// Opened by us with O_NONBLOCK: a pipe that is full says so.
    File(File),
    Socket(UnixStream),
}

impl Target {
    pub(super) fn open(target: &AccessLogTarget) -> io::Result<Target> {
        match target {
            AccessLogTarget::File(path) => open(path).map(Target::File),
            AccessLogTarget::Stdout => open_stdout(),
        }
    }
}

/// The file is made when it is not there, readable by owner and group.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        // A FIFO without a reader is an error and a full one does not block; regular files do not care.
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)
}

/// Opened anew by its number, so that O_NONBLOCK is ours alone: set on the descriptor itself it would be shared with
/// the shell and with everything else that writes there.
fn open_stdout() -> io::Result<Target> {
    let opened = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open("/proc/self/fd/1");
    if let Ok(file) = opened {
        return Ok(Target::File(file));
    }
    // A socket cannot be opened by its number, nor can anything without /proc or the right to.
    let duplicate = io::stdout().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(duplicate);
    match socket.set_write_timeout(Some(SOCKET_TIMEOUT)) {
        Ok(()) => Ok(Target::Socket(socket)),
        Err(_) => Ok(Target::File(File::from(std::os::fd::OwnedFd::from(socket)))),
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Socket(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
