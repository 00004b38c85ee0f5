//! Tests of the web demo composed with the component into one file, on a plain host.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::server::Server;
use super::waiting::PATIENCE;
use crate::composed::plain_host::{Answer, Deadline, Instance, site};
use crate::guests::{self, State};
use crate::sandbox::reaching;

/// The number of concurrent requests.
const AT_ONCE: usize = 32;

static MARIADB: LazyLock<ProxyPre<State>> =
    LazyLock::new(|| site(&fs::read(guests::MARIADB.unwrap()).unwrap()));
static POSTGRES: LazyLock<ProxyPre<State>> =
    LazyLock::new(|| site(&fs::read(guests::POSTGRES).unwrap()));

/// The web demo composed with the component for this server.
fn site_over(server: &Server) -> &'static ProxyPre<State> {
    match server {
        Server::MariaDb(_) => &MARIADB,
        Server::Postgres(_) => &POSTGRES,
    }
}

on_each_server! {
    many_new_instances_that_count_in_one_session_lose_nothing,
    instances_that_answer_many_requests_keep_their_connection,
}

/// A new instance, which may connect to the server. `location` is the URL of a database.
fn instance(server: &Server, location: &str) -> Instance {
    let wasi = reaching(server.address())
        .env(server.kind().variable, server.kind().password)
        .env("SESSION_STORE", location)
        .build();
    Instance::new(wasi, Deadline::None)
}

/// The answer of an instance to a visit, which is repeated if it waited for longer than
/// `syncTimeout`.
async fn patient_answer(
    instance: &mut Instance,
    site: &ProxyPre<State>,
    cookie: Option<&str>,
) -> Answer {
    let started = Instant::now();
    loop {
        let answer = instance.answer(site, "/", cookie).await.unwrap();
        if answer.status != 503 || started.elapsed() > PATIENCE {
            return answer;
        }
    }
}

/// Visits the site with one cookie: through many instances concurrently, and `each` times, one
/// after the other, through each. Returns the numbers of visits that the site has counted.
fn visit_together(
    server: &'static Server,
    database: &str,
    instances: usize,
    each: usize,
) -> BTreeSet<u64> {
    let runtime = Runtime::new().unwrap();
    let (site, location) = (site_over(server), server.create(database));
    let first = async { patient_answer(&mut instance(server, &location), site, None).await };
    let first = runtime.block_on(first);
    assert_eq!(first.visits(), 1);
    let cookie = Arc::new(first.cookie.unwrap());
    let mut visitors = JoinSet::new();
    for _ in 0..instances {
        let (cookie, location) = (cookie.clone(), location.clone());
        let visits = async move {
            let mut instance = instance(server, &location);
            let mut counted = vec![];
            for _ in 0..each {
                let answer = patient_answer(&mut instance, site, Some(&cookie)).await;
                counted.push(Answer::visits(&answer));
            }
            counted
        };
        visitors.spawn_on(visits, runtime.handle());
    }
    let counted = runtime.block_on(visitors.join_all());
    counted.into_iter().flatten().collect()
}

fn many_new_instances_that_count_in_one_session_lose_nothing(server: &'static Server) {
    let counted = visit_together(server, "new_instances", AT_ONCE, 1);
    assert_eq!(counted, (2..AT_ONCE as u64 + 2).collect());
}

fn instances_that_answer_many_requests_keep_their_connection(server: &'static Server) {
    let counted = visit_together(server, "kept_instances", 4, AT_ONCE / 4);
    assert_eq!(counted, (2..AT_ONCE as u64 + 2).collect());
    let (runtime, site) = (Runtime::new().unwrap(), site_over(server));
    let mut instance = instance(server, &server.create("one_instance"));
    runtime.block_on(async {
        for _ in 0..5 {
            let answer = patient_answer(&mut instance, site, None).await;
            assert_eq!(answer.visits(), 1);
            assert_eq!(server.connections("one_instance"), 1);
        }
    });
}
