//! How many processes a site shall have: between one and the cores while its interpreters have no more to give
//! (`processes = "auto"`), none while nobody asks for anything (`idle`).
//!
//! Pure: it is told once a second what happens.

use std::time::{Duration, Instant};

use onebox_config::site::Processes;

/// A thread that waits so long for the GIL shares it with others that want it. (CPython lets a thread keep it for 5 ms.)
const CONTENDED: Duration = Duration::from_millis(2);
/// Below this there is room for what another process does: far enough from the other bound that one does not bring the other.
const CALM: Duration = Duration::from_micros(500);
/// From so busy on, in percent, an interpreter has no more to give. Requests that are short wait for each other then, and none of
/// them for the GIL for long: threads that would fight for it are kept from it (`runtime/admission`).
const FULL: u64 = 80;
/// Where those that stay would be no busier than this they can do what all of them do now.
const ROOMY: u64 = 60;
/// So many contended seconds in a row are another process.
const GROW_AFTER: u32 = 3;
/// So many calm seconds in a row are one less.
const SHRINK_AFTER: u32 = 20;

/// The rule of one site and what it remembers.
#[derive(Debug)]
pub(super) struct Scale {
    processes: Processes,
    idle: Option<Duration>,
    cores: u16,
    contended: u32,
    calm: u32,
    /// How many requests were begun, and when that last changed.
    begun: u64,
    active_at: Instant,
}

/// One second of a site.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    pub(super) at: Instant,
    /// Processes that it has.
    pub(super) processes: u16,
    /// Requests that its processes began, all in all.
    pub(super) begun: u64,
    /// Requests that its threads serve now.
    pub(super) running: u64,
    /// Requests that wait for an answer, those in its queue too.
    pub(super) in_flight: u64,
    /// How long its threads wait for the GIL.
    pub(super) gil_wait: Duration,
    /// How busy its interpreters are, all in all, in percent of one.
    pub(super) busy_percent: u64,
    /// Whether the machine has memory for one more process.
    pub(super) has_room: bool,
}

impl Scale {
    /// For a machine with so many cores.
    pub(super) fn new(
        processes: Processes,
        idle: Option<Duration>,
        cores: u16,
        now: Instant,
    ) -> Self {
        Self {
            processes,
            idle,
            cores: cores.max(1),
            contended: 0,
            calm: 0,
            begun: 0,
            active_at: now,
        }
    }

    /// How many a site has that is awake and of which nothing is known yet.
    pub(super) fn at_start(&self) -> u16 {
        match self.processes {
            Processes::Fixed(number) => number,
            Processes::Auto => 1,
        }
    }

    /// It was woken: somebody waits.
    pub(super) fn wake(&mut self, now: Instant) {
        self.active_at = now;
    }

    /// How many processes it shall have after this second.
    pub(super) fn after(&mut self, second: &Second) -> u16 {
        if second.processes == 0 {
            return 0;
        }
        if second.running > 0 || second.begun != self.begun {
            (self.active_at, self.begun) = (second.at, second.begun);
        }
        let rested = second.at.saturating_duration_since(self.active_at);
        if self.idle.is_some_and(|idle| rested >= idle) {
            return 0;
        }
        match self.processes {
            Processes::Fixed(number) => number,
            Processes::Auto => self.adapted(second),
        }
    }

    fn adapted(&mut self, second: &Second) -> u16 {
        let now = second.processes;
        // One request alone holds the GIL and waits for nobody.
        let waits_for_gil = second.running > 0 && second.gil_wait >= CONTENDED;
        let is_full = second.busy_percent >= FULL * u64::from(now);
        let is_contended = second.in_flight > u64::from(now) && (waits_for_gil || is_full);
        let fits = second.busy_percent <= ROOMY * u64::from(now.saturating_sub(1));
        let is_calm = fits && (second.running == 0 || second.gil_wait <= CALM);
        self.contended = if is_contended { self.contended + 1 } else { 0 };
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if self.contended >= GROW_AFTER && now < self.cores && second.has_room {
            self.contended = 0;
            return now + 1;
        }
        if self.calm >= SHRINK_AFTER && now > 1 {
            self.calm = 0;
            return now - 1;
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: Duration = Duration::from_millis(5);

    /// A site of a machine with four cores, second by second.
    struct Site {
        scale: Scale,
        second: Second,
    }

    impl Site {
        fn new(processes: Processes, idle: Option<Duration>) -> Self {
            let at = Instant::now();
            let scale = Scale::new(processes, idle, 4, at);
            let processes = scale.at_start();
            let gil_wait = Duration::ZERO;
            let (begun, running, in_flight, busy_percent, has_room) = (0, 0, 0, 0, true);
            let second = Second {
                at,
                processes,
                begun,
                running,
                in_flight,
                gil_wait,
                busy_percent,
                has_room,
            };
            Self { scale, second }
        }

        fn run(&mut self, seconds: u32, change: impl Fn(&mut Second)) -> u16 {
            for _ in 0..seconds {
                self.second.at += Duration::from_secs(1);
                change(&mut self.second);
                self.second.processes = self.scale.after(&self.second);
            }
            self.second.processes
        }

        fn under_load(&mut self, seconds: u32) -> u16 {
            self.run(seconds, |second| {
                (second.running, second.in_flight, second.gil_wait) = (4, 8, WAITING);
                second.begun += 100;
            })
        }

        fn at_rest(&mut self, seconds: u32) -> u16 {
            self.run(seconds, |second| (second.running, second.in_flight) = (0, 0))
        }
    }

    #[test]
    fn processes_come_one_by_one_up_to_the_cores_and_go_again() {
        let mut site = Site::new(Processes::Auto, None);
        assert_eq!([site.under_load(2), site.under_load(1), site.under_load(3)], [1, 2, 3]);
        assert_eq!(site.under_load(100), 4);
        assert_eq!(
            [site.at_rest(19), site.at_rest(1), site.at_rest(20), site.at_rest(100)],
            [4, 3, 2, 1]
        );
    }

    #[test]
    fn a_moment_is_no_reason() {
        let mut site = Site::new(Processes::Auto, None);
        for _ in 0..20 {
            assert_eq!((site.under_load(2), site.at_rest(1)), (1, 1));
        }
    }

    #[test]
    fn what_lies_between_the_bounds_changes_nothing() {
        let mut site = Site::new(Processes::Auto, None);
        site.under_load(3);
        let between = |second: &mut Second| {
            (second.running, second.in_flight) = (2, 8);
            second.gil_wait = Duration::from_millis(1);
        };
        assert_eq!(site.run(1000, between), 2);
    }

    #[test]
    fn a_full_interpreter_is_a_reason_and_what_fits_into_fewer_is_one_to_go_back() {
        let mut site = Site::new(Processes::Auto, None);
        // Short requests: nobody waits for the GIL for long.
        let busy = |percent: u64| {
            move |second: &mut Second| {
                (second.running, second.in_flight) = (2, 8);
                second.gil_wait = Duration::from_micros(200);
                second.busy_percent = percent;
            }
        };
        assert_eq!(site.run(100, busy(79)), 1);
        assert_eq!(site.run(3, busy(80)), 2);
        // The same work, by two.
        assert_eq!(site.run(1000, busy(100)), 2);
        assert_eq!(site.run(3, busy(190)), 3);
        assert_eq!([site.run(20, busy(120)), site.run(1000, busy(61))], [2, 2]);
        assert_eq!(site.run(20, busy(60)), 1);
    }

    #[test]
    fn one_client_that_never_stops_needs_one_process() {
        let mut site = Site::new(Processes::Auto, None);
        let alone = |second: &mut Second| {
            (second.running, second.in_flight, second.gil_wait) = (1, 1, WAITING);
            second.begun += 1;
        };
        assert_eq!(site.run(1000, alone), 1);
    }

    #[test]
    fn without_memory_there_is_no_second_process() {
        let mut site = Site::new(Processes::Auto, None);
        site.second.has_room = false;
        assert_eq!(site.under_load(100), 1);
        site.second.has_room = true;
        assert_eq!(site.under_load(1), 2);
    }

    #[test]
    fn a_number_stays_that_number() {
        let mut site = Site::new(Processes::Fixed(3), None);
        assert_eq!((site.under_load(100), site.at_rest(1000)), (3, 3));
    }

    #[test]
    fn nobody_asks_and_it_sleeps_until_it_is_woken() {
        for (processes, awake) in [(Processes::Auto, 1), (Processes::Fixed(2), 2)] {
            let mut site = Site::new(processes, Some(Duration::from_secs(10)));
            assert_eq!((site.at_rest(9), site.at_rest(1), site.at_rest(100)), (awake, 0, 0));
            site.scale.wake(site.second.at);
            site.second.processes = site.scale.at_start();
            assert_eq!((site.at_rest(9), site.at_rest(1)), (awake, 0));
        }
    }

    #[test]
    fn a_request_that_runs_for_long_keeps_it_awake() {
        let mut site = Site::new(Processes::Fixed(1), Some(Duration::from_secs(10)));
        let running = |second: &mut Second| second.running = 1;
        assert_eq!(site.run(1000, running), 1);
        assert_eq!((site.at_rest(9), site.at_rest(1)), (1, 0));
        let mut site = Site::new(Processes::Fixed(1), Some(Duration::from_secs(10)));
        assert_eq!(site.run(1000, |second| second.begun += 1), 1, "many short ones");
    }
}
