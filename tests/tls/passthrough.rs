//! TLS that is passed on by its server name, between real programs.

use ringway_tests::certificates::Wanted;
use ringway_tests::peers::{find, run};
use ringway_tests::tls::server_config;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

use crate::raw::RawClient;
use crate::site::{NAME, Site, get};

each_driver! {
    handshakes_pass_untouched_to_the_origin_of_their_name,
    certificates_of_clients_reach_the_origin,
    one_listener_passes_some_names_on_and_ends_the_others,
    the_more_exact_name_decides,
    all_names_without_a_certificate_are_passed_on_where_that_is_asked_for,
    a_host_that_is_passed_on_is_not_served_on_another_connection,
    what_the_listener_asks_of_clients_is_not_asked_where_it_passes_on,
    a_hello_in_pieces_is_passed_on_whole,
    a_reload_changes_which_names_are_passed_on,
}

/// An origin that names itself.
fn named(site: &Site, names: &[&str], name: &'static str) -> Origin {
    let issued = site.authority.issue(&Wanted::server(names));
    Origin::start_tls(server_config(&issued, &[], None), move |conn| {
        while conn.request().is_some() {
            conn.reply(200, name);
        }
    })
}

fn handshakes_pass_untouched_to_the_origin_of_their_name(io: Io) {
    let site = Site::new();
    let shop = named(&site, &[NAME], "shop");
    let wild = named(&site, &["*.wild.test", "wild.test"], "wild");
    let yaml = format!(
        "access_log: stdout\nlisteners: [{{ name: web, bind: \"127.0.0.1:0\", protocol: tcp, tcp: {{ sni: {{ {NAME}: shop, \
         \"*.wild.test\": wild }} }} }}]\nclusters:\n  - {{ name: shop, endpoints: [\"{}\"] }}\n  \
         - {{ name: wild, endpoints: [\"{}\"] }}\n",
        shop.address(),
        wild.address()
    );
    let proxy = Ringway::to(&shop).io(io).config(yaml).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = site.client().version(version).config();
        for (name, want) in [(NAME, "shop"), ("a.wild.test", "wild"), (NAME, "shop")] {
            let connected = Client::connect_tls(proxy.address(), config.clone(), name);
            let mut client = connected.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(client.exchange(get(name)).body_text(), want, "{version:?} {name}");
        }
    }
    // The alert of RFC 6066 3.
    let refused = Client::connect_tls(proxy.address(), site.client().config(), "unknown.test");
    let error = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("UnrecognisedName"), "{error}");
    assert!(proxy.wait_for_stdout("unknown.test").contains(" 404 "));
}

fn certificates_of_clients_reach_the_origin(io: Io) {
    let site = Site::new();
    let issued = site.authority.issue(&Wanted::server(&[NAME]));
    let origin = Origin::start_tls(server_config(&issued, &[], Some(&site.authority)), |conn| {
        while conn.request().is_some() {
            let certificates = conn.wire().secure().connection().peer_certificates().map_or(0, <[_]>::len);
            conn.reply(200, certificates.to_string());
        }
    });
    let yaml = format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\", protocol: tcp, tcp: {{ to: shop }} }}]\n\
         clusters: [{{ name: shop, endpoints: [\"{}\"] }}]\n",
        origin.address()
    );
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    let me = site.authority.issue(&Wanted::client("me"));
    let config = site.client().identity(&me).config();
    let mut client = Client::connect_tls(proxy.address(), config, NAME).expect("a handshake");
    assert_eq!(client.exchange(get(NAME)).body_text(), "1");
}

/// One listener before `shop`, to which requests go, and before `far`, to which connections are passed on.
fn mixed(site: &Site, io: Io, shop: &Origin, far: &Origin, more: &str) -> Proxy {
    Ringway::to(shop).io(io).config(yaml(site, shop, far, more)).start()
}

/// The configuration of that; `more` follows the certificate in `tls`, with its comma.
fn yaml(site: &Site, shop: &Origin, far: &Origin, more: &str) -> String {
    let certificates = site.certificates();
    let (shop, far) = (shop.address(), far.address());
    format!(
        "access_log: stdout\nlisteners: [{{ name: web, bind: \"127.0.0.1:0\", tls: {{ {certificates}{more} }} }}]\n\
         clusters:\n  - {{ name: shop, endpoints: [\"{shop}\"] }}\n  - {{ name: far, endpoints: [\"{far}\"] }}\n\
         routes: [{{ name: all, to: shop }}]\n"
    )
}

/// Who answers a client that asks for this name.
fn answers(site: &Site, proxy: &Proxy, name: &str) -> String {
    let connected = Client::connect_tls(proxy.address(), site.client().config(), name);
    let mut client = connected.unwrap_or_else(|error| panic!("{name}: {error}"));
    client.exchange(get(name)).body_text().to_owned()
}

fn here() -> Origin {
    Origin::start(|conn| {
        while conn.request().is_some() {
            conn.reply(200, "ended here");
        }
    })
}

fn one_listener_passes_some_names_on_and_ends_the_others(io: Io) {
    let site = Site::new();
    let (shop, far) = (here(), named(&site, &["db.far.test", "a.b.many.test"], "passed on"));
    let proxy = mixed(&site, io, &shop, &far, ", passthrough: { db.far.test: far, \"*.many.test\": far }");
    for _ in 0..2 {
        for (name, want) in [
            (NAME, "ended here"),
            ("db.far.test", "passed on"),
            ("a.wild.test", "ended here"),
            ("a.b.many.test", "passed on"),
        ] {
            assert_eq!(answers(&site, &proxy, name), want, "{name}");
        }
    }
    assert!(proxy.wait_for_stdout("db.far.test").contains("\"- db.far.test TCP\" 200 "));
    let stats =
        proxy.wait_for_stats("four exchanges over TCP", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(stats.sum("ringway_tls_handshakes_total"), 4.0, "what is passed on is no handshake of ours");
    assert_eq!(shop.requests().len(), 4);
}

fn the_more_exact_name_decides(io: Io) {
    let site = Site::new();
    let (shop, far) =
        (here(), named(&site, &["db.wild.test", NAME, "a.wild.test", "x.y.wild.test"], "passed on"));
    let of = |more: &str| mixed(&site, io, &shop, &far, more);
    let proxy = of(", passthrough: { db.wild.test: far }");
    assert_eq!(
        answers(&site, &proxy, "db.wild.test"),
        "passed on",
        "a name before the wildcard of a certificate"
    );
    assert_eq!(answers(&site, &proxy, "a.wild.test"), "ended here");
    let proxy = of(", passthrough: { \"*.test\": far }");
    assert_eq!(answers(&site, &proxy, NAME), "ended here", "the name in a certificate before a wildcard");
    assert_eq!(
        answers(&site, &proxy, "a.wild.test"),
        "ended here",
        "and the longer wildcard before the shorter"
    );
    assert_eq!(
        answers(&site, &proxy, "x.y.wild.test"),
        "passed on",
        "one label is what a certificate's stands for"
    );
    let proxy = of(&format!(", passthrough: {{ {NAME}: far, \"*.wild.test\": far }}"));
    assert_eq!(answers(&site, &proxy, NAME), "passed on", "of two alike, what is passed on");
    assert_eq!(answers(&site, &proxy, "a.wild.test"), "passed on");
    assert!(proxy.log().iter().any(|line| line.contains("is never shown")), "{:?}", proxy.log());
}

fn all_names_without_a_certificate_are_passed_on_where_that_is_asked_for(io: Io) {
    let site = Site::new();
    let (shop, far) = (here(), named(&site, &["else.test", "db.wild.test"], "passed on"));
    let proxy = mixed(&site, io, &shop, &far, ", passthrough: { \"*\": far }");
    for (name, want) in [(NAME, "ended here"), ("a.wild.test", "ended here"), ("else.test", "passed on")] {
        assert_eq!(answers(&site, &proxy, name), want, "{name}");
    }
    assert!(proxy.wait_for_stdout("else.test").contains("\"- else.test TCP\" 200 "));
    // An address is no server name (RFC 6066 3): such a client names none.
    let mut nameless = RawClient::connect(proxy.address(), site.client().config(), "127.0.0.1");
    let error = nameless.handshake(|records| records).expect_err("a certificate for another name");
    assert!(
        error.to_string().contains("NotValidForName") || error.to_string().contains("not valid"),
        "{error}"
    );
    let proxy = mixed(&site, io, &shop, &far, ", passthrough: { \"*\": shop, db.wild.test: far }");
    assert_eq!(answers(&site, &proxy, "db.wild.test"), "passed on");
}

/// A certificate for `*.wild.test` would let HTTP/2 clients ask for the host on a connection of another (RFC 9113 9.1.1).
fn a_host_that_is_passed_on_is_not_served_on_another_connection(io: Io) {
    let site = Site::new();
    let (shop, far) = (here(), named(&site, &["db.wild.test"], "passed on"));
    let proxy = mixed(&site, io, &shop, &far, ", passthrough: { db.wild.test: far }");
    let mut client =
        Client::connect_tls(proxy.address(), site.client().config(), "a.wild.test").expect("a handshake");
    for (host, status) in [("a.wild.test", 200), ("db.wild.test", 421)] {
        assert_eq!(client.exchange(get(host)).status, status, "{host}");
    }
    let mut client =
        Client::connect_tls(proxy.address(), site.client().config(), "a.wild.test").expect("a handshake");
    assert_eq!(client.exchange(get("DB.wild.test.:443")).status, 421);
    assert_eq!(shop.requests().len(), 1);
    // As a browser would over HTTP/2.
    let Some(program) = find("curl") else { return };
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let port = proxy.address().port();
    let (url, connect) =
        (format!("https://a.wild.test:{port}/"), format!("a.wild.test:{port}:127.0.0.1:{port}"));
    for (host, status) in [("a.wild.test", "200"), ("db.wild.test", "421")] {
        let header = format!("Host: {host}");
        let arguments = ["-sS", "-m", "20", "--http2", "--cacert", &ca, "--connect-to", &connect];
        let more = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-H", &header, &url];
        let output = run(&program, &[&arguments[..], &more].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("2 {status}"), "{host}");
    }
}

fn what_the_listener_asks_of_clients_is_not_asked_where_it_passes_on(io: Io) {
    let site = Site::new();
    let ca = site.authority.write(&site.directory, "ca");
    let (shop, far) = (here(), named(&site, &["db.far.test"], "passed on"));
    let more = format!(
        ", client_auth: {{ mode: required, ca: {} }}, passthrough: {{ db.far.test: far }}",
        ca.display()
    );
    let proxy = mixed(&site, io, &shop, &far, &more);
    assert_eq!(answers(&site, &proxy, "db.far.test"), "passed on");
    let refused = Client::connect_tls(proxy.address(), site.client().config(), NAME)
        .map(|mut client| client.try_send(get(NAME)) && client.try_response("GET").is_ok());
    assert!(!refused.unwrap_or(false), "a client without a certificate was served");
    assert_eq!(shop.requests().len(), 0);
}

fn a_hello_in_pieces_is_passed_on_whole(io: Io) {
    let site = Site::new();
    let (shop, far) = (here(), named(&site, &["db.far.test"], "passed on"));
    let proxy = mixed(&site, io, &shop, &far, ", passthrough: { db.far.test: far }");
    let mut client = RawClient::connect(proxy.address(), site.client().config(), "db.far.test");
    let hello = client.take_records();
    for byte in hello.chunks(1) {
        client.send(byte).expect("a byte of the hello");
    }
    client.handshake(|records| records).expect("a handshake");
    let request = client.seal(get("db.far.test"));
    client.send(&request).expect("a request");
    client.read_until(b"passed on").expect("the answer of the origin");
}

fn a_reload_changes_which_names_are_passed_on(io: Io) {
    let site = Site::new();
    let (shop, far) = (here(), named(&site, &["a.wild.test"], "passed on"));
    let proxy = mixed(&site, io, &shop, &far, "");
    assert_eq!(answers(&site, &proxy, "a.wild.test"), "ended here");
    let line = proxy.reload(yaml(&site, &shop, &far, ", passthrough: { a.wild.test: far }"));
    assert!(line.contains("reloaded"), "{line}");
    assert_eq!(answers(&site, &proxy, "a.wild.test"), "passed on");
}
