//! The tests of koa-generic-session-sequelize, which this store replaces, in terms of its
//! calls.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use wasi_sessions::{Options, Sessions};

use crate::fixture::{Home, ms};

/// The calls of the original: payloads are JSON, a missing session is `None`, and a ttl that
/// is missing, null or 0 means no ttl.
#[derive(Clone)]
struct Store(Sessions);

impl Store {
    async fn open(home: &Home) -> Self {
        let options = Options {
            table_name: "_sess_test".to_owned(),
            ..Options::default()
        };
        Self(home.builder().options(options).open().await.unwrap())
    }

    async fn get(&self, sid: &str) -> Option<Value> {
        let session = self.0.get(sid).await.unwrap()?;
        Some(serde_json::from_slice(&session.data).unwrap())
    }

    async fn set(&self, sid: &str, session: &Value, ttl: impl Into<Option<u64>>) {
        let ttl = ttl.into().filter(|&ttl| ttl > 0);
        self.0
            .set(sid, session.to_string(), ttl.map(ms))
            .await
            .unwrap();
    }

    async fn destroy(&self, sid: &str) -> u64 {
        u64::from(self.0.destroy(sid).await.unwrap())
    }

    /// Collects everything; returns how many rows were removed.
    async fn gc(&self) -> u64 {
        let mut removed = 0;
        loop {
            let collected = self.0.collect(1000).await.unwrap();
            removed += collected.removed;
            if !collected.more {
                return removed;
            }
        }
    }

    /// The number of rows that no function shows, but that are still in the table.
    async fn expired_rows(&self) -> u64 {
        self.0.stats().await.unwrap().expired
    }
}

/// A new id, as an application generates it.
fn uid() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{:032}", MADE.fetch_add(1, Ordering::SeqCst))
}

fn howdy() -> Value {
    json!({ "hello": "howdy" })
}

#[tokio::test]
async fn it_sets_and_gets() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    store.set(&sid, &howdy(), 5000).await;
    let mut data = store.get(&sid).await.unwrap();
    assert_eq!(data, howdy());
    data["value"] = 42.into();
    store.set(&sid, &data, 5000).await;
    assert_eq!(store.get(&sid).await.unwrap()["value"], 42);
}

#[tokio::test]
async fn it_sets_and_gets_non_western_text() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    let session = json!({ "japanese": "今日は", "hindi": "नमस्ते", "hebrew": "שלום" });
    store.set(&sid, &session, 5000).await;
    assert_eq!(store.get(&sid).await, Some(session));
}

#[tokio::test]
async fn an_id_that_does_not_exist_has_no_session() {
    let home = Home::new();
    let store = Store::open(&home).await;
    assert_eq!(store.get("abcdefg").await, None);
}

#[tokio::test]
async fn a_session_expires() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    store.set(&sid, &howdy(), 1000).await;
    home.advance(2000);
    assert_eq!(store.get(&sid).await, None);
}

#[tokio::test]
async fn a_session_is_destroyed() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    store.set(&sid, &howdy(), 5000).await;
    assert_eq!(store.destroy(&sid).await, 1);
    assert_eq!(store.get(&sid).await, None);
    assert_eq!(store.destroy(&sid).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_handles_500_concurrent_requests() {
    let home = Home::new();
    let store = Store::open(&home).await;
    let mut requests = JoinSet::new();
    for _ in 0..500 {
        let (store, sid) = (store.clone(), uid());
        requests.spawn(async move {
            store.set(&sid, &howdy(), 30_000).await;
            assert_eq!(store.get(&sid).await, Some(howdy()));
            assert_eq!(store.destroy(&sid).await, 1);
            assert_eq!(store.get(&sid).await, None);
        });
    }
    assert_eq!(requests.join_all().await.len(), 500);
}

#[tokio::test]
async fn the_ttl_may_be_in_the_cookie() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    let mut session = json!({
        "cookie": {
            "maxAge": 3_600_000,
            "signed": false,
            "httpOnly": true,
            "path": "/",
            "overwrite": true,
        },
        "hello": "howdy",
    });
    store.set(&sid, &session, None).await;
    home.advance(1000);
    assert_eq!(store.get(&sid).await.as_ref(), Some(&session));

    session["cookie"]["maxAge"] = 100.into();
    store.set(&sid, &session, None).await;
    home.advance(2000);
    assert_eq!(store.get(&sid).await, None);
}

#[tokio::test]
async fn a_ttl_that_is_undefined_null_or_0_is_the_default() {
    let home = Home::new();
    let store = Store::open(&home).await;
    for ttl in [None, Some(0)] {
        let sid = uid();
        store.set(&sid, &howdy(), ttl).await;
        home.advance(1000);
        assert_eq!(store.get(&sid).await, Some(howdy()));
        home.advance(86_400_000 - 1000);
        assert_eq!(store.get(&sid).await, None);
    }
}

#[tokio::test]
async fn an_expired_row_stays_until_it_is_collected() {
    let home = Home::new();
    let (store, sid) = (Store::open(&home).await, uid());
    store.set(&sid, &howdy(), 1000).await;
    home.advance(1000);
    assert_eq!(store.get(&sid).await, None);
    assert_eq!(store.expired_rows().await, 1);
    assert_eq!(store.gc().await, 1);
    assert_eq!(store.expired_rows().await, 0);
    assert_eq!(store.gc().await, 0);
}
