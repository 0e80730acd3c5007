//! How many threads serve at once, through real Pythons, embedded and isolated: few where they would only fight for the GIL,
//! all where they wait for something else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use harness::{Play, Scene, get};
use onebox_app_server::Notice;

const SCENES: [(&str, Play); 1] = [("crowd", a_saturated_interpreter_is_left_to_few)];
const THREADS: u16 = 6;
/// More requests are always there than threads.
const IN_FLIGHT: usize = 30;
/// How many requests a count has to see.
const ENOUGH: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the errand of an embedded child process; nothing by itself.
#[test]
#[ignore = "the child process of the other tests"]
fn embedded_child() {
    harness::run_errand_or(&SCENES);
}

#[test]
fn threads_rest_while_they_would_only_fight_for_the_gil() {
    // What they use is measured, so that they have to get a processor beside other tests; only root may ask for that.
    rustix::process::setpriority_process(None, -20).ok();
    let spec = onebox_app_server::AppSpec { threads: THREADS, ..harness::spec("crowd") };
    let [scene] = SCENES;
    harness::play_both(&harness::pythons().pop().unwrap(), &spec, scene);
}

fn a_saturated_interpreter_is_left_to_few(mut scene: Scene) {
    let all = usize::from(THREADS);
    // On a machine with much else to do more than one of them is let in now and then.
    let few = 1..=all / 2;
    for (path, wanted) in [("/fight", few.clone()), ("/wait", all..=all), ("/fight", few)] {
        let counts = |count: &(usize, usize)| wanted.contains(&count.0) && count.1 >= ENOUGH;
        let seen = counts_under_load(&scene, path, counts);
        assert!(seen.last().is_some_and(counts), "{path}: {seen:?}");
    }
    // They run beside each other, so that more than one is let in, however many processors there are.
    let seen = counts_under_load(&scene, "/digest", |(most, _)| *most >= 2);
    assert!(seen.last().is_some_and(|(most, _)| *most >= 2), "{seen:?}");
    // `processes = "auto"` goes by this.
    scene.wait_for(|told| matches!(told, Notice::Usage(usage) if usage.busy_percent >= 90));
    scene.wait_for(|told| matches!(told, Notice::Usage(usage) if usage.busy_percent == 0));
}

/// Counts of how many were served at once at most, and how many at all, under load and until there is one like that.
fn counts_under_load(
    scene: &Scene,
    path: &str,
    is_wanted: impl Fn(&(usize, usize)) -> bool,
) -> Vec<(usize, usize)> {
    let mut answers: VecDeque<_> = (0..IN_FLIGHT).map(|_| scene.send(get(path))).collect();
    let (mut seen, begun) = (Vec::new(), Instant::now());
    while !seen.last().is_some_and(&is_wanted) && begun.elapsed() < LIMIT {
        for _ in 0..2 * ENOUGH {
            answers.pop_front().unwrap().recv_timeout(LIMIT).unwrap();
            answers.push_back(scene.send(get(path)));
        }
        let text = scene.ask(get("/count")).text();
        let (most, served) = text.split_once(' ').unwrap();
        seen.push((most.parse().unwrap(), served.parse().unwrap()));
    }
    answers
        .into_iter()
        .for_each(|answer| assert_eq!(answer.recv_timeout(LIMIT).unwrap().status, 200));
    seen
}
