//! What a region offers, as the operator signed it: `catalogue/REGION.json`. A terminal reads those
//! of its province, city, county, town and village from the top down, and the lowest that names an
//! item or a setting decides. Reads bytes from outside even though they are signed: bounded, strict,
//! and never panics.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::archive::PACKAGE_BYTES_MAX;
use crate::manifest::{Sha256, is_region};

/// Largest catalogue in bytes. Chosen: the largest lists below, with room.
pub const CATALOGUE_BYTES_MAX: usize = 1024 * 1024;

/// Layout that this version reads.
const FORMAT: u32 = 1;
/// Digits of a province, city, county, town and village (GB/T 2260, GB/T 10114).
const LEVEL_DIGITS: [usize; 5] = [2, 4, 6, 9, 12];
/// Most packages, and most removed items. Chosen: what a terminal's catalogue may have.
const ITEMS_MAX: usize = 1000;
/// Longest id of an item in bytes (the platform's contract).
const ITEM_BYTES_MAX: usize = 64;
/// Most settings, and their longest name in bytes; chosen, ten times what there is.
const SETTINGS_MAX: usize = 64;
const SETTING_NAME_BYTES_MAX: usize = 64;
/// Longest text of a setting in bytes, and most texts of one. Chosen: a notice of a full screen.
const TEXT_BYTES_MAX: usize = 4096;
const TEXTS_MAX: usize = 1000;
/// Folder of the packages, and how their names end.
const PACKAGE_FOLDER: &str = "package/";
const PACKAGE_ENDING: &str = ".tar.zst";

/// A value that a region sets; the terminal knows which it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

/// One version of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// Id of the item.
    pub item: String,
    /// Its version.
    pub version: u32,
    /// Name of the signed target.
    pub target: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its hash.
    pub sha256: Sha256,
}

/// What one region says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Layout; this version knows 1.
    pub format: u32,
    /// Code of the region.
    pub region: String,
    /// What it offers.
    pub packages: Vec<PackageEntry>,
    /// Items that are not offered here, whoever above offers them.
    pub removed: Vec<String>,
    /// What it sets, by name.
    pub settings: BTreeMap<String, Setting>,
}

/// Why bytes are no catalogue. The operator publishes another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// More bytes than a catalogue has.
    #[error("the catalogue is larger than {CATALOGUE_BYTES_MAX} bytes")]
    TooLong,
    /// No JSON of this form.
    #[error("the catalogue has another form at line {line}, column {column}")]
    Form {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
    },
    /// A layout that this version does not know.
    #[error("the catalogue has another layout")]
    Format,
    /// The code of no region, or of another one than it was published for.
    #[error("the catalogue is of another region")]
    Region,
    /// More than allowed.
    #[error("the catalogue has too much of {what}")]
    Size {
        /// Of what.
        what: &'static str,
    },
    /// An item with another name than items have, or one that stands twice.
    #[error("item {index} of `{list}` is not allowed or stands twice")]
    Item {
        /// Of which list.
        list: &'static str,
        /// Which, from 0.
        index: usize,
    },
    /// A package under another name or of another size than packages have.
    #[error("package {index} is not allowed")]
    Package {
        /// Which, from 0.
        index: usize,
    },
    /// A setting with another name or a longer value than settings have.
    #[error("setting {index} is not allowed")]
    Setting {
        /// Which, from 0 in the order of the names.
        index: usize,
    },
}

impl CatalogueError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        "items.catalogue-malformed"
    }
}

/// A package as a terminal wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What was signed.
    pub entry: PackageEntry,
    /// Code of the region that says so.
    pub region: String,
}

/// What all catalogues of a terminal come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What is offered, by item.
    pub packages: BTreeMap<String, Package>,
    /// What is not offered even where the program brings it, by item, with the region that says so.
    pub removed: BTreeMap<String, String>,
    /// What is set, by name, with the region that says so.
    pub settings: BTreeMap<String, (Setting, String)>,
}

impl Catalogue {
    /// One that says nothing yet.
    pub fn new(region: &str) -> Self {
        Self {
            format: FORMAT,
            region: region.to_owned(),
            packages: Vec::new(),
            removed: Vec::new(),
            settings: BTreeMap::new(),
        }
    }

    /// Reads and checks a catalogue.
    ///
    /// # Errors
    /// [`CatalogueError`] says which rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, CatalogueError> {
        if bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(CatalogueError::TooLong);
        }
        let catalogue: Self = serde_json::from_slice(bytes).map_err(form)?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The content of the signed target, if the catalogue keeps the rules. The same catalogue has
    /// the same bytes, whatever the order in which it was made.
    ///
    /// # Errors
    /// [`CatalogueError`] says which rule it breaks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CatalogueError> {
        self.check()?;
        let mut sorted = self.clone();
        sorted
            .packages
            .sort_by(|one, other| one.item.cmp(&other.item));
        sorted.removed.sort();
        let mut bytes = serde_json::to_vec_pretty(&sorted).map_err(form)?;
        bytes.push(b'\n');
        if bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(CatalogueError::TooLong);
        }
        Ok(bytes)
    }

    fn check(&self) -> Result<(), CatalogueError> {
        if self.format != FORMAT {
            return Err(CatalogueError::Format);
        }
        if !is_region(&self.region) {
            return Err(CatalogueError::Region);
        }
        for (what, count, most) in [
            ("packages", self.packages.len(), ITEMS_MAX),
            ("removed", self.removed.len(), ITEMS_MAX),
            ("settings", self.settings.len(), SETTINGS_MAX),
        ] {
            if count > most {
                return Err(CatalogueError::Size { what });
            }
        }
        let mut named = BTreeSet::new();
        for (index, package) in self.packages.iter().enumerate() {
            if !is_item(&package.item) || !named.insert(package.item.as_str()) {
                let list = "packages";
                return Err(CatalogueError::Item { list, index });
            }
            let is_package = is_package_target(&package.target)
                && (1..=PACKAGE_BYTES_MAX).contains(&package.bytes);
            if !is_package {
                return Err(CatalogueError::Package { index });
            }
        }
        // An item that is offered and removed at once would depend on who reads first.
        for (index, item) in self.removed.iter().enumerate() {
            if !is_item(item) || !named.insert(item.as_str()) {
                let list = "removed";
                return Err(CatalogueError::Item { list, index });
            }
        }
        for (index, (name, setting)) in self.settings.iter().enumerate() {
            if !is_setting_name(name) || !setting.is_within() {
                return Err(CatalogueError::Setting { index });
            }
        }
        Ok(())
    }
}

impl Setting {
    fn is_within(&self) -> bool {
        match self {
            Self::Flag(_) | Self::Number(_) => true,
            Self::Text(text) => text.len() <= TEXT_BYTES_MAX,
            Self::Texts(texts) => {
                texts.len() <= TEXTS_MAX && texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX)
            }
        }
    }
}

/// Name of the signed target with the catalogue of a region.
pub fn catalogue_target(region: &str) -> String {
    format!("catalogue/{region}.json")
}

/// Name of the signed target with one version of an item.
pub fn package_target(item: &str, version: u32) -> String {
    format!("{PACKAGE_FOLDER}{item}-{version}{PACKAGE_ENDING}")
}

/// The codes of the province, city, county, town and village that a region lies in, from the top
/// down, itself the last; none when it is the code of no region.
pub fn levels(region: &str) -> Vec<&str> {
    if !is_region(region) {
        return Vec::new();
    }
    let above = LEVEL_DIGITS
        .into_iter()
        .filter(|digits| *digits < region.len())
        .filter_map(|digits| region.get(..digits));
    above.chain([region]).collect()
}

/// What the catalogues of a terminal come to, from the top down: of an item as of a setting, the
/// lowest that names it decides. What a region removes stays removed below, unless a region below
/// offers it again by name.
pub fn combine<'a>(catalogues: impl IntoIterator<Item = &'a Catalogue>) -> Wanted {
    let mut wanted = Wanted::default();
    for catalogue in catalogues {
        let region = &catalogue.region;
        for item in &catalogue.removed {
            wanted.packages.remove(item);
            wanted.removed.insert(item.clone(), region.clone());
        }
        for entry in &catalogue.packages {
            wanted.removed.remove(&entry.item);
            let package = Package {
                entry: entry.clone(),
                region: region.clone(),
            };
            wanted.packages.insert(entry.item.clone(), package);
        }
        for (name, setting) in &catalogue.settings {
            let set = (setting.clone(), region.clone());
            wanted.settings.insert(name.clone(), set);
        }
    }
    wanted
}

/// True for the id of an item: letters, digits, `.`, `_` and `-`, and no name of shared files.
pub(crate) fn is_item(item: &str) -> bool {
    (1..=ITEM_BYTES_MAX).contains(&item.len())
        && !item.starts_with(['.', '_', '-'])
        && item
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_package_target(target: &str) -> bool {
    target
        .strip_prefix(PACKAGE_FOLDER)
        .and_then(|name| name.strip_suffix(PACKAGE_ENDING))
        .is_some_and(|name| {
            // An item, `-` and ten digits at most.
            name.len() <= ITEM_BYTES_MAX + 11
                && !name.starts_with('.')
                && !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}

fn is_setting_name(name: &str) -> bool {
    (1..=SETTING_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn form(error: serde_json::Error) -> CatalogueError {
    CatalogueError::Form {
        line: error.line(),
        column: error.column(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const VILLAGE: &str = "440113001005";

    fn sample() -> Value {
        json!({
            "format": 1,
            "region": "4401",
            "packages": [{
                "item": "old-age-allowance", "version": 3,
                "target": "package/old-age-allowance-3.tar.zst", "bytes": 3,
                "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            }],
            "removed": ["bus-card"],
            "settings": {"help_phone": "12345", "notices": ["甲", "乙"], "is_quiet": true, "hours": 8},
        })
    }

    fn parse(value: &Value) -> Result<Catalogue, CatalogueError> {
        Catalogue::parse(value.to_string().as_bytes())
    }

    fn with(pointer: &str, value: Value) -> Result<Catalogue, CatalogueError> {
        let mut changed = sample();
        *changed.pointer_mut(pointer).unwrap() = value;
        parse(&changed)
    }

    #[test]
    fn a_catalogue_comes_back_as_it_was_published() {
        let catalogue = parse(&sample()).unwrap();
        assert_eq!(catalogue.packages[0].version, 3);
        assert_eq!(catalogue.packages[0].sha256, Sha256::of(b"abc"));
        assert_eq!(catalogue.settings["hours"], Setting::Number(8));
        assert_eq!(
            Catalogue::parse(&catalogue.to_bytes().unwrap()),
            Ok(catalogue)
        );
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let item = |list, index| CatalogueError::Item { list, index };
        for (pointer, value, error) in [
            ("/format", json!(2), CatalogueError::Format),
            ("/region", json!("Canton"), CatalogueError::Region),
            ("/region", json!("1"), CatalogueError::Region),
            ("/removed/0", json!("../x"), item("removed", 0)),
            ("/removed/0", json!("_shared"), item("removed", 0)),
            ("/removed/0", json!("old-age-allowance"), item("removed", 0)),
            ("/removed", json!(["a", "a"]), item("removed", 1)),
            ("/packages/0/item", json!(""), item("packages", 0)),
            (
                "/packages/0/target",
                json!("package/../release.json"),
                CatalogueError::Package { index: 0 },
            ),
            (
                "/packages/0/target",
                json!("catalogue/4401.json"),
                CatalogueError::Package { index: 0 },
            ),
            (
                "/packages/0/bytes",
                json!(PACKAGE_BYTES_MAX + 1),
                CatalogueError::Package { index: 0 },
            ),
            (
                "/settings",
                json!({"Help": "1"}),
                CatalogueError::Setting { index: 0 },
            ),
            (
                "/settings/help_phone",
                json!("1".repeat(TEXT_BYTES_MAX + 1)),
                CatalogueError::Setting { index: 0 },
            ),
        ] {
            assert_eq!(with(pointer, value), Err(error), "{pointer}");
        }
        for (pointer, value) in [
            ("/settings/help_phone", json!(1.5)),
            ("/settings/help_phone", json!({"a": 1})),
            ("/packages/0/version", json!(-1)),
            ("/packages/0/sha256", json!("BA")),
        ] {
            let outcome = with(pointer, value);
            assert!(
                matches!(outcome, Err(CatalogueError::Form { .. })),
                "{pointer}"
            );
        }
        let long = vec![b' '; CATALOGUE_BYTES_MAX + 1];
        assert_eq!(Catalogue::parse(&long), Err(CatalogueError::TooLong));
    }

    #[test]
    fn a_village_has_five_levels() {
        let expected = ["44", "4401", "440113", "440113001", VILLAGE];
        assert_eq!(levels(VILLAGE), expected);
        assert_eq!(levels("440113"), expected[..3]);
        assert_eq!(levels("44"), expected[..1]);
        assert!(levels("Canton").is_empty() && levels("").is_empty());
    }

    fn entry(item: &str, version: u32) -> PackageEntry {
        PackageEntry {
            item: item.to_owned(),
            version,
            target: package_target(item, version),
            bytes: 1,
            sha256: Sha256::of(b"abc"),
        }
    }

    proptest! {
        /// What each level says of five items and three settings: nothing, removed, or a version.
        #[test]
        fn the_lowest_level_that_names_it_decides(
            said in proptest::collection::vec(
                (proptest::collection::vec(0_u32..6, 5), proptest::collection::vec(0_i64..3, 3)),
                5,
            ),
        ) {
            let items = ["a", "b", "c", "d", "e"];
            let names = ["x", "y", "z"];
            let catalogues: Vec<Catalogue> = levels(VILLAGE)
                .into_iter()
                .zip(&said)
                .map(|(region, (of_items, of_settings))| {
                    let mut catalogue = Catalogue::new(region);
                    for (item, said) in items.iter().zip(of_items) {
                        match said {
                            0 | 1 => {}
                            2 => catalogue.removed.push((*item).to_owned()),
                            version => catalogue.packages.push(entry(item, *version)),
                        }
                    }
                    for (name, said) in names.iter().zip(of_settings).filter(|(_, said)| **said > 0) {
                        catalogue.settings.insert((*name).to_owned(), Setting::Number(*said));
                    }
                    Catalogue::parse(&catalogue.to_bytes().unwrap()).unwrap()
                })
                .collect();
            let wanted = combine(&catalogues);
            for (index, item) in items.into_iter().enumerate() {
                let lowest = said.iter().map(|(of_items, _)| of_items[index]).rfind(|said| *said > 1);
                let version = wanted.packages.get(item).map(|package| package.entry.version);
                prop_assert_eq!(version, lowest.filter(|said| *said > 2));
                prop_assert_eq!(wanted.removed.contains_key(item), lowest == Some(2));
            }
            for (index, name) in names.into_iter().enumerate() {
                let lowest = said.iter().map(|(_, of)| of[index]).rfind(|said| *said > 0);
                let set = wanted.settings.get(name).map(|(setting, _)| setting.clone());
                prop_assert_eq!(set, lowest.map(Setting::Number));
            }
        }
    }
}
