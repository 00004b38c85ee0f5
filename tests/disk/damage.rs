//! Tests of damaged databases and WALs: each call is answered, or fails with an error of the
//! contract; none traps or hangs, and `check` reports damage of the database's structure.
//! `DISK_DAMAGES` is how many cases of each kind are tried.

use std::env;
use std::sync::Arc;

use crate::beginnings;
use crate::disk::Disk;
use crate::expected::{Expected, answer};
use crate::image::Image;
use crate::model::Contents;
use crate::process::{DATABASE, Error, Process};
use crate::random::Random;
use crate::run::{START, Settings, check, observe};
use crate::script::{self, Step};

const PAGE: usize = 4096;

/// What happens to a damaged store.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is not opened, or its requests fail, because it is corrupt.
    Refused,
    /// `check` reports damage.
    Named,
    /// `check` finds nothing.
    Sound,
}

fn times() -> u64 {
    let times = env::var("DISK_DAMAGES").ok();
    times.map_or(300, |times| {
        times.parse().expect("DISK_DAMAGES is a number")
    })
}

/// Calls all functions on a damaged disk; none may trap.
fn examine(image: Image, settings: Settings, held: &Contents) -> Result<Outcome, String> {
    let mut process = Process::on(Disk::new(image), START, 11);
    let trap = |error| format!("a trap: {error:?}");
    match process.open(DATABASE, &settings.options()).map_err(trap)? {
        Ok(()) => {}
        Err(Error::Corrupt(_) | Error::Other(_)) => return Ok(Outcome::Refused),
        Err(error) => return Err(format!("opened with {error:?}")),
    }
    let damage = check(&mut process).map_err(trap)?;
    let ids: Vec<_> = held.sessions.keys().collect();
    let _ = observe(&mut process, &ids).map_err(trap)?;
    for step in script::short() {
        if let Step::Alone(request) = step {
            let _ = process.request(&request).map_err(trap)?;
        }
    }
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
fn changed(image: &Image, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let mut image = image.clone();
    let mut content = image.content(name).unwrap().clone();
    change(Arc::make_mut(&mut content));
    image.put(name, content);
    image
}

fn each_is_answered(damage: impl Fn(&mut Random, &mut Vec<u8>)) {
    for settings in [Settings::new(true, true), Settings::new(false, true)] {
        let (image, held) = beginnings::closed(settings);
        for seed in 0..times() {
            let image = changed(&image, DATABASE, |content| {
                damage(&mut Random::new(seed), content);
            });
            let outcome = examine(image, settings, &held);
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
    for settings in [Settings::new(true, true), Settings::new(false, true)] {
        let (image, held) = beginnings::closed(settings);
        let pages = image.content(DATABASE).unwrap().len() / PAGE;
        for one in 0..pages {
            for other in 0..one {
                let image = changed(&image, DATABASE, |content| {
                    let (start, end) = content.split_at_mut(one * PAGE);
                    start[other * PAGE..][..PAGE].swap_with_slice(&mut end[..PAGE]);
                });
                let outcome = examine(image, settings, &held);
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
    for settings in [Settings::new(true, true), Settings::new(false, true)] {
        let (image, held) = beginnings::closed(settings);
        let pages = image.content(DATABASE).unwrap().len() / PAGE;
        for page in 0..pages {
            for cut in [false, true] {
                let image = changed(&image, DATABASE, |content| match cut {
                    true => content.truncate(page * PAGE + 100),
                    false => content[page * PAGE..][..PAGE].fill(0),
                });
                let outcome = examine(image, settings, &held);
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
                let (one, other) = (random.below(frames), random.below(frames));
                let at = |frame| 32 + frame * (24 + PAGE);
                for offset in 0..24 + PAGE {
                    content.swap(at(one) + offset, at(other) + offset);
                }
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
