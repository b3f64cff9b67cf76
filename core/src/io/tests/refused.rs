//! A host that refuses io_uring, as a container's seccomp profile does.

use super::*;
use crate::config::IoChoice;

/// Makes io_uring_setup(2) fail with `errno` on this thread and those that it starts.
fn deny_io_uring_setup(errno: i32) {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The system call's number is the first word of seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its length are those of the array above, which lives during the call.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter, 0, 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn seccomp_selects_epoll_and_says_why() {
    for (errno, word) in
        [(libc::EPERM, "seccomp"), (libc::ENOSYS, "seccomp"), (libc::ENOMEM, "locked memory")]
    {
        // The filter stays with the thread.
        std::thread::spawn(move || {
            deny_io_uring_setup(errno);
            let (driver, why) = choose(IoChoice::Auto).unwrap();
            assert_eq!(driver, Driver::Epoll);
            let why = why.unwrap();
            assert!(why.contains(word) && why.contains("io_uring_setup"), "{why}");
            let refused = choose(IoChoice::Uring).unwrap_err();
            assert!(refused.contains(&why), "{refused}");
            assert!(run(&small(Driver::Uring), async {}).is_err());
            run(
                &small(driver),
                in_time(async {
                    let (a, b) = pair().await;
                    a.send(&b"works"[..]).unwrap();
                    assert_eq!(recv_exact(&b, 5).await, b"works");
                }),
            )
            .unwrap();
        })
        .join()
        .unwrap();
    }
}

#[test]
fn this_host_is_probed_without_an_error() {
    let found = probe();
    eprintln!("{found:?}");
    // Where io_uring is to be had at all, nothing may be reported missing that the driver then uses happily.
    if found.setup_error.is_none() && run(&small(Driver::Uring), async {}).is_ok() {
        assert_eq!(found.missing, Vec::<&str>::new());
    }
}
