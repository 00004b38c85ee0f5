use super::*;

fn parse(options: &str) -> Result<Options, Error> {
    Options::parse(options, &[])
}

fn refusal(options: &str) -> String {
    match parse(options) {
        Err(Error::InvalidArgument(words)) => words,
        other => panic!("{options}: {other:?}"),
    }
}

#[test]
fn empty_text_and_an_empty_object_are_the_defaults() {
    assert_eq!(parse(""), Ok(Options::default()));
    assert_eq!(parse("{}"), Ok(Options::default()));
}

#[test]
fn every_option_is_taken() {
    let options = parse(
        r#"{"tableName":"t","modelName":"m","sync":false,"syncTimeout":1,"gcFrequency":2,
            "gcStep":3,"browserSessionLifetime":4,"absoluteLifetime":5,"renewalStep":6,
            "tombstone":7,"maxData":8,"maxPerSubject":9,"access":"exclusive",
            "durability":"relaxed","tlsRoots":"r","key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "previousKey":"none"}"#,
    );
    let expected = Options {
        table_name: "t".into(),
        model_name: "m".into(),
        sync: false,
        sync_timeout: 1,
        gc_frequency: 2,
        gc_step: 3,
        browser_session_lifetime: 4,
        absolute_lifetime: Some(5),
        renewal_step: 6,
        tombstone: 7,
        max_data: 8,
        max_per_subject: Some(9),
        access: Access::Exclusive,
        durability: Durability::Relaxed,
        tls_roots: Some("r".into()),
        key: Key::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        previous_key: Some(PreviousKey::None),
    };
    assert_eq!(options, Ok(expected));
}

#[test]
fn a_refusal_names_the_option() {
    for (name, value) in [
        ("tableName", "1"),
        ("modelName", "\"\""),
        ("sync", "1"),
        ("syncTimeout", "3600001"),
        ("gcFrequency", "-1"),
        ("gcStep", "0"),
        ("browserSessionLifetime", "0"),
        ("absoluteLifetime", "0"),
        ("renewalStep", "1.5"),
        ("tombstone", "null"),
        ("maxData", "536870913"),
        ("maxPerSubject", "0"),
        ("access", "\"both\""),
        ("durability", "7"),
        ("tlsRoots", "7"),
        ("key", "\"secret\""),
        ("key", "7"),
        ("previousKey", "\"secret\""),
        ("gcfrequency", "1"),
    ] {
        let words = refusal(&format!(r#"{{"{name}":{value}}}"#));
        assert!(words.contains(&format!("`{name}`")), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
    for not_an_object in ["[]", "null", "{", " "] {
        refusal(not_an_object);
    }
}

#[test]
fn every_number_has_its_bounds() {
    for (name, least, most) in [
        ("syncTimeout", 0, 3_600_000),
        ("gcFrequency", 0, END_OF_TIME),
        ("gcStep", 1, 1_000_000),
        ("browserSessionLifetime", 1, END_OF_TIME),
        ("absoluteLifetime", 1, END_OF_TIME),
        ("renewalStep", 0, END_OF_TIME),
        ("tombstone", 0, END_OF_TIME),
        ("maxData", 1, 536_870_912),
        ("maxPerSubject", 1, 1_000_000),
    ] {
        let option = |value: i128| format!(r#"{{"{name}":{value}}}"#);
        for within in [least, most] {
            let options = parse(&option(within.into()));
            assert!(options.is_ok(), "{name} {within}");
        }
        for outside in [i128::from(least) - 1, i128::from(most) + 1] {
            let words = refusal(&option(outside));
            assert!(words.contains(&format!("`{name}`")), "{words}");
        }
        for no_number in ["\"5\"", "5.5", "true", "[]", "1e400"] {
            refusal(&format!(r#"{{"{name}":{no_number}}}"#));
        }
    }
}

#[test]
fn long_options_are_refused_before_they_are_parsed() {
    for (missing, longest) in [(&["tlsRoots"][..], 65_536), (&["access"], 1_048_576)] {
        let fits = format!("{{{}}}", " ".repeat(longest - 2));
        assert_eq!(Options::parse(&fits, missing), Ok(Options::default()));
        let zeroes = format!("[{}0]", "0,".repeat(1 << 20));
        for long in [format!("{fits} "), zeroes, "x".repeat(longest + 1)] {
            let words = format!("options: longer than {longest} bytes");
            assert_eq!(
                Options::parse(&long, missing),
                Err(Error::InvalidArgument(words))
            );
        }
    }
    let name = "x".repeat(60_000);
    assert!(refusal(&format!(r#"{{"{name}":1}}"#)).len() < 400);
}

#[test]
fn a_model_name_is_1_to_255_bytes_long() {
    for (length, is_taken) in [(0, false), (1, true), (255, true), (256, false)] {
        let name = "m".repeat(length);
        let options = parse(&format!(r#"{{"modelName":"{name}"}}"#));
        assert_eq!(options.is_ok(), is_taken, "{length}");
    }
}

#[test]
fn a_table_name_is_an_identifier() {
    for good in ["a", "_a1", "Sessions", &"x".repeat(63)] {
        let options = parse(&format!(r#"{{"tableName":"{good}"}}"#)).unwrap();
        assert_eq!(options.table_name, good);
    }
    for bad in [
        "",
        "1a",
        "a b",
        "a-b",
        "é",
        "a;",
        "sqlite_x",
        "SQLite_x",
        &"x".repeat(64),
    ] {
        refusal(&format!(r#"{{"tableName":"{bad}"}}"#));
    }
    refusal(r#"{"tableName":"a\"b"}"#);
}

#[test]
fn null_means_none_where_that_is_the_default() {
    let options =
        parse(r#"{"absoluteLifetime":null,"maxPerSubject":null,"key":null,"previousKey":null}"#);
    assert_eq!(options, Ok(Options::default()));
}

#[test]
fn an_option_that_the_engine_lacks_is_refused_by_name() {
    let options = Options::parse(r#"{"access":"shared"}"#, &["access"]);
    assert!(matches!(options, Err(Error::InvalidArgument(words)) if words.contains("`access`")));
    let options = Options::parse(r#"{"gcStep":7}"#, &["access"]);
    assert_eq!(options.map(|options| options.gc_step), Ok(7));
}
