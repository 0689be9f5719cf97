//! A patch saves what it can and costs no more than its bytes where it cannot.

use super::*;
use kiosk_update::fetch::{Patches, patch};
use std::io;
use workshop::code;

/// Calls of the program: 480 kB of code.
const CALLS: u32 = 60_000;

/// The program before and after it grew by so many bytes, with a patch between them.
fn program(grown_by: usize) -> Scene {
    let (mut scene, old) = unpatched(grown_by);
    scene.new.patch("bin/kiosk", &old, &old);
    scene
}

fn unpatched(grown_by: usize) -> (Scene, Vec<u8>) {
    let old = code(CALLS, 0, b"");
    let new = code(CALLS, CALLS / 2, &noise(3, grown_by));
    let published = |number, program: &Vec<u8>| {
        let version = Version::new(number, 0, 0);
        publish(version, &[("bin/kiosk", program.clone())])
    };
    (Scene::of(published(1, &old), published(2, &new)), old)
}

/// Names of the patch's chunks.
fn of_the_patch(scene: &Scene) -> Vec<String> {
    let patches = &scene.new.lists.patches.patches;
    let chunks = patches.iter().flat_map(|patch| &patch.chunks);
    chunks.map(kiosk_update::fetch::Chunk::name).collect()
}

fn fetched<'a>(scene: &Scene, disk: &'a dyn Disk, line: &Line) -> Supply<'a> {
    let running = scene.running();
    let supply = scene.fetch(disk, Some(&running), line, &mut Hours::default());
    let supply = supply.unwrap();
    scene.assert_brought(&supply);
    supply
}

#[test]
fn code_that_has_moved_is_a_small_patch_away() {
    let scene = program(16);
    let whole = fetched(&unpatched(16).0, &LocalDisk, &Line::to(&scene.new));
    let supply = fetched(&scene, &LocalDisk, &Line::to(&scene.new));
    assert_eq!(supply.tally.fetched, 0, "{:?}", supply.tally);
    assert_eq!(
        supply.tally.patched + supply.tally.reused,
        supply.tally.chunks
    );
    assert!(
        supply.tally.bytes * 8 < whole.tally.bytes,
        "{} of {}",
        supply.tally.bytes,
        whole.tally.bytes
    );
}

#[test]
fn a_patch_from_another_file_than_the_one_that_runs_is_not_asked_for() {
    let scene = program(16);
    let file = scene.running().join("bin/kiosk");
    let mut bytes = fs::read(&file).unwrap();
    bytes[77] ^= 1;
    fs::write(&file, bytes).unwrap();
    let line = Line::to(&scene.new);
    let supply = fetched(&scene, &LocalDisk, &line);
    assert_eq!(supply.tally.patched, 0);
    let asked = line.requests.borrow();
    let patch = of_the_patch(&scene);
    assert!(asked.iter().all(|(name, _)| !patch.contains(name)));
}

#[test]
fn a_patch_that_is_dearer_than_the_chunks_is_not_fetched() {
    let mut scene = Scene::new();
    let old = scene.old.files[0].clone();
    // Half of the old program does not help it.
    scene.new.patch("bin/kiosk", &old[..500_000], &old);
    let supply = fetched(&scene, &LocalDisk, &Line::to(&scene.new));
    assert_eq!(supply.tally.patched, 0);
    assert!((1..=2).contains(&supply.tally.fetched));
}

#[test]
fn of_two_patches_the_one_from_the_file_that_runs_is_taken() {
    let (mut scene, old) = unpatched(16);
    let other = code(CALLS, 9, &noise(5, 700));
    scene.new.patch("bin/kiosk", &other, &other);
    scene.new.patch("bin/kiosk", &old, &old);
    let supply = fetched(&scene, &LocalDisk, &Line::to(&scene.new));
    assert_eq!(supply.tally.fetched, 0);
}

#[test]
fn where_the_patch_is_wrong_or_gone_chunks_are_fetched() {
    // Signed, but it makes other bytes: the operator's machine was in error.
    let (mut scene, old) = unpatched(16);
    let other = code(CALLS, 9, &noise(5, 700));
    scene.new.patch("bin/kiosk", &other, &old);
    let supply = fetched(&scene, &LocalDisk, &Line::to(&scene.new));
    assert!(supply.tally.fetched > 0);

    // Signed, and no patch at all.
    let (mut scene, old) = unpatched(16);
    scene.new.patch("bin/kiosk", &old, &old);
    let nonsense = noise(9, 5000);
    let chunks = kiosk_update::fetch::pack(&nonsense[..], &mut |chunk, packed| {
        scene.new.chunks.insert(chunk.name(), packed.to_vec());
        Ok(())
    });
    scene.new.lists.patches.patches[0].chunks = chunks.unwrap();
    let supply = fetched(&scene, &LocalDisk, &Line::to(&scene.new));
    assert_eq!(supply.tally.patched, 0);

    for trick in [Trick::Missing, Trick::Tamper(u32::MAX), Trick::Short] {
        let scene = program(16);
        let line = Line::to(&scene.new);
        line.play(&of_the_patch(&scene)[0], trick);
        let supply = fetched(&scene, &LocalDisk, &line);
        assert_eq!(supply.tally.patched, 0, "{trick:?}");
    }
}

#[test]
fn without_room_for_what_a_patch_makes_chunks_are_fetched() {
    let scene = program(16);
    let disk = FaultyDisk::new(Fault::Never);
    let size = scene.new.release.size();
    disk.free
        .set(kiosk_update::fetch::ROOM_LEFT_BYTES + 2 * size);
    let supply = fetched(&scene, &disk, &Line::to(&scene.new));
    assert_eq!(supply.tally.patched, 0);
    disk.free
        .set(kiosk_update::fetch::ROOM_LEFT_BYTES + 3 * size);
    Fetcher::new(&disk, &scene.store(), fast()).clear().unwrap();
    let supply = fetched(&scene, &disk, &Line::to(&scene.new));
    assert_eq!(supply.tally.fetched, 0);
}

#[test]
fn a_list_that_names_what_the_release_has_not_is_refused() {
    let mut scene = program(16);
    scene.new.lists.patches.patches[0].path = "bin/other".to_owned();
    let line = Line::to(&scene.new);
    let outcome = scene.fetch(&LocalDisk, None, &line, &mut Hours::default());
    assert_eq!(outcome.unwrap_err().code(), "update.release-malformed");
    assert_eq!(line.requests.borrow().len(), 0);
}

#[test]
fn a_power_cut_or_a_full_disk_at_any_step_of_a_patch_costs_no_more_than_one_chunk() {
    // So much new code that the patch has several chunks.
    let published = program(200_000);
    let chunks = of_the_patch(&published).len();
    assert!(chunks >= 3, "{chunks}");
    for fault in [Fault::Cut, Fault::Full] {
        let mut faults = 0;
        for step in 0..200 {
            let scene = Scene::of(published.old.clone(), published.new.clone());
            let line = Line::to(&scene.new);
            let disk = FaultyDisk::new(fault(step));
            let running = scene.running();
            let is_over = scene
                .fetch(&disk, Some(&running), &line, &mut Hours::default())
                .is_ok();
            disk.fault.set(Fault::Never);
            let supply = fetched(&scene, &disk, &line);
            assert_eq!(supply.tally.fetched, 0, "step {step}: {:?}", supply.tally);
            assert!(line.requests.borrow().len() <= chunks + 1, "step {step}");
            if is_over {
                break;
            }
            faults += 1;
        }
        assert!((5..199).contains(&faults), "{faults} steps");
    }
}

fn made(patch: &[u8], old: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    patch::apply(patch, io::Cursor::new(old), size as u64)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_file_that_shrinks_to_nothing_or_comes_from_next_to_nothing_is_patched_too() {
    let program = code(1000, 0, b"");
    for (old, new) in [(&program[..], &[][..]), (&b"x"[..], &program[..])] {
        let patch = patch::make(old, new).unwrap();
        assert!(made(&patch, old, new.len()).unwrap() == new);
    }
    let error = patch::make(b"", &program).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_torn_or_foreign_patch_never_gives_more_than_was_asked_for() {
    let (old, new) = (code(5000, 0, b""), code(5000, 9, b"grown"));
    let patch = patch::make(&old, &new).unwrap();
    for length in (0..patch.len()).step_by(31) {
        let given = made(&patch[..length], &old, new.len());
        assert!(given.is_err() || given.is_ok_and(|bytes| bytes != new));
    }
    let foreign = made(&patch, &code(5000, 2000, b"other"), new.len());
    assert!(foreign.is_err() || foreign.is_ok_and(|bytes| bytes != new));
    assert_eq!(made(&patch, &old, 1000).unwrap(), new[..1000]);
    assert_eq!(
        Patches::default(),
        Patches::parse(&Patches::default().to_bytes()).unwrap()
    );
}
