use super::*;
use crate::config::{ClusterConfig, ProcessConfig, RouteConfig};
use crate::stats::Stats;

fn config(routes: &[&str]) -> Config {
    let mut config = Config::simple(&[], &[], ProcessConfig::default());
    config.routes = routes.iter().map(|name| Arc::new(RouteConfig::catch_all(name, 0))).collect();
    config
}

fn slots(labels: &Labels) -> Vec<u32> {
    labels.routes.iter().map(|label| label.slot).collect()
}

fn counts(stats: &Stats, labels: &Labels) -> Vec<(String, u64)> {
    stats.read(labels).routes.iter().map(|(name, reading)| (name.to_string(), reading.numbers[0])).collect()
}

#[test]
fn every_slot_has_a_place_of_its_own() {
    assert_eq!(place(1), (0, 1));
    assert_eq!(place(31), (0, 31));
    assert_eq!(place(32), (1, 0));
    assert_eq!(place(95), (1, 63));
    assert_eq!(place(96), (2, 0));
    assert_eq!(place(LABELS_MAX as u32), (BLOCKS - 1, (FIRST_BLOCK << (BLOCKS - 1)) - 1));
}

#[test]
fn a_name_keeps_its_counts_over_reloads_whatever_its_index() {
    let stats = Stats::new(2);
    let first = stats.labels(&config(&["a", "b"]));
    stats.workers()[0].route(&first, 0).body_bytes_in.add(10);
    stats.workers()[1].route(&first, 0).body_bytes_in.add(5);
    stats.workers()[1].route(&first, 1).body_bytes_in.add(7);
    let second = stats.labels(&config(&["c", "b", "a"]));
    stats.workers()[0].route(&second, 2).body_bytes_in.add(1);
    let expected = [("c".to_owned(), 0), ("b".to_owned(), 7), ("a".to_owned(), 16)];
    assert_eq!(counts(&stats, &second), expected);
    // Exchanges that still run under the first generation count for the same names.
    stats.workers()[0].route(&first, 0).body_bytes_in.add(100);
    assert_eq!(counts(&stats, &second)[2], ("a".to_owned(), 116));
}

#[test]
fn slots_of_dead_names_serve_new_ones_from_zero() {
    let stats = Stats::new(1);
    let worker = &stats.workers()[0];
    let first = stats.labels(&config(&["old", "kept"]));
    worker.route(&first, 0).body_bytes_in.add(1_000);
    worker.route(&first, 0).duration.get_or_init(Box::default).record(std::time::Duration::from_millis(3));
    worker.route(&first, 1).body_bytes_in.add(3);
    // Still held: the new name may not have its slot.
    let second = stats.labels(&config(&["kept", "new"]));
    assert!(!slots(&first).contains(&slots(&second)[1]));
    drop(first);
    let third = stats.labels(&config(&["kept", "new", "newer"]));
    assert_eq!(slots(&third), [2, 3, 1], "the newest name has the slot of the dead one");
    worker.route(&third, 2).body_bytes_in.add(8);
    let expected = [("kept".to_owned(), 3), ("new".to_owned(), 0), ("newer".to_owned(), 8)];
    assert_eq!(counts(&stats, &third), expected);
    let newer = &stats.read(&third).routes[2].1;
    assert_eq!(newer.durations.as_ref().map(|d| (d.count(), d.sum_nanos)), Some((0, 0)));
    // The dead name comes back: it starts from zero as well.
    drop((second, third));
    let fourth = stats.labels(&config(&["old", "kept"]));
    assert_eq!(counts(&stats, &fourth), [("old".to_owned(), 0), ("kept".to_owned(), 3)]);
}

#[test]
fn endless_reloads_with_new_names_need_no_more_slots_than_names_live_at_once() {
    let stats = Stats::new(1);
    let mut held = stats.labels(&config(&[]));
    let mut highest = 0;
    for round in 0..500 {
        let names: Vec<String> = (0..10).map(|n| format!("r{round}-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Two generations live at any time.
        let next = stats.labels(&config(&names));
        highest = highest.max(slots(&next).into_iter().max().unwrap_or(0));
        stats.workers()[0].route(&next, 9).body_bytes_in.add(1);
        assert_eq!(counts(&stats, &next)[9].1, 1);
        held = next;
    }
    assert_eq!(held.routes.len(), 10);
    assert!(highest <= 20, "{highest}");
}

#[test]
fn what_has_no_slot_is_counted_together_and_never_lost() {
    let stats = Stats::new(1);
    let labels = stats.labels(&config(&["a"]));
    let worker = &stats.workers()[0];
    // An index that the labels do not know: counted, not panicked over.
    worker.route(&labels, 7).body_bytes_in.add(5);
    worker.endpoint(&labels, 3, 4).connects.increment();
    assert_eq!(worker.routes.get(0).body_bytes_in.get(), 5);
    assert_eq!(worker.endpoints.get(0).connects.get(), 1);
    assert_eq!(
        worker.routes.get(u32::MAX - 64).body_bytes_in.get(),
        5,
        "a slot out of range is the shared one"
    );
}

#[test]
fn endpoints_of_the_same_address_are_told_apart_by_their_cluster() {
    let endpoint = |text: &str| EndpointConfig::Address(text.parse().expect("an address"));
    let mut config = Config::simple(&[], &[endpoint("10.0.0.1:80")], ProcessConfig::default());
    let name = EndpointConfig::Name { host: "origin.test".to_owned(), port: 81 };
    config.clusters.push(Arc::new(ClusterConfig::new("other", vec![endpoint("10.0.0.1:80"), name])));
    let stats = Stats::new(1);
    let labels = stats.labels(&config);
    stats.workers()[0].endpoint(&labels, 1, 0).connects.increment();
    let read = stats.read(&labels);
    let shown: Vec<_> = read.endpoints.iter().map(|(c, e, r)| (&**c, &**e, r.numbers[0])).collect();
    assert_eq!(
        shown,
        [("upstream", "10.0.0.1:80", 0), ("other", "10.0.0.1:80", 1), ("other", "origin.test:81", 0)]
    );
}
