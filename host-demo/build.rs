//! Builds the components that the program and its tests run, and sees whether
//! there is a browser for the tests.

use std::path::Path;

#[path = "../host/build/wasi.rs"]
mod wasi;

/// Where Debian keeps programs, and what its packages chromium and
/// chromium-driver put there.
const PROGRAMS: &str = "/usr/bin";
const BROWSER: [&str; 2] = ["/usr/bin/chromedriver", "/usr/bin/chromium"];

fn main() {
    for (package, source, name) in [
        ("web-demo", "web-demo", "WEB_DEMO_COMPONENT_FILE"),
        (
            "test-guest",
            "tests/guests/test_guest",
            "TEST_GUEST_COMPONENT_FILE",
        ),
        ("counter", "tests/guests/counter", "COUNTER_COMPONENT_FILE"),
    ] {
        let component = wasi::build(package, &[source]);
        let embedded = component.and_then(|file| wasi::embed(&file, name));
        // Cargo shows what is logged so as one line, and fails.
        if let Err(error) = embedded {
            println!("cargo::error={error}");
        }
    }
    find_browser();
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
