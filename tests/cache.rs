//! Tests of the cache of compiled code: it is reused, and rebuilt when it is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use wasi_sessions::{Builder, Error};

use crate::command::{Ran, command};
use crate::fixture::{Home, compiled_in, create, data};

/// The only file in a cache.
fn entry(cache: &Path) -> PathBuf {
    let entries: Vec<_> = fs::read_dir(cache).unwrap().collect();
    match entries.as_slice() {
        [Ok(entry)] => entry.path(),
        entries => panic!("{entries:?}"),
    }
}

fn works(builder: Builder) {
    let sessions = builder.open().wait().unwrap();
    let id = create(&sessions, "{}");
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

#[test]
fn compiled_code_is_reused_and_rebuilt_when_it_is_damaged() {
    let cache = Home::new().beside("cache");
    let open = || works(Home::new().builder().cache_directory(&cache));
    open();
    let built = entry(&cache);
    let sound = fs::read(&built).unwrap();
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let first = written(&built);
    open();
    assert_eq!(entry(&cache), built);
    assert_eq!(written(&built), first, "nothing is built a second time");

    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    fs::write(&built, &damaged).unwrap();
    open();
    assert_eq!(entry(&cache), built);
    assert!(fs::read(&built).unwrap() != damaged);
    let rebuilt = written(&built);
    open();
    assert_eq!(written(&built), rebuilt);
}

#[test]
fn a_cache_that_cannot_be_used_is_ignored() {
    let home = Home::new();
    fs::write(home.beside("file"), "").unwrap();
    works(home.builder().cache_directory(home.beside("file")));
    assert_eq!(fs::read(home.beside("file")).unwrap(), b"");
}

#[test]
fn a_cache_that_the_component_could_write_is_refused() {
    let home = Home::new();
    let inside = home.path().join("cache");
    let opened = home.builder().cache_directory(inside).open().wait();
    assert!(matches!(opened, Err(Error::InvalidArgument(_))));
}

#[test]
fn the_command_line_and_the_host_share_compiled_code() {
    let home = Home::new();
    // Other tests put other components into the cache that they share.
    let caches = home.beside("caches");
    let cache = compiled_in(&caches);
    works(Home::new().builder().cache_directory(&cache));
    let built = entry(&cache);
    let mut create = command(&home, &["create", "{}"]);
    let ran: Ran = create
        .env("XDG_CACHE_HOME", &caches)
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(entry(&cache), built);
}
