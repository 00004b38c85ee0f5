//! File descriptors: checks that enough of them are left for the component.

use std::io;
use std::path::Path;

/// The number of free descriptors that suffices for a start or a backup: for the directory,
/// the database and its log, compiled code, a copy, and what wasmtime's own runtime polls.
#[cfg(unix)]
const NEEDED: usize = 16;

/// Fails if fewer than [`NEEDED`] are free. Without this check wasmtime's runtime panics
/// when it gets no descriptor, then and at each later use in this process; and the
/// component has no error code for this.
#[cfg(unix)]
pub(crate) fn check(directory: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    use std::fs::File;
    let mut opened = Vec::with_capacity(NEEDED);
    for _ in 0..NEEDED {
        match File::open(directory) {
            Ok(file) => opened.push(file),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) => return Err(error),
                // The caller opens the directory next and reports this error better.
                _ => return Ok(()),
            },
        }
    }
    Ok(())
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn check(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::env;
    use std::error::Error as _;
    use std::fs::File;
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use crate::tests::{builder, crash, create, home, open_small};
    use crate::{Error, Request};

    /// The variable that is set for the process with few descriptors.
    const FEW: &str = "WASI_SESSIONS_TEST_FEW_DESCRIPTORS";

    #[test]
    fn too_few_descriptors_are_a_clear_error_until_more_are_free() {
        if env::var_os(FEW).is_some() {
            opens_only_with_enough();
            runs_without_any();
            return;
        }
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("sandbox::descriptors::tests::too_few_descriptors_are_a_clear_error_until_more_are_free")
            .env(FEW, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
    }

    fn opens_only_with_enough() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let few = Rlimit {
            current: Some(128),
            maximum,
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let home = home();
        let mut refused = 0;
        for left in 0..40 {
            let _others = all_but(left);
            match builder(&home).open().wait() {
                Ok(sessions) => drop(create(&sessions, "{}")),
                Err(error) => {
                    assert!(says_so(&error), "with {left} left: {error}");
                    refused += 1;
                }
            }
        }
        assert!((1..30).contains(&refused), "{refused}");
    }

    fn runs_without_any() {
        let home = home();
        let sessions = open_small(&home);
        let id = create(&sessions, "kept").id;
        let others = all_but(0);
        assert!(sessions.set(&id, "kept", None).wait().is_ok());
        let read = sessions.batch(vec![Request::Get { id: id.clone() }]).wait();
        assert!(read.unwrap()[0].is_ok());
        let copy = home.path().join("copy.db");
        let refused = sessions.backup(&copy).wait().unwrap_err();
        assert!(says_so(&refused), "{refused}");
        crash(&sessions);
        for _ in 0..2 {
            let refused = sessions.get(&id).wait().unwrap_err();
            assert!(says_so(&refused), "{refused}");
        }
        drop(others);
        assert!(sessions.get(&id).wait().unwrap().is_some());
        sessions.backup(&copy).wait().unwrap();
        assert_eq!(sessions.check().wait(), Ok(vec![]));
    }

    /// Opens files until only `left` descriptors are free.
    fn all_but(left: usize) -> Vec<File> {
        let mut files: Vec<File> = std::iter::from_fn(|| File::open("/").ok()).collect();
        files.truncate(files.len() - left);
        files
    }

    fn says_so(error: &Error) -> bool {
        let source = error.source().map(ToString::to_string);
        let words = format!("{error} {}", source.unwrap_or_default());
        words.contains("Too many open files")
    }
}
