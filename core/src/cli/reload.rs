//! `ringway reload`: tells the running proxy to load its configuration again, and says what came of it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, ConfigSource};

/// A reload waits for names that are new in it, and for the reloads before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Size of an answer: the errors of a file are bounded.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const REQUEST: &[u8] =
    b"POST /reload HTTP/1.1\r\nHost: ringway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Reloads by the socket that the source names.
pub(super) fn reload(source: &ConfigSource) -> ExitCode {
    let Some(socket) = Config::admin_socket(source) else {
        eprintln!(
            "error: nothing says where the admin socket is\n   = help: `ringway reload --admin-socket PATH`, or `--config FILE` \
             with `admin: {{ socket: PATH }}`"
        );
        return ExitCode::FAILURE;
    };
    match ask(&socket) {
        Ok((200, answer)) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Ok((_, answer)) => {
            eprint!("{answer}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: the admin socket {} does not answer: {error}", socket.display());
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
                eprintln!("   = help: is Ringway running, with this `admin.socket`?");
            }
            ExitCode::FAILURE
        }
    }
}

/// The status and the text of the answer.
fn ask(socket: &Path) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(REQUEST)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "that is no answer of Ringway");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    Ok((status, body.to_owned()))
}

/// What `ringway reload` is told by its own flags; the environment comes on top.
pub(super) fn source(config: Option<PathBuf>, socket: Option<PathBuf>) -> ConfigSource {
    use crate::config::settings::Id;
    let flags = socket.map(|path| (Id::AdminSocket, path.display().to_string()));
    ConfigSource { path: config, flags: flags.into_iter().collect(), ..ConfigSource::default() }
}
