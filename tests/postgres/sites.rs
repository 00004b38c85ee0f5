//! Tests of two servers of the web demo on one database.

use super::place::{SERVER, options, url};
use super::server::PASSWORD;
use crate::command::bare;
use crate::served::Site;
use crate::visitors::Visitor;

fn serve(table: &str) -> Site {
    let mut serve = bare(&["serve", "--address", "127.0.0.1:0", "--table", table]);
    serve
        .args(["--store", &url(&SERVER)])
        .env("PGPASSWORD", PASSWORD);
    Site::spawn(serve)
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_log_out_at_one_site_is_a_log_out_at_the_other_at_once() {
    let table = options().table_name;
    let sites = [(); 2].map(|()| serve(&table));
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
    assert!(!log.contains(PASSWORD), "{log}");
    let again = serve(&table);
    assert_eq!(
        Visitor::new(&again)
            .bringing(&cookie)
            .get("/account")
            .status,
        200
    );
}
