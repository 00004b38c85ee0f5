//! Tests that secrets are in no file and no log, and that keys are read from the right places.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tracing_subscriber::filter::LevelFilter;
use wasi_sessions::web::Server;
use wasi_sessions::{Error, Key, NewSession, Options, PreviousKey, Sessions, Stores};

use crate::command::{command, run_cli};
use crate::fixture::{CACHE, Home, LIFE, compiled_in, create, data, listed};
use crate::guests;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PAYLOAD: &str = r#"{"name":"words of the payload","cookie":{"maxAge":60000}}"#;
const SUBJECT: &str = "the name of the subject";

fn sealed() -> Options {
    Options {
        key: Key::from_base64(KEY),
        ..Options::default()
    }
}

/// The files below a directory that contain these bytes.
fn files_with(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else {
            let content = fs::read(&path).unwrap();
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Uses most functions; returns the ids of all sessions that existed.
fn use_most_functions(sessions: &Sessions) -> Vec<String> {
    let mut ids = vec!["an id that its caller chose".to_owned()];
    sessions.set(&ids[0], PAYLOAD, LIFE).wait().unwrap();
    for number in 0..20 {
        let session = NewSession::new(PAYLOAD).subject(SUBJECT);
        let first = sessions.create(session).wait().unwrap().id;
        let rotated = sessions.rotate(&first, Some(SUBJECT)).wait().unwrap();
        let id = rotated.unwrap().id;
        sessions.get(&id).wait().unwrap();
        sessions.update(&id, PAYLOAD, None, Some(1)).wait().unwrap();
        sessions.merge(&id, PAYLOAD, None).wait().unwrap();
        sessions.touch(&id, LIFE).wait().unwrap();
        if number % 3 == 0 {
            sessions.destroy(&id).wait().unwrap();
            sessions.set(&id, PAYLOAD, None).wait().unwrap();
        }
        ids.extend([first, id]);
    }
    for entry in listed(sessions, Some(SUBJECT)) {
        sessions.inspect(&entry.handle).wait().unwrap();
    }
    // Requests that are refused with an error.
    let long = SUBJECT.repeat(20);
    let refused = sessions.create(NewSession::new(PAYLOAD).subject(&long));
    assert!(refused.wait().is_err());
    assert!(sessions.merge(&ids[0], &PAYLOAD[1..], None).wait().is_err());
    assert!(
        sessions
            .list_sessions(None, Some(&ids[0]), 7)
            .wait()
            .is_err()
    );
    sessions.collect(7).wait().unwrap();
    ids
}

#[test]
fn no_file_of_a_busy_store_has_an_id_and_with_a_key_none_has_a_payload() {
    for options in [Options::default(), sealed()] {
        let home = Home::new();
        let is_sealed = options.key.is_some();
        let mut sessions = home.open_with(options.clone());
        let ids = use_most_functions(&sessions);
        sessions.backup(home.beside("copy.db")).wait().unwrap();
        // First while the store is open, with its WAL, then after it was closed.
        for _ in 0..2 {
            let all = home.beside("");
            for id in &ids {
                assert_eq!(files_with(&all, id.as_bytes()), [""; 0], "{is_sealed}");
            }
            for secret in ["words of the payload", SUBJECT] {
                let found = files_with(&all, secret.as_bytes());
                assert_eq!(found.is_empty(), is_sealed, "{secret}: {found:?}");
            }
            assert_eq!(files_with(&all, KEY.as_bytes()), [""; 0]);
            drop(sessions);
            sessions = home.open_with(options.clone());
        }
    }
}

#[test]
fn no_log_of_any_level_has_an_id_a_payload_or_a_key() {
    let program = env::current_exe().unwrap();
    let ran = Command::new(program)
        .args(["--exact", "secrets::says_all_that_it_logs"])
        .args(["--ignored", "--nocapture", "--test-threads", "1"])
        .output()
        .unwrap();
    let output = String::from_utf8(ran.stdout).unwrap();
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{output}{log}");
    let secrets: Vec<&str> = output
        .lines()
        .filter_map(|line| line.split_once("secret: ").map(|(_, secret)| secret))
        .collect();
    assert!(secrets.len() > 40, "{output}");
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(log.contains(level), "nothing is logged at {level}");
    }
    // wasmtime-wasi traces the calls of WASI with their results, such as the target of a
    // request; SECURITY.md says so.
    let is_call_of_wasi = |line: &&str| line.contains(" TRACE ") && line.contains("wasmtime_wasi");
    let ours: Vec<&str> = log.lines().filter(|line| !is_call_of_wasi(line)).collect();
    for secret in secrets.iter().chain(&["words of the payload", SUBJECT]) {
        let lines: Vec<_> = ours.iter().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret}: {lines:?}");
    }
}

/// Runs in a separate process, because it logs for the whole process. Prints the secrets to
/// standard output, and logs to standard error.
#[test]
#[ignore = "a part of another test"]
fn says_all_that_it_logs() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let home = Home::new();
    let sessions = home.open_with(sealed());
    for id in use_most_functions(&sessions) {
        println!("secret: {id}");
    }
    println!("secret: {}", KEY.trim_end_matches('='));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores = Stores::new().with("sessions.db", sessions);
    let server = Server::new(fs::read(guests::FILE).unwrap(), stores).admin(true);
    let server = server.cache_directory(compiled_in(&CACHE));
    let server = server.bind("127.0.0.1:0".parse().unwrap());
    let server = runtime.block_on(server).unwrap();
    let address = server.local_address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.run(async {
        let _ = stopped.await;
    }));
    let answer = ask(address, "/create", "");
    let id = answer.rsplit("\r\n").next().unwrap().to_owned();
    assert_eq!(id.len(), 43);
    println!("secret: {id}");
    for path in [
        "/hello",
        "/length",
        "/trap",
        "/panic",
        "/silent",
        "/status/404",
    ] {
        ask(address, &format!("{path}?id={id}"), &id);
    }
    stop.send(()).unwrap();
    runtime.block_on(serving).unwrap();

    let wrong = Options {
        key: Key::from_base64(OTHER_KEY),
        ..Options::default()
    };
    println!("secret: {}", OTHER_KEY.trim_end_matches('='));
    let refused = home.builder().options(wrong).open().wait().unwrap_err();
    eprintln!("{refused} {refused:?}");
}

/// Sends a request with the payload as its body, and the id as its cookie.
fn ask(address: SocketAddr, path: &str, id: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nCookie: session={id}\r\n\
         Content-Length: {}\r\n\r\n{PAYLOAD}",
        PAYLOAD.len()
    )
    .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_wrong_or_missing_key_is_an_invalid_argument_that_shows_no_key() {
    let home = Home::new();
    let id = create(&home.open_with(sealed()), PAYLOAD);
    for key in [None, Key::from_base64(OTHER_KEY)] {
        let wrong = Options {
            key,
            ..Options::default()
        };
        let refused = home.builder().options(wrong).open().wait().unwrap_err();
        let Error::InvalidArgument(words) = &refused else {
            panic!("{refused:?}");
        };
        assert!(words.contains("`key`") && !words.contains(&OTHER_KEY[..8]));
    }
    let sessions = home.open_with(sealed());
    assert_eq!(data(&sessions, &id).as_deref(), Some(PAYLOAD));
    let copy = home.beside("copy.db");
    sessions.backup(&copy).wait().unwrap();
    drop(sessions);
    // A restore reads the whole copy, so it needs the key.
    let restored = |options| home.builder().options(options).restore(&copy).wait();
    assert!(matches!(
        restored(Options::default()),
        Err(Error::InvalidArgument(_))
    ));
    restored(sealed()).unwrap();
    let sessions = home.open_with(sealed());
    assert_eq!(data(&sessions, &id).as_deref(), Some(PAYLOAD));
}

#[test]
fn a_backup_is_restored_with_its_key_as_the_previous_key() {
    let home = Home::new();
    let sessions = home.open_with(sealed());
    let id = create(&sessions, PAYLOAD);
    let copy = home.beside("copy.db");
    sessions.backup(&copy).wait().unwrap();
    drop(sessions);
    let changed = || Options {
        key: Key::from_base64(OTHER_KEY),
        previous_key: Key::from_base64(KEY).map(PreviousKey::Key),
        ..Options::default()
    };
    let restored = home.builder().options(changed()).restore(&copy);
    restored.wait().unwrap();
    let sessions = home.open_with(changed());
    assert_eq!(data(&sessions, &id).as_deref(), Some(PAYLOAD));
}

#[test]
fn the_key_is_changed_while_the_store_is_used() {
    let home = Home::new();
    let plain = home.open();
    let ids: Vec<String> = (0..300).map(|_| create(&plain, PAYLOAD)).collect();
    drop(plain);
    let mut previous = PreviousKey::None;
    for key in [KEY, OTHER_KEY].map(|key| Key::from_base64(key).unwrap()) {
        let changing = Options {
            key: Some(key.clone()),
            previous_key: Some(previous),
            ..Options::default()
        };
        let sessions = home.open_with(changing);
        sessions.set(&ids[7], PAYLOAD, LIFE).wait().unwrap();
        sessions.collect_all().wait().unwrap();
        drop(sessions);
        let changed = Options {
            key: Some(key.clone()),
            ..Options::default()
        };
        let sessions = home.open_with(changed);
        for id in &ids {
            assert_eq!(data(&sessions, id).as_deref(), Some(PAYLOAD));
        }
        assert_eq!(sessions.check().wait(), Ok(vec![]));
        previous = PreviousKey::Key(key);
    }
}

#[test]
fn the_command_line_takes_keys_from_files_and_the_environment() {
    let home = Home::new();
    let file = |name: &str, content: &str| {
        let path = home.beside(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = file("key", &format!("{KEY}\n"));
    let id = run_cli(&home, &["create", PAYLOAD, "--key-file", &key]);
    let id = id.line();
    let get = ["get", id, "--key-file", &key];
    let found = run_cli(&home, &get);
    assert!(found.output.contains("words of the payload"));
    assert!(
        run_cli(&home, &get[..2])
            .error()
            .contains("`key` is missing")
    );

    let with = |variables: &[(&str, &str)]| {
        let mut command = command(&home, &get[..2]);
        command.envs(variables.iter().copied());
        crate::command::Ran::from(command.output().unwrap())
    };
    let found = with(&[("WASI_SESSIONS_KEY", KEY)]);
    assert!(found.output.contains("words of the payload"));
    for (variable, value) in [
        ("WASI_SESSIONS_KEY", OTHER_KEY),
        ("WASI_SESSIONS_KEY", &KEY[1..]),
        ("WASI_SESSIONS_KEY", ""),
        ("WASI_SESSIONS_PREVIOUS_KEY", &KEY[1..]),
    ] {
        let refused = with(&[(variable, value)]);
        assert!(!refused.error().contains(&KEY[1..9]), "{}", refused.errors);
    }

    let next = file("next", OTHER_KEY);
    let change = ["--key-file", &next, "--previous-key-file", &key];
    let collected = run_cli(&home, &[&["collect"][..], &change].concat());
    assert_eq!(collected.code, 0, "{}", collected.errors);
    let found = run_cli(&home, &["get", id, "--key-file", &next]);
    assert!(found.output.contains("words of the payload"));
}
