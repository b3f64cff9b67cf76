//! What origins, logs and clients are told about TLS.

use ringway_tests::certificates::Wanted;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    the_origin_is_told_about_the_clients_certificate_and_nobody_can_pretend,
    the_access_log_knows_the_client,
    policies_know_the_client,
    every_response_says_hsts_once,
    requests_without_tls_are_sent_to_https,
}

const ID: &str = "spiffe://shop/ns/prod/sa/cart";

fn the_origin_is_told_about_the_clients_certificate_and_nobody_can_pretend(io: Io) {
    let site = Site::new();
    let ca = site.authority.write(&site.directory, "ca");
    let issued = site.authority.issue(&Wanted::workload(ID).common_name("cart \"1\""));
    for (forward, shows, trusted, want) in [
        (true, true, false, Some("URI=spiffe://shop/ns/prod/sa/cart")),
        (true, false, false, None),
        (false, true, false, None),
        // A proxy before this one may say so, unless it is known better here.
        (false, false, true, Some("Hash=evil")),
        (true, true, true, Some("URI=spiffe://shop/ns/prod/sa/cart")),
        (true, false, true, None),
    ] {
        let origin = Origin::ok();
        let more = format!(", client_auth: {{ mode: optional, ca: {}, forward: {forward} }}", ca.display());
        let mut ringway = site.before(io, &origin, &more);
        if trusted {
            ringway = ringway.listener("forwarded: { trusted_proxies: [127.0.0.1] }");
        }
        let proxy = ringway.start();
        let client = if shows { site.client().identity(&issued) } else { site.client() };
        let mut client = Client::connect_tls(proxy.address(), client.config(), NAME).expect("a handshake");
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Forwarded-Client-Cert: Hash=evil\r\n\
             X_Forwarded_Client_Cert: Hash=evil2\r\n\r\n"
        );
        assert_eq!(client.exchange(request).status, 200);
        let request = origin.only_request();
        let found = request.fields_named("x-forwarded-client-cert");
        assert_eq!(found.len(), usize::from(want.is_some()), "{forward} {shows} {trusted}: {found:?}");
        assert!(request.field("x_forwarded_client_cert").is_none());
        if let Some(want) = want {
            assert!(found[0].contains(want), "{found:?}");
            assert_eq!(found[0].contains("evil"), want.contains("evil"), "{found:?}");
        }
        if forward && shows {
            assert!(found[0].contains(r#"Subject="CN=cart \"1\"""#), "{found:?}");
        }
    }
}

fn the_access_log_knows_the_client(io: Io) {
    let site = Site::new();
    let ca = site.authority.write(&site.directory, "ca");
    let issued = site.authority.issue(&Wanted::workload(ID).common_name("cart"));
    let origin = Origin::ok();
    let more = format!(", client_auth: {{ mode: optional, ca: {} }}", ca.display());
    let proxy = site
        .before(io, &origin, &more)
        .top("access_log: { target: stdout, format: \"{tls_version} {tls_group} {tls_server_name} {tls_resumed} [{client_cert_subject}] {client_spiffe_id}\" }")
        .start();
    let config = site.client().identity(&issued).config();
    let mut client = Client::connect_tls(proxy.address(), config, NAME).expect("a handshake");
    assert_eq!(client.exchange(get(NAME)).status, 200);
    let line = proxy.wait_for_stdout("TLSv1.3");
    assert!(line.ends_with(&format!("{NAME} false [CN=cart] {ID}")), "{line}");
    assert_eq!(site.connect(&proxy).exchange(get(NAME)).status, 200);
    proxy.wait_for_stdout("[-] -");
}

fn policies_know_the_client(io: Io) {
    let site = Site::new();
    let ca = site.authority.write(&site.directory, "ca");
    let issued = site.authority.issue(&Wanted::workload(ID).dns("till.test").common_name("till \"7\""));
    let origin = Origin::ok();
    let more = format!(", client_auth: {{ mode: optional, ca: {}, forward: true }}", ca.display());
    let who = "{certificate_subject} [{certificate_names}] {certificate_fingerprint} {spiffe_id}";
    let policy = format!("policies: [{{ request_headers: {{ set: {{ x-who: \"{who}\" }} }} }}]");
    let proxy = site.before(io, &origin, &more).route(&policy).start();
    let config = site.client().identity(&issued).config();
    let mut client = Client::connect_tls(proxy.address(), config, NAME).expect("a handshake");
    let lie = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Who: somebody else\r\n\r\n");
    assert_eq!(client.exchange(&lie).status, 200);
    let request = origin.requests().pop().expect("a request");
    let forwarded = request.field("x-forwarded-client-cert").expect("the header");
    let hash = forwarded.strip_prefix("Hash=").and_then(|rest| rest.get(..64)).expect("64 digits");
    assert_eq!(request.fields_named("x-who"), [format!("CN=till \"7\" [till.test {ID}] {hash} {ID}")]);
    // Nobody in particular: what has nothing to say is empty.
    assert_eq!(site.connect(&proxy).exchange(&lie).status, 200);
    let request = origin.requests().pop().expect("a request");
    assert_eq!(request.fields_named("x-who").iter().map(|value| value.trim()).collect::<Vec<_>>(), ["[]"]);
}

fn every_response_says_hsts_once(io: Io) {
    let site = Site::new();
    let own = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::replying(own);
    let ringway = site.before(io, &origin, ", hsts: 365d").route("hosts: [shop.test]");
    let proxy = ringway.start();
    let mut client = site.connect(&proxy);
    for (host, status) in [(NAME, 200), ("a.wild.test", 404)] {
        let response = client.exchange(get(host));
        assert_eq!(response.status, status);
        assert_eq!(response.fields_named("strict-transport-security"), ["max-age=31536000"], "{status}");
    }
    // What a policy says of it counts in the place of both, whoever answers, and is said once.
    let said = "{ response_headers: { add: { strict-transport-security: max-age=7 } } }";
    let twice = "{ fixed_response: { headers: { strict-transport-security: max-age=8 } } }";
    for (policies, expected) in [
        (format!("[{said}]"), "max-age=7"),
        (format!("[{said}, {said}]"), "max-age=7"),
        (format!("[{said}, {twice}]"), "max-age=7"),
        (format!("[{twice}]"), "max-age=8"),
        ("[{ response_headers: { remove: [strict-transport-security] } }]".to_owned(), "max-age=31536000"),
        (format!("[{said}, {{ ip_access: {{ deny: [127.0.0.0/8] }} }}]"), "max-age=7"),
    ] {
        for hsts in [", hsts: 365d", ""] {
            let proxy = site.before(io, &origin, hsts).route(&format!("policies: {policies}")).start();
            let response = site.connect(&proxy).exchange(get(NAME));
            let found = response.fields_named("strict-transport-security");
            if hsts.is_empty() && policies.contains("remove") {
                assert!(found.is_empty(), "{policies}");
            } else {
                assert_eq!(found, [expected], "{policies}{hsts}");
            }
        }
    }
    // Without the setting, the origin's own passes.
    let proxy = site.before(io, &origin, "").start();
    let response = site.connect(&proxy).exchange(get(NAME));
    assert_eq!(response.fields_named("strict-transport-security"), ["max-age=1"]);
}

fn requests_without_tls_are_sent_to_https(io: Io) {
    let origin = Origin::ok();
    for (port, shown) in [("true", ""), ("8443", ":8443")] {
        let proxy = Ringway::to(&origin).io(io).listener(&format!("redirect_to_https: {port}")).start();
        let mut client = proxy.connect();
        for (target, host, location) in [
            ("/a/b?c=d", "shop.test", "/a/b?c=d"),
            ("/a/./b", "shop.test:80", "/a/b"),
            ("http://shop.test/x", "shop.test", "/x"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let response = client.exchange(request);
            assert_eq!((response.status, response.reason_code()), (308, Some("redirect_to_https")));
            let want = format!("https://shop.test{shown}{location}");
            assert_eq!(response.field("location"), Some(want.as_str()));
        }
        assert_eq!(client.exchange("GET / HTTP/1.0\r\n\r\n").status, 400, "there is nowhere to be sent to");
    }
    origin.assert_saw_nothing();
}
