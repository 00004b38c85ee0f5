//! Tests of `serve --requests-per-instance`: instances that answer several requests.

use std::collections::BTreeSet;

use super::guest;
use crate::fixture::Home;

/// Sends requests until an instance has answered `wanted` of them; returns the numbers that
/// instances counted. An instance is ready again a moment after its response is complete.
fn requests_until(site: &crate::served::Site, wanted: u32) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    for _ in 0..1000 {
        seen.insert(site.get("/requests").body.parse().unwrap());
        if seen.contains(&wanted) {
            break;
        }
    }
    seen
}

#[test]
fn each_request_has_an_instance_of_its_own_by_default() {
    let home = Home::new();
    let site = guest(&home, &[]);
    for _ in 0..10 {
        assert_eq!(site.get("/requests").body, "1");
    }
}

#[test]
fn an_instance_answers_requests_up_to_its_limit() {
    let home = Home::new();
    let site = guest(&home, &["--requests-per-instance", "3"]);
    let seen = requests_until(&site, 3);
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
    for _ in 0..50 {
        let requests: u32 = site.get("/requests").body.parse().unwrap();
        assert!((1..=3).contains(&requests), "{requests}");
    }
}

#[test]
fn a_response_ends_even_if_its_component_keeps_the_body() {
    let home = Home::new();
    let site = guest(&home, &["--requests-per-instance", "1000"]);
    requests_until(&site, 2);
    for _ in 0..3 {
        // The status would be 504 after a time-out.
        let kept = site.get("/keep-the-body");
        assert_eq!((kept.status, kept.body.as_str()), (200, "a part"));
    }
    assert!(requests_until(&site, 2).contains(&2));
}

#[test]
fn a_trap_ends_one_instance_and_not_the_requests_that_follow() {
    let home = Home::new();
    let site = guest(&home, &["--requests-per-instance", "1000"]);
    requests_until(&site, 2);
    for _ in 0..3 {
        assert_eq!(site.get("/trap").status, 500);
        assert_eq!(site.get("/hello").body, "hello");
    }
    assert!(requests_until(&site, 2).contains(&2));
}

#[test]
fn each_request_of_an_instance_has_its_own_lines_in_the_log() {
    let home = Home::new();
    let site = guest(&home, &["--requests-per-instance", "1000"]);
    requests_until(&site, 2);
    for _ in 0..3 {
        assert_eq!(site.get("/say-much").status, 200);
    }
    assert_eq!(site.get("/say").status, 200);
    let log = site.stop();
    assert_eq!(log.matches("the component says more").count(), 3);
    assert!(log.contains("unfinished"), "{log}");
}
