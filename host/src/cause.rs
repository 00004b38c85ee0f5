//! The cause of an error, shared by its clones.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An error of the operating system or of wasmtime that caused another error. Clones
/// share it. Two causes are equal if their messages are equal.
///
/// [`Error::source`](std::error::Error::source) returns the original error, which can be
/// downcast, for example to `std::io::Error`.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }
}

impl Deref for Cause {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::Error as StoreError;

    #[test]
    fn an_error_has_its_cause_as_its_source_and_does_not_repeat_it() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = |path: &str| StoreError::Directory {
            path: PathBuf::from(path),
            file: None,
            reason: Cause::new(denied()),
        };
        let source = error("a").source().unwrap().to_string();
        assert_eq!(source, denied().to_string());
        let in_use = error("a");
        let source: &io::Error = in_use.source().unwrap().downcast_ref().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
        assert!(!in_use.to_string().contains(&denied().to_string()));
        assert_eq!(error("a"), error("a").clone());
        assert_ne!(error("a"), error("b"));
        let started = |words: &str| StoreError::Start(Cause::new(words));
        assert_ne!(started("one"), started("two"));
    }
}
