//! Tests of the arguments that the command line accepts or refuses, and of its messages.

use std::path::Path;

use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::read(["wasi-sessions"].into_iter().chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound() {
    definition().debug_assert();
}

#[test]
fn global_options_may_come_before_or_after_the_command() {
    for line in [
        "--directory d --json get x",
        "get --directory d x --json",
        "get x --json --directory d",
    ] {
        let arguments = parse(line).unwrap();
        assert!(arguments.json, "{line}");
        assert_eq!(arguments.location.directory, Some("d".into()), "{line}");
    }
}

#[test]
fn no_argument_of_a_command_is_taken_for_a_global_option() {
    let arguments = parse("backup copy.db --directory d --file f --table t").unwrap();
    assert_eq!(arguments.location.file.as_deref(), Some("f"));
    let Some(Task::Command(Command::Backup { copy })) = arguments.command else {
        panic!("{:?}", arguments.command);
    };
    assert_eq!(copy, Path::new("copy.db"));
}

#[test]
fn a_database_is_in_a_directory_or_on_a_server() {
    let url = "postgres://user@host/d";
    for line in [
        format!("list --store {url} --table t --tls-roots f --store-timeout 5m"),
        format!("--store {url} serve"),
        format!("bench --store {url} --only read --only set --only mix"),
    ] {
        let arguments = parse(&line).unwrap();
        assert_eq!(arguments.location.store.unwrap().as_str(), url, "{line}");
    }
    for line in [
        "list".to_owned(),
        format!("list --store {url} --directory d"),
        format!("list --store {url} --file f"),
        "list --directory d --tls-roots f".to_owned(),
        "list --directory d --store-timeout 5m".to_owned(),
        format!("list --store {url} --store-timeout 0s"),
        "list --store".to_owned(),
        format!("soak --store {url}"),
        format!("--store {url}"),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn the_arguments_show_no_password() {
    let arguments = parse("list --store postgres://user:secret@host/d").unwrap();
    assert!(!format!("{arguments:?}").contains("secret"));
}

#[test]
fn an_id_may_start_with_a_hyphen() {
    for id in ["-", "-h3", "-V-", "--x", "-json"] {
        for line in [
            format!("get {id} --directory d --json"),
            format!("--json --directory d get {id}"),
        ] {
            let arguments = parse(&line).unwrap();
            let Some(Task::Command(Command::Get { session })) = arguments.command else {
                panic!("{line}");
            };
            assert_eq!(session.id, id, "{line}");
            assert!(arguments.json, "{line}");
        }
        parse(&format!(
            "terminate --directory d --subject s --except {id}"
        ))
        .unwrap();
    }
}

#[test]
fn conflicting_and_incomplete_options_are_refused() {
    for line in [
        "get x",
        "get --directory d",
        "--sessions 5 --directory d get x",
        "--users 5 --directory d stats",
        "--sessions 0",
        "--sessions 500 bench",
        "bench --sessions 0",
        "bench --only everything",
        "bench --only set",
        "bench --store postgres://u@h/d --only touch",
        "bench --store postgres://u@h/d --large 1",
        "bench --store postgres://u@h/d --native plain",
        "terminate --directory d",
        "terminate x --directory d --subject s",
        "terminate x --directory d --except y",
        "collect --directory d --limit 0",
        "list --directory d --limit 0",
        "set --directory d x --no-such-option",
        "backup --directory d",
        "restore --directory d",
        "restore copy.db",
        "serve --address nowhere",
        "serve --timeout 5",
        "serve --operator-token=",
        "serve --operator-token-file",
        "serve --operator-token t --operator-token-file f",
        "serve --admin",
        "serve --sessions 5",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn an_invalid_number_is_refused_with_the_valid_range() {
    let ttl = "it must be 0 or more, in whole milliseconds";
    let number = "it must be a whole number from 1";
    for (line, words) in [
        ("create --directory d --ttl -5", ttl),
        ("create --directory d --ttl=-5", ttl),
        ("create --directory d --ttl -0.5", ttl),
        ("create --directory d --ttl 1.5", ttl),
        ("create --directory d --ttl soon", ttl),
        ("create --directory d --ttl 18446744073709551616", ttl),
        ("set x --directory d --ttl -5", ttl),
        ("touch x --directory d --ttl -5", ttl),
        ("list --directory d --limit -5", number),
        ("list --directory d --limit 0", number),
        ("collect --directory d --limit -5", "-5 is not in 1.."),
        ("--sessions -5", "-5 is not in 1.."),
        ("--users -5", "-5 is not in 1.."),
        ("bench --rounds -5", "-5 is not in 1.."),
        ("bench --large -5", "-5 is not in 0.."),
        ("bench --milliseconds -5", number),
        ("serve --body-limit -5", "it must be a whole number"),
        (
            "serve --timeout -5",
            "invalid value '-5' for '--timeout <TIME>'",
        ),
        (
            "serve --timeout -5s",
            "invalid value '-5s' for '--timeout <TIME>'",
        ),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
        assert!(!error.contains("tip:"), "{line}: {error}");
    }
    parse("create --directory d --subject -5").unwrap();
}

#[test]
fn an_error_shows_how_the_command_is_used() {
    let terminate = "wasi-sessions terminate <--directory <DIR>|--store <URL>> [OPTIONS] <HANDLE|--subject <NAME>>";
    for (line, usage) in [
        (
            "get x",
            "wasi-sessions get <--directory <DIR>|--store <URL>> [OPTIONS] <ID>",
        ),
        (
            "get --directory d",
            "wasi-sessions get <--directory <DIR>|--store <URL>> [OPTIONS] <ID>",
        ),
        ("terminate x", terminate),
        ("terminate --directory d", terminate),
        ("terminate --directory d x --subject s", terminate),
        ("terminate --directory d x --except y", terminate),
        ("terminate --directory d --except y", terminate),
        ("bench everything", "wasi-sessions bench [OPTIONS]"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(&format!("Usage: {usage}\n")), "{error}");
    }
}

#[test]
fn an_id_or_a_subject_is_not_empty() {
    for line in [
        vec!["get", ""],
        vec!["set", "", "{}"],
        vec!["create", "{}", "--subject", ""],
        vec!["list", "--subject="],
        vec!["terminate", ""],
        vec!["terminate", "--subject", ""],
        vec!["terminate", "--subject", "s", "--except", ""],
    ] {
        let words = [&["wasi-sessions", "--directory", "d"], &line[..]].concat();
        let error = Arguments::read(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line:?}");
    }
}
