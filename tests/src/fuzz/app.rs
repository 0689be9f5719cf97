//! Parsers of files and codes that reach the terminal itself.

use kiosk_app::catalogue::Catalogue;

use super::Target;

/// Every parser of a file or code.
pub const TARGETS: &[Target] = &[
    Target {
        name: "slip-code",
        run: slip_code,
        seeds: &[b"KC1.T001-20261122-00001.202611220941.0123456789ab.abc"],
    },
    Target {
        name: "configuration",
        run: configuration,
        seeds: &[
            b"[terminal]\nid = \"T001\"\nsite = \"x\"\nhelp_phone = \"1\"\n[platform]\nurl = \"http://x\"\n[paths]\nstate = \"s\"\nitems = \"i\"\n",
        ],
    },
    Target {
        name: "item-package",
        run: item_package,
        seeds: &[include_bytes!("../../../kiosk-app/items/old-age-allowance/item.toml")],
    },
];

fn slip_code(bytes: &[u8]) {
    if let Some(number) = kiosk_app::slip_code::case_number(&String::from_utf8_lossy(bytes)) {
        assert!(
            number.len() <= 40 && number.is_ascii(),
            "a number that is none"
        );
    }
}

fn configuration(bytes: &[u8]) {
    drop(std::hint::black_box(kiosk_app::Config::parse(
        &String::from_utf8_lossy(bytes),
    )));
}

fn item_package(bytes: &[u8]) {
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let package = directory.path().join("old-age-allowance");
    let is_written = std::fs::create_dir(&package).is_ok()
        && std::fs::write(package.join("item.toml"), bytes).is_ok();
    if is_written {
        let catalogue = Catalogue::load(directory.path());
        // Without its texts no package is valid, whatever its item.toml says.
        assert!(catalogue.is_empty() && !catalogue.mistakes.is_empty());
    }
}
