//! Stops owners of a shared database at any point, for longer than a lock lives, while others
//! work, and continues them: no answered write is lost, none is kept in part, and the stopped
//! owner completes its request or answers `busy`.

use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::disk::Disk;
use crate::fault_runs::look;
use crate::faults::{Fault, Faults};
use crate::image::{Image, ROOT};
use crate::model::Contents;
use crate::owners::{Beginning, Owner, agree};
use crate::process::DATABASE;
use crate::script::{self, Step, set, update};
use crate::stops::Baton;

/// How long an owner is stopped, in nanoseconds: a lock counts as dead after 15 seconds.
const STOPPED: u64 = 16_000_000_000;

/// The distance between the calls at which the next owner is stopped. The first of them
/// depends on the call at which the first owner is stopped.
const NEXT_STOPS: u64 = 24;

/// Fails if anything of a lock is left.
fn has_no_lock(image: &Image) -> Result<(), String> {
    match image.entries(ROOT).any(|(name, _)| name.contains(".lock")) {
        true => Err("a lock is left".to_owned()),
        false => Ok(()),
    }
}

/// Runs a script whose owner is stopped after this many calls. Meanwhile the next owner runs
/// its whole script. Returns whether the first owner was stopped.
fn work_while_stopped(beginning: &Beginning, after: u64) -> Result<bool, String> {
    let (mut first, next) = beginning.owners(after)?;
    let next = Arc::new(Mutex::new(next));
    let worked = Arc::new(Mutex::new(Ok(())));
    let (working, result) = (next.clone(), worked.clone());
    first.stop(after, move |world| {
        let mut next = working.lock().unwrap();
        let mut baton = world.hand_over();
        baton.now += STOPPED;
        next.world().take_back(baton);
        let mut steps = vec![set("common", "{}")];
        steps.extend(script::of_another());
        *result.lock().unwrap() = steps.iter().try_for_each(|step| next.must(step));
        world.take_back(next.world().hand_over());
    });
    let mut unknown = 0;
    for step in &beginning.steps {
        let done = match first.attempt(step) {
            Ok(true) => Ok(0),
            Ok(false) => {
                let now = first.run.process.now();
                let others = next.lock().unwrap().run.contents.live(now).len();
                first.again(step, others as u64)
            }
            Err(what) => Err(what),
        };
        unknown += done.map_err(|what| format!("{step:?}: {what}"))?;
    }
    if first.world().stop.take().is_some() {
        return Ok(false);
    }
    let worked = mem::replace(&mut *worked.lock().unwrap(), Ok(()));
    worked.map_err(|what| format!("the next owner: {what}"))?;
    // The next owner has ended this session.
    first.must(&update("common", "late", None))?;
    let image = agree(&mut [&mut first, &mut next.lock().unwrap()], unknown)?;
    has_no_lock(&image)?;
    Ok(true)
}

/// Stops the owner of a script at each call; returns the number of calls.
fn stop_at_each_call(beginning: &Beginning) -> u64 {
    for after in 0.. {
        match work_while_stopped(beginning, after) {
            Ok(true) => {}
            Ok(false) => return after,
            Err(what) => panic!("{what}\nstopped after {after} calls"),
        }
    }
    unreachable!("a script ends");
}

#[test]
fn an_owner_stopped_at_any_call_loses_nothing_of_its_own_or_of_the_next_one() {
    assert!(stop_at_each_call(&Beginning::closed()) > 500);
}

#[test]
fn an_owner_stopped_while_it_makes_a_database_leaves_that_of_the_next_one_alone() {
    assert!(stop_at_each_call(&Beginning::empty()) > 200);
    assert!(stop_at_each_call(&Beginning::restored()) > 200);
}

/// The tokens in the directory of the lock, if there is one.
fn lock(disk: &Disk) -> Option<Vec<String>> {
    let lock = disk.seen.find(ROOT, &format!("{DATABASE}.lock")).ok()??;
    let names = disk.seen.entries(lock);
    Some(names.map(|(name, _)| name.to_owned()).collect())
}

/// What the next owner hands back: the disk and the time, and whether it has finished.
type Back = (Baton, bool);

/// The main function of the next owner's thread: opens the store and writes two sessions. It
/// is stopped after this many calls until it gets the disk again, and killed if it never does.
fn next_owner(
    after: u64,
    disk: Receiver<Baton>,
    back: &Sender<Back>,
) -> (Owner, Result<bool, String>) {
    let mut owner = Owner::new(3, Contents::default());
    let Ok(baton) = disk.recv() else {
        return (owner, Ok(false));
    };
    owner.world().take_back(baton);
    let stopped = back.clone();
    owner.stop(after, move |world| {
        stopped.send((world.hand_over(), false)).unwrap();
        match disk.recv() {
            Ok(baton) => world.take_back(baton),
            Err(_) => world.faults = Faults::new(Fault::Kill, 0, false),
        }
    });
    let done = owner.attempt(&of_the_next());
    owner.world().stop = None;
    // Not received if the owner was killed.
    let _ = back.send((owner.world().hand_over(), true));
    (owner, done)
}

fn of_the_next() -> Step {
    let sets = [set("of the next", "{}"), set("large", &"z".repeat(20_000))];
    Step::Batch(Vec::from(sets.map(script::request)))
}

/// Stops the first owner in a write, and then the next owner. Continues the first one, which
/// writes again; then continues or kills the next one. Returns whether each was stopped.
fn wake_while_next_is_stopped(
    beginning: &Beginning,
    (first_after, next_after): (u64, u64),
    kills: bool,
) -> Result<(bool, bool), String> {
    let (to_next, disk) = channel();
    let (back, from_next) = channel();
    let next = thread::spawn(move || next_owner(next_after, disk, &back));
    let mut first = Owner::new(7, beginning.held.clone());
    first.world().take_back(beginning.baton());
    let from_next = Arc::new(Mutex::new(from_next));
    let found = Arc::new(Mutex::new(None));
    let (sent, received, seen) = (to_next.clone(), from_next.clone(), found.clone());
    first.stop(first_after, move |world| {
        let mut baton = world.hand_over();
        let own = lock(&baton.disk);
        baton.now += STOPPED;
        sent.send(baton).unwrap();
        let (baton, is_done) = received.lock().unwrap().recv().unwrap();
        *seen.lock().unwrap() = Some((own, lock(&baton.disk), is_done));
        world.take_back(baton);
    });
    let steps = [set("first", "written"), set("later", "{}")];
    let is_written = first.attempt(&steps[0])?;
    first.world().stop = None;
    let Some((own, of_next, next_is_done)) = found.lock().unwrap().take() else {
        return Ok((false, false));
    };
    // Whether the lock has a token that is not the first owner's.
    let next_holds = of_next.as_ref().is_some_and(|tokens| !tokens.is_empty()) && of_next != own;
    let is_kept = |first: &mut Owner| {
        let now = lock(&first.world().disk);
        match next_holds && now != of_next {
            true => Err("the first owner has changed the lock of the next one"),
            false => Ok(now.is_none()),
        }
    };
    let is_free = is_kept(&mut first)?;
    let is_later_written = first.attempt(&steps[1])?;
    is_kept(&mut first)?;
    match is_later_written {
        true if next_holds => return Err("the first owner writes without the lock".to_owned()),
        false if is_free => return Err("the first owner is busy with a free lock".to_owned()),
        _ => {}
    }
    let is_killed = kills && !next_is_done;
    if !is_killed && !next_is_done {
        to_next.send(first.world().hand_over()).unwrap();
        let (baton, _) = from_next.lock().unwrap().recv().unwrap();
        first.world().take_back(baton);
    }
    drop(to_next);
    let (mut next, done) = next.join().expect("the next owner has not panicked");
    if is_killed {
        // Its lock then counts as dead.
        first.world().now += STOPPED;
    } else if !done.map_err(|what| format!("the next owner: {what}"))? {
        // It may have been stopped for too long while it renewed its lock.
        next.world().take_back(first.world().hand_over());
        next.again(&of_the_next(), 0)?;
        first.world().take_back(next.world().hand_over());
    }
    for (step, is_done) in steps.iter().zip([is_written, is_later_written]) {
        if !is_done {
            first.again(step, 2)?;
        }
    }
    if is_killed {
        // Its batch was kept as a whole, or not at all.
        look(&mut first.run, &of_the_next(), 0)?;
        agree(&mut [&mut first], 0)?;
    } else {
        let image = agree(&mut [&mut first, &mut next], 0)?;
        has_no_lock(&image)?;
    }
    Ok((true, !next_is_done))
}

/// Stops the first owner at each call, and the next one at some; see [`NEXT_STOPS`].
fn stop_both(beginning: &Beginning, kills: bool) {
    let mut times = 0;
    for first_after in 0.. {
        let mut is_first_stopped = true;
        for next_after in (first_after % NEXT_STOPS..).step_by(NEXT_STOPS as usize) {
            let after = (first_after, next_after);
            match wake_while_next_is_stopped(beginning, after, kills) {
                Ok((true, true)) => times += 1,
                Ok((is_stopped, _)) => {
                    is_first_stopped = is_stopped;
                    break;
                }
                Err(what) => panic!("{what}\nstopped after {after:?} calls"),
            }
        }
        if !is_first_stopped {
            break;
        }
    }
    assert!(times > 500, "only {times} times");
}

#[test]
fn an_owner_that_wakes_never_changes_the_lock_of_the_next_one() {
    stop_both(&Beginning::closed(), false);
    stop_both(&Beginning::restored(), false);
}

#[test]
fn an_owner_that_wakes_leaves_the_journal_of_the_next_one_which_is_killed() {
    stop_both(&Beginning::closed(), true);
    stop_both(&Beginning::restored(), true);
}
