//! Every text of the screens exists in every language.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Texts in `@tr("…")` of every Slint file under `folder`.
fn texts(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the folder of the screens") {
        let path = entry.expect("a file of the screens").path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "slint")
        {
            let source = fs::read_to_string(&path).expect("a screen in UTF-8");
            let quoted = source
                .split("@tr(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            found.extend(quoted.map(str::to_owned));
        }
    }
    found
}

/// Pairs of source and translation in a catalog whose texts stand on one line each.
fn catalog(language: &str) -> Vec<(String, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("lang/{language}/LC_MESSAGES/kiosk-ui.po"));
    let source = fs::read_to_string(path).expect("the catalog of the language");
    let quoted = |line: &str, key: &str| {
        line.strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(" \""))
            .and_then(|rest| rest.strip_suffix('"'))
            .map(str::to_owned)
    };
    let mut pairs = Vec::new();
    let mut id = None;
    for line in source.lines() {
        if let Some(text) = quoted(line, "msgid") {
            id = Some(text);
        } else if let (Some(text), Some(id)) = (quoted(line, "msgstr"), id.take())
            && !id.is_empty()
        {
            pairs.push((id, text));
        }
    }
    pairs
}

fn check(language: &str) {
    let texts = texts(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("slint"));
    assert!(texts.len() > 50, "the texts were not found");
    let catalog = catalog(language);
    for text in &texts {
        let translation = catalog
            .iter()
            .find(|(id, _)| id == text)
            .map(|(_, translation)| translation);
        assert!(
            translation.is_some_and(|translation| !translation.is_empty()),
            "{language}: no translation of {text}"
        );
    }
    for (id, translation) in &catalog {
        assert!(
            texts.contains(id),
            "{language}: nothing shows {id} any more"
        );
        assert_eq!(
            id.matches("{}").count(),
            translation.matches("{}").count(),
            "{language}: values differ in {id}"
        );
    }
}

#[test]
fn every_text_exists_in_traditional_chinese() {
    check("zh_HK");
}

#[test]
fn every_text_exists_in_english() {
    check("en");
}
