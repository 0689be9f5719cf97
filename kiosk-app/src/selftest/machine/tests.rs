//! The machine is looked at in directories that this file fills, and over loopback.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A machine of files.
struct Bench {
    directory: tempfile::TempDir,
    surroundings: Surroundings,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        std::fs::create_dir(root.join("state")).unwrap();
        let surroundings = Surroundings {
            terminal: "T001".to_owned(),
            site: "测试村".to_owned(),
            state: root.join("state"),
            fonts: Vec::new(),
            proc: root.join("proc"),
            sys: root.join("sys"),
            gauge: None,
            desk: None,
        };
        Self {
            directory,
            surroundings,
        }
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn look(&mut self, part: Part) -> Finding {
        look(&mut self.surroundings, part)
    }
}

#[test]
fn the_disk_is_written_read_back_and_left_as_it_was() {
    let mut machine = Bench::new();
    machine.put("sys/fs/ext4/sda1/errors_count", "0\n");
    let finding = machine.look(Part::Disk);
    assert!(finding.figures.contains_key("disk-speed"));
    assert!(finding.figures["disk-free"].ends_with("MiB"));
    assert_eq!(finding.figures["disk-errors"], "0");
    assert!(!machine.surroundings.state.join(PROBE_FILE).exists());
    machine.put("sys/fs/ext4/sda1/errors_count", "3\n");
    machine.put("sys/fs/ext4/sdb1/errors_count", "rubbish");
    let finding = machine.look(Part::Disk);
    assert_eq!(finding.problem, Some("test.disk-errors"));
    assert_eq!(finding.figures["disk-errors"], "3");
}

#[test]
fn a_disk_that_cannot_be_written_fails() {
    let mut machine = Bench::new();
    machine.surroundings.state = machine.directory.path().join("nowhere");
    assert_eq!(machine.look(Part::Disk).problem, Some("test.disk-failed"));
}

#[test]
fn memory_is_read_from_the_kernel_and_tried() {
    let mut machine = Bench::new();
    machine.put(
        "proc/meminfo",
        "MemTotal:  2000000 kB\nMemAvailable: 900000 kB\nrubbish\nHugePages: 0\n",
    );
    machine.put("proc/self/status", "Name: kiosk\nVmRSS:\t 150000 kB\n");
    let finding = machine.look(Part::Memory);
    assert_eq!(finding.problem, None);
    assert_eq!(finding.figures["memory-free"], "878/1953 MiB");
    assert_eq!(finding.figures["memory-used"], "146 MiB");
    machine.put(
        "proc/meminfo",
        "MemTotal: 2000000 kB\nMemAvailable: 1000 kB\n",
    );
    assert_eq!(machine.look(Part::Memory).problem, Some("test.memory-low"));
}

#[test]
fn a_hot_machine_fails_and_one_without_sensors_does_not() {
    let mut machine = Bench::new();
    let none = machine.look(Part::Sensors);
    assert_eq!(none.problem, Some("test.no-sensor"));
    assert!(none.figures.is_empty(), "nothing was measured");
    machine.put("sys/class/thermal/thermal_zone1/temp", "-274000\n");
    let none = machine.look(Part::Sensors);
    assert_eq!(none.problem, Some("test.no-sensor"), "one that is broken");
    machine.put("sys/class/thermal/thermal_zone0/temp", "41000\n");
    let finding = machine.look(Part::Sensors);
    assert_eq!(finding.figures["temperature"], "41 °C");
    assert_eq!(finding.problem, None);
    machine.put("sys/class/thermal/thermal_zone1/temp", "95500\n");
    let finding = machine.look(Part::Sensors);
    assert_eq!(finding.problem, Some("test.too-hot"));
}

#[test]
fn a_board_clock_far_from_the_systems_is_told() {
    let mut machine = Bench::new();
    let now = clock::now().at.as_second();
    machine.put("sys/class/rtc/rtc0/since_epoch", &format!("{}\n", now + 4));
    assert_eq!(machine.look(Part::Clock).problem, None);
    machine.put("sys/class/rtc/rtc0/since_epoch", "946684800\n");
    assert_eq!(machine.look(Part::Clock).problem, Some("test.clock-board"));
}

#[test]
fn texts_of_the_kernel_are_read_whatever_they_say() {
    assert_eq!(temperature("41500"), Some(41));
    assert_eq!(temperature(""), None);
    assert_eq!(temperature("999999999999999999999"), None);
    assert_eq!(temperature("2000000"), None);
    let odd = memory_figures("A: 1 kB\nB 2 kB\nC: -1 kB\nD: 18446744073709551616 kB\n: 3 kB");
    assert_eq!(odd.get("A"), Some(&1));
    assert_eq!(odd.get("C"), None);
    assert_eq!(odd.get("D"), None);
}

#[test]
fn the_store_that_cannot_be_had_and_the_line_that_cannot_be_made_are_told() {
    let mut machine = Bench::new();
    assert_eq!(machine.look(Part::Store).problem, Some("queue.in-use"));
    assert_eq!(
        machine.look(Part::Network).problem,
        Some("platform.configuration")
    );
}

#[test]
fn an_address_that_answers_is_told_from_one_that_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    assert!(connected(&[&open]).ends_with("ms"));
    drop(listener);
    assert_eq!(connected(&[&open]), "failed");
    assert_eq!(connected(&[]), "-");
}

#[test]
fn a_difference_of_the_clocks_counts_from_a_minute_on() {
    let check = |ahead: i64, expect: Option<&str>| {
        let mut finding = Finding::default();
        difference(ahead, &mut finding);
        assert_eq!(finding.problem, expect, "{ahead}");
    };
    check(0, None);
    check(-60, None);
    check(61, Some("test.clock-off"));
    check(-100_000, Some("test.clock-off"));
}

#[test]
fn both_test_prints_are_typeset_with_their_code() {
    let machine = Bench::new();
    for sheet in [Sheet::Slip, Sheet::Page] {
        let typeset = typeset(
            &machine.surroundings,
            sheet,
            "KT-ABCDEFGH23",
            Offset::default(),
        );
        match typeset.unwrap() {
            Typeset::Slip(bits) => {
                assert_eq!(bits.width_dots, SLIP_WIDTH_DOTS);
                // Some 12 cm: a sheet that breaks off is shorter.
                assert!(
                    (700..2000).contains(&bits.height_dots()),
                    "{}",
                    bits.height_dots()
                );
            }
            Typeset::Page(pdf) => {
                assert!(pdf.starts_with(b"%PDF"));
                let pages = kiosk_documents::pdf_page_count(&pdf).unwrap();
                assert_eq!(pages, 1);
            }
        }
    }
}

#[test]
fn the_tone_is_a_sound_file_of_a_second() {
    let wav = tone();
    assert_eq!(&wav[..4], b"RIFF");
    let samples = wav.len() - 44;
    assert_eq!(samples, 2 * TONE_SAMPLES as usize);
    let length = u32::from_le_bytes([wav[4], wav[5], wav[6], wav[7]]);
    assert_eq!(length as usize, wav.len() - 8);
    let sample = |at: usize| i16::from_le_bytes([wav[44 + at * 2], wav[45 + at * 2]]);
    // It swells from silence and sinks into it again; in between it is loud.
    assert_eq!(sample(0), 0);
    assert!((0..16).all(|at| sample(at).abs() < 500));
    assert!((7900..8100).any(|at| sample(at) > 19_000));
    assert!((15_990..16_000).all(|at| sample(at).abs() < 500));
}

#[test]
fn a_player_gets_the_whole_sound_and_a_bad_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("aplay");
    let heard = directory.path().join("heard");
    let script = |text: &str| {
        std::fs::write(&program, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&program, mode).unwrap();
    };
    let player = Player {
        program: program.clone(),
        card: "default".to_owned(),
    };
    assert_eq!(play(&player, &tone()), Err("test.no-player"));
    script(&format!("#!/bin/sh\ncat > {}\n", heard.display()));
    assert_eq!(play(&player, &tone()), Ok(()));
    assert_eq!(std::fs::read(&heard).unwrap(), tone());
    script("#!/bin/sh\nexit 1\n");
    assert_eq!(play(&player, &tone()), Err("test.player-failed"));
}
