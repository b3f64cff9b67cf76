//! Plain socket calls.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A socket address in the kernel's form.
pub struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    pub fn new(address: SocketAddr) -> RawAddress {
        // SAFETY: all zeroes is a valid `sockaddr_storage`.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: `sockaddr_storage` is large enough and aligned for every address family.
                unsafe { std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddress { storage, len: len as libc::socklen_t }
    }

    /// The address of a UNIX socket.
    pub fn unix(path: &std::path::Path) -> io::Result<RawAddress> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        // SAFETY: all zeroes is a valid `sockaddr_un`.
        let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if bytes.len() >= raw.sun_path.len() {
            let message = format!("{}: expected a path of at most 107 bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        raw.sun_path.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte as libc::c_char);
        // SAFETY: all zeroes is a valid `sockaddr_storage`, which is large enough and aligned for every family.
        let storage = unsafe {
            let mut storage: libc::sockaddr_storage = std::mem::zeroed();
            std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_un>().write(raw);
            storage
        };
        Ok(RawAddress { storage, len: size_of::<libc::sockaddr_un>() as libc::socklen_t })
    }

    pub fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    pub fn as_ptr(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(&self.storage).cast()
    }

    pub fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// Never: an address has at least a family.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A TCP socket of the address's family with TCP_NODELAY set.
pub fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_nodelay(socket.as_raw_fd());
    Ok(socket)
}

/// A stream socket for an address.
pub fn stream(address: &RawAddress) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(address.family(), libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if address.family() != libc::AF_UNIX {
        set_nodelay(socket.as_raw_fd());
    }
    Ok(socket)
}

/// Ends both directions; operations in flight complete with an end or an error.
pub fn shutdown(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends our direction: FIN behind what was sent.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Sends what the socket has room for, at once. For last words: whether they arrive is not waited for.
pub fn send_now(fd: RawFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length describe `bytes`.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
}

/// Closing sends RST instead of FIN.
pub fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (pointer, length) = (std::ptr::from_ref(&linger).cast(), size_of::<libc::linger>());
    // SAFETY: the pointer and the length describe one `linger`. A failure leaves FIN.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, pointer, length as libc::socklen_t) };
}

/// Takes ownership of a descriptor that an accept completion reported.
pub fn adopt(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "a completion without error carries a descriptor");
    // SAFETY: accept made it for us and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Small writes go out at once.
pub fn set_nodelay(fd: RawFd) {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

/// Chooses the source address only; the port is chosen at connect, so that each source has all ports.
pub fn bind_source(socket: &OwnedFd, source: impl Into<IpAddr>) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
    let raw = RawAddress::new(SocketAddr::new(source.into(), 0));
    // SAFETY: `raw` is a valid address of `len` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr(), raw.len()) }).map(drop)
}

/// A small receive buffer, before connecting, so that the kernel does not hide a slow reader.
pub fn set_receive_buffer(socket: &OwnedFd, bytes: i32) {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
}

/// Listening sockets among which the kernel spreads the connections to one address; with port 0, one that is free.
pub fn listen_shared(address: SocketAddr, count: u32) -> io::Result<Vec<OwnedFd>> {
    // Sockets that share would share with another process, too: the first one finds out whether there is any.
    let probe = TcpListener::from(listen(address)?);
    let address = probe.local_addr()?;
    drop(probe);
    (0..count).map(|_| listen_with(address, true)).collect()
}

/// A listening socket.
pub fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    listen_with(address, false)
}

fn listen_with(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let socket = tcp(address)?;
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    if shared {
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    }
    let raw = RawAddress::new(address);
    // SAFETY: `raw` is a valid address of `len` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr(), raw.len()) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), 4096) })?;
    Ok(socket)
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) {
    // SAFETY: the pointer and the length describe one i32. A failure leaves the default, which is only slower.
    unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(&value).cast(), 4) };
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
