//! Which fonts there are. Font files are mapped, never read onto the heap: the Chinese ones alone are some 100 MB.
//!
//! Looking for files is cheap and happens at start; reading names and coverage of every face takes longer
//! and happens once, with the first document or with `Typesetter::warm_up`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memmap2::Mmap;
use typst::foundations::Bytes;
use typst::text::{Font, FontBook, FontFamily, FontList, Lang, Region, TextElem};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt};

use crate::DocumentError;

/// Where Debian and our own package install fonts.
pub const SYSTEM_FONT_DIRS: &[&str] = &[
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/kiosk/fonts",
];

/// Chosen: Debian nests three deep (`opentype/noto/x.ttc`); deeper trees are a mistake or a loop of links.
const DEPTH_MAX: usize = 6;
/// Chosen: a full desktop has about a thousand font files; a kiosk has tens.
const FONT_FILES_MAX: usize = 2_000;
/// Chosen: entries looked at in one directory tree, so that a wrong path cannot hold up the start.
const ENTRIES_MAX: usize = 20_000;
/// A font that lacks this character (U+4E2D) is of no use for Chinese.
const CHINESE_PROBE: char = '中';
/// The default text font: the first of these that is installed, else any face with Chinese characters.
const PREFERRED_FAMILIES: &[&str] = &[
    "noto sans cjk sc",
    "source han sans sc",
    "noto serif cjk sc",
    "source han serif sc",
];

/// The font files of the terminal and, once needed, the faces in them.
pub(crate) struct Fonts {
    files: Vec<PathBuf>,
    shelf: OnceLock<Shelf>,
}

/// Every face, ready for the compiler, and the library whose defaults name one of them.
pub(crate) struct Shelf {
    pub(crate) library: LazyHash<Library>,
    pub(crate) book: LazyHash<FontBook>,
    faces: Vec<Font>,
}

impl Fonts {
    /// Looks for font files and makes sure that one of them knows Chinese.
    pub(crate) fn find(font_dirs: &[PathBuf]) -> Result<Self, DocumentError> {
        let mut files = Vec::new();
        for dir in font_dirs {
            collect(dir, &mut files);
        }
        // Directory order differs from disk to disk; fallback must not.
        files.sort();
        files.dedup();
        if !files.iter().any(|file| knows_chinese(file)) {
            let searched: Vec<_> = font_dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            return Err(DocumentError::NoCjkFont {
                searched: searched.join(", "),
            });
        }
        Ok(Self {
            files,
            shelf: OnceLock::new(),
        })
    }

    /// How many font files were found.
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Names and coverage of all faces; read on the first call.
    pub(crate) fn shelf(&self) -> &Shelf {
        self.shelf.get_or_init(|| Shelf::read(&self.files))
    }
}

impl Shelf {
    fn read(files: &[PathBuf]) -> Self {
        let faces: Vec<Font> = files
            .iter()
            .filter_map(|file| map(file))
            .flat_map(|mapping| Font::iter(Bytes::new(mapping)))
            .collect();
        let book = FontBook::from_fonts(&faces);
        let mut library = <Library as LibraryExt>::default();
        if let Some(family) = default_family(&book) {
            library
                .styles
                .set(TextElem::font, FontList(vec![FontFamily::new(&family)]));
        }
        library.styles.set(TextElem::lang, Lang::CHINESE);
        library
            .styles
            .set(TextElem::region, "CN".parse::<Region>().ok());
        Self {
            library: LazyHash::new(library),
            book: LazyHash::new(book),
            faces,
        }
    }

    /// The face of this index of the book.
    pub(crate) fn face(&self, index: usize) -> Option<Font> {
        self.faces.get(index).cloned()
    }

    /// Whether some face has a glyph for this character.
    pub(crate) fn covers(&self, character: char) -> bool {
        self.faces
            .iter()
            .any(|face| face.info().coverage.contains(u32::from(character)))
    }
}

fn default_family(book: &FontBook) -> Option<String> {
    let knows_chinese = |index| {
        book.info(index)
            .is_some_and(|info| info.coverage.contains(u32::from(CHINESE_PROBE)))
    };
    let preferred = PREFERRED_FAMILIES
        .iter()
        .find(|family| book.contains_family(family));
    preferred.map(|family| (*family).to_owned()).or_else(|| {
        let mut families = book.families();
        families.find_map(|(family, mut faces)| faces.any(knows_chinese).then(|| family.to_owned()))
    })
}

/// Adds the font files below `root`, breadth first. What cannot be read is not there.
fn collect(root: &Path, files: &mut Vec<PathBuf>) {
    let mut level = vec![root.to_path_buf()];
    let mut entries_left = ENTRIES_MAX;
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        for dir in &level {
            let Ok(entries) = std::fs::read_dir(dir) else {
                continue;
            };
            for entry in entries.take(entries_left).flatten() {
                entries_left -= 1;
                let path = entry.path();
                // `is_dir` and `is_file` follow links; a loop of links ends at the depth limit.
                if path.is_dir() {
                    below.push(path);
                } else if files.len() < FONT_FILES_MAX && is_font_name(&path) && path.is_file() {
                    files.push(path);
                }
            }
        }
        level = below;
    }
}

fn is_font_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["ttf", "otf", "ttc", "otc"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn knows_chinese(file: &Path) -> bool {
    let Some(mapping) = map(file) else {
        return false;
    };
    ttf_parser::Face::parse(&mapping, 0).is_ok_and(|face| face.glyph_index(CHINESE_PROBE).is_some())
}

/// Maps a font file; `None` when it cannot be opened.
#[expect(
    unsafe_code,
    reason = "mapping a file is the only way to use 100 MB of fonts without 100 MB of heap"
)]
fn map(file: &Path) -> Option<Mmap> {
    let file = File::open(file).ok()?;
    // SAFETY: the mapping is read-only and private. Font files belong to root and are replaced by renaming a new
    // file over the old name (dpkg does), which leaves the mapped file as it was; nothing truncates one in place.
    unsafe { Mmap::map(&file) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_chinese_fonts_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broken.ttf"), b"not a font").unwrap();
        let error = Fonts::find(&[dir.path().to_path_buf()]).err().unwrap();
        assert_eq!(error.code(), "document.no-cjk-font");
        assert!(
            error
                .to_string()
                .contains(&dir.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn fonts_below_the_depth_limit_are_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let shallow = dir.path().join("a/b");
        let deep = dir.path().join("1/2/3/4/5/6/7");
        for place in [&shallow, &deep] {
            std::fs::create_dir_all(place).unwrap();
            std::fs::write(place.join("face.OTF"), b"").unwrap();
        }
        let mut files = Vec::new();
        collect(dir.path(), &mut files);
        assert_eq!(files, [shallow.join("face.OTF")]);
    }
}
