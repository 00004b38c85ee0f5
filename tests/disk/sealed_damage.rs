//! Tests of damaged stores with a key, at rest and after a kill in the middle of a write, with
//! a WAL or a rollback journal to recover from. What was changed is refused and never answered
//! as a payload, even if it was changed by a program that knows SQLite's checksums.
//!
//! `DISK_DAMAGES` is how many cases of each kind are tried.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use crate::beginnings;
use crate::damage::{Outcome, PAGE, changed, examine, swap, times};
use crate::disk::Disk;
use crate::image::Image;
use crate::model::{Contents, handle};
use crate::process::{DATABASE, Error, GetRequest, Process, Reply, Request};
use crate::random::Random;
use crate::run::{Keys, START, Settings, check};

/// The bytes before the first frame of a WAL, and before each frame's page.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The bytes before the first page of a journal: a sector. Before each page is its number,
/// and after it its checksum.
const JOURNAL_HEADER: usize = 512;
const JOURNAL_RECORD: usize = 4 + PAGE + 4;

/// A store that was killed in the middle of a write.
struct Killed {
    settings: Settings,
    closed: Image,
    images: Vec<Image>,
    written: [Contents; 2],
}

/// With both kinds of access.
fn killed() -> impl Iterator<Item = Killed> {
    [true, false].into_iter().map(|is_exclusive| {
        let settings = Settings::new(is_exclusive, true).with(Keys::FIRST);
        let (closed, images, written) = beginnings::killed_in_a_write(settings);
        let killed = Killed {
            settings,
            closed,
            images,
            written,
        };
        assert!(killed.images.len() > 3, "{settings:?}");
        killed
    })
}

impl Killed {
    /// The file from which the database is recovered.
    fn log(&self) -> String {
        match self.settings.is_exclusive {
            true => format!("{DATABASE}-wal"),
            false => format!("{DATABASE}-journal"),
        }
    }

    /// Examines a damaged disk.
    fn examine(&self, image: Image, seed: u64) -> Outcome {
        let outcome = examine(image, self.settings, &self.written);
        outcome.unwrap_or_else(|what| panic!("{what}, {:?}, case {seed}", self.settings))
    }
}

/// Changes some bits, or a short range.
fn scramble(random: &mut Random, content: &mut [u8]) {
    let start = random.below(content.len());
    if random.chance(1, 2) {
        let end = content.len().min(start + 1 + random.below(64));
        random.fill(&mut content[start..end]);
    } else {
        for _ in 0..=random.below(4) {
            let at = random.below(content.len());
            content[at] ^= 1 << random.below(8);
        }
    }
}

/// The sealed payloads in a database that are this long.
fn sealed(image: &Image, length: usize) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    fs::write(&path, &**image.content(DATABASE).unwrap()).unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT data FROM Sessions WHERE length(data) BETWEEN ?1 AND ?1 + 99 ORDER BY key";
    let mut statement = database.prepare(sql).unwrap();
    let payloads = statement
        .query_map([length as i64], |row| row.get(0))
        .unwrap();
    payloads.map(Result::unwrap).collect()
}

/// Replaces each occurrence of one text by another of the same length, and the other way
/// round; returns how many were replaced.
fn exchange(content: &mut [u8], one: &[u8], other: &[u8]) -> usize {
    let mut exchanged = 0;
    for at in 0..content.len().saturating_sub(one.len()) {
        let here = &mut content[at..at + one.len()];
        // Sealed payloads begin with a random nonce, so the comparison ends early.
        let replacement = match &*here {
            found if found == one => other,
            found if found == other => one,
            _ => continue,
        };
        here.copy_from_slice(replacement);
        exchanged += 1;
    }
    exchanged
}

/// Gives all frames of a WAL the right checksums.
fn sign_wal(wal: &mut [u8]) {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let is_big_endian = word(&wal[..4]) & 1 == 1;
    let sum = |sums: [u32; 2], bytes: &[u8]| {
        bytes.chunks_exact(8).fold(sums, |[first, second], pair| {
            let half = |bytes: &[u8]| match is_big_endian {
                true => word(bytes),
                false => word(bytes).swap_bytes(),
            };
            let first = first.wrapping_add(half(&pair[..4])).wrapping_add(second);
            let second = second.wrapping_add(half(&pair[4..])).wrapping_add(first);
            [first, second]
        })
    };
    let mut sums = sum([0, 0], &wal[..24]);
    for frame in wal[WAL_HEADER..].chunks_exact_mut(FRAME_HEADER + PAGE) {
        sums = sum(sum(sums, &frame[..8]), &frame[FRAME_HEADER..]);
        frame[16..20].copy_from_slice(&sums[0].to_be_bytes());
        frame[20..24].copy_from_slice(&sums[1].to_be_bytes());
    }
}

/// Gives all pages of a rollback journal the right checksums.
fn sign_journal(journal: &mut [u8]) {
    let nonce = u32::from_be_bytes(journal[12..16].try_into().unwrap());
    for record in journal[JOURNAL_HEADER..].chunks_exact_mut(JOURNAL_RECORD) {
        let page = &record[4..4 + PAGE];
        let counted = (1..PAGE.div_ceil(200)).map(|number| page[PAGE - 200 * number]);
        let sum = counted.fold(nonce, |sum, byte| sum.wrapping_add(byte.into()));
        record[4 + PAGE..].copy_from_slice(&sum.to_be_bytes());
    }
}

fn sign(name: &str, content: &mut [u8]) {
    if name.ends_with("-wal") {
        sign_wal(content);
    } else if name.ends_with("-journal") && !content.is_empty() {
        sign_journal(content);
    }
}

/// Opens a store, and asserts that this many of its sessions are refused as corrupt, that
/// `check` names as many rows, and that each other session is one that was written.
fn assert_refused(image: Image, killed: &Killed, least: usize) {
    let mut process = Process::on(Disk::new(image), START, 11);
    let options = killed.settings.options();
    process.open(DATABASE, &options).unwrap().unwrap();
    let damage = check(&mut process).unwrap().unwrap();
    let ids: BTreeSet<&String> = killed
        .written
        .iter()
        .flat_map(|of| of.sessions.keys())
        .collect();
    let mut refused = 0;
    for id in ids {
        match process
            .request(&Request::Get(GetRequest { id: id.clone() }))
            .unwrap()
        {
            Ok(Reply::Session(Some(session))) => {
                let mut written = killed.written.iter();
                assert!(
                    written.any(|of| of.sessions.get(id) == Some(&session)),
                    "{id}"
                );
            }
            Err(Error::Corrupt(_)) => {
                refused += 1;
                let row = u64::from_str_radix(&handle(id)[..16], 16)
                    .unwrap()
                    .cast_signed();
                let row = format!("row {row} of table");
                assert!(
                    damage.iter().any(|one| one.contains(&row)),
                    "{id}: {damage:?}"
                );
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    assert!(
        refused >= least,
        "{refused} refused, {least} changed: {damage:?}"
    );
    assert_eq!(damage.len(), refused, "{damage:?}");
}

#[test]
fn a_sealed_store_with_flipped_bytes_answers_only_what_was_written() {
    for killed in killed() {
        for seed in 0..times() {
            let random = &mut Random::new(seed);
            let (image, name) = match seed % 2 {
                0 => (&killed.closed, DATABASE.to_owned()),
                _ => (
                    &killed.images[random.below(killed.images.len())],
                    killed.log(),
                ),
            };
            let is_signed = random.chance(1, 2);
            let image = changed(image, &name, |content| {
                if !content.is_empty() {
                    scramble(random, content);
                }
                if is_signed {
                    sign(&name, content);
                }
            });
            killed.examine(image, seed);
        }
    }
}

#[test]
fn a_sealed_store_with_swapped_pages_answers_only_what_was_written() {
    for killed in killed() {
        let pages = killed.closed.content(DATABASE).unwrap().len() / PAGE;
        for one in 0..pages {
            for other in 0..one {
                let image = changed(&killed.closed, DATABASE, |content| {
                    swap(content, 0, PAGE, (one, other));
                });
                let outcome = killed.examine(image, (one * pages + other) as u64);
                assert_ne!(outcome, Outcome::Sound, "pages {other} and {one}");
            }
        }
        let (name, header, length) = match killed.settings.is_exclusive {
            true => (killed.log(), WAL_HEADER, FRAME_HEADER + PAGE),
            false => (killed.log(), JOURNAL_HEADER, JOURNAL_RECORD),
        };
        for (number, image) in killed.images.iter().enumerate() {
            let length_of_log = image.content(&name).unwrap().len();
            let records = length_of_log.saturating_sub(header) / length;
            for record in 1..records {
                let image = changed(image, &name, |content| {
                    swap(content, header, length, (record, record - 1));
                    sign(&name, content);
                });
                killed.examine(image, number as u64);
            }
        }
    }
}

#[test]
fn a_sealed_payload_that_is_in_another_row_or_changed_is_refused() {
    for killed in killed() {
        // The payloads before and after the write; those after it are in the last image.
        let before = sealed(&killed.closed, 2000);
        assert!(before.len() >= 8);
        let mut seen = 0;
        for (number, image) in [&killed.closed]
            .into_iter()
            .chain(&killed.images)
            .enumerate()
        {
            let random = &mut Random::new(number as u64);
            for is_swapped in [true, false] {
                let one = random.below(before.len());
                let other = (one + 1 + random.below(before.len() - 1)) % before.len();
                let mut changed_one = before[one].clone();
                changed_one[random.below(before[one].len())] ^= 1 << random.below(8);
                let other = match is_swapped {
                    true => &before[other],
                    false => &changed_one,
                };
                let mut damaged = image.clone();
                let mut exchanged = 0;
                for name in [DATABASE.to_owned(), killed.log()] {
                    let Some(content) = image.content(&name) else {
                        continue;
                    };
                    let mut content = Vec::clone(content);
                    exchanged += exchange(&mut content, &before[one], other);
                    sign(&name, &mut content);
                    damaged.put(&name, Arc::new(content));
                }
                // A write that was not rolled back has replaced payloads.
                let journal = image.content(&format!("{DATABASE}-journal"));
                let is_rolled_back = journal.is_some_and(|journal| !journal.is_empty());
                let least = if number == 0 || is_rolled_back {
                    1 + usize::from(is_swapped)
                } else {
                    0
                };
                assert!(exchanged >= least, "{exchanged}");
                assert_refused(damaged, &killed, least);
                seen += least;
            }
        }
        assert!(seen >= 3, "{seen}");
    }
}
