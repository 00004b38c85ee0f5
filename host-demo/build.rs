//! Builds the web component that `serve` embeds, and looks for the browser and the servers
//! that tests use.

use std::path::Path;

#[path = "../host/build/wasi.rs"]
mod wasi;

#[path = "../component/mariadb/tests/programs.rs"]
mod mariadb;
#[path = "../component/postgres/tests/programs.rs"]
mod postgres;

/// Where Debian keeps programs, and what its packages chromium and
/// chromium-driver put there.
const PROGRAMS: &str = "/usr/bin";
const BROWSER: [&str; 2] = ["/usr/bin/chromedriver", "/usr/bin/chromium"];

fn main() {
    let component = wasi::build("web-demo", &["web-demo"], None);
    let embedded = component.and_then(|file| wasi::embed(&file, "WEB_DEMO_COMPONENT_FILE"));
    // Cargo shows what is logged so as one line, and fails.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
    find_browser();
    find_mariadb();
    find_postgres();
}

/// Sets `cfg(mariadb)`, without which the test with that server says that it is ignored. The
/// component for it is not built everywhere.
fn find_mariadb() {
    println!("cargo::rustc-check-cfg=cfg(mariadb)");
    if mariadb::are_installed() && wasi::has_sockets() {
        println!("cargo::rustc-cfg=mariadb");
    }
    // A file that is missing would count as changed for ever.
    let watched = [mariadb::SERVER, "/usr/sbin"];
    for path in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// Sets `cfg(postgres)`, without which the test with that server says that it is ignored.
fn find_postgres() {
    println!("cargo::rustc-check-cfg=cfg(postgres)");
    if postgres::directory().is_some() {
        println!("cargo::rustc-cfg=postgres");
    }
    // A directory that is missing would count as changed for ever.
    let watched = [postgres::INSTALLED, "/usr/lib"];
    for directory in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
        println!("cargo::rerun-if-changed={directory}");
    }
}

/// Sets `cfg(browser)`, without which the browser's test says that it is ignored.
fn find_browser() {
    println!("cargo::rustc-check-cfg=cfg(browser)");
    let installed = BROWSER.iter().all(|program| Path::new(program).exists());
    if installed {
        println!("cargo::rustc-cfg=browser");
    }
    // A file that is missing would count as changed for ever.
    let watched = if installed { &BROWSER[..] } else { &[PROGRAMS] };
    for path in watched.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}
