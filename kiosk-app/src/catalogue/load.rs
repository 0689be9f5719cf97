//! Reads one package and checks it as a whole; every mistake is reported, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kiosk_device::DeviceClass;
use serde::Deserialize;
use toml::Spanned;

use super::item::{FieldKind, Identification, Item, Offline, Step, Who};
use super::{FILE_BYTES_MAX, Mistake};
use crate::words::{Lang, flatten};

/// The package format that this program reads.
const FORMAT: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: Spanned<u32>,
    id: Spanned<String>,
    version: u32,
    department: String,
    #[serde(default)]
    upstream: Option<Spanned<String>>,
    groups: Vec<String>,
    icon: String,
    search: Vec<String>,
    offline: Spanned<Offline>,
    #[serde(default)]
    approved_by: String,
    who: Spanned<Vec<Who>>,
    identification: Spanned<Vec<Identification>>,
    needs: Needs,
    minutes: u32,
    #[serde(default)]
    promised_days: u32,
    retention_days: u32,
    #[serde(default)]
    eligibility: Eligibility,
    step: Vec<Spanned<Step>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Needs {
    required: Vec<Spanned<String>>,
    #[serde(default)]
    optional: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Eligibility {
    age_min: Option<u32>,
}

/// Collects mistakes of one file.
struct Report<'a> {
    file: &'a Path,
    shared: &'a Path,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Report<'_> {
    fn add(&mut self, offset: usize, field: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake {
            file: self.file.to_path_buf(),
            line: line_of(self.text, offset),
            field: field.to_owned(),
            message: message.into(),
        });
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    text[..text.floor_char_boundary(end)].matches('\n').count() + 1
}

pub(super) fn package(directory: &Path, shared: &Path) -> Result<Item, Vec<Mistake>> {
    let path = directory.join("item.toml");
    let text = read(&path)?;
    let file: File = toml::from_str(&text).map_err(|error| {
        vec![Mistake {
            file: path.clone(),
            line: error.span().map_or(0, |span| line_of(&text, span.start)),
            field: String::new(),
            message: error.message().to_owned(),
        }]
    })?;
    let mut report = Report {
        file: &path,
        shared,
        text: &text,
        mistakes: Vec::new(),
    };
    let required = classes(&mut report, "needs.required", &file.needs.required);
    let optional = classes(&mut report, "needs.optional", &file.needs.optional);
    check_head(&mut report, &file, directory);
    check_steps(&mut report, &file, directory, &required);
    let mut mistakes = report.mistakes;
    let words = words(directory, &keys(&file), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Item {
        id: file.id.into_inner(),
        version: file.version,
        department: file.department,
        upstream: file.upstream.map(Spanned::into_inner).unwrap_or_default(),
        groups: file.groups,
        icon: file.icon,
        search: file.search,
        offline: file.offline.into_inner(),
        approved_by: file.approved_by,
        who: file.who.into_inner(),
        identification: file.identification.into_inner(),
        required,
        optional,
        minutes: file.minutes,
        promised_days: file.promised_days,
        retention_days: file.retention_days,
        age_min: file.eligibility.age_min,
        steps: file.step.into_iter().map(Spanned::into_inner).collect(),
        words,
        directory: directory.to_path_buf(),
        shared: shared.to_path_buf(),
    })
}

fn read(path: &Path) -> Result<String, Vec<Mistake>> {
    let mistake = |message: String| {
        vec![Mistake {
            file: path.to_path_buf(),
            line: 0,
            field: String::new(),
            message,
        }]
    };
    let size = std::fs::metadata(path)
        .map_err(|error| mistake(format!("cannot be read: {error}")))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(mistake(format!(
            "has {size} bytes; at most {FILE_BYTES_MAX} are read"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| mistake(format!("cannot be read: {error}")))
}

fn classes(report: &mut Report<'_>, field: &str, names: &[Spanned<String>]) -> Vec<DeviceClass> {
    let mut classes = Vec::new();
    for name in names {
        match DeviceClass::from_name(name.get_ref()) {
            Some(class) => classes.push(class),
            None => report.add(
                name.span().start,
                field,
                format!(
                    "`{}` is no device class; write id-card, qr-scanner, slip-printer, page-printer or camera",
                    name.get_ref()
                ),
            ),
        }
    }
    classes
}

fn check_head(report: &mut Report<'_>, file: &File, directory: &Path) {
    if *file.format.get_ref() != FORMAT {
        report.add(
            file.format.span().start,
            "format",
            format!(
                "{} is not supported; this program reads {FORMAT}",
                file.format.get_ref()
            ),
        );
    }
    let name = directory.file_name().and_then(|name| name.to_str());
    if name != Some(file.id.get_ref()) {
        report.add(
            file.id.span().start,
            "id",
            format!("`{}` must be the name of the directory", file.id.get_ref()),
        );
    }
    let is_evidence = *file.offline.get_ref() == Offline::CaptureEvidence;
    if is_evidence && file.approved_by.is_empty() {
        report.add(
            file.offline.span().start,
            "approved_by",
            "`capture-evidence` needs the name of the authority that approved it",
        );
    }
    if file.who.get_ref().is_empty() {
        report.add(
            file.who.span().start,
            "who",
            "name at least one of self, other",
        );
    }
    if file.identification.get_ref().is_empty() {
        report.add(
            file.identification.span().start,
            "identification",
            "name at least one of id-card, typed-number",
        );
    }
    if let Some(upstream) = &file.upstream
        && !is_upstream(upstream.get_ref())
    {
        report.add(
            upstream.span().start,
            "upstream",
            "1 to 32 lower-case letters, digits or `-`, as the platform names it",
        );
    }
    if file
        .search
        .iter()
        .any(|word| word.is_empty() || !word.is_ascii())
    {
        report.add(
            0,
            "search",
            "search words are initials or digits, without accents",
        );
    }
}

fn is_upstream(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Each step once, and first of all who.
fn check_order(report: &mut Report<'_>, file: &File) {
    let mut seen = BTreeSet::new();
    for (index, step) in file.step.iter().enumerate() {
        let name = step.get_ref().name();
        if !seen.insert(name) {
            report.add(
                step.span().start,
                "step.do",
                format!("`{name}` stands twice"),
            );
        }
        if index == 0 && name != "identify" {
            report.add(step.span().start, "step.do", "the first step is `identify`");
        }
    }
    if file.step.is_empty() {
        report.add(0, "step", "an item has at least one step");
    }
}

/// Order rules: who first, the commitment after the review, paper only for what exists.
fn check_steps(report: &mut Report<'_>, file: &File, directory: &Path, required: &[DeviceClass]) {
    check_order(report, file);
    let position = |name: &str| {
        file.step
            .iter()
            .position(|step| step.get_ref().name() == name)
    };
    for (index, step) in file.step.iter().enumerate() {
        let offset = step.span().start;
        let name = step.get_ref().name();
        let before = |other: &str| position(other).is_some_and(|at| at < index);
        let (missing, device) = match step.get_ref() {
            Step::Slip { template } => {
                check_template(report, offset, directory, template);
                (
                    (!before("submit")).then_some("submit"),
                    Some(DeviceClass::SlipPrinter),
                )
            }
            Step::Print {} => (
                (!before("fetch")).then_some("fetch"),
                Some(DeviceClass::PagePrinter),
            ),
            Step::Capture { documents } => {
                if documents.is_empty() || documents.len() > 9 {
                    report.add(offset, "step.documents", "name one to nine documents");
                }
                (None, Some(DeviceClass::Camera))
            }
            Step::Form { fields } => {
                check_fields(report, offset, fields);
                (None, None)
            }
            Step::Submit { wait_s } => {
                if *wait_s > 30 {
                    report.add(offset, "step.wait_s", "0 to 30 seconds");
                }
                (None, None)
            }
            Step::Identify {}
            | Step::Consent {}
            | Step::Face { .. }
            | Step::Review {}
            | Step::Fetch {}
            | Step::Rating {} => (None, None),
        };
        if let Some(missing) = missing {
            report.add(
                offset,
                "step.do",
                format!("`{name}` must come after `{missing}`"),
            );
        }
        if let Some(device) = device.filter(|device| !required.contains(device)) {
            report.add(
                offset,
                "needs.required",
                format!(
                    "`{name}` needs `{}` among the required devices",
                    device.name()
                ),
            );
        }
    }
}

fn check_template(report: &mut Report<'_>, offset: usize, directory: &Path, template: &str) {
    let is_plain = template
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_plain {
        report.add(offset, "step.template", "letters, digits and `-` only");
    } else if crate::catalogue::item::template_path(directory, report.shared, template).is_none() {
        report.add(
            offset,
            "step.template",
            format!("`print/{template}.typ` is neither in the package nor shared"),
        );
    }
}

fn check_fields(report: &mut Report<'_>, offset: usize, fields: &[super::item::Field]) {
    if fields.is_empty() {
        report.add(offset, "step.fields", "a form has at least one field");
    }
    for field in fields {
        let is_choice = field.kind == FieldKind::Choice;
        if is_choice && field.options.len() < 2 {
            report.add(
                offset,
                &format!("step.fields.{}", field.id),
                "a choice has at least two options",
            );
        }
        if !is_choice && !field.options.is_empty() {
            report.add(
                offset,
                &format!("step.fields.{}", field.id),
                "only a choice has options",
            );
        }
    }
}

/// Every text that the visit will ask this package for.
fn keys(file: &File) -> Vec<String> {
    let mut keys: Vec<String> = ["name", "summary", "needs.0", "offline", "advice.0"]
        .map(str::to_owned)
        .to_vec();
    if file.eligibility.age_min.is_some() {
        keys.push("refusal.age".to_owned());
    }
    if file.upstream.is_some() {
        // What people call it: the glass says which system is down.
        keys.push("upstream".to_owned());
    }
    for step in &file.step {
        match step.get_ref() {
            Step::Form { fields } => {
                for field in fields {
                    keys.push(format!("field.{}.title", field.id));
                    keys.push(format!("field.{}.hint", field.id));
                    keys.push(format!("field.{}.label", field.id));
                    keys.extend(
                        field
                            .options
                            .iter()
                            .map(|option| format!("option.{}.{option}", field.id)),
                    );
                }
            }
            Step::Capture { documents } => {
                for document in documents {
                    keys.push(format!("document.{document}.title"));
                    keys.push(format!("document.{document}.hint"));
                }
            }
            Step::Consent {} => keys.extend(["consent.title", "consent.text.0"].map(str::to_owned)),
            Step::Review {} => keys.extend(["review.title", "review.notice"].map(str::to_owned)),
            Step::Submit { .. } => {
                keys.extend(["done.completed", "done.accepted", "done.pending"].map(str::to_owned));
            }
            Step::Identify {}
            | Step::Face { .. }
            | Step::Fetch {}
            | Step::Print {}
            | Step::Slip { .. }
            | Step::Rating {} => {}
        }
    }
    keys
}

fn words(
    directory: &Path,
    keys: &[String],
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<Lang, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for lang in Lang::ALL {
        let path = directory.join("lang").join(format!("{}.toml", lang.tag()));
        let table = read(&path).and_then(|text| {
            toml::from_str::<toml::Table>(&text).map_err(|error| {
                vec![Mistake {
                    file: path.clone(),
                    line: error.span().map_or(0, |span| line_of(&text, span.start)),
                    field: String::new(),
                    message: error.message().to_owned(),
                }]
            })
        });
        match table {
            Ok(table) => {
                let words = flatten(&table);
                mistakes.extend(
                    keys.iter()
                        .filter(|key| !words.contains_key(*key))
                        .map(|key| Mistake {
                            file: path.clone(),
                            line: 0,
                            field: key.clone(),
                            message: "this text is missing".to_owned(),
                        }),
                );
                all.insert(lang, words);
            }
            Err(more) => mistakes.extend(more),
        }
    }
    all
}
