//! Tests of an open store that a host links into guests.

use std::fmt::Debug;

use wasi_sessions::{NewSession, Options, Sessions, Stores};

use crate::fixture::{Home, START, ms};
use crate::guests::types::*;
use crate::guests::{Guests, Refusal, calls};

/// The life of the guests' sessions, in milliseconds.
const LIFE: Option<u64> = Some(3_600_000);

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

mod instances;

/// Compares values of guest and host by their `Debug`, since their types differ.
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
async fn every_function_of_sessions_works_alike_for_a_guest_and_the_host() {
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
    assert!(call!(guest, call_get("no-such-id")).unwrap().is_none());

    home.advance(10_000);
    let set = call!(guest, call_set(id, br#"{"a":1}"#, LIFE)).unwrap();
    let calls::Outcome::Written(written) = set else {
        panic!("{set:?}");
    };
    assert_eq!((written.version, written.expires), (2, START + 3_610_000));
    let stale = call!(guest, call_update(id, b"late", None, Some(1))).unwrap();
    let calls::Outcome::Stale(stored) = stale else {
        panic!("{stale:?}");
    };
    assert_alike(Some(stored), sessions.get(id).await.unwrap());
    let gone = call!(guest, call_update("no-such-id", b"", None, None)).unwrap();
    assert!(matches!(gone, calls::Outcome::Gone), "{gone:?}");

    let merged = call!(guest, call_merge(id, r#"{"b":2}"#, LIFE)).unwrap();
    assert_eq!(merged.as_ref().unwrap().data, br#"{"a":1,"b":2}"#);
    assert_alike(merged, sessions.get(id).await.unwrap());
    let expires = call!(guest, call_touch(id, Some(60_000))).unwrap();
    assert_eq!(expires, Some(START + 70_000));
    assert_eq!(call!(guest, call_touch("no-such-id", None)).unwrap(), None);

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
async fn a_guests_batch_has_a_reply_of_its_kind_for_each_request() {
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
async fn every_function_of_admin_works_alike_for_a_guest_and_the_host() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    for number in 0..7_u8 {
        let subject = ["alice", "bob"][usize::from(number % 2)];
        let created = sessions
            .create(NewSession::new([number]).subject(subject))
            .await;
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
    assert!(call!(guest, call_inspect("no-such-id")).unwrap().is_none());

    assert!(call!(guest, call_terminate(handle)).unwrap());
    assert!(!call!(guest, call_terminate(handle)).unwrap());
    let kept = sessions
        .create(NewSession::new("").subject("alice"))
        .await
        .unwrap()
        .id;
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
async fn a_guests_options_must_equal_the_hosts_or_be_empty() {
    let home = Home::new();
    let options = Options {
        absolute_lifetime: Some(ms(86_400_000)),
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
async fn admin_exists_only_when_the_host_links_it() {
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
async fn a_guest_cannot_make_a_backup() {
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
