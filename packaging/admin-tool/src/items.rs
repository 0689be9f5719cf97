//! Items and settings of regions: each region has a catalogue of its own in the draft of the
//! repository `items`; terminals read those of all their levels, the lowest decides. A package that
//! was signed never changes under the same version. Whether a package works is for the terminal's own
//! program to say: `kiosk services check`.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use kiosk_sealing::DeviceKey;
use kiosk_update::items::{
    Catalogue, CatalogueError, PackageEntry, PackageError, Setting, catalogue_target, combine,
    levels, pack, package_target,
};
use kiosk_update::manifest::{RELEASE_TARGET, Sha256, is_region};

use crate::repository::{Done, Repository, RepositoryError};

/// Where catalogues lie among the signed files.
const CATALOGUE_FOLDER: &str = "catalogue/";

/// Why items are not changed.
#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    /// The code of no region.
    #[error("`{0}` is no region; a code has 2, 4, 6, 9 or 12 digits")]
    Region(String),
    /// A version with another content than it was signed with.
    #[error(
        "version {version} of `{item}` was signed with another content; give it a higher version"
    )]
    Changed {
        /// The item.
        item: String,
        /// The version.
        version: u32,
    },
    /// A catalogue names a package that is not in the draft.
    #[error("{region} offers `{item}`, whose package is not in the draft; add it again")]
    Missing {
        /// Code of the region.
        region: String,
        /// The item.
        item: String,
    },
    /// The repository holds the program.
    #[error("this is the repository of the program; items have one of their own")]
    Program,
    /// The directory is no package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A rule of catalogues is broken.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The repository refuses.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Reads a setting such as `help_phone=12345`; several texts are written `board=["one","two"]`. No
/// setting of today is a number, so that a telephone stays the text that it is.
///
/// # Errors
/// What is wrong, in words.
pub fn setting(text: &str) -> Result<(String, Setting), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    let value = if value.starts_with('[') {
        let texts = serde_json::from_str(value);
        Setting::Texts(texts.map_err(|_| "several texts are [\"one\",\"two\"]")?)
    } else {
        Setting::Text(value.to_owned())
    };
    Ok((name.to_owned(), value))
}

fn drafted(repository: &Repository, region: &str) -> Result<Catalogue, ItemsError> {
    if !is_region(region) {
        return Err(ItemsError::Region(region.to_owned()));
    }
    let bytes = repository.drafted(&catalogue_target(region))?;
    bytes.map_or_else(
        || Ok(Catalogue::new(region)),
        |bytes| Ok(Catalogue::parse(&bytes)?),
    )
}

fn put(repository: &Repository, catalogue: &Catalogue) -> Result<(), ItemsError> {
    let name = catalogue_target(&catalogue.region);
    Ok(repository.draft(&name, Some(&catalogue.to_bytes()?))?)
}

fn kept_name(item: &str, version: u32) -> String {
    format!("package-{item}-{version}")
}

/// Offers an item in a region and below it.
///
/// # Errors
/// [`ItemsError`]; the draft is then as it was.
pub fn add(
    repository: &Repository,
    region: &str,
    item: &str,
    version: u32,
    directory: &Path,
) -> Result<Done, ItemsError> {
    let mut catalogue = drafted(repository, region)?;
    let packed = pack(directory)?;
    let sha256 = Sha256::of(&packed);
    let entry = PackageEntry {
        item: item.to_owned(),
        version,
        target: package_target(item, version),
        bytes: packed.len() as u64,
        sha256,
    };
    let target = entry.target.clone();
    catalogue.packages.retain(|package| package.item != item);
    catalogue.removed.retain(|removed| removed != item);
    catalogue.packages.push(entry);
    // Looks at the item's name too, before it becomes the name of a file.
    catalogue.to_bytes()?;
    let signed = repository.kept(&kept_name(item, version))?;
    if signed.is_some_and(|signed| signed != sha256.to_string().as_bytes()) {
        let item = item.to_owned();
        return Err(ItemsError::Changed { item, version });
    }
    repository.draft(&target, Some(&packed))?;
    put(repository, &catalogue)?;
    Ok(told(format!(
        "{region} offers `{item}` {version}, {} bytes; not signed yet",
        packed.len()
    )))
}

/// Takes an item away in a region and below it, whoever above offers it.
///
/// # Errors
/// [`ItemsError`]; the draft is then as it was.
pub fn remove(repository: &Repository, region: &str, item: &str) -> Result<Done, ItemsError> {
    let mut catalogue = drafted(repository, region)?;
    catalogue.packages.retain(|package| package.item != item);
    if !catalogue.removed.iter().any(|removed| removed == item) {
        catalogue.removed.push(item.to_owned());
    }
    put(repository, &catalogue)?;
    Ok(told(format!(
        "{region} does not offer `{item}`; not signed yet"
    )))
}

/// Sets what terminals in a region and below it go by; what is unset comes from above again.
///
/// # Errors
/// [`ItemsError`]; the draft is then as it was.
pub fn configure(
    repository: &Repository,
    region: &str,
    set: &[(String, Setting)],
    unset: &[String],
) -> Result<Done, ItemsError> {
    let mut catalogue = drafted(repository, region)?;
    for name in unset {
        catalogue.settings.remove(name);
    }
    catalogue.settings.extend(set.iter().cloned());
    put(repository, &catalogue)?;
    Ok(told(format!(
        "{region} sets {} things; not signed yet",
        catalogue.settings.len()
    )))
}

/// Signs the catalogues of the draft and the packages that they name.
///
/// # Errors
/// [`ItemsError`].
pub fn sign(
    repository: &Repository,
    keys: &[DeviceKey],
    now: Timestamp,
) -> Result<Done, ItemsError> {
    let mut files = repository.draft_files()?;
    if files.contains_key(RELEASE_TARGET) || repository.listed()?.contains_key(RELEASE_TARGET) {
        return Err(ItemsError::Program);
    }
    let mut named = BTreeSet::new();
    let mut kept = Vec::new();
    for (name, bytes) in &files {
        if !name.starts_with(CATALOGUE_FOLDER) {
            continue;
        }
        let catalogue = Catalogue::parse(bytes)?;
        for package in catalogue.packages {
            let content = files.get(&package.target);
            if content.is_none_or(|content| Sha256::of(content) != package.sha256) {
                return Err(ItemsError::Missing {
                    region: catalogue.region,
                    item: package.item,
                });
            }
            kept.push((kept_name(&package.item, package.version), package.sha256));
            named.insert(package.target);
        }
        named.insert(name.clone());
    }
    files.retain(|name, _| named.contains(name));
    let done = repository.sign_list(&files, keys, now)?;
    for (name, sha256) in kept {
        repository.keep(&name, sha256.to_string().as_bytes())?;
    }
    Ok(done)
}

/// What a terminal of a region gets once the draft is published, and from which level.
///
/// # Errors
/// [`ItemsError`].
pub fn describe(repository: &Repository, region: &str) -> Result<Vec<String>, ItemsError> {
    if !is_region(region) {
        return Err(ItemsError::Region(region.to_owned()));
    }
    let mut catalogues = Vec::new();
    for level in levels(region) {
        catalogues.push(drafted(repository, level)?);
    }
    let wanted = combine(&catalogues);
    let mut words = Vec::new();
    for (item, package) in &wanted.packages {
        let version = package.entry.version;
        words.push(format!("{item} {version}, from {}", package.region));
    }
    for (item, from) in &wanted.removed {
        words.push(format!("{item} not offered, from {from}"));
    }
    for (name, (value, from)) in &wanted.settings {
        let value = serde_json::to_string(value).unwrap_or_default();
        words.push(format!("{name} = {value}, from {from}"));
    }
    if words.is_empty() {
        words.push("nothing but what the program brings".to_owned());
    }
    Ok(words)
}

fn told(words: String) -> Done {
    Done { words: vec![words] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_form() {
        let read = |text: &str| setting(text).unwrap().1;
        assert_eq!(read("a=12345"), Setting::Text("12345".to_owned()));
        assert_eq!(read("a=甲=乙"), Setting::Text("甲=乙".to_owned()));
        let texts = vec!["甲".to_owned(), "乙".to_owned()];
        assert_eq!(read(r#"a=["甲","乙"]"#), Setting::Texts(texts));
        assert!(setting("a").is_err() && setting("a=[1").is_err());
    }
}
