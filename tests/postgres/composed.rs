//! Tests of the web demo composed with the component into one file, on a plain host.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::place::{SERVER, connections, url};
use super::server::{PASSWORD, Server};
use crate::composed::plain_host::{Answer, Deadline, Instance, site};
use crate::guests::{POSTGRES, State};
use crate::sandbox::reaching;

/// The number of concurrent requests.
const AT_ONCE: usize = 32;

static SITE: LazyLock<ProxyPre<State>> = LazyLock::new(|| site(&fs::read(POSTGRES).unwrap()));

/// A new instance, which may connect to the server.
fn instance(server: &Server, application: &str) -> Instance {
    let allowed = SocketAddr::from(([127, 0, 0, 1], server.port));
    let location = format!("{}?application_name={application}", url(server));
    let wasi = reaching(allowed)
        .env("PGPASSWORD", PASSWORD)
        .env("SESSION_STORE", location)
        .build();
    Instance::new(wasi, Deadline::None)
}

/// Visits the site with one cookie: through many instances concurrently, and `each` times, one
/// after the other, through each. Returns the numbers of visits that the site has counted.
fn visit_together(instances: usize, each: usize, application: &'static str) -> BTreeSet<u64> {
    let runtime = Runtime::new().unwrap();
    LazyLock::force(&SITE);
    let first = async {
        instance(&SERVER, application)
            .answer(&SITE, "/", None)
            .await
    };
    let first = runtime.block_on(first).unwrap();
    assert_eq!(first.visits(), 1);
    let cookie = Arc::new(first.cookie.unwrap());
    let mut visitors = JoinSet::new();
    for _ in 0..instances {
        let cookie = cookie.clone();
        let visits = async move {
            let mut instance = instance(&SERVER, application);
            let mut counted = vec![];
            for _ in 0..each {
                // 503: the request waited for longer than `syncTimeout`, and is retried.
                let mut answer = instance.answer(&SITE, "/", Some(&cookie)).await.unwrap();
                for _ in 0..20 {
                    if answer.status == 503 {
                        answer = instance.answer(&SITE, "/", Some(&cookie)).await.unwrap();
                    }
                }
                counted.push(Answer::visits(&answer));
            }
            counted
        };
        visitors.spawn_on(visits, runtime.handle());
    }
    let counted = runtime.block_on(visitors.join_all());
    counted.into_iter().flatten().collect()
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn many_new_instances_that_count_in_one_session_lose_nothing() {
    let counted = visit_together(AT_ONCE, 1, "new");
    assert_eq!(counted, (2..AT_ONCE as u64 + 2).collect());
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn instances_that_answer_many_requests_keep_their_connection() {
    let counted = visit_together(4, AT_ONCE / 4, "kept");
    assert_eq!(counted, (2..AT_ONCE as u64 + 2).collect());
    let (runtime, mut instance) = (Runtime::new().unwrap(), instance(&SERVER, "one"));
    runtime.block_on(async {
        for _ in 0..5 {
            let answer = instance.answer(&SITE, "/", None).await.unwrap();
            assert_eq!(answer.visits(), 1);
            assert_eq!(connections(&SERVER, "one"), 1);
        }
    });
}
