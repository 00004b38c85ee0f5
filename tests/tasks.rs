//! Tests with 32 concurrent tasks on one session: no update is lost, one insert wins, and a
//! log-out is final.

use std::future::Future;

use tokio::task::JoinSet;
use wasi_sessions::{NewSession, Options, Outcome, Sessions, Written};

use crate::fixture::{Home, LIFE};

const TASKS: usize = 32;

async fn open(home: &Home) -> Sessions {
    home.builder().open().await.unwrap()
}

/// Runs 32 tasks that start together; returns their results.
async fn together<T, F>(sessions: &Sessions, task: impl Fn(usize, Sessions) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        tasks.spawn(task(number, sessions.clone()));
    }
    tasks.join_all().await
}

/// Increments the number in the payload, and retries while the update is stale; returns the
/// new version.
async fn increment(sessions: &Sessions, id: &str) -> u64 {
    let mut session = sessions.get(id).await.unwrap().unwrap();
    loop {
        let number: u64 = String::from_utf8(session.data).unwrap().parse().unwrap();
        let next = (number + 1).to_string();
        let update = sessions.update(id, next, LIFE, Some(session.version));
        match update.await.unwrap() {
            Outcome::Written(written) => return written.version,
            Outcome::Stale(stored) => session = stored,
            Outcome::Gone => panic!("the session was ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost() {
    let home = Home::new();
    let sessions = open(&home).await;
    let id = sessions
        .create(NewSession::new("0").ttl(LIFE))
        .await
        .unwrap()
        .id;
    let target = id.clone();
    let versions = together(&sessions, move |_, sessions| {
        let id = target.clone();
        async move {
            let mut versions = vec![];
            for _ in 0..10 {
                versions.push(increment(&sessions, &id).await);
            }
            versions
        }
    });
    let mut versions: Vec<u64> = versions.await.concat();
    versions.sort_unstable();
    // Each version was written by exactly one task.
    let all: Vec<u64> = (2..2 + 10 * TASKS as u64).collect();
    assert_eq!(versions, all);
    let session = sessions.get(&id).await.unwrap().unwrap();
    assert_eq!(session.data, (10 * TASKS).to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_32_inserts_of_one_id_wins() {
    let home = Home::new();
    let sessions = open(&home).await;
    for id in ["first", "second", "third"] {
        let outcomes = together(&sessions, |number, sessions| async move {
            let payload = number.to_string();
            let insert = sessions.update(id, payload, LIFE, Some(0)).await;
            (number, insert.unwrap())
        });
        let outcomes = outcomes.await;
        let stored = sessions.get(id).await.unwrap().unwrap();
        assert_eq!(stored.version, 1);
        let mut winners = 0;
        for (number, outcome) in outcomes {
            match outcome {
                Outcome::Written(Written { version: 1, .. }) => {
                    winners += 1;
                    assert_eq!(stored.data, number.to_string().as_bytes());
                }
                Outcome::Stale(shown) => assert_eq!(shown, stored),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_first_writes_all_succeed_as_versions_of_one_session() {
    let home = Home::new();
    let sessions = open(&home).await;
    let outcomes = together(&sessions, |_, sessions| async move {
        sessions.set("brought", "{}", LIFE).await.unwrap()
    });
    let mut versions: Vec<u64> = outcomes
        .await
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Written(written) => written.version,
            other => panic!("{other:?}"),
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=TASKS as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_late_write_undoes_a_log_out() {
    let home = Home::new();
    let sessions = open(&home).await;
    let id = sessions
        .create(NewSession::new("{}").ttl(LIFE))
        .await
        .unwrap()
        .id;
    let target = id.clone();
    let ended = together(&sessions, move |number, sessions| {
        let id = target.clone();
        async move {
            // One task logs out after some writes. The others write until they are refused,
            // and for a while longer.
            let mut refused = 0;
            for round in 0.. {
                if number == 0 && round == 10 {
                    return sessions.destroy(&id).await.unwrap();
                }
                let write = match round % 3 {
                    0 => sessions.set(&id, "{}", LIFE).await,
                    1 => sessions.update(&id, "{}", LIFE, None).await,
                    _ => match sessions.merge(&id, "{}", LIFE).await.unwrap() {
                        Some(_) => continue,
                        None => Ok(Outcome::Gone),
                    },
                };
                match write.unwrap() {
                    Outcome::Gone => refused += 1,
                    Outcome::Written(_) => assert_eq!(refused, 0, "it came back to life"),
                    Outcome::Stale(_) => panic!("no version was asked for"),
                }
                if refused == 10 {
                    break;
                }
            }
            false
        }
    });
    let ended = ended.await;
    assert_eq!(ended.iter().filter(|&&ended| ended).count(), 1);
    assert_eq!(sessions.get(&id).await, Ok(None));
    assert_eq!(sessions.count_sessions(None).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_32_rotations_of_one_id_wins() {
    let home = Home::new();
    let sessions = open(&home).await;
    let id = sessions
        .create(NewSession::new("cart").ttl(LIFE))
        .await
        .unwrap()
        .id;
    let target = id.clone();
    let rotations = together(&sessions, move |_, sessions| {
        let id = target.clone();
        async move { sessions.rotate(&id, Some("alice")).await.unwrap() }
    });
    let won: Vec<_> = rotations.await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    let session = sessions.get(&won[0].id).await.unwrap().unwrap();
    assert_eq!(session.data, b"cart");
    assert_eq!(sessions.count_sessions(None).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_log_ins_never_exceed_the_limit_of_a_subject() {
    let home = Home::new();
    let options = Options {
        max_per_subject: Some(3),
        ..Options::default()
    };
    let sessions = home.builder().options(options).open().await.unwrap();
    let counts = together(&sessions, |_, sessions| async move {
        sessions
            .create(NewSession::new("{}").ttl(LIFE).subject("alice"))
            .await
            .unwrap();
        sessions.count_sessions(Some("alice")).await.unwrap()
    });
    assert!(counts.await.into_iter().all(|count| count <= 3));
    assert_eq!(sessions.count_sessions(Some("alice")).await, Ok(3));
}
