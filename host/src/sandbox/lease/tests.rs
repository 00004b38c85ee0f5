//! Tests of the lease on disk: taken, renewed, released, taken over and lost.

use super::*;
use tempfile::TempDir;

fn lease() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let lease = Lease::path(&directory.path().join("sessions.db"));
    (directory, lease)
}

fn take(lease: &Path) -> io::Result<Option<Lease>> {
    Lease::take(lease.to_owned(), Duration::ZERO)
}

/// A token of another owner in the lease, which was renewed `age` ago.
fn token_of_another(lease: &Path, name: &str, age: Duration) -> PathBuf {
    let token = lease.join(name);
    fs::create_dir_all(lease).unwrap();
    let file = File::create(&token).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    token
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_lease_is_one_token_until_it_is_released() {
    let (directory, path) = lease();
    let lease = take(&path).unwrap().unwrap();
    assert_eq!(names(directory.path()), ["sessions.db.lock"]);
    let [token] = names(&path).try_into().unwrap();
    assert!(token.starts_with("exclusive-"), "{token}");
    assert!(!lease.is_lost() && !lease.is_doubtful());
    drop(lease);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_lease_of_a_live_instance_is_not_taken() {
    let (directory, path) = lease();
    let token = token_of_another(&path, "0123456789abcdef", Duration::from_secs(5));
    assert!(take(&path).unwrap().is_none());
    assert!(token.exists());
    assert_eq!(names(directory.path()), ["sessions.db.lock"]);
}

#[test]
fn a_lease_that_is_empty_or_of_a_dead_owner_is_taken_over() {
    let (directory, path) = lease();
    fs::create_dir(&path).unwrap();
    drop(take(&path).unwrap().unwrap());
    let of_dead = [
        ("0123456789abcdef", Duration::from_secs(16)),
        ("exclusive-0123456789abcdef", Duration::ZERO),
    ];
    for (name, age) in of_dead {
        let token = token_of_another(&path, name, age);
        let lease = take(&path).unwrap().unwrap();
        assert!(!token.exists() && !lease.is_lost());
        assert_eq!(names(directory.path()), ["sessions.db.lock"]);
        let renewed = fs::metadata(&lease.token.path).unwrap().modified();
        assert!(renewed.unwrap().elapsed().unwrap() < Duration::from_secs(15));
        drop(lease);
        assert!(!path.exists());
    }
}

#[test]
fn a_renewal_makes_the_token_young() {
    let (_directory, path) = lease();
    let lease = take(&path).unwrap().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(16);
    let token = File::open(&lease.token.path).unwrap();
    token.set_modified(long_ago).unwrap();
    lease.token.renewed.lock().unwrap().wall = long_ago;
    assert!(lease.is_doubtful());
    lease.token.renew().unwrap();
    assert!(!lease.is_doubtful());
    let renewed = fs::metadata(&lease.token.path).unwrap().modified();
    assert!(renewed.unwrap() > long_ago);
}

#[test]
fn a_lease_that_was_taken_over_is_lost_and_not_released() {
    let (_directory, path) = lease();
    let lease = take(&path).unwrap().unwrap();
    let taken = path.join("0123456789abcdef");
    fs::rename(&lease.token.path, &taken).unwrap();
    assert!(lease.is_lost());
    assert!(lease.token.renew().is_err());
    drop(lease);
    assert!(taken.exists());
}

#[test]
fn a_file_in_the_place_of_a_lease_is_an_error() {
    let (_directory, path) = lease();
    fs::write(&path, "").unwrap();
    assert!(take(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[cfg(unix)]
#[test]
fn a_lease_is_for_this_user_alone_and_its_links_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (directory, path) = lease();
    let lease = take(&path).unwrap().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&lease.token.path)), (0o700, 0o600));
    let outside = directory.path().join("outside");
    let file = File::create(&outside).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::remove_file(&lease.token.path).unwrap();
    symlink(&outside, &lease.token.path).unwrap();
    let _ = lease.token.renew();
    let modified = fs::metadata(&outside).unwrap().modified();
    assert_eq!(modified.unwrap(), SystemTime::UNIX_EPOCH);
}
