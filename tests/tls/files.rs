//! Files of certificates and authorities that are missing or broken: never "trust all", never "trust nobody" in silence (threat
//! row 41, CVE-2026-27586).

use ringway_tests::certificates::{Authority, Wanted};
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    a_start_with_broken_files_is_refused,
    a_reload_with_broken_files_is_refused_and_changes_nothing,
    keys_are_in_no_log_and_no_dump,
}

/// What may be wrong with a file, and how it looks.
fn broken(site: &Site) -> Vec<(&'static str, String)> {
    let write = |name: &str, content: &str| site.directory.write(name, content).display().to_string();
    let cut = site.authority.pem().replace("-----END", "----");
    vec![
        ("missing", site.directory.path().join("nowhere.pem").display().to_string()),
        ("empty", write("empty.pem", "")),
        ("a directory", site.directory.path().display().to_string()),
        ("no PEM", write("words.pem", "these are only words\n")),
        ("cut off", write("cut.pem", &cut)),
        (
            "no certificate in it",
            write("garbage.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
        ),
        ("a key in its place", write("key.pem", &site.server.key)),
    ]
}

fn a_start_with_broken_files_is_refused(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    for (what, file) in broken(&site) {
        let clients = format!(", client_auth: {{ mode: required, ca: {file} }}");
        let optional = format!(", client_auth: {{ mode: optional, ca: {file} }}");
        let crl = format!(
            ", client_auth: {{ mode: required, ca: {}, crl: {file} }}",
            site.authority.write(&site.directory, "ca").display()
        );
        for more in [clients, optional, crl] {
            let (status, said) = site.before(io, &origin, &more).start_refused();
            assert!(!status.success() && said.contains(&file), "{what}: {more}: {said}");
        }
        let cluster = format!("tls: {{ ca: {file}, server_name: {NAME} }}");
        let (status, said) = Ringway::to(&origin).io(io).cluster(&cluster).start_refused();
        assert!(!status.success() && said.contains(&file), "{what}: {cluster}: {said}");
    }
    // A key that is another one's, and an authority that nobody named.
    let other = site.authority.issue(&Wanted::server(&[NAME]));
    let (cert, _) = site.server.write(&site.directory, "server");
    let (_, key) = other.write(&site.directory, "other");
    for lines in [
        format!("tls: {{ certificates: [{{ cert: {}, key: {} }}] }}", cert.display(), key.display()),
        format!("tls: {{ {}, client_auth: {{ mode: required }} }}", site.certificates()),
        "tls: { certificates: [] }".to_owned(),
    ] {
        let (status, said) = Ringway::to(&origin).io(io).listener(&lines).start_refused();
        assert!(!status.success(), "{lines}: {said}");
    }
}

fn a_reload_with_broken_files_is_refused_and_changes_nothing(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let ca = site.authority.write(&site.directory, "ca");
    let more = format!(", client_auth: {{ mode: required, ca: {} }}", ca.display());
    let ringway = site.before(io, &origin, &more);
    let proxy = ringway.start();
    let welcome = site.authority.issue(&Wanted::client("me"));
    let stranger = Authority::new("a stranger").issue(&Wanted::client("me"));
    for (what, file) in broken(&site) {
        let line = proxy.reload(ringway.yaml().replace(&ca.display().to_string(), &file));
        assert!(line.contains("reload refused"), "{what}: {line}");
        for (issued, come_in) in [(&welcome, true), (&stranger, false)] {
            let config = site.client().identity(issued).config();
            let client = Client::connect_tls(proxy.address(), config, NAME);
            let served = client.ok().and_then(|mut client| {
                client.try_send(get(NAME));
                client.try_response("GET").ok()
            });
            assert_eq!(served.is_some_and(|response| response.status == 200), come_in, "{what}");
        }
    }
}

fn keys_are_in_no_log_and_no_dump(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").start();
    assert_eq!(site.connect(&proxy).exchange(get(NAME)).status, 200);
    let shown =
        [proxy.log().join("\n"), proxy.admin_get("/config").body_text(), proxy.stats().metrics].concat();
    let secret: Vec<&str> = site.server.key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!secret.is_empty());
    for line in secret {
        assert!(!shown.contains(line), "a line of the key is shown");
    }
}
