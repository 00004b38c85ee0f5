//! Tests of answers from memory while the clock moves, goes back, or was ahead.

use super::*;

#[test]
fn a_cached_write_has_the_time_that_the_database_has() {
    for step in [1, -1] {
        let home = home();
        let now = AtomicI64::new(START as i64);
        let clock = move || {
            let now = now.fetch_add(step, Ordering::SeqCst);
            SystemTime::UNIX_EPOCH + Duration::from_millis(now.unsigned_abs())
        };
        let options = Options {
            gc_frequency: 1,
            ..relaxed()
        };
        let builder = builder(&home).options(options).clock(clock);
        let sessions = builder.open().wait().unwrap();
        let id = create_known(&sessions, "{}", Some("alice"));
        for ttl in 100_000..100_100 {
            let written = sessions.set(&id, ttl.to_string(), Some(ms(ttl))).wait();
            assert!(matches!(written, Ok(Outcome::Written(_))));
            assert_eq!(get(&sessions, &id), stored(&sessions, &id));
        }
    }
}

#[test]
fn a_clock_that_goes_back_does_not_restore_collected_sessions() {
    let home = home();
    let clock = Clock::new();
    let sessions = clock.given_to(builder(&home)).open().wait().unwrap();
    let short = sessions
        .create(NewSession::new("{}").ttl(ms(10)))
        .wait()
        .unwrap()
        .id;
    assert!(get(&sessions, &short).is_some());
    clock.set(START + 10);
    assert_eq!(sessions.collect(10).wait().unwrap().removed, 1);
    clock.set(START);
    assert_eq!(get(&sessions, &short), None);

    // If no request reached the database while the clock was ahead, the session may come
    // back.
    let long = sessions
        .create(NewSession::new("{}").ttl(ms(30)))
        .wait()
        .unwrap()
        .id;
    let known = get(&sessions, &long);
    clock.set(START + 9);
    assert_eq!(get(&sessions, &long), known);
    clock.set(START + 50);
    clock.set(START);
    assert_eq!(get(&sessions, &long), known);
}

#[test]
fn the_cache_is_used_and_correct_after_a_clock_was_ahead() {
    const YEARS: u64 = 80 * 365 * 86_400_000;
    for collects in [false, true] {
        let home = home();
        let clock = Clock::new();
        let sessions = clock.given_to(builder(&home)).open().wait().unwrap();
        let known = create_known(&sessions, "{}", None);
        let others = [(); 2].map(|()| create_known(&sessions, "{}", Some("alice")));
        clock.set(START + YEARS);
        let meanwhile = create_known(&sessions, "{}", None);
        if collects {
            assert_eq!(sessions.collect(10).wait().unwrap().removed, 3);
        }
        clock.set(START + 1);
        // Memory and database agree, whatever is asked first.
        for id in [&known, &others[0], &others[1], &meanwhile] {
            for _ in 0..2 {
                let session = get(&sessions, id);
                assert_eq!(session.is_some(), !collects || *id == meanwhile);
                assert_eq!(session, stored(&sessions, id));
            }
        }
        let later = create_known(&sessions, "{}", None);
        let before = clock.requests();
        for _ in 0..3 {
            assert!(get(&sessions, &later).is_some());
            assert!(get(&sessions, &meanwhile).is_some());
        }
        assert_eq!(clock.requests(), before, "all were in memory");

        // These writes have an earlier time than the creation.
        for write in 0..3 {
            clock.set(START + 2 + write);
            assert!(
                sessions
                    .set(&meanwhile, "1", Some(ms(90_000)))
                    .wait()
                    .is_ok()
            );
            assert_eq!(get(&sessions, &meanwhile), stored(&sessions, &meanwhile));
            assert!(sessions.touch(&meanwhile, Some(ms(50_000))).wait().is_ok());
            let session = get(&sessions, &meanwhile);
            assert_eq!(session, stored(&sessions, &meanwhile));
            assert_eq!(session.unwrap().created, START + 2);
        }
    }
}
