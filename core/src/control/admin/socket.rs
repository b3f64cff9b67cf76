//! The admin's UNIX socket: mode 0600 from its first moment, and never taken from a process that still serves it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The file of a bound socket; removed when dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode of what we bound.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Binds `path`. A socket that nobody serves any more is replaced; anything else there is an error.
    pub(super) fn bind(path: PathBuf) -> Result<(UnixListener, SocketFile), String> {
        let fail = |error: &dyn std::fmt::Display| {
            format!("the admin socket {} cannot be bound: {error}", path.display())
        };
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(fail(&"there is a file of that name that is no socket"));
            }
            Ok(_) if UnixStream::connect(&path).is_ok() => return Err(fail(&"another process serves it")),
            _ => {}
        }
        let listener = bind_private(&path).map_err(|error| fail(&error))?;
        let identity = identity(&path);
        Ok((listener, SocketFile { path, identity }))
    }
}

/// Binds inside of a directory that only we can enter, sets the mode, then moves the socket to its place: nobody can
/// connect in between, whatever the umask, and a stale socket is replaced in one step.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Short: a socket's path has at most 107 bytes.
    let directory = parent.join(format!(".rw{}", std::process::id()));
    let inside = directory.join("s");
    // Left behind by a process of the same number that died in between.
    let _ = fs::remove_file(&inside).and_then(|()| fs::remove_dir(&directory));
    DirBuilder::new().mode(0o700).create(&directory)?;
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    if bound.is_err() {
        let _ = fs::remove_file(&inside);
    }
    let removed = fs::remove_dir(&directory);
    let listener = bound?;
    removed?;
    Ok(listener)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Left behind, it would be replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringway-socket-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    #[test]
    fn the_socket_is_private_and_goes_with_its_owner() {
        let directory = directory("mode");
        let path = directory.join("admin.sock");
        let (listener, file) = SocketFile::bind(path.clone()).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1, "nothing else is left behind");
        assert!(UnixStream::connect(&path).is_ok());
        let refused = SocketFile::bind(path.clone()).expect_err("it is served");
        assert!(refused.contains("another process serves it"), "{refused}");
        // Its owner died without cleaning up: the next start takes it over.
        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = SocketFile::bind(path.clone()).expect("bound over a stale socket");
        drop(file);
        assert!(!path.exists());
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = directory("others");
        let path = directory.join("admin.sock");
        fs::write(&path, "precious").expect("written");
        let refused = SocketFile::bind(path.clone()).expect_err("it is a file");
        assert!(refused.contains("no socket") && refused.contains("admin.sock"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        fs::remove_file(&path).expect("removed");
        // Another process replaced the socket: it is not ours to remove.
        let (_listener, file) = SocketFile::bind(path.clone()).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("bound by another");
        drop(file);
        assert!(path.exists());
        fs::remove_dir_all(directory).expect("removed");
    }
}
