//! Flag over environment over file over default, for settings of every scope and every kind of error.

use ringway_core::config::settings::{Id, SETTINGS, Scope};
use ringway_core::config::{Config, ConfigSource, Given, Kind, Origin};
use ringway_tests::temp::TempDir;

use super::{file_source, file_with, source};

/// The value and origin of each setting as the dump has it.
fn shown(config: &Config, pointer: &str) -> (String, String) {
    let json = config.to_json();
    let setting = json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {json}"));
    let text = |name: &str| match &setting[name] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (text("value"), text("from"))
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let directory = TempDir::new();
    let file =
        file_with(&directory, "drain_timeout: 3s\ndefaults: { listeners: { limits: { idle_timeout: 3s } } }");
    let (env, flag) = ((Id::DrainTimeout, "2s".to_owned()), (Id::DrainTimeout, "1s".to_owned()));
    let idle = |text: &str| (Id::IdleTimeout, text.to_owned());
    let table: [(ConfigSource, &str, &str); 4] = [
        (
            ConfigSource { env: vec![env.clone()], flags: vec![flag], ..file_source(&file) },
            "1s",
            "flag, --drain-timeout",
        ),
        (ConfigSource { env: vec![env], ..file_source(&file) }, "2s", "environment, RINGWAY_DRAIN_TIMEOUT"),
        (file_source(&file), "3s", "file, line 1"),
        (source(), "30s", "default"),
    ];
    for (source, value, from) in table {
        let config = Config::load(&source).expect("a configuration");
        assert_eq!(shown(&config, "/process/drain_timeout"), (value.to_owned(), from.to_owned()));
    }
    for (env, flags, want) in
        [(vec![idle("2s")], vec![idle("1s")], "1s"), (vec![idle("2s")], vec![], "2s"), (vec![], vec![], "3s")]
    {
        let config =
            Config::load(&ConfigSource { env, flags, ..file_source(&file) }).expect("a configuration");
        assert_eq!(shown(&config, "/listeners/0/limits.idle_timeout").0, want);
    }
}

#[test]
fn what_one_listener_cluster_or_route_says_wins_over_every_default() {
    let directory = TempDir::new();
    let file = directory.write(
        "own.yaml",
        "listeners:\n  - { name: own, bind: \"127.0.0.1:0\", limits: { idle_timeout: 9s } }\n  \
         - { name: other, bind: \"127.0.0.1:0\" }\n\
         clusters:\n  - { name: app, endpoints: [\"127.0.0.1:9\"], timeouts: { connect: 9s } }\n\
         routes:\n  - { name: all, to: app, timeout: 9s }\n",
    );
    let flags = [(Id::IdleTimeout, "1s"), (Id::ConnectTimeout, "1s"), (Id::RequestTimeout, "1s")];
    let flags = flags.map(|(id, text)| (id, text.to_owned())).to_vec();
    let config = Config::load(&ConfigSource { flags, ..file_source(&file) }).expect("a configuration");
    assert_eq!(shown(&config, "/listeners/0/limits.idle_timeout"), ("9s".into(), "file, line 2".into()));
    assert_eq!(
        shown(&config, "/listeners/1/limits.idle_timeout"),
        ("1s".into(), "flag, --idle-timeout".into())
    );
    assert_eq!(shown(&config, "/clusters/0/timeouts.connect").0, "9s");
    assert_eq!(shown(&config, "/routes/0/timeout").0, "9s");
}

/// Each setting can be given each way, and arrives.
#[test]
fn every_setting_is_read_from_its_flag_its_variable_and_its_key() {
    let directory = TempDir::new();
    for setting in SETTINGS {
        // Something valid that is not the default, where there is such a thing.
        let candidates = [
            "off",
            "true",
            "7s",
            "12KiB",
            "2MiB",
            "77",
            "16",
            "10us",
            "25%",
            "epoll",
            "forwarded",
            "random",
            "keep",
            "v1",
            "http2",
            "tcp",
        ];
        let others = [
            "127.0.0.1:1",
            "/tmp/x",
            "10.0.0.0/8",
            "json",
            "3",
            "unavailable",
            "a.B/C",
            "https://a.test",
            "h2x",
            "1.3",
            "2m",
            "required",
            "tls-alpn-01",
            "none",
            "h2",
            "x25519",
            "TLS_AES_128_GCM_SHA256",
            "spiffe://shop/a",
            "path",
            "200",
            "5xx",
            "any",
            "refuse",
        ];
        // A token that can be guessed is refused.
        let token = (setting.id == Id::ExplainToken).then_some("a-token-of-many-characters");
        let value = token.iter().chain(&candidates).chain(&others).copied().find(|text| {
            setting.kind.parse(setting.words, text).is_ok_and(|value| value.show() != setting.default)
        });
        let value = value.unwrap_or_else(|| panic!("no candidate for {}", setting.key));
        let section = if setting.scope == Scope::Process {
            "process".to_owned()
        } else {
            format!("{}/0", setting.scope.plural())
        };
        let pointer = format!("/{section}/{}", setting.key);
        let mut ways = vec![ConfigSource { env: vec![(setting.id, value.to_owned())], ..source() }];
        if !setting.flag.is_empty() {
            ways.push(ConfigSource { flags: vec![(setting.id, value.to_owned())], ..source() });
        }
        let keys: Vec<String> = setting.file_key().split('.').map(str::to_owned).collect();
        let yaml =
            keys.iter().rev().fold(format!("\"{value}\""), |inner, key| format!("{{ {key}: {inner} }}"));
        let yaml = yaml.trim_start_matches("{ ").strip_suffix(" }").expect("a mapping").to_owned();
        ways.push(file_source(file_with(&directory, &yaml)));
        for way in ways {
            // Some values cannot be taken as they are: a token file that is not there, and health checks without HTTP/2. A
            // default of TCP leaves the file's listener without a cluster.
            let alone = setting.id == Id::ListenerProtocol && way.path.is_none();
            let refused = [Id::AdminTokenFile, Id::ExplainTokenFile, Id::HealthGrpc, Id::ListenerProtocol];
            if refused.contains(&setting.id) && !alone {
                continue;
            }
            let config =
                Config::load(&way).unwrap_or_else(|errors| panic!("{}={value}: {errors:?}", setting.key));
            let (found, from) = shown(&config, &pointer);
            assert_ne!(from, "default", "{}", setting.key);
            if !setting.kind.is_list() && !matches!(setting.kind, Kind::Secret) {
                assert_eq!(
                    found,
                    setting.kind.parse(setting.words, value).map(|value| value.show()).unwrap_or_default(),
                    "{}",
                    setting.key
                );
            }
        }
    }
}

#[test]
fn variables_fill_what_flags_leave_open() {
    let vars = [
        ("RINGWAY_LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
        ("RINGWAY_UPSTREAM", "http://10.0.0.1:9"),
        ("RINGWAY_IDLE_TIMEOUT", "7s"),
        ("RINGWAY_HEADER_TIMEOUT", ""),
        ("RINGWAY_SERVICE_HOST", "10.1.1.1"),
        ("HOME", "/root"),
    ];
    let vars = || vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut from_env = source();
    assert_eq!(from_env.take_env(vars()), ["RINGWAY_SERVICE_HOST"]);
    let config = Config::load(&from_env).expect("a configuration");
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(shown(&config, "/listeners/0/limits.idle_timeout").0, "7s");
    assert_eq!(
        shown(&config, "/listeners/0/limits.header_timeout").1,
        "default",
        "an empty variable is not set"
    );

    let listen = vec![Given { text: "127.0.0.1:3".to_owned(), origin: Origin::Flag, name: "--listen" }];
    let mut from_both = ConfigSource { listen, ..source() };
    from_both.take_env(vars());
    assert_eq!(Config::load(&from_both).expect("a configuration").listeners.len(), 1);
}

#[test]
fn a_file_and_flags_that_say_the_same_are_refused_together() {
    let directory = TempDir::new();
    let file = file_with(&directory, "workers: lots");
    let simple = ConfigSource::simple(&["127.0.0.1:1"], &["http://10.0.0.1:9"]);
    let flags = vec![(Id::IdleTimeout, "7".to_owned())];
    let both = ConfigSource {
        path: Some(file.clone()),
        flags,
        env: vec![(Id::Io, "x".into())],
        root: source().root,
        ..simple
    };
    let errors = Config::load(&both).map(drop).expect_err("refused");
    let lines: Vec<String> = errors.iter().map(|error| error.one_line()).collect();
    let file = file.display();
    assert_eq!(
        lines,
        [
            "RINGWAY_IO: expected auto, uring, epoll; found `x`".to_owned(),
            "--idle-timeout: expected a duration from 1ms to 1d such as 1m30s or 500ms; found `7`; write the unit: `7s` or `7ms`".to_owned(),
            "--listen: cannot be combined with --config: the file says it in `listeners`".to_owned(),
            "--upstream: cannot be combined with --config: the file says it in `clusters`".to_owned(),
            format!("{file}:1:10: workers: expected a whole number from 1 to 1024, or auto; found `lots`"),
        ]
    );
}

#[test]
fn without_anything_there_is_one_listener_and_the_demo_origin() {
    assert!(source().wants_demo_origin());
    assert!(!ConfigSource::simple(&[], &["10.0.0.1:9"]).wants_demo_origin());
    let config = Config::load(&source()).expect("a configuration");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:8080");
    assert_eq!((config.process.workers, config.process.cpus.as_slice()), (4, &[0, 1, 2, 3][..]));
    assert!(config.warnings.is_empty());
}
