//! Programs that others wrote: curl, nginx, HAProxy, nghttpd, varnishtest.
//!
//! Where one is missing, a test says so and passes, so that `cargo test` works everywhere; under `CI=true` it fails.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::temp::TempDir;
use crate::wait::eventually;

/// The path of a program, or `None` after printing that the test is skipped.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root's PATH looks.
    let directories =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let found = directories.map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing, and under CI nothing is skipped");
        println!("SKIPPED: needs {program}");
    }
    found
}

/// Runs a program to its end and returns its output.
pub fn run(program: &PathBuf, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// A server of somebody else's; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Server {
    /// nginx in one process, with these directives inside `http { server { … } }` and a listening port of its own.
    pub fn nginx(server: &str) -> Option<Server> {
        Server::nginx_with("", server)
    }

    /// The same with directives inside `http { … }` before the server.
    pub fn nginx_with(http: &str, server: &str) -> Option<Server> {
        Server::nginx_listening("", http, server)
    }

    /// The same on a port that speaks HTTP/2 only.
    pub fn nginx_http2(server: &str) -> Option<Server> {
        Server::nginx_listening("http2", "", server)
    }

    /// The same with these options of its `listen`, such as `ssl`.
    pub fn nginx_speaking(options: &str, server: &str) -> Option<Server> {
        Server::nginx_listening(options, "", server)
    }

    fn nginx_listening(protocol: &str, http: &str, server: &str) -> Option<Server> {
        let program = find("nginx")?;
        let directory = TempDir::new();
        let address = free_address();
        let path = directory.path().display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .concat();
        let config = directory.write(
            "nginx.conf",
            format!(
                "daemon off; master_process off; pid {path}/pid; error_log stderr warn;\nevents {{ }}\nhttp {{\n\
                 access_log off;\n{temporary}{http}\nserver {{ listen {address} {protocol};\n{server}\n}}\n}}\n"
            ),
        );
        let mut command = Command::new(program);
        command.arg("-p").arg(directory.path()).arg("-c").arg(config);
        Some(Server::start(command, address, directory))
    }

    /// HAProxy with these sections after a `frontend` line that binds; `SECTION` lines may follow it.
    pub fn haproxy(frontend_and_more: &str) -> Option<Server> {
        Server::haproxy_binding("", frontend_and_more)
    }

    /// The same with these options of its `bind`, such as `ssl`.
    pub fn haproxy_binding(options: &str, frontend_and_more: &str) -> Option<Server> {
        let program = find("haproxy")?;
        let directory = TempDir::new();
        let address = free_address();
        let config = directory.write(
            "haproxy.cfg",
            format!(
                "global\n  maxconn 256\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 20s\n  \
                 timeout server 20s\nfrontend front\n  bind {address} {options}\n{frontend_and_more}\n"
            ),
        );
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(config);
        Some(Server::start(command, address, directory))
    }

    /// nghttpd, which speaks HTTP/2 only, serving these files.
    pub fn nghttpd(files: &[(&str, &[u8])], arguments: &[&str]) -> Option<Server> {
        let program = find("nghttpd")?;
        let directory = TempDir::new();
        for (name, content) in files {
            directory.write(name, content);
        }
        let address = free_address();
        let mut command = Command::new(program);
        command
            .args(["--no-tls", "-a", &address.ip().to_string()])
            .args(arguments)
            .arg("-d")
            .arg(directory.path());
        command.arg(address.port().to_string());
        Some(Server::start(command, address, directory))
    }

    /// `openssl s_server` with these arguments besides its port.
    pub fn openssl(directory: TempDir, arguments: &[&str]) -> Option<Server> {
        let program = find("openssl")?;
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["s_server", "-quiet", "-accept", &address.to_string()]).args(arguments);
        Some(Server::start(command, address, directory))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    fn start(mut command: Command, address: SocketAddr, directory: TempDir) -> Server {
        let child =
            command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let server = Server { child, address, directory };
        eventually(&format!("{command:?} to listen"), || TcpStream::connect(address).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago: these programs cannot say which port they got for port 0.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// An address that refuses connections for as long as the socket, which is bound and does not listen, is kept.
pub fn refusing_address() -> (SocketAddr, std::os::fd::OwnedFd) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = getsockname(&socket).expect("its address").try_into().expect("an address of IPv4");
    (address, socket)
}
