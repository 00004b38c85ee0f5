//! Tests of each decision; `component/tests` tests that engines carry them out.

use super::*;
use crate::row::live;

const NOW: Timestamp = 1_000_000;

/// Calls `decide` with the rules for these options at `NOW`.
fn with<T>(options: &Options, decide: impl FnOnce(Rules) -> T) -> T {
    decide(Rules { options, now: NOW })
}

/// A session that was created and written at 900,000.
fn head(expires: Timestamp) -> Head {
    Head {
        version: 4,
        created: 900_000,
        expires,
    }
}

fn found(head: Head) -> Option<Stored<Head>> {
    Some(Stored::Live(head))
}

#[test]
fn a_row_no_longer_counts_at_the_moment_at_which_it_expires() {
    let classify = |expires, ended| {
        Stored::classify(expires, ended, NOW, || Ok::<_, Error>(())).expect("the row can be read")
    };
    for (expires, counts) in [(NOW - 1, false), (NOW, false), (NOW + 1, true)] {
        assert_eq!(is_expired(expires, NOW), !counts);
        assert_eq!(live(classify(expires, false)).is_some(), counts);
        let tombstone = counts.then_some(Stored::Tombstone);
        assert_eq!(classify(expires, true), tombstone);
    }
}

#[test]
fn a_life_is_the_ttl_or_else_the_max_age_or_else_the_default() {
    let options = Options {
        browser_session_lifetime: 70,
        ..Options::default()
    };
    for (ttl, data, life) in [
        (Some(5), r#"{"cookie":{"maxAge":9}}"#, 5),
        (Some(0), r#"{"cookie":{"maxAge":9}}"#, 0),
        (None, r#"{"cookie":{"maxAge":9}}"#, 9),
        (None, r#"{"cookie":{"maxAge":9.9}}"#, 9),
        (None, r#"{"cookie":{"maxAge":0}}"#, 70),
        (None, r#"{"cookie":{"maxAge":"9"}}"#, 70),
        (None, "not JSON", 70),
    ] {
        let started = with(&options, |rules| rules.start(data.as_bytes(), ttl, None));
        assert_eq!(started.expires, NOW + life, "{ttl:?} {data}");
    }
}

#[test]
fn no_session_lives_past_the_absolute_lifetime_or_the_end_of_time() {
    let limited = Options {
        absolute_lifetime: Some(100),
        ..Options::default()
    };
    let unlimited = Options::default();
    for (options, created, ttl, expires) in [
        (&limited, NOW, 99, NOW + 99),
        (&limited, NOW, 101, NOW + 100),
        (&limited, NOW - 60, 99, NOW + 40),
        (&limited, NOW - 200, 99, NOW - 100),
        // The clock was ahead at the creation.
        (&limited, NOW + 50, u64::MAX, NOW + 100),
        (&unlimited, NOW, u64::MAX, END_OF_TIME),
        (&unlimited, NOW, END_OF_TIME - NOW - 1, END_OF_TIME - 1),
    ] {
        let computed = with(options, |rules| rules.expiry(Some(ttl), b"", created));
        assert_eq!(computed, expires, "{ttl} since {created}");
    }
}

#[test]
fn a_touch_that_gains_less_than_the_renewal_step_writes_nothing() {
    let stepped = Options {
        renewal_step: 1000,
        ..Options::default()
    };
    let unstepped = Options {
        renewal_step: 0,
        ..Options::default()
    };
    for (options, expires, written) in [
        (&stepped, NOW + 5000, false),
        (&stepped, NOW + 4001, false),
        (&stepped, NOW + 4000, true),
        // A shorter life is always written.
        (&stepped, NOW + 5001, true),
        (&unstepped, NOW + 4999, true),
        (&unstepped, NOW + 5000, false),
    ] {
        let touched = with(options, |rules| {
            rules.touch(&head(expires), b"", Some(5000))
        });
        assert_eq!(touched, written.then_some(NOW + 5000), "{expires}");
    }
}

#[test]
fn a_tombstone_refuses_every_write() {
    let tombstone = Some(Stored::Tombstone);
    with(&Options::default(), |rules| {
        assert_eq!(rules.set(tombstone, b"late", None), Write::Gone);
        for expected in [None, Some(0), Some(4)] {
            let update = rules.update(tombstone, b"late", None, expected);
            assert_eq!(update, Write::Gone, "{expected:?}");
        }
    });
}

#[test]
fn a_tombstone_lasts_as_long_as_the_option_says() {
    let tombstone = |tombstone| {
        let options = Options {
            tombstone,
            ..Options::default()
        };
        with(&options, |rules| rules.tombstone())
    };
    assert_eq!(tombstone(60_000), NOW + 60_000);
    assert!(is_expired(tombstone(0), NOW), "0 leaves none");
    assert_eq!(tombstone(u64::MAX), u64::MAX);
}

#[test]
fn an_update_writes_the_expected_version_only() {
    with(&Options::default(), |rules| {
        let update = |found, expected| rules.update(found, b"{}", Some(10), expected);
        let overwritten = Write::Overwrite {
            before: head(NOW + 1),
            written: Written {
                version: 5,
                updated: NOW,
                expires: NOW + 10,
            },
        };
        let stored = found(head(NOW + 1));
        assert_eq!(update(stored, None), overwritten);
        assert_eq!(update(stored, Some(4)), overwritten);
        for expected in [0, 3, 5] {
            assert_eq!(update(stored, Some(expected)), Write::Stale);
        }
        assert_eq!(rules.set(stored, b"{}", Some(10)), overwritten);
    });
}

#[test]
fn a_missing_session_is_created_by_a_set_and_by_an_update_that_expects_version_0() {
    with(&Options::default(), |rules| {
        let started = Write::Insert(rules.start(b"{}", Some(10), None));
        assert_eq!(rules.set(None, b"{}", Some(10)), started);
        assert_eq!(rules.update(None, b"{}", Some(10), Some(0)), started);
        for expected in [None, Some(1)] {
            assert_eq!(rules.update(None, b"{}", Some(10), expected), Write::Gone);
        }
    });
}

#[test]
fn a_rotation_is_a_write_only_if_it_binds_a_subject() {
    with(&Options::default(), |rules| {
        let before = Session {
            updated: NOW - 5,
            ..rules.start(b"{}", Some(10), None)
        };
        assert_eq!(rules.rotate(before.clone(), None), before);
        let bound = rules.rotate(before.clone(), Some("alice"));
        let expected = Session {
            subject: Some("alice".to_owned()),
            version: 2,
            updated: NOW,
            ..before
        };
        assert_eq!(bound, expected);
    });
}

#[test]
fn a_limit_leaves_room_for_the_session_that_was_just_bound() {
    let options = Options {
        max_per_subject: Some(3),
        ..Options::default()
    };
    with(&options, |rules| {
        assert_eq!(rules.limit(Some("alice"), NOW + 1), Some(("alice", 2)));
        let expired = rules.limit(Some("alice"), NOW);
        assert_eq!(expired, Some(("alice", 3)), "it takes no place");
        assert_eq!(rules.limit(None, NOW + 1), None);
    });
    with(&Options::default(), |rules| {
        assert_eq!(rules.limit(Some("alice"), NOW + 1), None);
    });
}
