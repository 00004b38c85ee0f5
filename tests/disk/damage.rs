//! Tests of damaged databases and WALs: each call is answered, or fails with an error of the
//! contract; none traps or hangs, and `check` reports damage of the database's structure.
//! `DISK_DAMAGES` is how many cases of each kind are tried.

use std::sync::Arc;
use std::{env, slice};

use crate::beginnings;
use crate::disk::Disk;
use crate::expected::{Expected, answer};
use crate::image::Image;
use crate::model::Contents;
use crate::process::{DATABASE, Error, GetRequest, Process, Reply, Request, Session};
use crate::random::Random;
use crate::run::{Keys, START, Settings, check};
use crate::script::{self, Step};

pub const PAGE: usize = 4096;

/// What happens to a damaged store.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not opened, or its requests fail, because it is corrupt.
    Refused,
    /// `check` reports damage.
    Named,
    /// `check` finds nothing.
    Sound,
}

/// How many cases of each kind are tried.
pub fn times() -> u64 {
    let times = env::var("DISK_DAMAGES").ok();
    times.map_or(300, |times| {
        times.parse().expect("DISK_DAMAGES is a number")
    })
}

/// Calls all functions on a damaged disk; none may trap. With a key, a session that is read is
/// one of those that were `written` under its id, and `check` reports what requests refuse.
pub fn examine(image: Image, settings: Settings, written: &[Contents]) -> Result<Outcome, String> {
    let is_sealed = settings.keys != Keys::NONE;
    let mut process = Process::on(Disk::new(image), START, 11);
    let trap = |error| format!("a trap: {error:?}");
    match process.open(DATABASE, &settings.options()).map_err(trap)? {
        Ok(()) => {}
        Err(Error::Corrupt(_) | Error::Other(_)) => return Ok(Outcome::Refused),
        // Damage of the record of keys is like another key.
        Err(Error::InvalidArgument(_)) if is_sealed => return Ok(Outcome::Refused),
        Err(error) => return Err(format!("opened with {error:?}")),
    }
    let damage = check(&mut process).map_err(trap)?;
    for id in written.iter().flat_map(|of| of.sessions.keys()) {
        let get = Request::Get(GetRequest { id: id.clone() });
        match process.request(&get).map_err(trap)? {
            Ok(Reply::Session(Some(read))) if is_sealed => {
                let mut of_id = written.iter().filter_map(|of| of.sessions.get(id));
                let sealed = |of: &Session| (of.version, of.updated, of.subject.clone());
                let is_equal = |of: &Session| of.data == read.data && sealed(of) == sealed(&read);
                if !of_id.any(is_equal) {
                    return Err(format!("{id} is answered as it was never written"));
                }
            }
            Err(error) if is_sealed && damage.as_ref().is_ok_and(Vec::is_empty) => {
                return Err(format!(
                    "{id} is refused with {error:?}, but check is silent"
                ));
            }
            _ => {}
        }
    }
    for step in script::short() {
        if let Step::Alone(request) = step {
            let _ = process.request(&request).map_err(trap)?;
        }
    }
    let _ = process
        .admin(|admin, store, opened| admin.call_count_sessions(store, opened, None))
        .map_err(trap)?;
    let _ = process
        .admin(|admin, store, opened| admin.call_list_sessions(store, opened, None, None, 1000))
        .map_err(trap)?;
    let _ = process
        .admin(|admin, store, opened| admin.call_collect(store, opened, 100))
        .map_err(trap)?;
    let _ = process
        .admin(|admin, store, opened| admin.call_backup(store, opened, "damaged.db"))
        .map_err(trap)?;
    let _ = process
        .admin(|admin, store, opened| admin.call_clear(store, opened))
        .map_err(trap)?;
    process.close().map_err(trap)?;
    Ok(match damage {
        Ok(damage) if damage.is_empty() => Outcome::Sound,
        Ok(damage) if damage.len() <= 100 => Outcome::Named,
        Ok(damage) => return Err(format!("{} things are named", damage.len())),
        Err(_) => Outcome::Refused,
    })
}

/// A copy of the disk with one file changed.
pub fn changed(image: &Image, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let mut image = image.clone();
    let mut content = image.content(name).unwrap().clone();
    change(Arc::make_mut(&mut content));
    image.put(name, content);
    image
}

/// Swaps two pages or records of this length, which begin after a header.
pub fn swap(content: &mut [u8], header: usize, length: usize, (one, other): (usize, usize)) {
    for offset in 0..length {
        let at = |number| header + number * length + offset;
        content.swap(at(one), at(other));
    }
}

/// Both kinds of access.
const BOTH: [Settings; 2] = [Settings::new(true, true), Settings::new(false, true)];

fn each_is_answered(damage: impl Fn(&mut Random, &mut Vec<u8>)) {
    for settings in BOTH {
        let (image, held) = beginnings::closed(settings);
        for seed in 0..times() {
            let image = changed(&image, DATABASE, |content| {
                damage(&mut Random::new(seed), content);
            });
            let outcome = examine(image, settings, slice::from_ref(&held));
            assert!(outcome.is_ok(), "{outcome:?}, {settings:?}, seed {seed}");
        }
    }
}

#[test]
fn a_database_with_flipped_bytes_neither_traps_nor_hangs() {
    each_is_answered(|random, content| {
        for _ in 0..=random.below(4) {
            let at = random.below(content.len());
            content[at] ^= 1 << random.below(8);
        }
    });
    each_is_answered(|random, content| {
        let start = random.below(content.len());
        let end = content.len().min(start + 1 + random.below(64));
        random.fill(&mut content[start..end]);
    });
}

#[test]
fn swapped_pages_are_reported_or_refused() {
    for settings in BOTH {
        let (image, held) = beginnings::closed(settings);
        let pages = image.content(DATABASE).unwrap().len() / PAGE;
        for one in 0..pages {
            for other in 0..one {
                let image = changed(&image, DATABASE, |content| {
                    swap(content, 0, PAGE, (one, other));
                });
                let outcome = examine(image, settings, slice::from_ref(&held));
                let is_seen = matches!(outcome, Ok(Outcome::Named | Outcome::Refused));
                assert!(
                    is_seen,
                    "{outcome:?}, {settings:?}, pages {other} and {one}"
                );
            }
        }
    }
}

#[test]
fn a_truncated_or_empty_page_is_reported_or_refused() {
    for settings in BOTH {
        let (image, held) = beginnings::closed(settings);
        let pages = image.content(DATABASE).unwrap().len() / PAGE;
        for page in 0..pages {
            for cut in [false, true] {
                let image = changed(&image, DATABASE, |content| match cut {
                    true => content.truncate(page * PAGE + 100),
                    false => content[page * PAGE..][..PAGE].fill(0),
                });
                let outcome = examine(image, settings, slice::from_ref(&held));
                let is_seen = matches!(outcome, Ok(Outcome::Named | Outcome::Refused));
                assert!(is_seen, "{outcome:?}, {settings:?}, page {page}, cut {cut}");
            }
        }
    }
}

#[test]
fn a_damaged_log_yields_an_earlier_state() {
    let settings = Settings::new(true, true);
    let (image, history) = beginnings::killed(settings);
    let name = format!("{DATABASE}-wal");
    for seed in 0..times() {
        let random = &mut Random::new(seed);
        let image = changed(&image, &name, |content| {
            if random.chance(1, 4) && content.len() > 3 * PAGE {
                // Swaps two frames, each a header of 24 bytes and a page.
                let frames = (content.len() - 32) / (24 + PAGE);
                let two = (random.below(frames), random.below(frames));
                swap(content, 32, 24 + PAGE, two);
            } else {
                let at = random.below(content.len());
                content[at] ^= 1 << random.below(8);
            }
        });
        let expected = Expected {
            settings,
            allowed: &history,
            now: START,
            seed,
            has_no_times: false,
            unknown: 0,
        };
        let held = expected.is_held_by(image);
        assert_eq!(held, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_backup_of_a_sound_database_restores_to_an_equal_one() {
    for settings in Settings::ALL {
        let (image, held) = beginnings::closed(settings);
        let mut process = Process::on(Disk::new(image), START, 1);
        answer(process.open(DATABASE, &settings.options())).unwrap();
        let backup =
            process.admin(|admin, store, opened| admin.call_backup(store, opened, "copy.db"));
        answer(backup).unwrap();
        let copy = process.kill().seen.content("copy.db").unwrap().clone();
        let mut image = Image::default();
        image.put(DATABASE, copy);
        let expected = Expected {
            settings,
            allowed: &[held],
            now: START,
            seed: 2,
            has_no_times: false,
            unknown: 0,
        };
        assert_eq!(expected.is_held_by(image), Ok(()));
    }
}
