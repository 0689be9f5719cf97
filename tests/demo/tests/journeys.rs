//! Every journey file through the real program: emulators, platform and terminal process, each in
//! a world of its own.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn run(journey: &Path, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiosk-demo"))
        .arg("--headless")
        .arg("--journey")
        .arg(journey)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

fn result(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap()
}

/// Plays a journey and answers with its result, after checking what holds for every journey.
fn play(name: &str) -> Value {
    let out = tempfile::tempdir().unwrap();
    let output = run(&scenarios().join(name), out.path());
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let result = result(out.path());
    assert_eq!(result["ok"], true, "{name}");
    let screens = result["screens"].as_array().unwrap();
    assert!(!screens.is_empty(), "{name} reached no screen");
    for screen in screens {
        let picture = image::open(out.path().join(screen.as_str().unwrap())).unwrap();
        assert_eq!(
            (picture.width(), picture.height()),
            (1080, 1920),
            "{name}: {screen}"
        );
    }
    for print in result["prints"].as_array().unwrap() {
        assert!(
            out.path().join(print["file"].as_str().unwrap()).exists(),
            "{name}: {print}"
        );
    }
    assert!(
        result["first_frame_ms"].as_u64().is_some_and(|ms| ms > 0),
        "{name}"
    );
    assert!(
        result["pss_kib"].as_u64().is_some_and(|kib| kib > 1024),
        "{name}"
    );
    result
}

macro_rules! journeys {
    ($($test:ident => $file:literal),* $(,)?) => {
        const FILES: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                play($file);
            }
        )*
    };
}

journeys! {
    certificate_is_printed_on_a4 => "insurance-certificate.toml",
    allowance_without_a_line_is_queued_printed_synced_and_found => "old-age-allowance.toml",
    pension_without_the_face_is_vouched_for => "pension-qualification.toml",
    a_card_lifted_while_it_is_read_is_asked_for_again => "faults/card-removed-mid-read.toml",
    an_unreadable_card_is_asked_for_again => "faults/card-unreadable.toml",
    an_expired_card_leads_to_the_typed_number => "faults/card-expired.toml",
    an_unknown_nation_is_shown_as_other => "faults/unknown-nation.toml",
    no_paper_stops_printing_items_before_they_start => "faults/paper-out-before-visit.toml",
    paper_that_ends_before_the_print_loses_nothing => "faults/paper-out-before-print.toml",
    paper_that_ends_in_the_print_gives_one_whole_slip => "faults/paper-out-during-print.toml",
    an_empty_tray_waits_in_the_preview => "faults/page-paper-out.toml",
    a_jam_is_cleared_and_the_document_is_whole => "faults/page-jam.toml",
    an_unreachable_platform_is_told_before_the_start => "faults/platform-unreachable.toml",
    a_slow_platform_has_a_way_on => "faults/platform-slow.toml",
    a_platform_that_answers_rubbish_has_a_way_on => "faults/platform-rubbish.toml",
    a_platform_that_fails_has_a_way_on => "faults/platform-error.toml",
    a_lost_reply_makes_no_second_case => "faults/platform-reply-lost.toml",
    a_missing_reader_is_told_and_comes_back => "faults/no-reader.toml",
    without_a_scanner_the_camera_reads_the_slip => "faults/no-scanner.toml",
    a_picture_without_a_face_is_advised_against => "faults/no-face.toml",
    a_card_on_the_reader_keeps_the_visit => "faults/time-out-warning.toml",
    a_visitor_who_walks_away_leaves_nothing => "faults/time-out.toml",
    a_power_cut_after_the_slip_loses_and_doubles_nothing => "faults/power-cut.toml",
    a_technician_finds_mends_and_proves_and_another_machine_believes_it => "technician.toml",
    a_terminal_is_proved_ready_by_every_test_in_a_row => "technician-ready.toml",
    a_villager_is_asked_before_staff_take_over_and_leaves_nothing => "technician-request.toml",
    who_guesses_the_pin_waits_also_after_a_new_start => "technician-locked-out.toml",
    safe_mode_serves_nobody_and_lets_staff_in => "technician-safe-mode.toml",
    a_device_that_vanishes_in_its_test_ends_the_test => "technician-vanished.toml",
    the_self_test_without_a_screen_reports_every_device => "technician-selftest.toml",
    a_day_is_closed_with_its_numbers_and_its_checklist_on_paper => "village-day.toml",
}

#[test]
fn the_scripted_visit_leaves_what_it_promises() {
    let result = play("demo.toml");
    let prints = result["prints"].as_array().unwrap();
    let made = |device: &str| {
        prints
            .iter()
            .filter(|print| print["device"] == device && print["outcome"] == "complete")
            .count()
    };
    assert_eq!((made("slip-printer"), made("page-printer")), (1, 1));
    let transactions = result["transactions"].as_array().unwrap();
    let of = |kind: &str| {
        transactions
            .iter()
            .filter(|each| each["kind"] == kind)
            .count()
    };
    assert_eq!((of("case"), of("rating")), (1, 2));
    let steps = result["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .all(|step| step["ms"].is_u64() && step["do"].is_string())
    );
}

#[test]
fn every_journey_file_has_its_test() {
    let mut found = BTreeSet::new();
    for folder in ["", "faults"] {
        for entry in std::fs::read_dir(scenarios().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let file = path.file_name().unwrap().to_str().unwrap();
                found.insert(Path::new(folder).join(file).to_str().unwrap().to_owned());
            }
        }
    }
    let mut tested: BTreeSet<String> = FILES.iter().map(|file| (*file).to_owned()).collect();
    tested.insert("demo.toml".to_owned());
    assert_eq!(found, tested);
}

#[test]
fn a_journey_that_fails_says_where_and_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let journey = directory.path().join("wrong.toml");
    let steps =
        "title = \"wrong\"\n[[step]]\ndo = \"wait-screen\"\nscreen = \"review\"\nwithin_s = 1\n";
    std::fs::write(&journey, steps).unwrap();
    let out = directory.path().join("out");
    let output = run(&journey, &out);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    for word in [
        "step 1",
        "line 2",
        "screen `review`",
        "screen `attract`",
        "请触摸屏幕开始办事",
    ] {
        assert!(words.contains(word), "{word} is missing: {words}");
    }
    assert_eq!(result(&out)["ok"], false);
    assert!(result(&out)["error"].as_str().unwrap().contains("step 1"));
}

#[test]
fn a_journey_with_a_mistake_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let journey = directory.path().join("mistake.toml");
    std::fs::write(
        &journey,
        "title = \"x\"\n[[step]]\ndo = \"touch\"\nlable = \"y\"\n",
    )
    .unwrap();
    let output = run(&journey, &directory.path().join("out"));
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("mistake.toml:4") && words.contains("lable"),
        "{words}"
    );
}
