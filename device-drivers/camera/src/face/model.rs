//! The file of the model: boosted classifiers that look at every window of a picture, and behind them
//! levels of networks that look closer at what is left. Numbers are little-endian, 32 bits.
//!
//! Reading is bounded: every count has a limit, and what does not fit together is no model.

use super::boosted::{Boosted, Group, Weak};
use super::network::{Layer, Network, PATCH_VALUES, Patch, patches};

/// Side of the window of the model, in pixels: no smaller face is found.
pub(super) const WINDOW: usize = 40;
/// Largest count in the file. Chosen: twice the largest one in the model of `models/README.md`.
const COUNT_MAX: usize = 1024;
/// Kinds of classifiers.
const BOOSTED: usize = 0;
const NETWORK: usize = 1;
/// Weak classifiers behind which a threshold is looked at.
const GROUP_LENGTH: usize = 10;
/// Stands for the number of sets whose finds are looked at, where windows are.
const NO_SOURCES: [u8; 4] = [0xFF; 4];
/// The codes that a texture can have.
const CODES: usize = 256;

/// What was read.
#[derive(Debug)]
pub(super) struct Model {
    /// Each looks at every window.
    pub(super) boosted: Vec<Boosted>,
    /// Each level looks at what the one before has left, one network after the other.
    pub(super) levels: Vec<Vec<Network>>,
}

impl Model {
    /// Reads a model; `None` when `bytes` are none, or one of another shape.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let patches = patches();
        let levels_count = reader.count()?;
        let mut boosted = Vec::new();
        for _ in 0..reader.count()? {
            boosted.extend(reader.set(BOOSTED, Reader::boosted)?);
        }
        let mut levels = Vec::new();
        for _ in 1..levels_count {
            // Several sets of networks side by side are not known here.
            if reader.count()? != 1 {
                return None;
            }
            levels.push(reader.set(NETWORK, |reader| reader.network(&patches))?);
        }
        (reader.0.is_empty() && !boosted.is_empty()).then_some(Self { boosted, levels })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Option<[u8; 4]> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*word)
    }

    fn count(&mut self) -> Option<usize> {
        let word = self.word()?;
        Self::count_in(word)
    }

    fn count_in(word: [u8; 4]) -> Option<usize> {
        let count = u32::from_le_bytes(word);
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= COUNT_MAX)
    }

    fn float(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.word()?)).filter(|value| value.is_finite())
    }

    /// `count` floats; nothing is reserved for what is not there.
    fn floats(&mut self, count: usize) -> Option<Vec<f32>> {
        (0..count).map(|_| self.float()).collect()
    }

    /// The classifiers of one set, each behind its kind, and behind them which finds they look at: all.
    fn set<T>(
        &mut self,
        kind: usize,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut set = Vec::new();
        for _ in 0..self.count()? {
            if self.count()? != kind {
                return None;
            }
            set.push(read(self)?);
        }
        let sources = self.word()?;
        if sources != NO_SOURCES {
            for _ in 0..Self::count_in(sources)? {
                self.count()?;
            }
        }
        Some(set)
    }

    fn boosted(&mut self) -> Option<Boosted> {
        let count = self.count()?;
        let is_known =
            self.count()? + 1 == CODES && count > 0 && count.is_multiple_of(GROUP_LENGTH);
        let mut weak = Vec::new();
        for _ in 0..count {
            let (x, y) = (self.count()?, self.count()?);
            weak.push(Weak::new(x, y)?);
        }
        let thresholds = self.floats(count)?;
        for weak in &mut weak {
            weak.weights = self.floats(CODES)?;
        }
        let mut groups = Vec::new();
        for threshold in thresholds.chunks_exact(GROUP_LENGTH) {
            let rest = weak.split_off(GROUP_LENGTH);
            groups.push(Group {
                weak: std::mem::replace(&mut weak, rest),
                threshold: *threshold.last()?,
            });
        }
        is_known.then_some(Boosted { groups })
    }

    fn network(&mut self, pool: &[Patch]) -> Option<Network> {
        let layers_count = self.count()?.checked_sub(1)?;
        let mut patches = Vec::new();
        for _ in 0..self.count()? {
            // They are counted from one.
            patches.push(*pool.get(self.count()?.checked_sub(1)?)?);
        }
        let threshold = self.float()?;
        let mut inputs = self.count()?;
        if inputs != patches.len() * PATCH_VALUES {
            return None;
        }
        let mut layers = Vec::new();
        for _ in 0..layers_count {
            let outputs = self.count()?;
            layers.push(Layer {
                inputs,
                weights: self.floats(inputs * outputs)?,
                biases: self.floats(outputs)?,
            });
            inputs = outputs;
        }
        Network::new(patches, layers, threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MODEL;
    use super::*;

    #[test]
    fn the_model_is_read_to_its_end() {
        let model = Model::read(MODEL).unwrap();
        assert_eq!(model.boosted.len(), 3);
        let levels: Vec<_> = model.levels.iter().map(Vec::len).collect();
        assert_eq!(levels, [2, 1]);
    }

    #[test]
    fn what_is_cut_or_changed_is_no_model() {
        for end in (0..MODEL.len()).step_by(7001) {
            assert!(Model::read(&MODEL[..end]).is_none(), "{end}");
        }
        assert!(Model::read(&[MODEL, &[0]].concat()).is_none());
        for at in 0..24 {
            let mut changed = MODEL.to_vec();
            changed[at] ^= 0x80;
            assert!(Model::read(&changed).is_none(), "{at}");
        }
        assert!(Model::read(&[0xFF; 4096]).is_none());
    }
}
