//! Tests of the contract through the crate, with a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasi_sessions::{
    Builder, Database, Error, Key, NewSession, Options, Outcome, Reply, Request, Sessions,
};

use super::server::{Server, options, over};
use crate::fixture::{HOUR, LIFE, create, create_for, data, listed, moment, session, written};

on_each_server! {
    a_session_goes_through_its_life,
    sessions_are_listed_and_ended,
    a_subject_has_as_many_sessions_as_it_may,
    each_request_of_a_batch_has_a_reply_of_its_own,
    expired_sessions_are_absent_and_are_collected,
    what_only_a_directory_has_is_refused,
    stores_on_one_database_see_each_others_ends_at_once,
    a_missing_table_is_an_error_of_its_own_without_sync,
    a_server_is_found_by_its_name,
    roots_may_be_as_long_as_those_of_a_whole_system,
}

fn a_session_goes_through_its_life(server: &Server) {
    let sessions = server.store();
    let visitor = sessions.create("{}").wait().unwrap();
    let first = session(&sessions, &visitor.id);
    assert_eq!((first.data, first.version), (b"{}".to_vec(), 1));

    assert_eq!(
        written(sessions.set(&visitor.id, "a", None).wait().unwrap()).version,
        2
    );
    let update = |expected| sessions.update(&visitor.id, r#"{"a":1}"#, None, Some(expected));
    assert_eq!(written(update(2).wait().unwrap()).version, 3);
    let Outcome::Stale(newer) = update(2).wait().unwrap() else {
        panic!("a version twice");
    };
    assert_eq!(newer.version, 3);
    let merged = sessions
        .merge(&visitor.id, r#"{"b":2}"#, None)
        .wait()
        .unwrap();
    assert_eq!(merged.unwrap().data, br#"{"a":1,"b":2}"#);
    let expires = sessions.touch(&visitor.id, LIFE).wait().unwrap().unwrap();
    assert_eq!(session(&sessions, &visitor.id).expires, expires);

    let alice = sessions.rotate(&visitor.id, Some("alice")).wait().unwrap();
    let alice = alice.unwrap().id;
    assert_eq!(data(&sessions, &visitor.id), None);
    assert_eq!(session(&sessions, &alice).subject.as_deref(), Some("alice"));
    assert_eq!(sessions.destroy(&alice).wait(), Ok(true));
    assert_eq!(sessions.destroy(&alice).wait(), Ok(false));
    let late = sessions.set(&alice, "late", None).wait();
    assert_eq!(late, Ok(Outcome::Gone));
}

fn sessions_are_listed_and_ended(server: &Server) {
    let sessions = server.store();
    let ids = ["alice", "alice", "alice", "bob", "carol"].map(|who| create_for(&sessions, who));
    assert_eq!(listed(&sessions, None).len(), 5);
    let of_alice = listed(&sessions, Some("alice"));
    assert_eq!(of_alice.len(), 3);
    assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(3));
    let found = sessions.inspect(&of_alice[0].handle).wait().unwrap();
    assert_eq!(found.unwrap().subject.as_deref(), Some("alice"));

    assert_eq!(sessions.terminate(&of_alice[0].handle).wait(), Ok(true));
    assert_eq!(sessions.terminate(&of_alice[0].handle).wait(), Ok(false));
    let kept = ids[..3]
        .iter()
        .find(|id| data(&sessions, id).is_some())
        .unwrap();
    assert_eq!(
        sessions.terminate_subject("alice", Some(kept)).wait(),
        Ok(1)
    );
    assert!(data(&sessions, kept).is_some());
    let stats = sessions.stats().wait().unwrap();
    let engine = &stats.engine;
    assert!(engine.starts_with(server.product()), "{engine}");
    assert_eq!(stats.live, 3);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
    assert_eq!(sessions.clear().wait(), Ok(3));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
}

fn a_subject_has_as_many_sessions_as_it_may(server: &Server) {
    let sessions = server.open(Options {
        max_per_subject: Some(2),
        ..options()
    });
    let ids = [(); 3].map(|()| create_for(&sessions, "alice"));
    let there = ids.map(|id| data(&sessions, &id).is_some());
    assert_eq!(there, [false, true, true]);
}

fn each_request_of_a_batch_has_a_reply_of_its_own(server: &Server) {
    let sessions = server.store();
    let id = create(&sessions, "before");
    let set = |id: &str, length| Request::Set {
        id: id.to_owned(),
        data: vec![b'x'; length],
        ttl: None,
    };
    let get = Request::Get { id: id.clone() };
    let requests = vec![
        set(&id, 3),
        set("", 1),
        set(&id, (1 << 20) + 1),
        get,
        Request::Destroy { id: id.clone() },
    ];
    let replies = sessions.batch(requests).wait().unwrap();
    assert!(matches!(
        replies[0],
        Ok(Reply::Outcome(Outcome::Written(_)))
    ));
    assert!(matches!(replies[1], Err(Error::InvalidArgument(_))));
    assert_eq!(replies[2], Err(Error::TooLarge(1 << 20)));
    assert!(matches!(&replies[3], Ok(Reply::Session(Some(session))) if session.data == b"xxx"));
    assert_eq!(replies[4], Ok(Reply::Destroyed(true)));
    assert_eq!(sessions.batch(vec![]).wait(), Ok(vec![]));
}

fn expired_sessions_are_absent_and_are_collected(server: &Server) {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Arc::new(AtomicU64::new(real.as_millis() as u64));
    let shown = now.clone();
    // Neither requests nor an idle store collect.
    let options = Options {
        gc_frequency: 0,
        ..options()
    };
    // Only one connection: a second one would measure the offset of the server's clock again.
    let sessions = over(server.database().connections(1))
        .options(options)
        .clock(move || moment(shown.load(Ordering::SeqCst)))
        .open()
        .wait()
        .unwrap();
    let start = |seconds| Request::Create(NewSession::new("{}").ttl(Duration::from_secs(seconds)));
    for _ in 0..3 {
        sessions.batch(vec![start(1); 500]).wait().unwrap();
    }
    sessions.batch(vec![start(7200); 10]).wait().unwrap();
    let short = create(&sessions, "{}");
    now.fetch_add(HOUR + 1, Ordering::SeqCst);
    assert_eq!(data(&sessions, &short), None);
    let first = sessions.collect(100).wait().unwrap();
    assert_eq!((first.removed, first.more), (100, true));
    assert_eq!(sessions.collect_all().wait(), Ok(1401));
    let stats = sessions.stats().wait().unwrap();
    assert_eq!((stats.live, stats.expired), (10, 0));
}

fn what_only_a_directory_has_is_refused(server: &Server) {
    let refusal = |builder: Builder| builder.open().wait().unwrap_err();
    let key = Key::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let with_key = Options {
        key,
        ..Options::default()
    };
    for (builder, word) in [
        (server.builder().file_name("a.db"), "file_name"),
        (server.builder().read_cache(1), "read_cache"),
        (server.builder().options(with_key), "key"),
        (over(server.database().connections(0)), "connections"),
        (Builder::over("other://user@host/d"), "postgres://"),
    ] {
        let error = refusal(builder);
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let restored = server.builder().restore("a.db").wait();
    assert!(matches!(restored, Err(Error::InvalidArgument(_))));
    let sessions = server.builder().read_cache(0).open().wait().unwrap();
    let Err(Error::Other(words)) = sessions.backup("a.db").wait() else {
        panic!("a copy");
    };
    assert!(words.contains(server.kind().dump), "{words}");
}

fn stores_on_one_database_see_each_others_ends_at_once(server: &Server) {
    let options = options();
    let [one, other]: [Sessions; 2] = [(); 2].map(|()| server.open(options.clone()));
    for round in 0..50 {
        let id = create_for(&one, "alice");
        assert_eq!(session(&other, &id).version, 1);
        match round % 3 {
            0 => assert_eq!(other.destroy(&id).wait(), Ok(true)),
            1 => assert_eq!(other.terminate_subject("alice", None).wait(), Ok(1)),
            _ => assert!(other.rotate(&id, None).wait().unwrap().is_some()),
        }
        assert_eq!(data(&one, &id), None);
        assert_eq!(one.set(&id, "late", None).wait(), Ok(Outcome::Gone));
        other.clear().wait().unwrap();
    }
}

fn a_missing_table_is_an_error_of_its_own_without_sync(server: &Server) {
    let options = Options {
        sync: false,
        ..options()
    };
    let missing = server.builder().options(options).open().wait();
    assert!(
        matches!(missing, Err(Error::MissingTable(_))),
        "{missing:?}"
    );
}

fn a_server_is_found_by_its_name(server: &Server) {
    let url = server.url().replace("127.0.0.1", "localhost");
    let named = Database::new(url).password(server.kind().password);
    let sessions = over(named).options(options()).open().wait().unwrap();
    let id = create(&sessions, "named");
    assert_eq!(data(&sessions, &id).as_deref(), Some("named"));
}

fn roots_may_be_as_long_as_those_of_a_whole_system(server: &Server) {
    // They are not read, since no server of the tests' URLs has TLS.
    let open = |length| {
        let roots = "x".repeat(length);
        let builder = over(server.database().tls_roots(roots)).options(options());
        builder.open().wait().map(drop)
    };
    assert_eq!(open(300_000), Ok(()));
    let Err(Error::InvalidArgument(words)) = open(1 << 20) else {
        panic!("longer than the contract allows");
    };
    assert_eq!(words, "options: longer than 1048576 bytes");
}
