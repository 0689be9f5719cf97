//! All a template can see: itself, its data and the files given with it.
//!
//! There is no clock (`datetime.today()` is an error), no package registry and no disk behind this,
//! and a path that climbs out of the template's directory ends in an error.

use std::collections::HashMap;

use typst::diag::{FileError, FileResult, PackageError};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, World};

use crate::fonts::Shelf;
use crate::{DocumentError, Template};

/// The template's own name in messages.
pub(crate) const TEMPLATE_NAME: &str = "template.typ";
/// The name under which a template reads its data.
pub(crate) const DATA_NAME: &str = "data.json";
/// Chosen: the shared slip template is 8 KiB; a hundred times that is a mistake.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Chosen: a form with all its answers is a few kilobytes.
const DATA_BYTES_MAX: usize = 4 << 20;
/// Chosen: a handful of photographs beside one document.
const FILES_BYTES_MAX: usize = 64 << 20;
/// Chosen: pictures and included templates of one document.
const FILES_MAX: usize = 64;

/// The compiler's view of one template.
pub(crate) struct TemplateWorld<'a> {
    shelf: &'a Shelf,
    main: Source,
    files: HashMap<FileId, Bytes>,
}

impl<'a> TemplateWorld<'a> {
    /// Gathers a template's inputs within the limits.
    pub(crate) fn new(shelf: &'a Shelf, template: &Template<'_>) -> Result<Self, DocumentError> {
        within("template bytes", template.source.len(), SOURCE_BYTES_MAX)?;
        let data = template.data.to_string();
        within("data bytes", data.len(), DATA_BYTES_MAX)?;
        within("files", template.files.len(), FILES_MAX)?;
        within(
            "bytes of files",
            template.files.iter().map(|(_, bytes)| bytes.len()).sum(),
            FILES_BYTES_MAX,
        )?;

        let main_id = file_id(TEMPLATE_NAME)?;
        let mut files = HashMap::from([(file_id(DATA_NAME)?, Bytes::from_string(data))]);
        for (name, bytes) in template.files {
            let id = file_id(name)?;
            if id == main_id || files.insert(id, Bytes::new(bytes.clone())).is_some() {
                return Err(DocumentError::FileName {
                    name: (*name).to_owned(),
                });
            }
        }
        Ok(Self {
            shelf,
            main: Source::new(main_id, template.source.to_owned()),
            files,
        })
    }
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), DocumentError> {
    if value > limit {
        Err(DocumentError::TooLarge { what, limit })
    } else {
        Ok(())
    }
}

/// The compiler keeps every name it has ever seen, so names come from item packages, never from a visit's data.
fn file_id(name: &str) -> Result<FileId, DocumentError> {
    let refused = || DocumentError::FileName {
        name: name.to_owned(),
    };
    let path = VirtualPath::new(name).map_err(|_| refused())?;
    // An absolute name would be taken as relative to the template: what looks like a disk path is refused instead.
    if path.is_root() || name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(refused());
    }
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

impl World for TemplateWorld<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.shelf.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.shelf.book
    }

    fn main(&self) -> FileId {
        self.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.main.id() {
            return Ok(self.main.clone());
        }
        let bytes = self.file(id)?;
        let text = bytes.as_str().map_err(|_| FileError::InvalidUtf8)?;
        Ok(Source::new(id, text.to_owned()))
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if let VirtualRoot::Package(package) = id.get().root() {
            return Err(FileError::Package(PackageError::NotFound(package.clone())));
        }
        if id == self.main.id() {
            return Ok(Bytes::from_string(self.main.text().to_owned()));
        }
        let not_found = || FileError::NotFound(id.get().vpath().get_without_slash().into());
        self.files.get(&id).cloned().ok_or_else(not_found)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.shelf.face(index)
    }

    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        // A document's date is part of its data; the clock would make a second copy differ from the first.
        None
    }
}
