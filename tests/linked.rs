//! A running store that a host links into guests: many instances, one owner.

use std::fmt::Debug;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use wasi_sessions::{Options, Sessions, Stores};

use crate::fixture::{Home, LIFE, START};
use crate::guests::types::*;
use crate::guests::{Guests, Instance, Refusal, calls};

async fn opened(home: &Home, options: Options) -> (Sessions, Guests) {
    let sessions = home.builder().options(options).open().await.unwrap();
    let stores = Stores::new().with("sessions.db", sessions.clone());
    (sessions, Guests::new(stores))
}

/// Calls a function of the guest, which must not trap.
macro_rules! call {
    ($instance:expr, $function:ident($($argument:expr),*)) => {{
        let (calls, store) = $instance.calls();
        calls.$function(store, $($argument),*).await.unwrap()
    }};
}

/// Both sides have types of their own for the same; they look alike.
fn assert_alike(guest: impl Debug, host: impl Debug) {
    assert_eq!(format!("{guest:?}"), format!("{host:?}"));
}

fn refusal<T: Debug>(answer: Result<T, Refusal>) -> String {
    match answer {
        Err(Refusal::InvalidArgument(words)) => words,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_sessions_does_for_a_guest_what_it_does_for_the_host() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;

    let created = call!(guest, call_create(b"{}", LIFE, Some("alice"))).unwrap();
    assert_eq!(created.id.len(), 43);
    assert_eq!((created.version, created.expires), (1, START + 3_600_000));
    let id = created.id.as_str();
    let read = call!(guest, call_get(id)).unwrap().unwrap();
    assert_eq!((read.data.as_slice(), read.created), (&b"{}"[..], START));
    assert_eq!(read.subject.as_deref(), Some("alice"));
    assert_alike(Some(read), sessions.get(id).await.unwrap());
    assert!(call!(guest, call_get("nobody")).unwrap().is_none());

    home.advance(10_000);
    let set = call!(guest, call_set(id, br#"{"a":1}"#, LIFE)).unwrap();
    let calls::Outcome::Written(written) = set else {
        panic!("{set:?}");
    };
    assert_eq!((written.version, written.expires), (2, START + 3_610_000));
    let stale = call!(guest, call_update(id, b"late", None, Some(1))).unwrap();
    let calls::Outcome::Stale(stands) = stale else {
        panic!("{stale:?}");
    };
    assert_alike(Some(stands), sessions.get(id).await.unwrap());
    let gone = call!(guest, call_update("nobody", b"", None, None)).unwrap();
    assert!(matches!(gone, calls::Outcome::Gone), "{gone:?}");

    let merged = call!(guest, call_merge(id, r#"{"b":2}"#, LIFE)).unwrap();
    assert_eq!(merged.as_ref().unwrap().data, br#"{"a":1,"b":2}"#);
    assert_alike(merged, sessions.get(id).await.unwrap());
    let expires = call!(guest, call_touch(id, Some(60_000))).unwrap();
    assert_eq!(expires, Some(START + 70_000));
    assert_eq!(call!(guest, call_touch("nobody", None)).unwrap(), None);

    let rotated = call!(guest, call_rotate(id, Some("bob"))).unwrap().unwrap();
    assert_eq!(sessions.get(id).await, Ok(None));
    let session = sessions.get(&rotated.id).await.unwrap().unwrap();
    assert_eq!(session.subject.as_deref(), Some("bob"));
    assert_eq!(rotated.version, session.version);
    assert!(call!(guest, call_rotate(id, None)).unwrap().is_none());

    assert!(call!(guest, call_destroy(&rotated.id)).unwrap());
    assert!(!call!(guest, call_destroy(&rotated.id)).unwrap());
    assert_eq!(sessions.count_sessions(None).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_batch_answers_each_request_in_its_own_way() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    let requests = [
        Request::Create(CreateRequest {
            data: b"{}".to_vec(),
            ttl: LIFE,
            subject: None,
        }),
        Request::Set(SetRequest {
            id: "x".to_owned(),
            data: b"{}".to_vec(),
            ttl: LIFE,
        }),
        Request::Update(UpdateRequest {
            id: "x".to_owned(),
            data: b"1".to_vec(),
            ttl: LIFE,
            expected: Some(9),
        }),
        Request::Merge(MergeRequest {
            id: "x".to_owned(),
            patch: r#"{"a":1}"#.to_owned(),
            ttl: LIFE,
        }),
        Request::Merge(MergeRequest {
            id: "x".to_owned(),
            patch: "no JSON".to_owned(),
            ttl: LIFE,
        }),
        Request::Touch(TouchRequest {
            id: "x".to_owned(),
            ttl: Some(5_000),
        }),
        Request::Get(GetRequest { id: "x".to_owned() }),
        Request::Rotate(RotateRequest {
            id: "x".to_owned(),
            subject: None,
        }),
        Request::Destroy(DestroyRequest { id: "x".to_owned() }),
    ];
    let replies = call!(guest, call_batch(&requests)).unwrap();
    let kinds: Vec<String> = replies.iter().map(|reply| format!("{reply:?}")).collect();
    let starts = [
        "Ok(Reply::Created(Created {",
        "Ok(Reply::Outcome(Outcome::Written(Written { version: 1",
        "Ok(Reply::Outcome(Outcome::Stale(Session {",
        "Ok(Reply::Session(Some(Session {",
        "Err(Error::InvalidArgument(",
        "Ok(Reply::Expires(Some(1700000005000)))",
        "Ok(Reply::Session(Some(Session {",
        "Ok(Reply::Rotated(Some(Created {",
        "Ok(Reply::Destroyed(false))",
    ];
    assert_eq!(kinds.len(), starts.len());
    for (kind, start) in kinds.iter().zip(starts) {
        assert!(kind.starts_with(start), "{kind}");
    }
    assert_eq!(sessions.count_sessions(None).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_batch_leaves_the_store_to_others() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    // What the guest hands on to the test is no concern of the store's.
    guest.store.set_hostcall_fuel(1 << 30);
    let largest = vec![b'x'; 1 << 20];
    let id = sessions.create(largest, LIFE, None).await.unwrap().id;
    let gets = |count| vec![Request::Get(GetRequest { id: id.clone() }); count];
    let touches = |count| {
        vec![
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl: LIFE
            });
            count
        ]
    };
    let renewals = |count| {
        vec![
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl: None
            });
            count
        ]
    };
    let rotations = |count| {
        vec![
            Request::Rotate(RotateRequest {
                id: id.clone(),
                subject: None
            });
            count
        ]
    };
    let endings = |count| {
        vec![
            Request::Destroy(DestroyRequest {
                id: "nobody".to_owned()
            });
            count
        ]
    };
    let merge = Request::Merge(MergeRequest {
        id: id.clone(),
        patch: "{}".to_owned(),
        ttl: LIFE,
    });
    let merges = |count| vec![merge.clone(); count];
    let creates = |count| {
        vec![
            Request::Create(CreateRequest {
                data: b"{}".to_vec(),
                ttl: LIFE,
                subject: None
            });
            count
        ]
    };

    for (fits, count) in [
        (gets(126), 126),
        (touches(63), 63),
        (renewals(31), 31),
        (merges(15), 15),
        (creates(1000), 1000),
        (endings(1000), 1000),
    ] {
        assert_eq!(call!(guest, call_batch(&fits)).unwrap().len(), count);
    }
    for (refused, names) in [
        (gets(400), "400 in one batch"),
        (merges(126), "126 in one batch"),
        (merges(17), "send fewer at a time"),
        (touches(1000), "1000 in one batch"),
        (renewals(100), "100 in one batch"),
        (rotations(100), "100 in one batch"),
        (touches(1001), "at most 1000"),
        (gets(100_000), "at most 1000"),
    ] {
        let words = refusal(call!(guest, call_batch(&refused)));
        assert!(words.contains(names), "{words}");
    }
    assert!(call!(guest, call_get(&id)).unwrap().is_some());
    assert!(sessions.get(&id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_admin_does_for_a_guest_what_it_does_for_the_host() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    for number in 0..7_u8 {
        let subject = ["alice", "bob"][usize::from(number % 2)];
        let created = sessions.create([number], LIFE, Some(subject)).await;
        created.unwrap();
    }

    let first = call!(guest, call_list_sessions(None, None, 5)).unwrap();
    assert_alike(&first, sessions.list_sessions(None, None, 5).await.unwrap());
    let next = first.next.as_deref();
    let rest = call!(guest, call_list_sessions(None, next, 5)).unwrap();
    assert_eq!((rest.entries.len(), rest.next), (2, None));
    let page = call!(guest, call_list_sessions(Some("bob"), None, 5)).unwrap();
    assert_eq!(page.entries.len(), 3);
    refusal(call!(guest, call_list_sessions(None, None, 0)));

    assert_eq!(call!(guest, call_count_sessions(None)).unwrap(), 7);
    assert_eq!(call!(guest, call_count_sessions(Some("alice"))).unwrap(), 4);
    let handle = &page.entries[0].handle;
    let inspected = call!(guest, call_inspect(handle)).unwrap();
    assert!(inspected.is_some());
    assert_alike(inspected, sessions.inspect(handle).await.unwrap());
    assert!(call!(guest, call_inspect("nobody")).unwrap().is_none());

    assert!(call!(guest, call_terminate(handle)).unwrap());
    assert!(!call!(guest, call_terminate(handle)).unwrap());
    let kept = sessions.create("", LIFE, Some("alice")).await.unwrap().id;
    let ended = call!(guest, call_terminate_subject("alice", Some(&kept)));
    assert_eq!(ended.unwrap(), 4);
    assert_eq!(sessions.count_sessions(None).await, Ok(3));
    assert_eq!(call!(guest, call_clear()).unwrap(), 3);

    home.advance(60_000);
    let stats = call!(guest, call_stats()).unwrap();
    assert_eq!((stats.live, stats.expired), (0, 8));
    assert_alike(stats, sessions.stats().await.unwrap());
    let collected = call!(guest, call_collect(5)).unwrap();
    assert_eq!((collected.removed, collected.more), (5, true));
    refusal(call!(guest, call_collect(0)));
    assert_eq!(call!(guest, call_check()).unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_opens_only_what_the_host_offers() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.start().await;
    let database = home.database();
    for location in [
        "",
        "/sessions.db",
        "./sessions.db",
        "../sessions.db",
        "Sessions.db",
        "sessions.db\0",
        database.to_str().unwrap(),
    ] {
        let words = refusal(guest.open(location, "").await);
        assert!(words.contains(&format!("`{location}`")), "{words}");
        assert!(words.ends_with("open `sessions.db`"), "{words}");
    }
    let words = refusal(guest.open(&"x".repeat(1 << 20), "").await);
    assert!(words.len() < 400);

    let other = Home::new();
    let second = other.builder().open().await.unwrap();
    let stores = Stores::new().with("one", sessions).with("two", second);
    let mut guest = Guests::new(stores).start().await;
    let words = refusal(guest.open("sessions.db", "").await);
    assert!(words.ends_with("open `one` or `two`"), "{words}");
    guest.open("one", "").await.unwrap();
    call!(guest, call_set("x", b"1", LIFE)).unwrap();
    guest.open("two", "").await.unwrap();
    assert!(call!(guest, call_get("x")).unwrap().is_none());

    let mut guest = Guests::new(Stores::new()).start().await;
    let words = refusal(guest.open("sessions.db", "").await);
    assert!(words.ends_with("it offers none"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_the_hosts_or_none() {
    let home = Home::new();
    let options = Options {
        absolute_lifetime: Some(86_400_000),
        ..Options::default()
    };
    let (_sessions, guests) = opened(&home, options).await;
    let mut guest = guests.start().await;
    for fitting in [
        "",
        "{}",
        r#"{"absoluteLifetime":86400000,"maxPerSubject":null}"#,
        r#"{"tableName":"Sessions","access":"exclusive"}"#,
    ] {
        assert!(
            guest.open("sessions.db", fitting).await.is_ok(),
            "{fitting}"
        );
    }
    for (other, names) in [
        (
            r#"{"absoluteLifetime":null}"#,
            "`absoluteLifetime` is 86400000",
        ),
        (r#"{"tableName":"Others"}"#, "`tableName` is \"Sessions\""),
        (r#"{"access":"shared"}"#, "`access` is \"exclusive\""),
        (r#"{"gcStep":"100"}"#, "`gcStep` is 100"),
        (r#"{"colour":"red"}"#, "unknown name `colour`"),
        ("no JSON", "not a JSON object"),
        ("[]", "not a JSON object"),
    ] {
        let words = refusal(guest.open("sessions.db", other).await);
        assert!(words.contains(names), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_text_of_a_guest_is_cut_or_refused_before_the_store() {
    let home = Home::new();
    let sessions = home.builder().memory_limit(16 << 20).open().await.unwrap();
    let guests = Guests::new(Stores::new().with("sessions.db", sessions));
    let mut guest = guests.open().await;
    let long = "0".repeat(20 << 20);
    let words = refusal(guest.open("sessions.db", &long).await);
    assert_eq!(words, "options: longer than 65536 bytes");
    assert_eq!(call!(guest, call_count_sessions(Some(&long))).unwrap(), 0);
    let page = call!(guest, call_list_sessions(Some(&long), None, 1)).unwrap();
    assert!(page.entries.is_empty());
    refusal(call!(guest, call_list_sessions(None, Some(&long), 1)));
    assert!(call!(guest, call_inspect(&long)).unwrap().is_none());
    assert!(!call!(guest, call_terminate(&long)).unwrap());
    let ended = call!(guest, call_terminate_subject(&long, Some(&long)));
    assert_eq!(ended.unwrap(), 0);
    assert!(call!(guest, call_get(&long)).unwrap().is_none());
    refusal(call!(guest, call_set(&long, b"{}", LIFE)));
    refusal(call!(guest, call_create(b"{}", LIFE, Some(&long))));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_is_there_only_when_the_host_links_it() {
    let home = Home::new();
    let sessions = home.builder().open().await.unwrap();
    let stores = Stores::new().with("sessions.db", sessions);
    let Err(error) = Guests::without_admin(stores) else {
        panic!("it was instantiated");
    };
    let words = format!("{error:#}");
    assert!(words.contains("wasi-sessions:store/admin"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_left_to_the_host() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    let refused = call!(guest, call_backup("/copy.db"));
    let Err(Refusal::Other(words)) = refused else {
        panic!("{refused:?}");
    };
    assert!(words.contains("by its host"), "{words}");
    sessions.backup(home.beside("copy.db")).await.unwrap();
    assert!(home.beside("copy.db").exists());
}

/// Adds 1 to the number that is the payload, as often as it takes to be first.
async fn increment(guest: &mut Instance, id: &str) {
    let mut session = call!(guest, call_get(id)).unwrap().unwrap();
    loop {
        let number: u64 = String::from_utf8(session.data).unwrap().parse().unwrap();
        let next = (number + 1).to_string();
        let version = Some(session.version);
        match call!(guest, call_update(id, next.as_bytes(), LIFE, version)).unwrap() {
            calls::Outcome::Written(_) => return,
            calls::Outcome::Stale(stands) => session = stands,
            calls::Outcome::Gone => panic!("nobody ended it"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_share_one_store() {
    const INSTANCES: usize = 64;
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let id = sessions.create("0", LIFE, None).await.unwrap().id;
    let mut tasks = JoinSet::new();
    for _ in 0..INSTANCES {
        let mut guest = guests.open().await;
        let id = id.clone();
        tasks.spawn(async move {
            for _ in 0..5 {
                increment(&mut guest, &id).await;
            }
        });
    }
    tasks.join_all().await;
    let session = sessions.get(&id).await.unwrap().unwrap();
    assert_eq!(session.data, b"320");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_killed_in_the_middle_loses_nothing_answered() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    for round in 1..=20 {
        let mut guest = guests.open().await;
        let writing = tokio::spawn(async move {
            let (calls, store) = guest.calls();
            calls.call_write_until_killed(store).await
        });
        // Each write is sent after the one before was answered.
        let far = (round * 3).to_string();
        while sessions.get(&far).await.unwrap().is_none() {
            assert!(!writing.is_finished());
            tokio::task::yield_now().await;
        }
        writing.abort();
        assert!(writing.await.unwrap_err().is_cancelled());

        let written = sessions.count_sessions(None).await.unwrap();
        for id in 0..written {
            let session = sessions.get(&id.to_string()).await.unwrap();
            assert!(session.is_some(), "{id} of {written}");
        }
        let mut next = guests.open().await;
        assert!(call!(next, call_get("0")).unwrap().is_some());
        assert_eq!(call!(next, call_clear()).unwrap(), written);
        home.advance(60_000);
    }
    assert_eq!(sessions.check().await, Ok(vec![]));
}

#[test]
fn a_guest_that_calls_without_end_lets_other_tasks_of_its_thread_run() {
    in_time(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let home = Home::new();
            let (sessions, guests) = opened(&home, Options::default()).await;
            let id = sessions.create("{}", LIFE, None).await.unwrap().id;
            for reads in [true, false] {
                let mut guest = guests.open().await;
                let target = id.clone();
                let calling = tokio::spawn(async move {
                    let (calls, store) = guest.calls();
                    match reads {
                        true => calls.call_read_until_killed(store, &target).await,
                        false => calls.call_write_until_killed(store).await,
                    }
                });
                for _ in 0..100 {
                    assert!(sessions.get(&id).await.unwrap().is_some());
                    tokio::task::yield_now().await;
                }
                calling.abort();
                assert!(calling.await.unwrap_err().is_cancelled());
            }
        });
    });
}

/// Does some work on another thread; fails if it takes too long.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        work();
        done.send(())
    });
    let finished = finished.recv_timeout(Duration::from_secs(60));
    finished.expect("the work does not hang or panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_go_both_ways() {
    const LARGE: usize = 16 << 20;
    let home = Home::new();
    let options = Options {
        max_data: LARGE as u64,
        ..Options::default()
    };
    let (sessions, guests) = opened(&home, options).await;
    let mut guest = guests.open().await;
    let payload: Vec<u8> = (0..LARGE).map(|place| (place % 251) as u8).collect();
    let created = call!(guest, call_create(&payload, LIFE, None)).unwrap();
    let read = call!(guest, call_get(&created.id)).unwrap().unwrap();
    assert!(read.data == payload);
    let read = sessions.get(&created.id).await.unwrap().unwrap();
    assert!(read.data == payload);

    let longer = [payload, vec![0]].concat();
    let refused = call!(guest, call_create(&longer, LIFE, None));
    assert!(matches!(refused, Err(Refusal::TooLarge(limit)) if limit == LARGE as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_closes_stays_open_for_everybody_else() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut first = guests.open().await;
    let mut second = guests.open().await;
    call!(first, call_set("x", b"1", LIFE)).unwrap();
    call!(first, call_close());
    assert!(call!(second, call_get("x")).unwrap().is_some());
    first.open("sessions.db", "").await.unwrap();
    drop(first);
    assert!(call!(second, call_get("x")).unwrap().is_some());
    assert!(sessions.get("x").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_crashes_is_an_error_for_the_guest_which_goes_on() {
    let home = Home::new();
    let options = Options {
        max_data: 64 << 20,
        ..Options::default()
    };
    let builder = home.builder().options(options).memory_limit(16 << 20);
    let sessions = builder.open().await.unwrap();
    let guests = Guests::new(Stores::new().with("sessions.db", sessions));
    let mut guest = guests.open().await;
    call!(guest, call_set("x", b"1", LIFE)).unwrap();
    let crashed = call!(guest, call_create(&vec![b'x'; 32 << 20], LIFE, None));
    let Err(Refusal::Other(words)) = crashed else {
        panic!("{crashed:?}");
    };
    assert!(words.contains("crashed"), "{words}");
    assert!(call!(guest, call_get("x")).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_keep_what_they_offer_open_and_let_go_of_it() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    drop(sessions);
    let mut guest = guests.open().await;
    call!(guest, call_set("x", b"1", LIFE)).unwrap();
    drop(guests);
    drop(guest);
    let again = tokio::time::timeout(Duration::from_secs(10), home.builder().open());
    let again = again.await.unwrap().unwrap();
    assert!(again.get("x").await.unwrap().is_some());
}
