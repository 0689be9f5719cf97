//! What the updater and the terminal read of items that come from afar: catalogues of regions, packages,
//! sets and what they set. All of it was signed, and nobody relies on that here.

use std::sync::OnceLock;

use kiosk_app::catalogue::{Region, RegionSettings};
use kiosk_update::items::{
    Catalogue, ItemsStatus, SetDescription, SetsState, combine, levels, read_package,
};

use super::Target;

/// Every parser of items.
pub const TARGETS: &[Target] = &[
    Target {
        name: "items-catalogue",
        run: catalogue,
        seeds: &[
            br#"{"format":1,"region":"4401","packages":[{"item":"a-b","version":3,"target":"package/a-b-3.tar.zst","bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}],"removed":["c"],"settings":{"help_phone":"12345","board":["x"],"is_quiet":true,"hours":8}}"#,
            b"440113001005",
        ],
    },
    Target {
        name: "items-package",
        run: package,
        seeds: &[include_bytes!("seeds/item.tar.zst")],
    },
    Target {
        name: "items-set",
        run: set,
        seeds: &[
            br#"{"format":1,"version":"3-0123abcd","digest":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","items":{"a-b":[3,"4401"]},"removed":{"c":"44"},"settings":{"board":"440113001005"}}"#,
            br#"{"format":1,"current":{"slot":"a","version":"3-0123abcd","digest":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"refused":null}"#,
            br#"{"format":1,"at":"2026-11-22T00:00:00Z","version":"3-0123abcd","code":null,"words":"x","metadata_expires":null}"#,
            b"help_phone = \"020-12345\"\nboard = [\"x\"]\nsuspended_items = [\"a-b\"]\n",
        ],
    },
];

fn catalogue(bytes: &[u8]) {
    if let Ok(catalogue) = Catalogue::parse(bytes) {
        let again = catalogue.to_bytes().expect("what was read can be written");
        let wanted = combine([&catalogue]);
        assert_eq!(
            wanted,
            combine([&Catalogue::parse(&again).expect("and read again")])
        );
        assert!(
            wanted
                .packages
                .keys()
                .all(|item| !item.contains('/') && !item.starts_with('.')),
            "an item's directory stays where it is"
        );
    }
    if let Ok(region) = str::from_utf8(bytes) {
        assert!(levels(region).len() <= 6);
    }
}

fn package(bytes: &[u8]) {
    for file in read_package(bytes).unwrap_or_default() {
        let is_inside =
            !file.path.starts_with('/') && !file.path.split('/').any(|part| part == "..");
        assert!(is_inside, "a file of a package stays in its directory");
    }
}

fn set(bytes: &[u8]) {
    // As the terminal finds it, in a file.
    static DIRECTORY: OnceLock<Option<tempfile::TempDir>> = OnceLock::new();
    drop(SetDescription::parse(bytes));
    drop(SetsState::parse(bytes));
    drop(ItemsStatus::parse(bytes));
    if let Ok(text) = str::from_utf8(bytes) {
        drop(RegionSettings::parse(text));
    }
    let Some(directory) = DIRECTORY.get_or_init(|| tempfile::tempdir().ok()) else {
        return;
    };
    let is_written = std::fs::write(directory.path().join("set.json"), bytes).is_ok()
        && std::fs::write(directory.path().join("region.toml"), bytes).is_ok();
    if is_written {
        drop(Region::version_at(directory.path()));
        drop(Region::read(directory.path()));
    }
}
