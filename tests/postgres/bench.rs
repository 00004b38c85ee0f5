//! Tests of the bench on a server, with numbers too small to say anything about speed.

use serde_json::json;

use crate::command::{Ran, bare};
use crate::networked::server::POSTGRES;

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_server_is_measured_beside_native_connections_and_keeps_no_table_of_the_bench() {
    let url = POSTGRES.url();
    let small = ["--sessions", "64", "--rounds", "1", "--milliseconds", "1"];
    let mut command = bare(&["bench", "--store", &url, "--store-timeout", "5m", "--json"]);
    let command = command
        .args(small)
        .env("PGPASSWORD", POSTGRES.kind().password);
    let ran: Ran = command.output().unwrap().into();
    assert_eq!(ran.errors, "");
    let report = ran.json();
    assert_eq!(report["native"], "tokio-postgres");
    assert!(
        report["engine"]
            .as_str()
            .unwrap()
            .starts_with("PostgreSQL ")
    );
    let mut measured = vec![];
    for row in report["rows"].as_array().unwrap() {
        for side in ["ours", "native", "ratio", "lowest", "highest"] {
            assert!(row[side].as_f64().unwrap() > 0.0, "{row}");
        }
        for side in ["ours_times", "native_times"] {
            for time in ["median", "p99", "longest"] {
                assert!(row[side][time].as_f64().unwrap() > 0.0, "{row}");
            }
        }
        assert_eq!(
            (&row["sessions"], &row["caller"]),
            (&json!(64), &json!("task"))
        );
        let (name, clients) = (row["workload"].as_str().unwrap(), &row["clients"]);
        measured.push(format!("{name}, {clients}, {}", row["durability"]));
    }
    let expected = [
        "read, 1, null",
        "set, 1, \"durable\"",
        "set, 64, \"durable\"",
        "mix 90/10, 64, \"durable\"",
    ];
    assert_eq!(measured, expected);
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'wasi_sessions_bench%'";
    assert_eq!(POSTGRES.sql(left), "0");
}
