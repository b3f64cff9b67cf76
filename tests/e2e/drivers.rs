//! Which driver runs, and how that is decided.

use ringway_tests::proxy::binary;
use ringway_tests::{Io, Origin, Ringway};

/// Runs the proxy where `io_uring_setup` is refused, as container runtimes do by default.
fn without_io_uring(origin: &Origin) -> Ringway {
    let wrapper = binary("without-io-uring");
    Ringway::to(origin).under(&[&wrapper.display().to_string()])
}

#[test]
fn auto_takes_epoll_where_io_uring_is_refused_and_says_why_in_one_line() {
    let origin = Origin::ok();
    let proxy = without_io_uring(&origin).set("io", "auto").start();
    assert_eq!(proxy.get("/").status, 200);
    let lines: Vec<String> = proxy.log().into_iter().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("epoll") && lines[0].contains("not permitted"), "{}", lines[0]);
}

#[test]
fn auto_takes_io_uring_where_it_works() {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).set("io", "auto").start();
    assert_eq!(proxy.get("/").status, 200);
    assert!(!proxy.log().iter().any(|line| line.contains("epoll")), "{:#?}", proxy.log());
}

#[test]
fn an_explicit_uring_fails_where_it_is_refused() {
    let origin = Origin::ok();
    let (status, stderr) = without_io_uring(&origin).io(Io::Uring).start_refused();
    assert!(!status.success());
    assert!(stderr.contains("io_uring"), "{stderr}");
}

#[test]
fn an_explicit_epoll_never_touches_io_uring() {
    let origin = Origin::ok();
    let proxy = without_io_uring(&origin).io(Io::Epoll).start();
    assert_eq!(proxy.get("/").status, 200);
}
