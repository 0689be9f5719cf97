//! Pictures of the screens that a journey reaches, numbered in order.
//!
//! A page gets one picture, taken again just before it is left, so that it shows what the person
//! saw last. A new page is another screen, or another content after a touch.

use std::path::{Path, PathBuf};

use crate::control::{Request, Sight};
use crate::world::World;

/// The pictures of one journey.
#[derive(Debug)]
pub struct Album {
    directory: PathBuf,
    pictures: Vec<PathBuf>,
    shown: Option<Sight>,
    is_touched: bool,
}

impl Album {
    /// An empty album in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            pictures: Vec::new(),
            shown: None,
            is_touched: false,
        }
    }

    /// The pictures so far.
    pub fn pictures(&self) -> &[PathBuf] {
        &self.pictures
    }

    /// A finger has touched: what comes next may be another page.
    pub fn touched(&mut self) {
        self.is_touched = true;
    }

    /// Takes a picture when `sight` is a page that has none yet.
    ///
    /// # Errors
    /// The picture cannot be taken.
    pub fn see(&mut self, world: &mut World, sight: &Sight) -> anyhow::Result<()> {
        if self.is_new(sight) {
            self.take(world, &sight.screen.clone())?;
            self.is_touched = false;
            self.shown = Some(sight.clone());
        }
        Ok(())
    }

    /// Takes the picture of the page that is about to be left again, if it has changed.
    ///
    /// # Errors
    /// The picture cannot be taken.
    pub fn leave(&mut self, world: &mut World, sight: &Sight) -> anyhow::Result<()> {
        self.see(world, sight)?;
        let has_changed = self.shown.as_ref().is_none_or(|shown| shown != sight);
        if has_changed && let Some(file) = self.pictures.last().cloned() {
            world.order(&Request::Snapshot { file })?;
            self.shown = Some(sight.clone());
        }
        Ok(())
    }

    /// Takes a picture under a name of its own.
    ///
    /// # Errors
    /// The picture cannot be taken.
    pub fn take(&mut self, world: &mut World, name: &str) -> anyhow::Result<()> {
        let file = self.directory.join(format!(
            "{:02}-{}.png",
            self.pictures.len() + 1,
            name.replace('/', "-")
        ));
        world.order(&Request::Snapshot { file: file.clone() })?;
        self.pictures.push(file);
        Ok(())
    }

    fn is_new(&self, sight: &Sight) -> bool {
        self.shown.as_ref().is_none_or(|shown| {
            shown.screen != sight.screen || (self.is_touched && shown.elements != sight.elements)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Element;

    fn sight(screen: &str, label: &str) -> Sight {
        let element = Element {
            label: label.to_owned(),
            role: "text".to_owned(),
            enabled: true,
        };
        Sight {
            screen: screen.to_owned(),
            elements: vec![element],
        }
    }

    #[test]
    fn a_page_is_new_when_it_is_another_or_was_turned_by_a_touch() {
        let mut album = Album::new(Path::new("."));
        assert!(album.is_new(&sight("home", "a")));
        album.shown = Some(sight("question", "a"));
        assert!(!album.is_new(&sight("question", "b")));
        assert!(album.is_new(&sight("review", "a")));
        album.touched();
        assert!(album.is_new(&sight("question", "b")));
        assert!(!album.is_new(&sight("question", "a")));
    }
}
