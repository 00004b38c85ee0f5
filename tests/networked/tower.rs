//! Tests of tower-sessions with a store on a server.

use serde_json::json;
use time::{Duration, OffsetDateTime};
use tokio::runtime::Runtime;
use tower_sessions::session::{Id, Record};
use tower_sessions::{ExpiredDeletion, SessionStore};
use wasi_sessions::Sessions;

use super::server::{Server, options};

on_each_server! {
    a_record_of_one_application_is_loaded_and_ended_by_another,
}

/// Checks what a store loads. Its life is counted from the moment of the request.
async fn check(sessions: &Sessions, record: &Record) {
    let loaded = sessions.load(&record.id).await.unwrap().unwrap();
    assert_eq!(loaded.data, record.data);
    let later = loaded.expiry_date - record.expiry_date;
    assert!(later.abs() < Duration::minutes(1), "{later}");
}

fn a_record_of_one_application_is_loaded_and_ended_by_another(server: &Server) {
    let options = options();
    let [one, other] = [(); 2].map(|()| server.open(options.clone()));
    let mut record = Record {
        id: Id(7),
        data: serde_json::from_value(json!({ "cart": [1.5, "a"] })).unwrap(),
        expiry_date: OffsetDateTime::now_utc() + Duration::hours(1),
    };
    Runtime::new().unwrap().block_on(async {
        SessionStore::create(&one, &mut record).await.unwrap();
        check(&other, &record).await;
        record.data.clear();
        other.save(&record).await.unwrap();
        check(&one, &record).await;
        other.delete(&record.id).await.unwrap();
        assert_eq!(one.load(&record.id).await.unwrap(), None);
        // A late write does not bring it back.
        one.save(&record).await.unwrap();
        assert_eq!(other.load(&record.id).await.unwrap(), None);
        one.delete_expired().await.unwrap();
    });
}
