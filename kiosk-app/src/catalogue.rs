//! The items that this terminal offers: directories of data, validated as a whole at load.
//!
//! Adding a service is adding a directory; nothing here knows an item by name.
//! A package that is wrong is left out and reported with file, line and field; the others work on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod item;
mod load;

pub use item::{FieldKind, Item, Offline, Step, Who};

/// Largest file of a package, in bytes; chosen, ten times the largest seen.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most packages in one catalogue; chosen, twice what the largest city offers (500).
const ITEMS_MAX: usize = 1000;

/// All valid items, and what was wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    items: BTreeMap<String, Arc<Item>>,
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
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                catalogue.mistakes.push(Mistake {
                    file: directory.to_path_buf(),
                    line: 0,
                    field: String::new(),
                    message: format!("cannot read the directory of items: {error}"),
                });
                return catalogue;
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
            match load::package(&package) {
                Ok(item) => {
                    catalogue.items.insert(item.id.clone(), Arc::new(item));
                }
                Err(mistakes) => catalogue.mistakes.extend(mistakes),
            }
        }
        catalogue
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
