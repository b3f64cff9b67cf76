//! What a reload may change.

use ringway_core::config::settings::{Change, SETTINGS, Scope};
use ringway_core::config::{Config, restart_needed};
use ringway_tests::temp::TempDir;

use super::{file_source, file_with};

fn load(lines: &str) -> Config {
    let directory = TempDir::new();
    Config::load(&file_source(file_with(&directory, lines)))
        .unwrap_or_else(|errors| panic!("{lines}: {errors:?}"))
}

#[test]
fn what_needs_a_restart_is_named_with_both_values() {
    for (old, new, want) in [
        ("workers: 2", "workers: 2", &[][..]),
        ("workers: 2", "workers: 4", &["workers: 2 → 4"]),
        ("workers: 4", "", &["workers: 4 → auto"]),
        ("io: epoll", "io: auto", &["io: epoll → auto"]),
        ("", "buffers: { ring_buffers: 128 }", &["buffers.ring_buffers: 64 → 128"]),
        ("admin: off", "admin: 127.0.0.1:1", &["admin.bind: off → 127.0.0.1:1"]),
        ("admin: { token: hunter2 }", "admin: { token: hunter3 }", &["admin.token: changed"]),
        ("drain_timeout: 1s", "drain_timeout: 2s", &[]),
        ("", "defaults: { listeners: { limits: { idle_timeout: 1s } } }", &[]),
    ] {
        assert_eq!(restart_needed(&load(old), &load(new)), want, "{old:?} to {new:?}");
    }
}

#[test]
fn a_reloaded_configuration_describes_the_running_process() {
    let old = load("workers: 2\nsplice: off\ndrain_timeout: 1s\nadmin: { token: hunter2 }");
    let mut new = load("workers: 4\nsplice: 1MiB\ndrain_timeout: 2s\nadmin: { token: hunter3 }");
    new.keep_process(&old);
    assert_eq!((new.process.workers, new.process.splice_bytes_min), (2, 0));
    assert_eq!(new.process.admin_token.as_deref(), Some("hunter2"));
    assert_eq!(new.process.drain_timeout.as_secs(), 2);
    assert!(restart_needed(&old, &new).is_empty());
    let json = new.to_json();
    assert_eq!(json["process"]["workers"]["value"], 2);
    assert_eq!(json["process"]["drain_timeout"]["value"], "2s");
}

#[test]
fn listeners_clusters_and_routes_never_need_a_restart() {
    let wrong = SETTINGS.iter().filter(|it| it.scope != Scope::Process && it.change == Change::Restart);
    assert_eq!(wrong.count(), 0);
}
