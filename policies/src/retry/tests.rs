use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config(on: &[&str]) -> RetryConfig {
    let mut conditions = Conditions::default();
    for word in on {
        assert!(conditions.add(word), "{word}");
    }
    RetryConfig {
        on: conditions,
        grpc: vec![Status::Unavailable],
        attempts_max: 3,
        any_method: false,
        backoff: Duration::from_millis(25),
        backoff_max: Duration::from_millis(60),
        retry_after_max: SECOND,
        body_bytes_max: 1024,
    }
}

#[test]
fn only_what_is_listed_and_safe_is_sent_again() {
    use Event::*;
    let get = Method::Get;
    let table: &[(&[&str], Event, Method, bool)] = &[
        (&["5xx"], Status(503, None), get, true),
        (&["5xx"], Status(599, None), get, true),
        (&["5xx"], Status(404, None), get, false),
        (&["5xx"], Reset, get, false),
        (&["5xx"], ConnectFailure, get, false),
        (&["404"], Status(404, None), get, true),
        (&["gateway_error"], Status(500, None), get, false),
        (&["gateway_error"], Status(502, None), get, true),
        (&["gateway_error"], Status(504, None), get, true),
        (&["4xx"], Status(429, None), get, true),
        (&["reset"], Reset, get, true),
        (&["timeout"], Timeout, get, true),
        (&["reset"], Timeout, get, false),
        // What may have been done already is only done again where that is the same.
        (&["5xx"], Status(503, None), Method::Post, false),
        (&["reset"], Reset, Method::Post, false),
        (&["reset"], Reset, Method::Patch, false),
        (&["reset"], Reset, Method::Other, false),
        (&["reset"], Reset, Method::Delete, true),
        (&["timeout"], Timeout, Method::Post, false),
        (&["connect_failure"], ConnectFailure, Method::Post, true),
        (&["refused_stream"], RefusedStream, Method::Post, true),
        (&[], Grpc(super::Status::Unavailable), Method::Post, true),
        (&[], Grpc(super::Status::Internal), Method::Post, false),
        // A status alone is not enough: it has to say when.
        (&["retry_after"], Status(503, None), get, false),
        (&["retry_after"], Status(503, Some(SECOND)), get, true),
        (&["retry_after"], Status(429, Some(SECOND)), get, true),
        (&["retry_after"], Status(500, Some(SECOND)), get, false),
        // Longer than anybody waits here.
        (&["5xx"], Status(503, Some(SECOND * 2)), get, false),
        (&["retry_after"], Status(503, Some(SECOND * 2)), get, false),
    ];
    for (on, event, method, again) in table {
        let wait = config(on).wait(*event, 1, *method, 0);
        assert_eq!(wait.is_some(), *again, "{on:?} {event:?} {method:?}");
        let anyway = RetryConfig { any_method: true, ..config(on) }.wait(*event, 1, Method::Post, 0);
        let as_get = config(on).wait(*event, 1, get, 0);
        assert_eq!(anyway.is_some(), as_get.is_some(), "{on:?} {event:?} with any method");
        assert_eq!(config(on).wait(*event, 3, *method, 0), None, "that was the last try");
        if let Status(status, _) = event {
            let considered = config(on).considers(*status);
            assert!(considered || !*again, "{on:?} {event:?} is not even looked at");
        }
    }
}

#[test]
fn what_is_no_condition_is_refused() {
    for word in ["", "6xx", "200", "399", "600", "5XX", "503 ", "-1", "always"] {
        assert!(!Conditions::default().add(word), "{word:?}");
    }
    for word in WORDS {
        assert!(Conditions::default().add(word), "{word:?}");
    }
}

#[test]
fn the_wait_doubles_up_to_its_maximum_and_is_drawn_from_all_of_it() {
    let config = config(&["5xx"]);
    for (tries, ceiling_ms) in [(1, 25.0), (2, 50.0)] {
        let wait = |random| {
            let wait = config.wait(Event::Status(500, None), tries, Method::Get, random);
            wait.expect("a wait").as_secs_f64() * 1000.0
        };
        assert_eq!(wait(0), 0.0);
        assert!((wait(u64::MAX) - ceiling_ms).abs() < 0.001);
        assert!((wait(u64::MAX / 2) - ceiling_ms / 2.0).abs() < 0.001);
    }
    assert_eq!(config.backoff(3, u64::MAX).as_millis(), 59);
    assert_eq!(config.backoff(40, u64::MAX).as_millis(), 59, "without overflow");
    let asked = config.wait(Event::Status(503, Some(SECOND)), 1, Method::Get, u64::MAX).expect("a wait");
    assert!(asked >= SECOND, "not before the origin said");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    const NOW: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
    for (text, want) in [
        ("0", Some(0)),
        ("120", Some(120)),
        ("99999999999999999999", Some(u64::from(u32::MAX))),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
        ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
        ("Sun, 06 Nov 1993 08:49:37 GMT", Some(0)),
        ("Thu, 29 Feb 1996 00:00:00 GMT", Some(825_552_000 - NOW)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("Sun, 06 Nov 1994 08:49 GMT", None),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
    ] {
        let got = parse_retry_after(text.as_bytes(), NOW).map(|time| time.as_secs());
        assert_eq!(got, want, "{text:?}");
    }
}

#[test]
fn retries_never_exceed_the_share_of_what_is_under_way() {
    for (percent, min, active, want) in
        [(20, 0, 100, 20), (20, 0, 4, 0), (20, 3, 4, 3), (20, 3, 100, 20), (100, 0, 7, 7), (1, 0, 99, 0)]
    {
        let budget = RetryBudget::new(percent, min);
        let requests: Vec<_> = (0..active).map(|_| budget.enter()).collect();
        let places: Vec<_> = std::iter::from_fn(|| budget.begin_retry()).take(1000).collect();
        assert_eq!(places.len(), want, "{percent}% of {active}, at least {min}");
        drop(places);
        assert_eq!(budget.in_use(), (active, 0));
        drop(requests);
        assert_eq!(budget.in_use(), (0, 0));
    }
}

#[test]
fn the_budget_is_exact_over_threads() {
    let budget = RetryBudget::new(20, 0);
    let requests: Vec<_> = (0..50).map(|_| budget.enter()).collect();
    let highest = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    if let Some(_place) = budget.begin_retry() {
                        highest.fetch_max(budget.in_use().1, Relaxed);
                    }
                }
            });
        }
    });
    assert!(highest.load(Relaxed) <= 10, "{highest:?}");
    let taken: Vec<_> = std::iter::from_fn(|| budget.begin_retry()).collect();
    assert_eq!(taken.len(), 10, "every place was given back");
    drop(requests);
}

#[test]
fn a_new_configuration_goes_on_counting() {
    let old = RetryBudget::new(20, 0);
    let _requests: Vec<_> = (0..10).map(|_| old.enter()).collect();
    let _place = old.begin_retry().expect("a place");
    let mut new = RetryBudget::new(10, 0);
    new.adopt(&old);
    assert_eq!(new.in_use(), (10, 1));
    assert!(new.begin_retry().is_none());
}
