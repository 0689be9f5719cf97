//! Wrong packages and configurations are refused with file, line and field, and harm nothing else.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::path::Path;

use kiosk_app::Config;
use kiosk_app::catalogue::Catalogue;
use kiosk_sealing::{RecipientSecret, Suite};

const GOOD: &str = "old-age-allowance";

fn items() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../kiosk-app/items"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The mistakes of all packages after one file of one package was changed.
fn mistakes(file: &str, change: impl Fn(&str) -> String) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    copy(items(), directory.path());
    let path = directory.path().join(GOOD).join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "the change changes nothing");
    std::fs::write(&path, changed).unwrap();
    let catalogue = Catalogue::load(directory.path());
    assert_eq!(
        catalogue.iter().count(),
        2,
        "the other packages are not harmed"
    );
    catalogue
        .mistakes
        .iter()
        .map(|mistake| {
            let text = mistake.to_string();
            let short = text.rsplit(GOOD).next().unwrap_or_default();
            short.to_owned()
        })
        .collect()
}

/// The line of the first occurrence of `needle` in the package's `item.toml`.
fn line(needle: &str) -> usize {
    let text = std::fs::read_to_string(items().join(GOOD).join("item.toml")).unwrap();
    let at = text.find(needle).unwrap();
    text[..at].matches('\n').count() + 1
}

/// `from` becomes `to` in `item.toml`; the mistake names the line of `at` and says `expect`.
fn check(from: &str, to: &str, at: &str, expect: &str) {
    let found = mistakes("item.toml", |text| text.replacen(from, to, 1));
    let place = format!("/item.toml:{}:", line(at));
    let is_named = found
        .iter()
        .any(|mistake| mistake.starts_with(&place) && mistake.contains(expect));
    assert!(is_named, "{place} … {expect} is not among {found:#?}");
}

#[test]
fn a_word_that_is_no_policy_is_named_with_its_line() {
    check(
        "\"accept-and-queue\"",
        "\"sometimes\"",
        "offline",
        "sometimes",
    );
}

#[test]
fn evidence_needs_somebody_who_approved_it() {
    check(
        "\"accept-and-queue\"",
        "\"capture-evidence\"",
        "offline",
        "approved_by",
    );
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    check("minutes", "minuten", "minutes", "minuten");
}

#[test]
fn an_unknown_device_class_is_told_the_known_ones() {
    check(
        "\"slip-printer\"",
        "\"fax\"",
        "required",
        "page-printer or camera",
    );
}

#[test]
fn a_later_format_is_refused() {
    check("format = 1", "format = 2", "format", "this program reads 1");
}

#[test]
fn the_id_is_the_name_of_the_directory() {
    check(
        "id = \"old-age-allowance\"",
        "id = \"other\"",
        "id =",
        "name of the directory",
    );
}

#[test]
fn a_slip_before_the_commitment_is_refused() {
    let found = mistakes("item.toml", |text| {
        // The step of the commitment goes; the slip is left without one.
        text.replacen("do = \"submit\"", "do = \"fetch\"", 1)
            .lines()
            .filter(|line| !line.starts_with("wait_s"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert!(
        found
            .iter()
            .any(|mistake| mistake.contains("`slip` must come after `submit`")),
        "{found:#?}"
    );
}

#[test]
fn a_missing_text_is_named_by_language_and_key() {
    let found = mistakes("lang/en.toml", |text| text.replacen("summary", "sumary", 1));
    assert!(
        found
            .iter()
            .any(|mistake| mistake == "/lang/en.toml: summary: this text is missing"),
        "{found:#?}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let found = mistakes("item.toml", |text| format!("{text}\n[[step"));
    assert!(
        found
            .iter()
            .any(|mistake| mistake.starts_with("/item.toml:")),
        "{found:#?}"
    );
}

#[test]
fn the_packaged_configuration_is_valid_and_a_wrong_one_names_its_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config/kiosk.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // Nobody seals to a stranger's key: as it comes, the file asks for the platform's.
    let (line, message) = Config::parse(&text).unwrap_err();
    let place = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    assert!(place.starts_with("sealing_key"), "{line}: {message}");
    assert!(message.contains("kiosk-admin"), "{message}");
    let key = RecipientSecret::generate(Suite::Intl).unwrap().public();
    let text = text.replacen(
        "intl:REPLACE-WITH-THE-KEY-OF-YOUR-PLATFORM",
        &key.to_string(),
        1,
    );
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.devices.len(), 6);
    let (line, message) =
        Config::parse(&text.replacen("\"id-card\"", "\"id-cart\"", 1)).unwrap_err();
    assert!(line > 0 && message.contains("id-cart"), "{line}: {message}");
}
