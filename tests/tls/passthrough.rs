//! TLS that is passed on by its server name, between real programs.

use ringway_tests::certificates::Wanted;
use ringway_tests::tls::server_config;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    handshakes_pass_untouched_to_the_origin_of_their_name,
    certificates_of_clients_reach_the_origin,
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
