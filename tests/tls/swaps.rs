//! Files that change while the proxy runs: in force for the next handshake, and no connection is lost for it.

use ringway_tests::certificates::{Authority, Wanted};
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Proxy, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    a_renewed_certificate_is_shown_and_open_connections_go_on,
    a_broken_file_keeps_the_last_good_one_and_says_why,
    an_authority_that_is_added_lets_its_clients_in_and_a_revoked_client_stays_out,
    an_origins_new_authority_is_believed,
}

/// The status of a request on a new connection, or the error of its handshake.
fn ask(proxy: &Proxy, config: std::sync::Arc<rustls::ClientConfig>) -> Result<u16, String> {
    let mut client = Client::connect_tls(proxy.address(), config, NAME).map_err(|error| error.to_string())?;
    client.try_send(get(NAME));
    client.try_response("GET").map(|response| response.status).map_err(|error| format!("{error:?}"))
}

fn expiries(proxy: &Proxy) -> Vec<String> {
    let metrics = proxy.stats().metrics;
    let lines = metrics.lines().filter(|line| line.starts_with("ringway_certificate_expiry"));
    lines.map(str::to_owned).collect()
}

fn a_renewed_certificate_is_shown_and_open_connections_go_on(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").workers(2).start();
    let mut open: Vec<Client> = (0..8).map(|_| site.connect(&proxy)).collect();
    assert_eq!(expiries(&proxy).len(), 1);
    // Issued by another authority, so that a client can tell them apart.
    let next = Authority::new("the next authority");
    next.issue(&Wanted::server(&[NAME])).write(&site.directory, "server");
    let trusting = ringway_tests::tls::TlsClient::trusting(&[&next]).without_resumption();
    eventually("the new certificate", || ask(&proxy, trusting.config()).ok().filter(|status| *status == 200));
    assert!(ask(&proxy, site.client().config()).is_err(), "the old one is shown no longer");
    for client in &mut open {
        assert_eq!(client.exchange(get(NAME)).status, 200);
    }
    assert_eq!(proxy.stats().sum("ringway_certificate_failures_total"), 0.0);
}

fn a_broken_file_keeps_the_last_good_one_and_says_why(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").start();
    let other = site.authority.issue(&Wanted::server(&[NAME]));
    for (count, (content, why)) in [
        ("", "is empty"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is not valid PEM"),
        (other.cert.as_str(), "does not fit the certificate"),
    ]
    .into_iter()
    .enumerate()
    {
        site.directory.write("server.pem", content);
        proxy.wait_for_log(why);
        proxy.wait_for_stats("the failure", |stats| {
            stats.sum("ringway_certificate_failures_total") == (count + 1) as f64
        });
        assert_eq!(ask(&proxy, site.client().without_resumption().config()), Ok(200), "{why}");
    }
    // The key that belongs to the last one: now they fit.
    site.directory.write("server.key", &other.key);
    proxy.wait_for_stats("the swap", |stats| stats.sum("ringway_certificate_swaps_total") == 1.0);
    assert_eq!(ask(&proxy, site.client().without_resumption().config()), Ok(200));
}

fn an_authority_that_is_added_lets_its_clients_in_and_a_revoked_client_stays_out(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = ours.write(&site.directory, "clients");
    let crl = site.directory.write("clients.crl", ours.revoking(&[]));
    let more = format!(", client_auth: {{ mode: required, ca: {}, crl: {} }}", ca.display(), crl.display());
    let proxy = site.before(io, &origin, &more).start();
    let one = ours.issue(&Wanted::client("one"));
    let two = theirs.issue(&Wanted::client("two"));
    // Each keeps its session, so that it would be resumed where that is possible.
    let (one_config, two_config) =
        (site.client().identity(&one).config(), site.client().identity(&two).config());
    for _ in 0..3 {
        assert_eq!(ask(&proxy, one_config.clone()), Ok(200));
    }
    assert!(ask(&proxy, two_config.clone()).is_err());
    site.directory.write("clients.crl", format!("{}{}", ours.revoking(&[&one]), theirs.revoking(&[])));
    site.directory.write("clients.pem", format!("{}{}", ours.pem(), theirs.pem()));
    eventually("the other authority", || ask(&proxy, two_config.clone()).ok());
    assert!(ask(&proxy, one_config).is_err(), "revoked, ticket or not");
}

fn an_origins_new_authority_is_believed(io: Io) {
    let site = Site::new();
    let next = Authority::new("the next authority");
    let issued = next.issue(&Wanted::server(&[NAME]));
    let server = ringway_tests::tls::server_config(&issued, &["http/1.1"], None);
    let origin = Origin::start_tls(server, |conn| {
        while conn.request().is_some() {
            conn.reply(200, "hello");
        }
    });
    let proxy = site.behind(io, &origin, "").start();
    let refused = proxy.get("/");
    assert_eq!((refused.status, refused.reason_code()), (502, Some("upstream_tls_untrusted")));
    site.directory.write("ca.pem", next.pem());
    eventually("the new authority", || Some(proxy.get("/").status).filter(|status| *status == 200));
}
