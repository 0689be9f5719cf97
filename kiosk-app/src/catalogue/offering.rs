//! Where the terminal's items and the settings of its region come from: the packages of the program,
//! and over them the set that the updater has brought, if it brings any. Notices when another set is in
//! force; whether anybody is there who must keep the present one is not its business.

use std::path::{Path, PathBuf};

use super::{Catalogue, Region};
use crate::platform::DeviceVitals;

/// Some packages were left out.
pub const PACKAGE_WRONG: &str = "items.package-wrong";
/// The set of the region cannot be used.
pub const REGION_REFUSED: &str = "items.region-refused";
/// How the items are named among the devices of a heartbeat.
const ITEMS: &str = "items";
/// The class of what is wrong with the terminal itself.
const TERMINAL: &str = "terminal";

/// Where items come from, and what was found there last.
#[derive(Debug)]
pub struct Offering {
    packaged: PathBuf,
    region: PathBuf,
    seen: Seen,
}

/// By what a set is told from another: where the link leads, and its version.
type Seen = Option<(PathBuf, Option<String>)>;

/// What was found.
#[derive(Debug, Default)]
pub struct Offered {
    /// The items.
    pub catalogue: Catalogue,
    /// The set in force; `None` where the program's items are all there are.
    pub region: Option<Region>,
    /// What is wrong, for the heartbeat.
    pub alarm: Option<DeviceVitals>,
}

impl Offering {
    /// The packages of the program, and where the set that lies over them would be; nothing was looked
    /// at yet.
    pub fn new(packaged: &Path, region: &Path) -> Self {
        Self {
            packaged: packaged.to_path_buf(),
            region: region.to_path_buf(),
            seen: None,
        }
    }

    /// Version of the region's set that was found last.
    pub fn version(&self) -> Option<&str> {
        self.seen.as_ref()?.1.as_deref()
    }

    /// True when another set is in force than was found last.
    pub fn has_changed(&self) -> bool {
        self.look() != self.seen
    }

    fn look(&self) -> Seen {
        let region = self.region.canonicalize().ok()?;
        let version = Region::version_at(&region);
        Some((region, version))
    }

    /// Reads everything anew. What is wrong is left out, told to the log and in the alarm.
    pub fn load(&mut self) -> Offered {
        self.seen = self.look();
        let mut faults = Vec::new();
        let found = match &self.seen {
            Some((directory, _)) => Region::read(directory),
            None => Ok(None),
        };
        let region = found.unwrap_or_else(|mistake| {
            tracing::error!(code = REGION_REFUSED, %mistake, "the region's set is left out");
            faults.push(REGION_REFUSED.to_owned());
            None
        });
        let mut catalogue = Catalogue::load(&self.packaged);
        if let Some(region) = &region {
            catalogue.overlay(region, &self.packaged);
        }
        for mistake in &catalogue.mistakes {
            tracing::error!(code = PACKAGE_WRONG, %mistake, "item package left out");
        }
        if !catalogue.mistakes.is_empty() {
            faults.push(PACKAGE_WRONG.to_owned());
        }
        let alarm = (!faults.is_empty()).then(|| DeviceVitals {
            id: ITEMS.to_owned(),
            class: TERMINAL.to_owned(),
            state: "online".to_owned(),
            faults,
        });
        Offered {
            catalogue,
            region,
            alarm,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use kiosk_ui::Touch;

    use super::*;
    use crate::clock::Moment;
    use crate::event::Event;
    use crate::session::{Session, Site};

    /// The packages of the program, and a set beside them.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let bench = Self(tempfile::tempdir().unwrap());
            let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("items");
            for name in ["_shared", first_item(), second_item()] {
                copy(&own.join(name), &bench.path("packaged").join(name));
            }
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A set with another version of the first item.
        fn set(&self, slot: &str, version: &str, settings: &str) {
            let from = self.path("packaged").join(first_item());
            let item = self.path(slot).join("items").join(first_item());
            copy(&from, &item);
            let file = item.join("item.toml");
            let text = fs::read_to_string(&file).unwrap();
            let (before, rest) = text.split_once("\nversion = ").unwrap();
            let (_, after) = rest.split_once('\n').unwrap();
            fs::write(&file, format!("{before}\nversion = 77\n{after}")).unwrap();
            let removed = second_item();
            let set = format!(
                "{{\"format\":1,\"version\":\"{version}\",\"removed\":{{\"{removed}\":\"44\"}}}}"
            );
            fs::write(self.path(slot).join("set.json"), set).unwrap();
            fs::write(self.path(slot).join("region.toml"), settings).unwrap();
        }

        fn point_at(&self, slot: &str) {
            let link = self.path("current");
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(slot, link).unwrap();
        }

        fn offering(&self) -> Offering {
            Offering::new(&self.path("packaged"), &self.path("current"))
        }
    }

    fn first_item() -> &'static str {
        "old-age-allowance"
    }

    fn second_item() -> &'static str {
        "pension-qualification"
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    #[test]
    fn the_program_alone_offers_its_own_items() {
        let bench = Bench::new();
        let mut offering = bench.offering();
        let offered = offering.load();
        assert!(offered.region.is_none() && offered.alarm.is_none());
        assert_eq!(offered.catalogue.iter().count(), 2);
        assert!(!offering.has_changed());
    }

    #[test]
    fn a_set_lies_over_the_items_of_the_program_and_another_one_is_noticed() {
        let bench = Bench::new();
        let mut offering = bench.offering();
        offering.load();
        bench.set("a", "3-ab", "help_phone = \"020-12345\"\n");
        bench.point_at("a");
        assert!(offering.has_changed());
        let offered = offering.load();
        assert!(offered.alarm.is_none(), "{:?}", offered.catalogue.mistakes);
        assert_eq!(offered.catalogue.get(first_item()).unwrap().version, 77);
        assert!(offered.catalogue.get(second_item()).is_none(), "removed");
        let region = offered.region.unwrap();
        assert_eq!(region.settings.help_phone.as_deref(), Some("020-12345"));
        assert!(!offering.has_changed());
        // The other slot, and then the first one again with another set.
        bench.set("b", "4-cd", "");
        bench.point_at("b");
        assert!(offering.has_changed());
        offering.load();
        bench.point_at("a");
        offering.load();
        bench.set("a", "5-ef", "");
        assert!(offering.has_changed());
        fs::remove_file(bench.path("current")).unwrap();
        let offered = offering.load();
        assert_ne!(offered.catalogue.get(first_item()).unwrap().version, 77);
    }

    #[test]
    fn a_visit_keeps_the_items_that_it_began_with() {
        let bench = Bench::new();
        let mut offering = bench.offering();
        let before = Arc::new(offering.load().catalogue);
        let site = |phone: &str| Site {
            name: "测试村".to_owned(),
            terminal: "T001".to_owned(),
            help_phone: phone.to_owned(),
            board: Vec::new(),
        };
        let mut session = Session::new(Arc::clone(&before), site("12345"));
        let now = Moment {
            at: Timestamp::UNIX_EPOCH,
            uptime: Duration::from_secs(100),
        };
        let settings = format!("suspended_items = [\"{}\"]\n", first_item());
        bench.set("a", "3-ab", &settings);
        bench.point_at("a");
        let after = Arc::new(offering.load().catalogue);
        assert!(after.is_suspended(first_item()) && !before.is_suspended(first_item()));
        session.apply(Event::Touch(Touch::Start), now);
        let shown = session.view(now);
        assert!(!session.take_up(&after, site("67890")));
        assert_eq!(session.view(now), shown, "nothing changes under a visitor");
        assert_eq!(Arc::strong_count(&after), 1);
        let mut session = Session::new(before, site("12345"));
        assert!(session.take_up(&after, site("67890")));
        assert_eq!(Arc::strong_count(&after), 2);
        assert_eq!(session.view(now).frame.help_phone, "67890");
    }

    #[test]
    fn a_bad_package_of_a_set_drops_only_itself() {
        let bench = Bench::new();
        bench.set("a", "3-ab", "");
        bench.point_at("a");
        fs::write(
            bench.path("a/items").join(first_item()).join("item.toml"),
            "x",
        )
        .unwrap();
        let offered = bench.offering().load();
        // What the program brings of it is whole, and is offered on.
        assert_ne!(offered.catalogue.get(first_item()).unwrap().version, 77);
        assert!(offered.catalogue.get(second_item()).is_none(), "removed");
        assert_eq!(offered.alarm.unwrap().faults, [PACKAGE_WRONG]);
    }

    #[test]
    fn a_set_with_an_unknown_setting_is_refused_whole() {
        let bench = Bench::new();
        bench.set("a", "3-ab", "url = \"https://elsewhere.example\"\n");
        bench.point_at("a");
        let mut offering = bench.offering();
        let offered = offering.load();
        assert!(offered.region.is_none());
        assert_eq!(offered.catalogue.iter().count(), 2);
        assert_eq!(offered.alarm.unwrap().faults, [REGION_REFUSED]);
        assert!(!offering.has_changed(), "it is not read again and again");
    }
}
