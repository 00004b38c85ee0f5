//! Tests of the scripts on a disk without faults: the store answers as the model expects.

use crate::disk::Disk;
use crate::image::Image;
use crate::model::Contents;
use crate::process::Process;
use crate::run::{Run, START, Settings, check, is_refusal, observe};
use crate::script::{self, Step};

fn runs_as_expected(settings: Settings, steps: &[Step]) {
    let process = Process::on(Disk::new(Image::default()), START, 1);
    let mut run = Run::begin(process, settings, Contents::default());
    run.open().unwrap().unwrap();
    for step in steps {
        if let Err(error) = run.step(step).unwrap() {
            assert!(is_refusal(&error), "{step:?}: {error:?}");
        }
        let now = run.process.now();
        let expected = run.contents.live(now);
        let ids: Vec<_> = run.contents.sessions.keys().collect();
        let (observed, count) = observe(&mut run.process, &ids).unwrap().unwrap();
        assert_eq!(observed.sessions, expected, "{step:?}");
        assert_eq!(count, expected.len() as u64, "{step:?}");
    }
    assert_eq!(check(&mut run.process).unwrap(), Ok(vec![]));
}

#[test]
fn the_store_answers_as_the_model_expects() {
    for settings in Settings::ALL {
        for steps in [script::everything(), script::many_pages()] {
            runs_as_expected(settings, &steps);
        }
    }
}

/// Also with relaxed durability, which may lose answered writes only in a power failure.
#[test]
fn an_instance_that_is_killed_after_an_answer_has_written_it() {
    for settings in Settings::ALL {
        let process = Process::on(Disk::new(Image::default()), START, 1);
        let mut run = Run::begin(process, settings, Contents::default());
        run.open().unwrap().unwrap();
        for step in script::everything() {
            if let Err(error) = run.step(&step).unwrap() {
                assert!(is_refusal(&error), "{step:?}: {error:?}");
            }
            run.restart().unwrap().unwrap();
            let now = run.process.now();
            let expected = run.contents.live(now);
            let ids: Vec<_> = run.contents.sessions.keys().collect();
            let (observed, count) = observe(&mut run.process, &ids).unwrap().unwrap();
            assert_eq!(observed.sessions, expected, "{settings:?}, {step:?}");
            assert_eq!(count, expected.len() as u64, "{settings:?}, {step:?}");
        }
    }
}
