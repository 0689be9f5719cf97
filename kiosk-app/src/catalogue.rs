//! The items that this terminal offers: directories of data, validated as a whole at load.
//!
//! Adding a service is adding a directory; nothing here knows an item by name.
//! A package that is wrong is left out and reported with file, line and field; the others work on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod item;
mod load;
pub mod offering;
pub mod region;

pub use item::{FieldKind, Item, Offline, Step, Who};
pub use offering::{Offered, Offering};
pub use region::{Region, RegionSettings};

/// Largest file of a package, in bytes; chosen, ten times the largest seen.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Directory of what several packages share, beside them.
const SHARED: &str = "_shared";
/// Most packages in one catalogue; chosen, twice what the largest city offers (500).
const ITEMS_MAX: usize = 1000;

/// All valid items, and what was wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    items: BTreeMap<String, Arc<Item>>,
    suspended: BTreeSet<String>,
    /// What was found wrong, package by package.
    pub mistakes: Vec<Mistake>,
}

/// One mistake in a package: where it is and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where a whole file or key is missing.
    pub line: usize,
    /// The field, dotted.
    pub field: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Catalogue {
    /// Loads every package below `directory`. Directories whose name starts with `_` hold shared
    /// files and are not packages.
    pub fn load(directory: &Path) -> Self {
        let mut catalogue = Self::default();
        catalogue.add(directory, &directory.join(SHARED));
        catalogue
    }

    /// Loads the packages of a region's set alone, with the shared files of the program, of which
    /// `packaged` is the directory.
    pub fn load_region(region: &Region, packaged: &Path) -> Self {
        let mut catalogue = Self::default();
        catalogue.overlay(region, packaged);
        catalogue
    }

    /// Lays a region's set over the items: what it removes goes, what it brings takes the place of
    /// what was there, and a package of it that is wrong changes nothing.
    fn overlay(&mut self, region: &Region, packaged: &Path) {
        self.items.retain(|id, _| !region.removed.contains(id));
        self.add(&region.items, &packaged.join(SHARED));
        let suspended = region.settings.suspended_items.iter().flatten();
        self.suspended = suspended.cloned().collect();
    }

    fn add(&mut self, directory: &Path, shared: &Path) {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.mistakes.push(Mistake {
                    file: directory.to_path_buf(),
                    line: 0,
                    field: String::new(),
                    message: format!("cannot read the directory of items: {error}"),
                });
                return;
            }
        };
        let mut packages: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !is_shared(path))
            .collect();
        packages.sort();
        packages.truncate(ITEMS_MAX);
        for package in packages {
            match load::package(&package, shared) {
                Ok(item) => {
                    self.items.insert(item.id.clone(), Arc::new(item));
                }
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
    }

    /// True while the region suspends the item.
    pub fn is_suspended(&self, id: &str) -> bool {
        self.suspended.contains(id)
    }

    /// The item of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Item>> {
        self.items.get(id)
    }

    /// All items, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.items.values()
    }

    /// True when there is no valid item at all.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items whose search words start with `query`, ignoring case.
    pub fn search(&self, query: &str) -> Vec<&Arc<Item>> {
        let query = query.to_ascii_lowercase();
        self.items
            .values()
            .filter(|item| item.search.iter().any(|word| word.starts_with(&query)))
            .collect()
    }
}

fn is_shared(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_none_or(|name| name.starts_with(['_', '.']))
}
