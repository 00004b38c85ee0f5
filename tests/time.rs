//! Tests of time: the expiry boundary, the clock, and both ends of the range of times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasi_sessions::{NewSession, Options, Outcome, Reply, Request, Sessions};

use crate::fixture::{
    END_OF_TIME, Home, LIFE, READ_CACHES, START, create, data, listed, moment, ms, only_handle,
    session, store, written,
};

/// The last millisecond that the clock of a component can show, in 2554.
const END_OF_NANOSECONDS: u64 = u64::MAX / 1_000_000;

#[test]
fn a_session_exists_until_the_moment_it_expires() {
    let (home, sessions) = store();
    let created = sessions.create(NewSession::new("{}").ttl(ms(1000)).subject("alice"));
    let created = created.wait().unwrap();
    assert_eq!(created.expires, START + 1000);
    let handle = only_handle(&sessions);

    home.set_clock(created.expires - 1);
    assert_eq!(session(&sessions, &created.id).expires, created.expires);
    assert_eq!(listed(&sessions, Some("alice")).len(), 1);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
    assert_eq!(sessions.stats().wait().unwrap().live, 1);

    home.set_clock(created.expires);
    absent_everywhere(&sessions, &created.id, &handle, "alice");
}

#[test]
fn no_function_finds_an_expired_session_collected_or_not() {
    for collected in [false, true] {
        let (home, sessions) = store();
        let id = sessions.create(NewSession::new("{}").ttl(ms(1)).subject("alice"));
        let id = id.wait().unwrap().id;
        let handle = only_handle(&sessions);
        home.advance(1);
        if collected {
            assert_eq!(sessions.collect(10).wait().unwrap().removed, 1);
        }
        absent_everywhere(&sessions, &id, &handle, "alice");

        // There is no tombstone, so the id can be used again.
        let started = written(sessions.set(&id, "{}", LIFE).wait().unwrap());
        assert_eq!(started.version, 1);
    }
}

/// Checks that no function finds the session.
fn absent_everywhere(sessions: &Sessions, id: &str, handle: &str, subject: &str) {
    assert_eq!(sessions.get(id).wait(), Ok(None));
    for expected in [None, Some(1)] {
        let update = sessions.update(id, "{}", LIFE, expected);
        assert_eq!(update.wait(), Ok(Outcome::Gone));
    }
    assert_eq!(sessions.merge(id, "{}", LIFE).wait(), Ok(None));
    assert_eq!(sessions.touch(id, LIFE).wait(), Ok(None));
    assert_eq!(sessions.rotate(id, None).wait(), Ok(None));
    assert_eq!(sessions.rotate(id, Some(subject)).wait(), Ok(None));
    assert_eq!(sessions.destroy(id).wait(), Ok(false));
    let batch = sessions
        .batch(vec![Request::Get { id: id.to_owned() }])
        .wait();
    assert_eq!(batch, Ok(vec![Ok(Reply::Session(None))]));
    for subject in [None, Some(subject)] {
        assert_eq!(listed(sessions, subject), []);
        assert_eq!(sessions.count_sessions(subject).wait(), Ok(0));
    }
    assert_eq!(sessions.inspect(handle).wait(), Ok(None));
    assert_eq!(sessions.terminate(handle).wait(), Ok(false));
    assert_eq!(sessions.terminate_subject(subject, None).wait(), Ok(0));
    assert_eq!(sessions.clear().wait(), Ok(0));
    assert_eq!(sessions.stats().wait().unwrap().live, 0);
}

#[test]
fn the_clock_is_read_once_for_each_request() {
    let home = Home::new();
    let readings = Arc::new(AtomicU64::new(0));
    let count = readings.clone();
    // Each reading is a second later than the one before it.
    let clock = move || moment(START + 1000 * count.fetch_add(1, Ordering::SeqCst));
    let sessions = home.builder().clock(clock).open().wait().unwrap();
    let read_once = |what: &str, request: &dyn Fn()| {
        let before = readings.load(Ordering::SeqCst);
        request();
        let read = readings.load(Ordering::SeqCst) - before;
        assert_eq!(read, 1, "{what}");
    };

    read_once("set", &|| drop(sessions.set("a", "{}", LIFE).wait()));
    read_once("create", &|| drop(create(&sessions, "{}")));
    read_once("get", &|| drop(sessions.get("a").wait()));
    read_once("update", &|| {
        drop(sessions.update("a", "{}", LIFE, None).wait());
    });
    read_once("merge", &|| drop(sessions.merge("a", "{}", LIFE).wait()));
    read_once("touch", &|| drop(sessions.touch("a", LIFE).wait()));
    read_once("destroy", &|| drop(sessions.destroy("a").wait()));
    read_once("list", &|| {
        drop(sessions.list_sessions(None, None, 10).wait());
    });
    read_once("count", &|| drop(sessions.count_sessions(None).wait()));
    read_once("stats", &|| drop(sessions.stats().wait()));
    read_once("clear", &|| drop(sessions.clear().wait()));
    read_once("collect", &|| drop(sessions.collect(10).wait()));
    read_once("batch", &|| {
        let start = |id: &str| Request::Set {
            id: id.into(),
            data: b"{}".to_vec(),
            ttl: LIFE,
        };
        drop(sessions.batch(vec![start("x"), start("y")]).wait());
    });
    assert_eq!(
        session(&sessions, "x").created,
        session(&sessions, "y").created
    );
}

#[test]
fn a_collected_session_does_not_return_when_the_clock_steps_back() {
    for bytes in READ_CACHES {
        let home = Home::new();
        let sessions = home.open_with_read_cache(bytes, Options::default());
        step_back(&home, &sessions);
    }
}

/// Moves the clock back after a collection.
fn step_back(home: &Home, sessions: &Sessions) {
    let short = sessions
        .create(NewSession::new("{}").ttl(ms(100)))
        .wait()
        .unwrap()
        .id;
    assert_eq!(data(sessions, &short).as_deref(), Some("{}"));
    let long = create(sessions, "long");
    home.advance(100);
    assert_eq!(sessions.collect(10).wait().unwrap().removed, 1);

    home.set_clock(START - 1_000_000);
    assert_eq!(sessions.get(&short).wait(), Ok(None));
    assert_eq!(sessions.destroy(&short).wait(), Ok(false));

    // The store continues to work at the earlier time, and versions still increase.
    assert_eq!(data(sessions, &long).as_deref(), Some("long"));
    let update = sessions.update(&long, "longer", Some(ms(50)), Some(1));
    let update = written(update.wait().unwrap());
    assert_eq!((update.version, update.expires), (2, home.now() + 50));
    assert_eq!(session(sessions, &long).updated, home.now());
    let past = create(sessions, "past");
    assert_eq!(session(sessions, &past).created, home.now());
    assert_eq!(sessions.collect(10).wait().unwrap().removed, 0);

    home.set_clock(START);
    assert_eq!(sessions.get(&long).wait(), Ok(None));
    assert_eq!(data(sessions, &past).as_deref(), Some("past"));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn a_renewal_caps_a_life_given_by_a_clock_that_was_decades_ahead() {
    const DECADES: u64 = 75 * 365 * 86_400_000;
    for bytes in READ_CACHES {
        let home = Home::new();
        let options = Options {
            absolute_lifetime: Some(ms(10_000)),
            renewal_step: ms(0),
            ..Options::default()
        };
        let sessions = home.open_with_read_cache(bytes, options);
        home.set_clock(START + DECADES);
        let ids: [String; 4] = [(); 4].map(|()| create(&sessions, "{}"));
        for id in &ids {
            assert_eq!(session(&sessions, id).created, START + DECADES);
        }
        home.set_clock(START);
        for (now, ttl) in [(START, 100), (START + 99, 9_000), (START + 9_000, 5_000)] {
            home.set_clock(now);
            let limit = (now + ttl).min(START + 10_000);
            let expires = [
                sessions
                    .touch(&ids[0], Some(ms(ttl)))
                    .wait()
                    .unwrap()
                    .unwrap(),
                written(sessions.set(&ids[1], "{}", Some(ms(ttl))).wait().unwrap()).expires,
                written(
                    sessions
                        .update(&ids[2], "{}", Some(ms(ttl)), None)
                        .wait()
                        .unwrap(),
                )
                .expires,
                sessions
                    .merge(&ids[3], "{}", Some(ms(ttl)))
                    .wait()
                    .unwrap()
                    .unwrap()
                    .expires,
            ];
            assert_eq!(expires, [limit; 4]);
            for id in &ids {
                let found = session(&sessions, id);
                assert_eq!((found.created, found.expires), (START, limit));
            }
        }
        home.set_clock(START + 10_000);
        for id in &ids {
            assert_eq!(sessions.get(id).wait(), Ok(None));
        }
    }
}

#[test]
fn times_saturate_at_the_end_of_time() {
    let (_home, sessions) = store();
    for ttl in [
        ms(END_OF_TIME - START),
        ms(END_OF_TIME),
        ms(u64::MAX),
        Duration::MAX,
    ] {
        let created = sessions
            .create(NewSession::new("{}").ttl(ttl))
            .wait()
            .unwrap();
        assert_eq!(created.expires, END_OF_TIME, "{ttl:?}");
        assert_eq!(session(&sessions, &created.id).expires, END_OF_TIME);

        let id = &created.id;
        let set = written(sessions.set(id, "{}", Some(ttl)).wait().unwrap());
        assert_eq!(set.expires, END_OF_TIME);
        let merged = sessions.merge(id, "{}", Some(ttl)).wait().unwrap();
        assert_eq!(merged.unwrap().expires, END_OF_TIME);
        let touched = sessions.touch(id, Some(ttl)).wait();
        assert_eq!(touched, Ok(Some(END_OF_TIME)));
    }
    let almost = sessions.create(NewSession::new("{}").ttl(ms(END_OF_TIME - START - 1)));
    assert_eq!(almost.wait().unwrap().expires, END_OF_TIME - 1);
}

#[test]
fn a_store_works_as_long_as_64_bits_of_nanoseconds_last() {
    // 1970, 2262 and 2554.
    for now in [0, END_OF_NANOSECONDS / 2, END_OF_NANOSECONDS - 10] {
        let home = Home::new();
        home.set_clock(now);
        let sessions = home.open();
        let created = sessions
            .create(NewSession::new("{}").ttl(ms(10)))
            .wait()
            .unwrap();
        assert_eq!(created.expires, now + 10);
        assert_eq!(session(&sessions, &created.id).created, now);
        home.advance(10);
        assert_eq!(sessions.get(&created.id).wait(), Ok(None), "{now}");
        assert_eq!(sessions.collect(10).wait().unwrap().removed, 1);
    }
}

#[test]
fn a_clock_after_the_end_stands_still_and_breaks_nothing() {
    let (home, sessions) = store();
    for now in [END_OF_NANOSECONDS + 1, END_OF_TIME, u64::MAX] {
        home.set_clock(now);
        let created = sessions
            .create(NewSession::new("{}").ttl(ms(u64::MAX)))
            .wait()
            .unwrap();
        assert_eq!(created.expires, END_OF_TIME);
        let created = session(&sessions, &created.id).created;
        assert_eq!(created, END_OF_NANOSECONDS, "{now}");
        assert_eq!(sessions.clear().wait(), Ok(1));
    }
}

#[test]
fn times_are_rounded_down_to_milliseconds_and_are_at_least_1970() {
    for (clock, now) in [
        (moment(START) + Duration::from_nanos(999_999), START),
        (moment(0) - Duration::from_secs(3600), 0),
    ] {
        let home = Home::new();
        let sessions = home.builder().clock(move || clock).open().wait().unwrap();
        let id = create(&sessions, "{}");
        assert_eq!(session(&sessions, &id).created, now);
    }
}
