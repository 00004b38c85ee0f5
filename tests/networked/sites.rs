//! Tests of two servers of the web demo on one database.

use super::server::{Server, options};
use crate::command::bare;
use crate::served::Site;
use crate::visitors::Visitor;

on_each_server! {
    a_log_out_at_one_site_is_a_log_out_at_the_other_at_once,
}

fn serve(server: &Server, table: &str) -> Site {
    let mut serve = bare(&["serve", "--address", "127.0.0.1:0", "--table", table]);
    serve
        .args(["--store", &server.url(), "--store-timeout", "5m"])
        .env(server.kind().variable, server.kind().password);
    Site::spawn(serve)
}

fn a_log_out_at_one_site_is_a_log_out_at_the_other_at_once(server: &Server) {
    let table = options().table_name;
    let sites = [(); 2].map(|()| serve(server, &table));
    for round in 0..10 {
        let (here, there) = (&sites[round % 2], &sites[1 - round % 2]);
        let mut alice = Visitor::logged_in(here, "alice");
        let mut elsewhere = Visitor::new(there).bringing(&alice.cookie);
        assert_eq!(elsewhere.get("/account").status, 200);
        // The page has the token for the next form.
        alice.get("/account");
        assert_eq!(alice.post("/logout", &[]).leads_to(), (303, Some("/")));
        assert_eq!(elsewhere.get("/account").leads_to(), (303, Some("/")));
    }
    // A site that is started again finds the sessions.
    let cookie = Visitor::logged_in(&sites[0], "bob").cookie;
    let [first, second] = sites;
    let log = first.stop() + &second.stop();
    assert!(!log.contains(server.kind().password), "{log}");
    let created = format!("created a new table `{table}`");
    assert_eq!(log.matches(&created).count(), 1, "{log}");
    let again = serve(server, &table);
    assert_eq!(
        Visitor::new(&again)
            .bringing(&cookie)
            .get("/account")
            .status,
        200
    );
}
