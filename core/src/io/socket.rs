//! Socket calls that do not wait: creation, options, names.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{io, mem};

use super::Address;

/// A socket address as the kernel reads and writes it.
pub(crate) struct SockAddr {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl SockAddr {
    pub(super) fn empty() -> SockAddr {
        // SAFETY: all-zero is a valid sockaddr_storage.
        SockAddr { storage: unsafe { mem::zeroed() }, len: mem::size_of::<libc::sockaddr_storage>() as u32 }
    }

    pub(super) fn new(address: &Address) -> io::Result<SockAddr> {
        let mut it = SockAddr::empty();
        it.len = match address {
            Address::Tcp(SocketAddr::V4(v4)) => {
                let sin = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                it.write(sin)
            }
            Address::Tcp(SocketAddr::V6(v6)) => {
                let sin6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                it.write(sin6)
            }
            Address::Unix(path) => it.write_unix(path)?,
        };
        Ok(it)
    }

    fn write<T>(&mut self, value: T) -> libc::socklen_t {
        const { assert!(mem::size_of::<T>() <= mem::size_of::<libc::sockaddr_storage>()) };
        // SAFETY: storage is large enough (asserted) and aligned for every socket address.
        unsafe { (&raw mut self.storage).cast::<T>().write(value) };
        mem::size_of::<T>() as libc::socklen_t
    }

    fn write_unix(&mut self, path: &Path) -> io::Result<libc::socklen_t> {
        // SAFETY: all-zero is a valid sockaddr_un.
        let mut sun: libc::sockaddr_un = unsafe { mem::zeroed() };
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() >= sun.sun_path.len() || bytes.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("expected a socket path of 1 to 107 bytes without NUL, found {}", path.display()),
            ));
        }
        sun.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in sun.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        self.write(sun);
        Ok((mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1) as libc::socklen_t)
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// # Safety
    /// `len` bytes at `name` are initialised.
    #[cfg(feature = "sim")]
    pub(super) unsafe fn copy(name: *const u8, len: usize) -> SockAddr {
        let mut it = SockAddr::empty();
        let len = len.min(mem::size_of::<libc::sockaddr_storage>());
        // SAFETY: at most the size of the storage, and the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(name, (&raw mut it.storage).cast(), len) };
        it.len = len as libc::socklen_t;
        it
    }

    pub(super) fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// The address, or `None` when it is of no family that we speak or has no name.
    pub(super) fn address(&self) -> Option<Address> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the kernel (or `new`) wrote a sockaddr_in, as the family says; storage is aligned for it.
                let sin = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
                Some(Address::Tcp(SocketAddrV4::new(ip, u16::from_be(sin.sin_port)).into()))
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for sockaddr_in6.
                let sin6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(sin6.sin6_addr.s6_addr);
                let port = u16::from_be(sin6.sin6_port);
                Some(Address::Tcp(SocketAddrV6::new(ip, port, sin6.sin6_flowinfo, sin6.sin6_scope_id).into()))
            }
            libc::AF_UNIX => {
                // SAFETY: as above, for sockaddr_un; the storage beyond `len` is zero.
                let sun = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_un>() };
                let bytes: Vec<u8> = sun.sun_path.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
                Some(Address::Unix(Path::new(std::ffi::OsStr::from_bytes(&bytes)).into()))
            }
            _ => None,
        }
    }
}

/// Turns the -1 of a system call into its errno.
pub(super) fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A stream socket for `family`, close-on-exec; `flags` are more of socket(2)'s type flags.
pub(super) fn stream_socket(family: i32, flags: i32) -> io::Result<OwnedFd> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::stream_socket() {
        return simulated;
    }
    // SAFETY: no pointers are passed.
    let fd = cvt(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A bound and listening socket; what it accepts has TCP_NODELAY. With `reuse_port` several workers may bind the same TCP address.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn bind(address: &Address, reuse_port: bool, backlog: i32) -> io::Result<OwnedFd> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::bind(address) {
        return simulated;
    }
    let name = SockAddr::new(address)?;
    let fd = stream_socket(name.family(), 0)?;
    if let Address::Tcp(tcp) = address {
        set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if reuse_port {
            set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if tcp.is_ipv6() {
            // `[::]` accepts IPv4 too, whatever net.ipv6.bindv6only says; a specific address is unaffected.
            set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
        }
        // Accepted sockets inherit it.
        no_delay(fd.as_raw_fd());
    }
    // SAFETY: the name points to `len` initialised bytes.
    cvt(unsafe { libc::bind(fd.as_raw_fd(), name.as_ptr(), name.len) })?;
    // SAFETY: no pointers are passed.
    cvt(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(fd)
}

pub(super) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option is an int, and its pointer and size are those of `value`.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), mem::size_of::<i32>() as libc::socklen_t)
    };
    cvt(result).map(drop)
}

/// TCP_NODELAY, where the socket is TCP.
pub(super) fn no_delay(fd: RawFd) {
    let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

/// The next close sends RST and drops what is unsent.
pub(super) fn linger_zero(fd: RawFd) {
    #[cfg(feature = "sim")]
    if super::sim::linger_zero(fd) {
        return;
    }
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option is a linger, and its pointer and size are those of `linger`.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            mem::size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

pub(super) fn shutdown(fd: RawFd, how: i32) {
    #[cfg(feature = "sim")]
    if super::sim::shutdown(fd, how) {
        return;
    }
    // SAFETY: no pointers are passed; a socket that is gone says ENOTCONN, which does not matter here.
    unsafe { libc::shutdown(fd, how) };
}

pub(super) fn close(fd: RawFd) {
    #[cfg(feature = "sim")]
    super::sim::close(fd);
    // SAFETY: every caller owns `fd` and forgets it.
    unsafe { libc::close(fd) };
}

/// Sets or clears O_NONBLOCK, when it differs.
pub(super) fn set_nonblocking(fd: RawFd, nonblocking: bool) -> io::Result<()> {
    #[cfg(feature = "sim")]
    super::sim::adopted(fd);
    // SAFETY: F_GETFL takes no pointer.
    let flags = cvt(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let wanted = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    if wanted != flags {
        // SAFETY: F_SETFL takes an int.
        cvt(unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) })?;
    }
    Ok(())
}

/// Bytes that were sent and are not yet acknowledged by the peer (SIOCOUTQ), or for UNIX sockets not yet read.
pub(super) fn outq(fd: RawFd) -> io::Result<u32> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::outq(fd) {
        return simulated;
    }
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int.
    cvt(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

pub(super) fn peer_address(fd: RawFd) -> io::Result<Address> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::peer_address(fd) {
        return simulated;
    }
    name_of(fd, libc::getpeername)
}

/// The address that a socket is bound to; with port 0, the one that the kernel chose.
///
/// # Errors
/// Those of getsockname(2), or when the socket is neither TCP nor UNIX.
pub fn socket_address(socket: &OwnedFd) -> io::Result<Address> {
    local_address(socket.as_raw_fd())
}

pub(super) fn local_address(fd: RawFd) -> io::Result<Address> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::local_address(fd) {
        return simulated;
    }
    name_of(fd, libc::getsockname)
}

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_of(fd: RawFd, call: NameCall) -> io::Result<Address> {
    let mut name = SockAddr::empty();
    // SAFETY: both calls write at most `len` bytes of the storage, and the length.
    cvt(unsafe { call(fd, (&raw mut name.storage).cast(), &raw mut name.len) })?;
    name.address().ok_or_else(|| io::Error::other("the socket is neither TCP nor UNIX"))
}

/// Whether neither bytes nor a FIN nor an error wait in the socket.
pub(super) fn is_silent(fd: RawFd) -> bool {
    #[cfg(feature = "sim")]
    if let Some(simulated) = super::sim::is_silent(fd) {
        return simulated;
    }
    let mut byte = 0u8;
    // SAFETY: one writable byte.
    let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    n < 0 && last_errno() == libc::EAGAIN
}

/// The pending error of a socket (SO_ERROR), cleared by the call; 0 is none.
pub(super) fn take_error(fd: RawFd) -> i32 {
    let (mut error, mut len) = (0i32, mem::size_of::<i32>() as libc::socklen_t);
    // SAFETY: the option is an int, and pointer and length are those of `error`.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut len)
    };
    if result < 0 { last_errno() } else { error }
}

pub(super) fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A blocking eventfd: a ring's read of a non-blocking one would return EAGAIN instead of waiting.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = cvt(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(any(feature = "monoio", feature = "glommio"))]
/// A second descriptor of what `fd` refers to.
pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller's descriptor stays open during the call.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// A descriptor that is held so that it can be given up when the process has no other left.
pub(super) fn reserve_descriptor() -> io::Result<OwnedFd> {
    std::fs::File::open("/dev/null").map(OwnedFd::from)
}

/// Binds the calling thread to one CPU.
pub(super) fn pin_thread(cpu: usize) -> io::Result<()> {
    // SAFETY: all-zero is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no CPU {cpu}")));
    }
    // SAFETY: `cpu` is within the set, which was just checked.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: pointer and size are those of `set`; 0 is the calling thread.
    cvt(unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
}
