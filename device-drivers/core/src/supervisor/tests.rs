//! The promises of the supervisor, against a driver whose answers are scripted.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

const LONG: Duration = Duration::from_secs(20);

const QUICK: Timing = Timing {
    grace: Duration::from_millis(1),
    misses_before_gone: 3,
    pause_min: Duration::from_millis(2),
    pause_max: Duration::from_millis(8),
    call_limit: Duration::from_mins(1),
    hang_margin: Duration::from_mins(1),
    ladder_rest: Duration::from_mins(1),
    rung_pause: Duration::from_millis(1),
};

/// What the scripted driver does; an empty script means "all is well".
#[derive(Default)]
struct Script {
    opens: VecDeque<Result<(), Fault>>,
    statuses: VecDeque<Result<Status, Fault>>,
    opened: u32,
    polled: u32,
}

struct Scripted {
    script: Arc<Mutex<Script>>,
    /// A hanging command waits here until the test lets it go.
    release: Arc<Mutex<Receiver<()>>>,
}

#[derive(Clone, Copy)]
enum Order {
    Say(u32),
    WaitForCancel,
    Panic,
    Hang,
}

impl Driver for Scripted {
    type Command = Order;
    type Event = u32;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let mut script = lock(&self.script);
        script.opened += 1;
        script.opens.pop_front().unwrap_or(Ok(()))?;
        Ok(Capabilities::default())
    }

    fn close(&mut self) {}

    fn status(&mut self) -> Result<Status, Fault> {
        let mut script = lock(&self.script);
        script.polled += 1;
        script.statuses.pop_front().unwrap_or(Ok(Status::online()))
    }

    fn execute(&mut self, order: Order, context: &Context<'_, u32>) -> Completion {
        match order {
            Order::Say(word) => {
                context.emit(word);
                Completion::Success
            }
            Order::WaitForCancel => {
                context.emit(0);
                context
                    .pause(LONG)
                    .expect_err("it ends by cancellation or deadline")
            }
            Order::Panic => panic!("scripted"),
            Order::Hang => {
                let released = lock(&self.release).recv_timeout(LONG);
                context.emit(99);
                assert!(released.is_ok(), "the test forgot the hanging driver");
                Completion::Success
            }
        }
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(2)
    }
}

struct Bench {
    handle: DeviceHandle<Order>,
    events: Receiver<DeviceEvent<u32>>,
    script: Arc<Mutex<Script>>,
    release: SyncSender<()>,
}

fn bench(script: Script, timing: Timing) -> Bench {
    bench_with(script, timing, Support::default())
}

fn bench_with(script: Script, timing: Timing, support: Support) -> Bench {
    let script = Arc::new(Mutex::new(script));
    let (release, released) = sync_channel(4);
    let released = Arc::new(Mutex::new(released));
    let (sender, events) = sync_channel(1024);
    let for_driver = Arc::clone(&script);
    let handle = spawn_with(
        "scripted".to_owned(),
        move || Scripted {
            script: Arc::clone(&for_driver),
            release: Arc::clone(&released),
        },
        move |event| sender.try_send(event).unwrap(),
        timing,
        support,
    );
    Bench {
        handle,
        events,
        script,
        release,
    }
}

impl Bench {
    fn next(&self) -> DeviceEvent<u32> {
        self.events.recv_timeout(LONG).unwrap()
    }

    fn next_status(&self) -> Status {
        loop {
            if let DeviceEvent::Status(status) = self.next() {
                return status;
            }
        }
    }

    fn until_online(&self) {
        while self.next_status().state != DeviceState::Online {}
    }

    /// Events of one command up to its completion.
    fn completion_of(&self, expect: CommandId) -> (Vec<u32>, Completion) {
        let mut words = Vec::new();
        loop {
            match self.next() {
                DeviceEvent::Command { id, event } if id == expect => words.push(event),
                DeviceEvent::Completed { id, completion } if id == expect => {
                    return (words, completion);
                }
                DeviceEvent::Opened { .. }
                | DeviceEvent::Status(_)
                | DeviceEvent::Command { .. }
                | DeviceEvent::Completed { .. } => {}
            }
        }
    }

    /// Waits until the driver has been asked `count` more times.
    fn until_polled(&self, count: u32) {
        let goal = lock(&self.script).polled + count;
        let deadline = clock::now() + LONG;
        while lock(&self.script).polled < goal {
            assert!(clock::now() < deadline, "the driver is not asked any more");
            thread::yield_now();
        }
    }
}

fn gone() -> Fault {
    Fault::new("device.gone", Action::Maintenance, "scripted")
}

#[test]
fn a_status_is_reported_once_until_it_changes() {
    let bench = bench(Script::default(), QUICK);
    assert_eq!(bench.next(), DeviceEvent::Status(Status::default()));
    assert!(matches!(bench.next(), DeviceEvent::Opened { .. }));
    assert_eq!(bench.next(), DeviceEvent::Status(Status::online()));
    bench.until_polled(5);
    assert!(bench.events.try_recv().is_err());
}

#[test]
fn a_command_reports_and_completes_once() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    let id = bench.handle.command(Order::Say(7), LONG).unwrap();
    assert_eq!(bench.completion_of(id), (vec![7], Completion::Success));
    bench.handle.cancel(id);
    bench.until_polled(3);
    assert!(bench.events.try_recv().is_err());
}

#[test]
fn cancel_ends_the_running_command_and_the_one_behind_it() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    let first = bench.handle.command(Order::WaitForCancel, LONG).unwrap();
    assert_eq!(
        bench.next(),
        DeviceEvent::Command {
            id: first,
            event: 0
        }
    );
    let second = bench.handle.command(Order::Say(1), LONG).unwrap();
    bench.handle.cancel(second);
    bench.handle.cancel(first);
    assert_eq!(bench.completion_of(first).1, Completion::Canceled);
    assert_eq!(bench.completion_of(second), (vec![], Completion::Canceled));
}

#[test]
fn a_command_ends_at_its_deadline() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    let limit = Duration::from_millis(5);
    let id = bench.handle.command(Order::WaitForCancel, limit).unwrap();
    assert_eq!(bench.completion_of(id).1, Completion::TimeOut);
}

#[test]
fn a_full_inbox_refuses_and_keeps_what_it_has() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    let running = bench.handle.command(Order::WaitForCancel, LONG).unwrap();
    assert_eq!(
        bench.next(),
        DeviceEvent::Command {
            id: running,
            event: 0
        }
    );
    let waiting: Vec<_> = (0..INBOX_LIMIT)
        .map(|_| bench.handle.command(Order::Say(1), LONG).unwrap())
        .collect();
    assert_eq!(bench.handle.command(Order::Say(2), LONG), Err(Busy::Full));
    bench.handle.cancel(running);
    for id in waiting {
        assert_eq!(bench.completion_of(id).1, Completion::Success);
    }
}

#[test]
fn a_crashed_driver_fails_its_command_and_is_replaced() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    let id = bench.handle.command(Order::Panic, LONG).unwrap();
    let (_, completion) = bench.completion_of(id);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "device.driver-crashed"),
        "{completion:?}"
    );
    assert!(matches!(bench.next(), DeviceEvent::Opened { .. }));
    let id = bench.handle.command(Order::Say(8), LONG).unwrap();
    assert_eq!(bench.completion_of(id), (vec![8], Completion::Success));
}

#[test]
fn a_hanging_driver_is_reported_refused_and_taken_back() {
    let timing = Timing {
        hang_margin: Duration::from_millis(30),
        ..QUICK
    };
    let bench = bench(Script::default(), timing);
    bench.until_online();
    // On a busy machine the deadline may pass before the driver has begun, which is no hang: again.
    let (words, completion) = loop {
        let id = bench
            .handle
            .command(Order::Hang, Duration::from_millis(1))
            .unwrap();
        let ended = bench.completion_of(id);
        if ended.1 != Completion::TimeOut {
            break ended;
        }
    };
    assert_eq!(words, Vec::<u32>::new());
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "device.driver-hung"),
        "{completion:?}"
    );
    assert_eq!(bench.next_status().faults[0].code, "device.driver-hung");
    assert_eq!(bench.handle.command(Order::Say(1), LONG), Err(Busy::Hung));
    bench.release.try_send(()).unwrap();
    // Neither the late event nor the late completion may come out: the next thing is the recovery.
    assert_eq!(bench.next(), DeviceEvent::Status(Status::online()));
    let id = bench.handle.command(Order::Say(3), LONG).unwrap();
    assert_eq!(bench.completion_of(id), (vec![3], Completion::Success));
}

#[test]
fn a_short_drop_out_is_not_reported() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    lock(&bench.script)
        .statuses
        .extend([Err(gone()), Err(gone())]);
    bench.until_polled(6);
    let reopened = lock(&bench.script).opened;
    assert_eq!(reopened, 2, "the second miss reopens");
    while let Ok(event) = bench.events.try_recv() {
        assert!(matches!(event, DeviceEvent::Opened { .. }), "{event:?}");
    }
}

#[test]
fn a_device_that_misses_three_times_is_gone_refuses_commands_and_comes_back() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    {
        let mut script = lock(&bench.script);
        script.statuses.extend([Err(gone()), Err(gone())]);
        script.opens.extend((0..4).map(|_| Err(gone())));
    }
    let status = bench.next_status();
    assert_eq!(status.state, DeviceState::NoDevice);
    assert_eq!(status.faults, vec![gone()]);
    bench.until_online();
}

#[test]
fn commands_to_a_closed_device_are_not_ready() {
    let bench = bench(
        Script {
            opens: (0..10_000).map(|_| Err(gone())).collect(),
            ..Script::default()
        },
        QUICK,
    );
    while bench.next_status().state != DeviceState::NoDevice {}
    let id = bench.handle.command(Order::Say(1), LONG).unwrap();
    assert_eq!(
        bench.completion_of(id),
        (vec![], Completion::NotReady(gone()))
    );
}

#[test]
fn no_fault_is_reported_during_the_grace_of_the_start() {
    let timing = Timing {
        grace: Duration::from_hours(1),
        ..QUICK
    };
    let bench = bench(
        Script {
            opens: (0..6).map(|_| Err(gone())).collect(),
            ..Script::default()
        },
        timing,
    );
    assert_eq!(bench.next(), DeviceEvent::Status(Status::default()));
    assert!(matches!(bench.next(), DeviceEvent::Opened { .. }));
    assert_eq!(lock(&bench.script).opened, 7);
    assert_eq!(bench.next(), DeviceEvent::Status(Status::online()));
}

#[test]
fn pauses_grow_from_half_a_second_to_ten() {
    let timing = Timing::default();
    let pauses: Vec<u128> = (1..9)
        .map(|misses| timing.pause(misses).as_millis())
        .collect();
    assert_eq!(pauses, [500, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
}

#[test]
fn stopping_completes_everything_and_ends_the_thread() {
    let Bench { handle, events, .. } = bench(Script::default(), QUICK);
    let running = handle.command(Order::WaitForCancel, LONG);
    let waiting = handle.command(Order::Say(1), LONG);
    let control = Arc::clone(&handle.control);
    handle.stop();
    assert!(lock(&control.watch).has_ended);
    let completed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            DeviceEvent::Completed { id, .. } => Some(id),
            DeviceEvent::Opened { .. } | DeviceEvent::Status(_) | DeviceEvent::Command { .. } => {
                None
            }
        })
        .collect();
    assert_eq!(completed, [running.unwrap(), waiting.unwrap()]);
}

/// A rung that counts how often it is climbed.
fn rung(name: &'static str, climbed: &SyncSender<&'static str>, works: bool) -> Rung {
    let climbed = climbed.clone();
    Rung {
        name,
        climb: Box::new(move || {
            climbed.send(name).unwrap();
            if works {
                Ok(())
            } else {
                Err("scripted".to_owned())
            }
        }),
    }
}

#[test]
fn e19_the_ladder_is_climbed_rung_by_rung_until_the_device_is_back() {
    let (sender, climbed) = sync_channel(16);
    let support = Support {
        tap: Tap::default(),
        rungs: vec![
            rung("usb-rebind", &sender, false),
            rung("power-cycle", &sender, true),
        ],
    };
    let script = Script {
        opens: std::iter::repeat_n(Err(gone()), 7).collect(),
        ..Script::default()
    };
    let bench = bench_with(script, QUICK, support);
    assert_eq!(bench.next_status().state, DeviceState::Starting);
    assert_eq!(bench.next_status().state, DeviceState::NoDevice);
    bench.until_online();
    let order: Vec<&str> = climbed.try_iter().collect();
    assert_eq!(order, ["usb-rebind", "power-cycle"]);
    let snapshot = bench.handle.observer().snapshot();
    assert_eq!(snapshot.diary.recovered.get("power-cycle"), Some(&1));
    assert_eq!(snapshot.diary.recovered.get("usb-rebind"), None);
    assert_eq!(snapshot.diary.faults.get("device.gone"), Some(&1));
    assert_eq!(
        snapshot.last_fault.map(|fault| fault.code),
        Some("device.gone")
    );
}

#[test]
fn e18_each_device_has_its_own_ladder_and_a_wrong_configuration_pulls_no_plug() {
    let (sender, climbed) = sync_channel(16);
    let support = Support {
        tap: Tap::default(),
        rungs: vec![rung("power-cycle", &sender, true)],
    };
    let wrong = Fault::new("device.bad-port", Action::Configuration, "scripted");
    let script = Script {
        opens: std::iter::repeat_n(Err(wrong), 8).collect(),
        ..Script::default()
    };
    let bench = bench_with(script, QUICK, support);
    bench.until_online();
    assert_eq!(climbed.try_iter().count(), 0);
}

#[test]
fn somebody_climbs_a_rung_though_the_device_is_well_and_no_other() {
    let (sender, climbed) = sync_channel(16);
    let support = Support {
        tap: Tap::default(),
        rungs: vec![
            rung("usb-rebind", &sender, true),
            rung("power-cycle", &sender, true),
        ],
    };
    let bench = bench_with(Script::default(), QUICK, support);
    bench.until_online();
    let waker = bench.handle.waker();
    assert!(waker.climb("power-cycle"));
    assert!(waker.climb("hammer"));
    while bench.next_status().state != DeviceState::Starting {}
    bench.until_online();
    assert_eq!(climbed.try_iter().collect::<Vec<_>>(), ["power-cycle"]);
    assert_eq!(lock(&bench.script).opened, 2);
    let diary = bench.handle.observer().snapshot().diary;
    assert_eq!(diary.recovered.get("power-cycle"), Some(&1));
    assert!(diary.faults.is_empty(), "nothing was missed");
}

#[test]
fn plugs_that_a_rung_itself_moves_do_not_drive_the_device_up_the_ladder() {
    let (sender, climbed) = sync_channel(16);
    let support = Support {
        tap: Tap::default(),
        rungs: vec![
            rung("usb-rebind", &sender, true),
            rung("power-cycle", &sender, true),
        ],
    };
    let script = Script {
        opens: std::iter::repeat_n(Err(gone()), 40).collect(),
        ..Script::default()
    };
    let patient = Timing {
        rung_pause: Duration::from_hours(1),
        ..QUICK
    };
    let bench = bench_with(script, patient, support);
    assert_eq!(climbed.recv_timeout(LONG), Ok("usb-rebind"));
    let waker = bench.handle.waker();
    let deadline = clock::now() + LONG;
    while lock(&bench.script).opened < 20 {
        assert!(clock::now() < deadline, "the device is not opened again");
        waker.wake();
        thread::yield_now();
    }
    assert_eq!(climbed.try_iter().count(), 0);
}

#[test]
fn a_word_from_the_kernel_ends_the_longest_pause() {
    let patient = Timing {
        pause_min: Duration::from_hours(1),
        pause_max: Duration::from_hours(1),
        ..QUICK
    };
    let script = Script {
        opens: [Err(gone())].into(),
        ..Script::default()
    };
    let bench = bench(script, patient);
    let waker = bench.handle.waker();
    let deadline = clock::now() + LONG;
    while lock(&bench.script).opened == 0 {
        assert!(clock::now() < deadline, "the device is never opened");
        thread::yield_now();
    }
    waker.wake();
    bench.until_online();
}

#[test]
fn the_diary_counts_how_commands_end() {
    let bench = bench(Script::default(), QUICK);
    bench.until_online();
    for order in [Order::Say(1), Order::Say(2), Order::Panic] {
        let id = bench.handle.command(order, LONG).unwrap();
        bench.completion_of(id);
    }
    let diary = bench.handle.observer().snapshot().diary;
    assert_eq!((diary.commands, diary.succeeded), (3, 2));
    assert_eq!(diary.failed.get("device.driver-crashed"), Some(&1));
}
