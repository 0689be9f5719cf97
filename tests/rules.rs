//! Rules of the house that a compiler does not check: who may import whom, every problem and every
//! text explained in both directions, licences, and what the release program must not contain.
//! A rule that no test checks rots.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .to_path_buf()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata works without a network once the crates are fetched")
}

/// Files of that ending below a directory, without build output.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A source file without its unit tests and comments.
fn product_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let product = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// String literals of the form `word.word`, with where they stand.
fn dotted_literals(directories: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for directory in directories {
        for path in files(&root().join(directory), "rs") {
            let is_product = !path.components().any(|part| {
                matches!(
                    part.as_os_str().to_str(),
                    Some("tests" | "tests.rs" | "examples" | "benches")
                )
            });
            if is_product {
                let literals = dotted_literals_of(&path).into_iter();
                found.extend(literals.map(|literal| (literal, path.clone())));
            }
        }
    }
    found
}

/// Those of one source file.
fn dotted_literals_of(path: &Path) -> Vec<String> {
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let is_dotted = |literal: &&str| {
        let mut parts = literal.split('.');
        parts.clone().count() >= 2 && parts.all(is_word)
    };
    // A quotation mark inside a literal would turn inside out what follows.
    let code = product_code(path).replace("\\\"", "").replace("'\"'", "");
    let literals = code.split('"').skip(1).step_by(2).filter(is_dotted);
    literals.map(str::to_owned).collect()
}

/// Our packages with the packages of ours that each depends on, without test-only arrows.
fn arrows(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let targets = package
                .dependencies
                .iter()
                .filter(|dependency| {
                    dependency.kind != DependencyKind::Development
                        && ours.contains(&dependency.name)
                })
                .map(|dependency| dependency.name.clone())
                .collect();
            (package.name.to_string(), targets)
        })
        .collect()
}

#[test]
fn rooms_import_only_what_the_house_allows() {
    let drivers = [
        "kiosk-id-card",
        "kiosk-qr-scanner",
        "kiosk-printer",
        "kiosk-camera",
        "kiosk-smart-card",
        "kiosk-auxiliaries",
    ];
    let mut allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("kiosk-device", vec![]),
        ("kiosk-ui", vec![]),
        ("kiosk-sealing", vec![]),
        ("offline-cache", vec!["kiosk-sealing"]),
        ("kiosk-documents", vec![]),
        ("kiosk-emulators", vec!["kiosk-device"]),
        ("central-platform", vec!["kiosk-documents", "kiosk-sealing"]),
        ("kiosk-admin", vec!["kiosk-sealing", "kiosk-update"]),
        ("kiosk-update", vec!["kiosk-sealing"]),
    ]);
    for driver in drivers {
        allowed.insert(driver, vec!["kiosk-device"]);
    }
    let mut app = vec![
        "kiosk-device",
        "kiosk-ui",
        "offline-cache",
        "kiosk-sealing",
        "kiosk-documents",
    ];
    app.extend(drivers);
    allowed.insert("kiosk-app", app);
    for (package, targets) in arrows(&metadata()) {
        let proofs = [
            "kiosk-demo",
            "kiosk-tests",
            "kiosk-hardware-lab",
            "kiosk-durability",
            "kiosk-simulation",
            "kiosk-measure",
        ];
        if proofs.contains(&package.as_str()) {
            continue; // tests see everything, and nothing sees them
        }
        let allowed = allowed
            .get(package.as_str())
            .unwrap_or_else(|| panic!("{package} has no place in the house"));
        for target in targets {
            assert!(
                allowed.contains(&target.as_str()),
                "{package} must not depend on {target}"
            );
        }
    }
}

#[test]
fn foreign_libraries_stay_in_their_rooms() {
    let rules: [(&[&str], &[&str]); 9] = [
        (&["slint"], &["kiosk-ui", "kiosk-demo"]),
        (
            &["rusqlite"],
            // The proof of durability puts a disk that forgets under the engine.
            &["offline-cache", "central-platform", "kiosk-durability"],
        ),
        (&["postgres"], &["central-platform"]),
        (
            &["hpke", "sm2", "sm3", "sm4", "aes-gcm", "tss-esapi"],
            &["kiosk-sealing"],
        ),
        (
            &["serialport", "rusb", "pcsc", "v4l", "ipp", "evdev"],
            &[
                "kiosk-device",
                "kiosk-id-card",
                "kiosk-qr-scanner",
                "kiosk-printer",
                "kiosk-camera",
                "kiosk-smart-card",
                "kiosk-auxiliaries",
                "kiosk-hardware-lab",
            ],
        ),
        (
            &["reqwest", "tokio", "rustls"],
            &[
                "kiosk-app",
                "kiosk-update",
                "kiosk-admin",
                "central-platform",
                "kiosk-demo",
                "kiosk-measure",
                "kiosk-durability",
            ],
        ),
        (&["tough"], &["kiosk-update"]),
        (&["axum"], &["central-platform"]),
        (&["typst", "hayro"], &["kiosk-documents"]),
    ];
    for package in metadata().workspace_packages() {
        for dependency in &package.dependencies {
            for (libraries, rooms) in &rules {
                let is_guarded = libraries.contains(&dependency.name.as_str())
                    && dependency.kind == DependencyKind::Normal;
                assert!(
                    !is_guarded || rooms.contains(&package.name.as_str()),
                    "{} must not depend on {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn network_code_stays_behind_the_platform() {
    for path in files(&root().join("kiosk-app/src"), "rs") {
        let is_platform = path.components().any(|part| {
            matches!(
                part.as_os_str().to_str(),
                Some("platform" | "platform.rs" | "update" | "update.rs")
            )
        });
        for library in ["tokio::", "reqwest::", "rustls::"] {
            let is_used = product_code(&path).contains(library);
            assert!(is_platform || !is_used, "{} uses {library}", path.display());
        }
    }
}

#[test]
fn the_visit_is_pure() {
    let mut sources = files(&root().join("kiosk-app/src/session"), "rs");
    sources.push(root().join("kiosk-app/src/session.rs"));
    for path in sources {
        let text = product_code(&path);
        for word in [
            "std::fs",
            "std::net",
            "std::thread",
            "std::process",
            "clock::now",
            "SystemTime",
            "Instant",
            "offline_cache",
            "crate::hub",
            "crate::platform",
            "crate::runtime",
        ] {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

#[test]
fn every_problem_is_explained_and_every_explanation_is_used() {
    let classes = [
        "id-card",
        "qr-scanner",
        "printer",
        "camera",
        "smart-card",
        "ups",
        "io-board",
        "signature-pad",
        "speaker",
        "device",
        "session",
        "platform",
        "queue",
        "audit",
        "key",
        "envelope",
        "bundle",
        "command",
        "unlock",
        "staff",
        "stick",
        "report",
        "maintenance",
        "workbench",
        "test",
        "document",
        "face",
        "general",
        "calibration",
        "configuration",
        "enrolment",
    ];
    let literals = dotted_literals(&[
        "kiosk-app/src",
        "kiosk-app/documents/src",
        "device-drivers/core",
        "device-drivers/id-card",
        "device-drivers/qr-scanner",
        "device-drivers/printer",
        "device-drivers/camera",
        "device-drivers/smart-card",
        "device-drivers/auxiliaries",
        "offline-cache/src",
        "offline-cache/sealing/src",
    ]);
    let explained: BTreeSet<&str> = kiosk_app::problem::codes().collect();
    let texts: BTreeSet<&str> = kiosk_app::words::keys(kiosk_app::words::Lang::ZhHans)
        .into_iter()
        .collect();
    for (code, path) in &literals {
        let class = code.split('.').next().unwrap_or_default();
        let is_text = texts.contains(code.as_str());
        if classes.contains(&class) && !is_text && code.split('.').count() == 2 {
            assert!(
                explained.contains(code.as_str()),
                "{code} of {} is not in problems.toml",
                path.display()
            );
        }
    }
    for code in explained {
        assert!(
            literals.contains_key(code),
            "problems.toml explains {code}, which nothing reports"
        );
    }
}

/// Characters that only simplified Chinese has, of those that GB 2312 knows.
const SIMPLIFIED: &str = include_str!("simplified.txt");

#[test]
fn every_problem_has_a_remedy_in_each_language_and_no_text_mixes_the_scripts() {
    use kiosk_app::words::Lang;
    let simplified: BTreeSet<char> = SIMPLIFIED
        .chars()
        .filter(|one| !one.is_whitespace())
        .collect();
    let check = |what: &str, text: &str| {
        let wrong: String = text
            .chars()
            .filter(|one| simplified.contains(one))
            .collect();
        assert!(wrong.is_empty(), "{what} has {wrong} in {text}");
    };
    let is_chinese = |one: char| ('\u{4e00}'..='\u{9fff}').contains(&one);
    for code in kiosk_app::problem::codes() {
        let problem = kiosk_app::problem::get(code);
        for lang in Lang::ALL {
            let remedy = problem.remedy(lang);
            assert!(!remedy.is_empty(), "{code} has no remedy in {lang:?}");
            let has_chinese = remedy.chars().any(is_chinese);
            assert_eq!(has_chinese, lang != Lang::En, "{code}: {remedy}");
        }
        check(code, problem.remedy(Lang::ZhHant));
        check(code, problem.title(Lang::ZhHant));
        check(code, problem.advice(Lang::ZhHant));
        check(code, problem.notice(Lang::ZhHant));
    }
    for key in kiosk_app::words::keys(Lang::ZhHant) {
        check(key, kiosk_app::words::text(Lang::ZhHant, key));
    }
}

#[test]
fn every_problem_of_the_updater_is_in_its_list_and_has_words() {
    let listed: BTreeSet<&str> = kiosk_update::codes::CODES.iter().copied().collect();
    assert_eq!(listed.len(), kiosk_update::codes::CODES.len());
    let list = root().join("packaging/updater/src/codes.rs");
    let sources = files(&root().join("packaging/updater/src"), "rs").into_iter();
    let literals: Vec<String> = sources
        .filter(|path| *path != list)
        .flat_map(|path| dotted_literals_of(&path))
        .collect();
    let is_code = |literal: &&str| matches!(literal.split_once('.'), Some(("update" | "items", rest)) if !rest.contains('.'));
    let reported: BTreeSet<&str> = literals
        .iter()
        .map(String::as_str)
        .filter(is_code)
        .collect();
    assert_eq!(reported, listed);
    let texts: BTreeSet<&str> = kiosk_app::words::keys(kiosk_app::words::Lang::ZhHans)
        .into_iter()
        .collect();
    for code in listed {
        let text = kiosk_app::workbench::update::why(code);
        assert!(text.is_some_and(|text| texts.contains(text)), "{code}");
    }
}

/// Keys that stand in an example, by table; what is commented out stands there too.
fn keys_of_example(example: &str) -> BTreeMap<String, BTreeSet<String>> {
    let is_word = |word: &str| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        !word.is_empty() && word.bytes().all(is_letter)
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in example.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next();
            name.unwrap_or_default().clone_into(&mut table);
            let (of, key) = table.rsplit_once('.').unwrap_or(("", &table));
            found
                .entry(of.to_owned())
                .or_default()
                .insert(key.to_owned());
            continue;
        }
        let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| is_word(key)) else {
            continue;
        };
        found
            .entry(table.clone())
            .or_default()
            .insert(key.to_owned());
        let inside = format!("{table}.{key}");
        for part in value
            .strip_prefix('{')
            .into_iter()
            .flat_map(|value| value.split(','))
        {
            let key = part.split('=').next().unwrap_or_default().trim();
            if is_word(key) {
                found
                    .entry(inside.clone())
                    .or_default()
                    .insert(key.to_owned());
            }
        }
    }
    found
}

/// Names in back quotes after the first one of a refusal: what would have been understood.
fn understood(refusal: &str) -> BTreeSet<String> {
    let names = refusal.split('`').skip(1).step_by(2).skip(1);
    names.map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_configuration_stands_in_its_example() {
    let terminal = |text: &str| kiosk_app::Config::parse(text).unwrap_err().1;
    let updater = |text: &str| {
        let refused = kiosk_update::config::Config::parse(text);
        refused.unwrap_err().to_string()
    };
    let check = |file: &str, header: &str, refuse: &dyn Fn(&str) -> String| {
        let example = std::fs::read_to_string(root().join(file)).unwrap();
        let wanted = understood(&refuse(&format!("{header}\nzz = 1\n")));
        assert!(!wanted.is_empty(), "{file}: {header} has no keys");
        let table = header.trim_matches(['[', ']']);
        let keys = keys_of_example(&example).remove(table).unwrap_or_default();
        let missing: Vec<_> = wanted.difference(&keys).collect();
        assert!(missing.is_empty(), "{file}: {header} lacks {missing:?}");
    };
    for header in [
        "",
        "[terminal]",
        "[screen]",
        "[platform]",
        "[platform.tls]",
        "[paths]",
        "[store]",
        "[key]",
        "[staff]",
        "[[device]]",
    ] {
        check("packaging/config/kiosk.toml", header, &terminal);
    }
    // `[items]` has the keys of `[repository]`.
    for header in [
        "",
        "[terminal]",
        "[repository]",
        "[line]",
        "[trial]",
        "[paths]",
        "[programs]",
    ] {
        check("packaging/updater/updater.toml", header, &updater);
    }
}

#[test]
fn every_text_exists_and_every_text_is_used() {
    let literals = dotted_literals(&["kiosk-app/src"]);
    let texts: BTreeSet<&str> = kiosk_app::words::keys(kiosk_app::words::Lang::ZhHans)
        .into_iter()
        .collect();
    for text in &texts {
        let is_used = literals.contains_key(*text) || *text == "date";
        assert!(is_used, "nothing shows the text {text}");
    }
    let source = files(&root().join("kiosk-app/src/session"), "rs")
        .iter()
        .map(|path| product_code(path))
        .collect::<String>();
    for call in [
        "text(lang, \"",
        "fill(lang, \"",
        "text(session.lang(), \"",
        "label(\"slip",
    ] {
        for rest in source.split(call).skip(1) {
            let key = rest.split('"').next().unwrap_or_default();
            let key = if call.starts_with("label") {
                format!("slip{key}")
            } else {
                key.to_owned()
            };
            let is_item_text = rest[..rest.find('\n').unwrap_or(rest.len())].contains("item.text");
            assert!(
                is_item_text || texts.contains(key.as_str()) || is_of_items(&key),
                "the text {key} does not exist"
            );
        }
    }
}

/// `item.text(lang, "name")` looks like a text of the terminal to the scan above.
fn is_of_items(key: &str) -> bool {
    let own = [
        "name",
        "summary",
        "offline",
        "department",
        "advice",
        "needs",
    ];
    let groups = [
        "refusal.",
        "consent.t",
        "review.title",
        "review.notice",
        "done.",
        "field.",
        "option.",
        "document.",
    ];
    own.contains(&key) || groups.iter().any(|group| key.starts_with(group))
}

#[test]
fn built_in_items_are_valid() {
    let catalogue = kiosk_app::catalogue::Catalogue::load(&root().join("kiosk-app/items"));
    let mistakes: Vec<String> = catalogue.mistakes.iter().map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    let ids: Vec<&str> = catalogue.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "insurance-certificate",
            "old-age-allowance",
            "pension-qualification"
        ]
    );
}

#[test]
fn licences_of_all_dependencies_are_compatible() {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let allowed: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    for package in &metadata().packages {
        let Some(licence) = &package.license else {
            assert!(
                package.license_file.is_some(),
                "{} states no licence",
                package.name
            );
            continue;
        };
        // One allowed alternative is enough; every part of a conjunction must be allowed.
        let plain = licence.replace('/', " OR ").replace(['(', ')'], " ");
        let is_allowed = plain.split(" OR ").any(|alternative| {
            alternative
                .split(" AND ")
                .all(|part| allowed.contains(part.trim()))
        });
        assert!(
            is_allowed,
            "{} has the licence {licence}, which deny.toml does not allow",
            package.name
        );
        let is_ours = package.source.is_none();
        let is_registry = package
            .source
            .as_ref()
            .is_some_and(cargo_metadata::Source::is_crates_io);
        assert!(
            is_ours || is_registry,
            "{} comes from an unknown source",
            package.name
        );
    }
}

#[test]
fn the_top_level_is_the_house() {
    for name in [
        "Cargo.toml",
        "kiosk-app",
        "device-drivers",
        "ui",
        "offline-cache",
        "tests",
        "packaging",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "docs",
    ] {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

/// The program as it is packaged has no emulator, no simulated answer and no way to be driven from
/// outside. `make test` builds it on its own before this runs.
#[test]
fn the_terminal_contains_no_emulator_and_no_probe() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "kiosk-app",
            "-e",
            "normal,features",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8_lossy(&tree.stdout);
    for word in [
        "kiosk-emulators",
        "central-platform",
        "kiosk-demo",
        "i-slint-backend-testing",
        "feature \"probe\"",
    ] {
        assert!(!tree.contains(word), "the terminal links {word}");
    }
    let program = metadata()
        .target_directory
        .join("debug/kiosk")
        .into_std_path_buf();
    assert!(
        program.exists(),
        "`make test` builds the terminal first: cargo build -p kiosk-app --bin kiosk"
    );
    for word in [
        "kiosk_emulators",
        "central_platform",
        "i_slint_backend_testing",
        "kiosk_ui::probe",
        "kiosk_ui::headless",
    ] {
        let found = std::process::Command::new("grep")
            .args(["--text", "--fixed-strings", "--quiet", "-e", word])
            .arg(&program)
            .status()
            .unwrap();
        assert_eq!(
            found.code(),
            Some(1),
            "{} contains {word}",
            program.display()
        );
    }
}
