use super::*;
use ringway_protocols::http1::{HeadLimits, parse_request};

/// `count` numbers that look random, the same in every run.
fn numbers(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|index| mix(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// How often each target is chosen is within five standard deviations of its share.
fn check_shares(hits: &[u32], weights: &[u32]) {
    let (count, total) = (f64::from(hits.iter().sum::<u32>()), f64::from(weights.iter().sum::<u32>()));
    for (hits, weight) in hits.iter().zip(weights) {
        let share = f64::from(*weight) / total;
        let deviation = (count * share * (1.0 - share)).sqrt();
        let distance = (f64::from(*hits) - count * share).abs();
        assert!(distance <= 5.0 * deviation, "{hits} of {count} for {weight} of {total}");
    }
}

#[test]
fn shares_are_as_the_weights_say() {
    for weights in [&[90, 10][..], &[1, 1, 1], &[95, 5], &[1], &[0, 3, 0, 1], &[1_000_000, 1]] {
        let (mut chance, mut key) = (vec![0; weights.len()], vec![0; weights.len()]);
        for number in numbers(100_000) {
            chance[by_chance(number, weights.iter().copied()).expect("a target")] += 1;
            let salted = weights.iter().enumerate().map(|(index, weight)| (hash(&[index as u8]), *weight));
            key[by_key(number, salted).expect("a target")] += 1;
        }
        check_shares(&chance, weights);
        check_shares(&key, weights);
    }
}

#[test]
fn without_weight_there_is_no_target() {
    for number in numbers(100) {
        for weights in [&[][..], &[0], &[0, 0]] {
            assert_eq!(by_chance(number, weights.iter().copied()), None);
            assert_eq!(by_key(number, weights.iter().map(|weight| (1, *weight))), None);
        }
    }
    assert_eq!(by_chance(u64::MAX, [1, 1].into_iter()), Some(1));
    assert_eq!(by_chance(0, [0, 1].into_iter()), Some(1));
}

#[test]
fn a_raised_weight_moves_keys_only_to_its_target() {
    let salts = [hash(b"stable"), hash(b"canary"), hash(b"other")];
    let choose = |key, weights: [u32; 3]| by_key(key, salts.into_iter().zip(weights)).expect("a target");
    let mut moved = 0;
    for key in numbers(20_000) {
        let (before, after) = (choose(key, [80, 10, 10]), choose(key, [80, 30, 10]));
        assert!(after == before || after == 1, "{before} became {after}");
        moved += u32::from(after != before);
    }
    // 30 of 120 instead of 10 of 100.
    assert!((2_600..3_400).contains(&moved), "{moved}");
}

#[test]
fn keys_are_taken_from_where_they_are_said_to_be() {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nX-User: 7\r\ncookie: a=1; session=abc;b=2\r\n\r\n";
    let limits = HeadLimits { bytes_max: 4096, fields_max: 16, target_bytes_max: 256 };
    let mut head = RequestHead::default();
    parse_request(request, &limits, &mut head).expect("a request");
    let client: IpAddr = "192.0.2.1".parse().expect("an address");
    let header = |name: &str| SplitKey::Header(name.to_owned());
    let cookie = |name: &str| SplitKey::Cookie(name.to_owned());
    for (key, want) in [
        (header("x-user"), Some(&b"7"[..])),
        (header("x-other"), None),
        (cookie("session"), Some(b"abc")),
        (cookie("b"), Some(b"2")),
        (cookie("Session"), None),
        (cookie("c"), None),
        (SplitKey::Client, Some(&[192, 0, 2, 1])),
    ] {
        assert_eq!(key.hash(&head, request, Some(client)), want.map(hash), "{key:?}");
    }
    assert_eq!(SplitKey::Client.hash(&head, request, None), None);
}
