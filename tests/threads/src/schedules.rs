//! Runs a scenario in many orders of its threads' steps.

use std::env;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Schedules of each kind, unless `SCHEDULES` has another number.
const SCHEDULES: usize = 1000;

/// The steps of a schedule at which priorities change, and one more.
const DEPTH: usize = 3;

const SEED: u64 = 14;

/// Runs the scenario in schedules with a random thread at each step, and in schedules in
/// which threads have priorities that rarely change. If the scenario panics or its threads
/// wait for each other, fails and prints the schedule, which `SCHEDULE=<schedule>` repeats.
pub fn check(scenario: impl Fn() + Copy + Send + Sync + 'static) {
    if let Ok(schedule) = env::var("SCHEDULE") {
        return run(scenario, ReplayScheduler::new_from_encoded(schedule.trim()));
    }
    let schedules = match env::var("SCHEDULES") {
        Ok(number) => number.parse().expect("SCHEDULES is a number"),
        Err(_) => SCHEDULES,
    };
    run(scenario, RandomScheduler::new_from_seed(SEED, schedules));
    run(
        scenario,
        PctScheduler::new_from_seed(SEED, DEPTH, schedules),
    );
}

fn run(scenario: impl Fn() + Send + Sync + 'static, scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    config
        .ungraceful_shutdown_config
        .immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(scenario);
}
