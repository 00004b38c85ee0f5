//! Tests in which the n-th call of a kind to the file system fails, once or from then on, for
//! each n. Each request is answered or fails with an error of the contract, no answered write
//! is lost, and after the fault the store works again.

use crate::beginnings;
use crate::disk::Disk;
use crate::expected::{Expected, answer, is_sound};
use crate::faults::{FAULTS, Fault, Faults};
use crate::image::Image;
use crate::memory::Memory;
use crate::model::Contents;
use crate::power::{Left, Progress};
use crate::process::{Called, Error, GetRequest, Process, Reply, Request};
use crate::random::Random;
use crate::run::{Keys, Run, START, Settings, observe};
use crate::script::{self, Step};

/// The seconds between the end of a run and the next start.
const AFTERWARDS: u64 = 20;

/// A disk with a closed store, and the store's contents.
struct Beginning {
    settings: Settings,
    image: Image,
    held: Contents,
    steps: Vec<Step>,
}

/// How a run ended.
enum Ran {
    /// A call has failed.
    Faulty,
    /// No call has failed. The run had this many calls, or growths of the memory.
    Sound(u64),
}

impl Beginning {
    fn new(settings: Settings, steps: Vec<Step>) -> Self {
        let (image, held) = beginnings::closed(settings);
        Self {
            settings,
            image,
            held,
            steps,
        }
    }

    fn empty(settings: Settings) -> Self {
        let mut image = Image::default();
        beginnings::put_reserve(&mut image);
        Self {
            settings,
            image,
            held: Contents::default(),
            steps: script::short(),
        }
    }

    fn changes_its_key(is_exclusive: bool) -> Self {
        let keys = Keys::SECOND.after(Keys::FIRST);
        let settings = Settings::new(is_exclusive, true).with(keys);
        let (image, held) = beginnings::before_change_of_key(settings);
        Self {
            settings,
            image,
            held,
            steps: script::change_with_faults(),
        }
    }

    fn restored(settings: Settings) -> Self {
        let (image, held) = beginnings::restored(settings);
        Self {
            settings,
            image,
            held,
            steps: script::short(),
        }
    }

    /// Runs the script on a disk with these faults and with this memory.
    fn run(&self, faults: Faults, memory: Memory) -> Result<Ran, String> {
        let seed = faults.after;
        let process = Process::on(Disk::new(self.image.clone()), START, seed);
        let mut run = Run::begin(process, self.settings, self.held.clone());
        let world = run.process.world();
        world.faults = faults;
        world.memory = memory;
        // A store that is closed before the disk works again cannot roll a failed write back.
        let stays_open = self.settings.is_exclusive && world.faults.stays;
        let mut is_open = false;
        let mut unknown = 0;
        for step in &self.steps {
            if stays_open && matches!(step, Step::Reopen) {
                continue;
            }
            if !is_open {
                let opened = run.open();
                let has_trapped = opened.is_err();
                is_open = trapped(&mut run, opened)?.is_ok() || has_trapped;
            }
            if !is_open {
                continue;
            }
            let stepped = run.step(step);
            let has_trapped = stepped.is_err();
            let done = trapped(&mut run, stepped).map_err(|what| format!("{step:?}: {what}"))?;
            let world = run.process.world();
            let is_met = world.faults.were_met() || world.memory.is_short() || has_trapped;
            match (step, done) {
                (Step::Reopen, done) => is_open = has_trapped || done.is_ok(),
                (_, Ok(())) => {}
                (_, Err(error)) if !is_met => return Err(format!("{step:?}: {error:?}")),
                // If the component crashed or the access is shared, the step may be kept.
                (step, Err(_)) if has_trapped || !self.settings.is_exclusive => {
                    unknown += look(&mut run, step, 0)?;
                }
                (_, Err(_)) => {}
            }
        }
        let world = run.process.world();
        let calls = world.faults.calls + world.memory.growths;
        let ran = match world.faults.were_met() || world.memory.was_short {
            true => Ran::Faulty,
            false => Ran::Sound(calls),
        };
        world.faults = Faults::default();
        world.memory = Memory::default();
        // By then a lock that could not be removed counts as dead.
        world.now += AFTERWARDS * 1_000_000_000;
        if !is_open {
            answer(run.open()).map_err(|what| format!("without faults: {what}"))?;
        }
        self.goes_on(run, unknown, seed)?;
        Ok(ran)
    }

    /// Checks that the store works again and has all answered writes, also after a power
    /// failure.
    fn goes_on(&self, mut run: Run, unknown: u64, seed: u64) -> Result<(), String> {
        answer(run.step(&script::set("goes on", "{}")))
            .map_err(|what| format!("when the fault is gone: {what}"))?;
        is_sound(&mut run.process)?;
        let ids: Vec<_> = run.contents.sessions.keys().collect();
        let (held, count) = answer(observe(&mut run.process, &ids))?;
        let now = run.process.now();
        if held.sessions != run.contents.live(now) || count != held.sessions.len() as u64 + unknown
        {
            let expected = run.contents.live(now);
            let other: Vec<_> = expected
                .iter()
                .filter(|(id, of)| held.sessions.get(*id) != Some(of))
                .map(|(id, _)| id)
                .collect();
            return Err(format!(
                "{count} sessions; {other:?} are not as they were answered"
            ));
        }
        let now = run.process.world().now + AFTERWARDS * 1_000_000_000;
        let allowed = [run.contents.clone()];
        let disk = run.process.kill();
        let mut progress = Progress::new(&disk.start, seed);
        disk.log
            .iter()
            .for_each(|operation| progress.pass(operation));
        for left in [Left::Nothing, Left::Part] {
            let image = progress.cut(left, &mut Random::new(seed));
            let expected = Expected {
                settings: self.settings,
                allowed: &allowed,
                now,
                seed: !seed,
                has_no_times: false,
                unknown,
            };
            let held = expected.is_held_by(image);
            held.map_err(|what| format!("after a loss of power: {what}"))?;
        }
        Ok(())
    }
}

/// Checks that a step that failed was kept completely or not at all; returns how many
/// sessions it has started with unknown ids. `others` is the number of sessions that only
/// another owner knows.
pub fn look(run: &mut Run, step: &Step, others: u64) -> Result<u64, String> {
    let faults = std::mem::take(&mut run.process.world().faults);
    let ended = run.process.now();
    run.process.world().now += AFTERWARDS * 1_000_000_000;
    let mut started = 0;
    let mut kept = Vec::new();
    for request in requests(step) {
        let request = run.resolve(&request);
        let id = match &request {
            Request::Create(_) => continue,
            Request::Set(of) => &of.id,
            Request::Update(of) => &of.id,
            Request::Merge(of) => &of.id,
            Request::Touch(of) => &of.id,
            Request::Rotate(of) => &of.id,
            Request::Destroy(of) => &of.id,
            Request::Get(_) => continue,
        };
        let get = Request::Get(GetRequest { id: id.clone() });
        let Reply::Session(now) = answer(run.process.request(&get))? else {
            return Err("no session in the answer to `get`".to_owned());
        };
        let before = run.contents.sessions.get(id).cloned();
        kept.push(now != before);
        match now {
            _ if now == before => {}
            Some(session) => {
                run.contents.sessions.insert(id.clone(), session);
            }
            None => {
                run.contents.end(id, ended);
                started += u64::from(matches!(request, Request::Rotate(_)));
            }
        }
    }
    if kept.iter().any(|one| *one != kept[0]) {
        return Err(format!("{step:?} was kept in part"));
    }
    let is_kept = kept.first().copied();
    let creates = requests(step)
        .iter()
        .filter(|of| matches!(of, Request::Create(_)))
        .count();
    if creates > 0 && is_kept.is_none_or(|kept| kept) {
        let count = answer(observe(&mut run.process, &[]))?.1;
        let known = others + run.contents.live(run.process.now()).len() as u64;
        started += count.saturating_sub(known).min(creates as u64);
    }
    run.process.world().faults = faults;
    Ok(started)
}

fn requests(step: &Step) -> Vec<Request> {
    match step {
        Step::Alone(request) => vec![request.clone()],
        Step::Batch(requests) => requests.clone(),
        _ => vec![],
    }
}

/// The result of a call, which may trap only if memory was exhausted or the process was
/// killed; the component is then restarted.
fn trapped<T>(run: &mut Run, called: Called<T>) -> Result<Result<T, Error>, String> {
    called.or_else(|error| {
        let world = run.process.world();
        let is_killed = world.faults.kind == Some(Fault::Kill) && world.faults.were_met();
        if !is_killed && !world.memory.is_short() {
            return Err(format!("a trap: {error:?}"));
        }
        world.memory = Memory {
            was_short: true,
            ..Memory::default()
        };
        world.faults = Faults::default();
        answer(run.restart())?;
        Ok(Err(Error::Other("the component has ended".to_owned())))
    })
}

/// Runs a beginning's script with a fault of each kind at each call.
fn fail_at_each_call(beginning: &Beginning) {
    for (kind, stays) in FAULTS
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
    {
        for after in 0.. {
            let when = if stays { "and from then on" } else { "once" };
            match beginning.run(Faults::new(kind, after, stays), Memory::default()) {
                Ok(Ran::Faulty) => {}
                Ok(Ran::Sound(_)) => break,
                Err(what) => panic!(
                    "{what}\n{:?}, {kind:?} after {after} calls, {when}",
                    beginning.settings
                ),
            }
        }
    }
}

#[test]
fn an_exclusive_store_survives_each_fault() {
    let beginning = Beginning::new(Settings::new(true, true), script::with_faults());
    fail_at_each_call(&beginning);
}

#[test]
fn a_shared_store_survives_each_fault() {
    let beginning = Beginning::new(Settings::new(false, true), script::with_faults());
    fail_at_each_call(&beginning);
}

#[test]
fn a_restored_copy_survives_each_fault() {
    for is_exclusive in [true, false] {
        let beginning = Beginning::restored(Settings::new(is_exclusive, true));
        fail_at_each_call(&beginning);
    }
}

#[test]
fn a_store_whose_key_changes_survives_each_fault() {
    for is_exclusive in [true, false] {
        fail_at_each_call(&Beginning::changes_its_key(is_exclusive));
    }
}

/// The writes after a killed process survive a power failure, too.
#[test]
fn a_store_survives_being_killed_at_each_call() {
    for is_exclusive in [true, false] {
        let settings = Settings::new(is_exclusive, true);
        for beginning in [
            Beginning::empty(settings),
            Beginning::new(settings, script::with_faults()),
            Beginning::restored(settings),
            Beginning::changes_its_key(is_exclusive),
        ] {
            for after in 0.. {
                let faults = Faults::new(Fault::Kill, after, false);
                match beginning.run(faults, Memory::default()) {
                    Ok(Ran::Faulty) => {}
                    Ok(Ran::Sound(_)) => break,
                    Err(what) => panic!("{what}\n{settings:?}, killed after {after} calls"),
                }
            }
        }
    }
}

#[test]
fn a_new_store_survives_each_fault() {
    for is_exclusive in [true, false] {
        let beginning = Beginning::empty(Settings::new(is_exclusive, true));
        fail_at_each_call(&beginning);
    }
}

#[test]
fn a_store_survives_too_little_memory() {
    for is_exclusive in [true, false] {
        let settings = Settings::new(is_exclusive, true);
        let beginning = Beginning::new(settings, script::large());
        for traps in [true, false] {
            for most in 0.. {
                let memory = Memory {
                    most: Some(most),
                    traps,
                    ..Memory::default()
                };
                match beginning.run(Faults::default(), memory) {
                    Ok(Ran::Faulty) => {}
                    Ok(Ran::Sound(growths)) => {
                        assert!(growths > 4, "the script needs more memory");
                        break;
                    }
                    Err(what) => panic!("{what}\n{settings:?}, {most} growths, traps: {traps}"),
                }
            }
        }
    }
}
