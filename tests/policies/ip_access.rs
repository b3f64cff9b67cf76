//! `ip_access`: by the address of the client, which nobody can claim.

use ringway_tests::{Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    clients_are_refused_by_address,
    an_address_is_believed_from_trusted_forwarders_only,
}

fn clients_are_refused_by_address(io: Io) {
    for (policy, status) in [
        ("{ allow: [10.0.0.0/8] }", 403),
        ("{ allow: [127.0.0.1] }", 200),
        ("{ deny: [127.0.0.0/8] }", 403),
        ("{ allow: [127.0.0.0/8], deny: [127.0.0.1] }", 403),
        ("{ deny: [10.0.0.0/8] }", 200),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", &format!("[{{ ip_access: {policy} }}]"), "").io(io).start();
        let response = proxy.get("/");
        assert_eq!(response.status, status, "{policy}");
        let reason = (status == 403).then_some("forbidden");
        assert_eq!(response.field("x-ringway-reason"), reason, "{policy}");
    }
}

fn an_address_is_believed_from_trusted_forwarders_only(io: Io) {
    let spoofed = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\n\
                   X-Real-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n\r\n";
    for (trusted, status) in [("[]", 403), ("[127.0.0.0/8]", 200)] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "[{ ip_access: { allow: [10.0.0.0/8] } }]", "", "");
        let yaml = proxy.yaml().replace(
            "bind: \"127.0.0.1:0\"",
            &format!("bind: \"127.0.0.1:0\", forwarded: {{ trusted_proxies: {trusted} }}"),
        );
        let proxy = proxy.config(yaml).io(io).start();
        assert_eq!(proxy.exchange(spoofed).status, status, "{trusted}");
    }
}
