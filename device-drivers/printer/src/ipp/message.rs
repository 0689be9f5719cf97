//! Encoding and decoding of IPP messages (RFC 8010), as far as printing needs them.
//!
//! The decoder is bounded, never panics and forgives what real printers get wrong: single values
//! where a set is expected, unknown tags, text that is not UTF-8, numbers of the wrong size, groups
//! that come twice, lengths beyond the end, a missing end tag. It reads as far as the message makes
//! sense; what has no head is an error, never a guess.

/// Most attributes in one message. Chosen: full printer descriptions have about 200.
const ATTRIBUTES_MAX: usize = 4096;
/// Most values of one attribute. Chosen.
const VALUES_MAX: usize = 1024;

const GROUP_OPERATION: u8 = 0x01;
pub(crate) const GROUP_JOB: u8 = 0x02;
const GROUP_END: u8 = 0x03;
const TAG_INTEGER: u8 = 0x21;
const TAG_BOOLEAN: u8 = 0x22;
const TAG_ENUM: u8 = 0x23;
const TAG_OCTETS: u8 = 0x30;
const TAG_RANGE: u8 = 0x33;
const TAG_BEGIN_COLLECTION: u8 = 0x34;
const TAG_END_COLLECTION: u8 = 0x37;
const TAG_NAME: u8 = 0x42;
const TAG_KEYWORD: u8 = 0x44;
const TAG_URI: u8 = 0x45;
const TAG_CHARSET: u8 = 0x47;
const TAG_LANGUAGE: u8 = 0x48;
const TAG_MIME_TYPE: u8 = 0x49;

/// The operations in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    PrintJob = 0x0002,
    CancelJob = 0x0008,
    GetJobAttributes = 0x0009,
    GetJobs = 0x000A,
    GetPrinterAttributes = 0x000B,
    ResumePrinter = 0x0011,
}

/// Protocol version; printers that refuse 2.0 get 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V2_0,
    V1_1,
}

/// A request in the making.
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// Header and the three attributes that come first in every request.
    pub(crate) fn new(version: Version, operation: Operation, id: u32, printer_uri: &str) -> Self {
        let mut bytes = match version {
            Version::V2_0 => vec![2, 0],
            Version::V1_1 => vec![1, 1],
        };
        bytes.extend((operation as u16).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.push(GROUP_OPERATION);
        Self(bytes)
            .value(TAG_CHARSET, "attributes-charset", b"utf-8")
            .value(TAG_LANGUAGE, "attributes-natural-language", b"en")
            .value(TAG_URI, "printer-uri", printer_uri.as_bytes())
    }

    pub(crate) fn group(mut self, tag: u8) -> Self {
        self.0.push(tag);
        self
    }

    pub(crate) fn keyword(self, name: &str, keyword: &str) -> Self {
        self.value(TAG_KEYWORD, name, keyword.as_bytes())
    }

    /// A set of keywords: further values carry an empty name.
    pub(crate) fn keywords(self, name: &str, keywords: &[&str]) -> Self {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        keywords
            .iter()
            .zip(names)
            .fold(self, |request, (keyword, name)| {
                request.keyword(name, keyword)
            })
    }

    pub(crate) fn name(self, name: &str, value: &str) -> Self {
        self.value(TAG_NAME, name, value.as_bytes())
    }

    pub(crate) fn mime_type(self, name: &str, value: &str) -> Self {
        self.value(TAG_MIME_TYPE, name, value.as_bytes())
    }

    pub(crate) fn integer(self, name: &str, value: i32) -> Self {
        self.value(TAG_INTEGER, name, &value.to_be_bytes())
    }

    pub(crate) fn boolean_true(self, name: &str) -> Self {
        self.value(TAG_BOOLEAN, name, &[1])
    }

    pub(crate) fn range(self, name: &str, from: i32, to: i32) -> Self {
        let value = [from.to_be_bytes(), to.to_be_bytes()].concat();
        self.value(TAG_RANGE, name, &value)
    }

    /// The encoded attributes; a document may follow.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(GROUP_END);
        self.0
    }

    fn value(mut self, tag: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(tag);
        for part in [name.as_bytes(), value] {
            // Every part is ours and short; the configured address is bounded by its parser.
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            self.0.extend(length.to_be_bytes());
            self.0.extend(&part[..usize::from(length)]);
        }
        self
    }
}

/// One value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Integer or enum.
    Number(i32),
    Boolean(bool),
    /// Any kind of text; octets too, which are text in the attributes asked for.
    Text(String),
    /// A kind that nothing here asks for, or a malformed value of a known kind.
    Other,
}

/// What the bytes lack to be an IPP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends in the middle of a header, name or value.
    #[error("the message is cut off")]
    CutOff,
    /// It begins with another version or with something else.
    #[error("no IPP version 1 or 2")]
    Version,
    /// It exceeds a bound.
    #[error("too many attributes or values")]
    TooLong,
}

/// One attribute of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    /// How many groups came before its own.
    group: usize,
    /// The tag of its group.
    tag: u8,
    name: String,
    values: Vec<Value>,
}

/// One job in the list that a printer keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListedJob {
    pub(crate) id: i32,
    /// `None` when the printer does not tell.
    pub(crate) name: Option<String>,
}

/// An answer, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// IPP status code.
    pub status: u16,
    /// It broke off in the middle; what came before is here.
    pub is_damaged: bool,
    attributes: Vec<Attribute>,
}

impl Answer {
    /// Decodes an answer.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut cursor = Cursor(bytes);
        if !matches!(cursor.take(2)?, [1 | 2, _]) {
            return Err(MessageError::Version);
        }
        let status = cursor.number()?;
        cursor.take(4)?;
        let mut answer = Self {
            status,
            is_damaged: false,
            attributes: Vec::new(),
        };
        match answer.read(&mut cursor) {
            // The lengths say more than there is: what came before them stands.
            Err(MessageError::CutOff) if !answer.attributes.is_empty() => answer.is_damaged = true,
            result => result?,
        }
        Ok(answer)
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), MessageError> {
        let mut group = (0, 0);
        let mut is_first = true;
        let mut collection_depth = 0_u32;
        // A clean end without the end tag is one of the defects seen in the field.
        while let Ok(&[tag]) = cursor.take(1) {
            if tag == GROUP_END {
                break;
            }
            if tag < 0x10 {
                group = (group.0 + 1, tag);
                is_first = true;
                collection_depth = 0;
                continue;
            }
            let name_length = cursor.number()?;
            let name = cursor.take(usize::from(name_length))?;
            let value_length = cursor.number()?;
            let value = cursor.take(usize::from(value_length))?;
            match tag {
                TAG_END_COLLECTION => collection_depth = collection_depth.saturating_sub(1),
                _ if collection_depth > 0 && tag != TAG_BEGIN_COLLECTION => {}
                _ => {
                    // A further value of no attribute belongs to nothing.
                    if collection_depth == 0 && !(name.is_empty() && is_first) {
                        self.add(group, name, decode(tag, value))?;
                        is_first = false;
                    }
                    collection_depth += u32::from(tag == TAG_BEGIN_COLLECTION);
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        (group, tag): (usize, u8),
        name: &[u8],
        value: Value,
    ) -> Result<(), MessageError> {
        match self.attributes.last_mut() {
            Some(last) if name.is_empty() => {
                if last.values.len() >= VALUES_MAX {
                    return Err(MessageError::TooLong);
                }
                last.values.push(value);
            }
            _ => {
                if self.attributes.len() >= ATTRIBUTES_MAX {
                    return Err(MessageError::TooLong);
                }
                self.attributes.push(Attribute {
                    group,
                    tag,
                    name: String::from_utf8_lossy(name).into_owned(),
                    values: vec![value],
                });
            }
        }
        Ok(())
    }

    /// The jobs of a list. Each has a group of its own; printers that put all into one are
    /// understood, too.
    pub(crate) fn jobs(&self) -> Vec<ListedJob> {
        let mut jobs: Vec<ListedJob> = Vec::new();
        let mut group = None;
        let mut name = None;
        for attribute in self.attributes.iter().filter(|one| one.tag == GROUP_JOB) {
            if group != Some(attribute.group) {
                group = Some(attribute.group);
                name = None;
            }
            match (attribute.name.as_str(), attribute.values.first()) {
                ("job-id", Some(Value::Number(id))) => {
                    // The name may stand before the number.
                    let name = name.take();
                    jobs.push(ListedJob { id: *id, name });
                }
                ("job-name", Some(Value::Text(text))) => match jobs.last_mut() {
                    Some(job) if job.name.is_none() && self.is_in_group(job.id, group) => {
                        job.name = Some(text.clone());
                    }
                    _ => name = Some(text.clone()),
                },
                _ => {}
            }
        }
        jobs
    }

    fn is_in_group(&self, id: i32, group: Option<usize>) -> bool {
        self.attributes.iter().any(|one| {
            Some(one.group) == group
                && one.name == "job-id"
                && one.values.first() == Some(&Value::Number(id))
        })
    }

    /// All values of the attribute, whatever group it came in; empty when it did not come.
    pub(crate) fn values(&self, name: &str) -> &[Value] {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
            .map_or(&[], |attribute| &attribute.values)
    }

    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.numbers(name).next()
    }

    pub(crate) fn numbers(&self, name: &str) -> impl Iterator<Item = i32> {
        self.values(name).iter().filter_map(|value| match value {
            Value::Number(number) => Some(*number),
            Value::Boolean(_) | Value::Text(_) | Value::Other => None,
        })
    }

    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.values(name).iter().find_map(|value| match value {
            Value::Boolean(boolean) => Some(*boolean),
            Value::Number(_) | Value::Text(_) | Value::Other => None,
        })
    }

    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            Value::Number(_) | Value::Boolean(_) | Value::Other => None,
        })
    }
}

fn decode(tag: u8, value: &[u8]) -> Value {
    match (tag, value) {
        (TAG_INTEGER | TAG_ENUM, [a, b, c, d]) => {
            Value::Number(i32::from_be_bytes([*a, *b, *c, *d]))
        }
        // Numbers of another size than the standard's four bytes.
        (TAG_INTEGER | TAG_ENUM, [a, b]) => Value::Number(i16::from_be_bytes([*a, *b]).into()),
        (TAG_INTEGER | TAG_ENUM, [a]) => Value::Number(i32::from(*a)),
        (TAG_BOOLEAN, bytes @ [_, ..]) => Value::Boolean(bytes.iter().any(|byte| *byte != 0)),
        (TAG_OCTETS | 0x41..=0x49, text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        // Text with a language: the text is behind two lengths and the language.
        (0x35 | 0x36, value) => with_language(value).unwrap_or(Value::Other),
        _ => Value::Other,
    }
}

fn with_language(value: &[u8]) -> Option<Value> {
    let mut cursor = Cursor(value);
    let language_length = cursor.number().ok()?;
    cursor.take(usize::from(language_length)).ok()?;
    let text_length = cursor.number().ok()?;
    let text = cursor.take(usize::from(text_length)).ok()?;
    Some(Value::Text(String::from_utf8_lossy(text).into_owned()))
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(MessageError::CutOff)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, MessageError> {
        match self.take(2)? {
            &[high, low] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(MessageError::CutOff),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    const REQUEST: &str = "02 00 00 0B 00 00 00 01 01 47 00 12 61 74 74 72 69 62 75 74 65 73 2D 63
        68 61 72 73 65 74 00 05 75 74 66 2D 38 48 00 1B 61 74 74 72 69 62 75 74
        65 73 2D 6E 61 74 75 72 61 6C 2D 6C 61 6E 67 75 61 67 65 00 02 65 6E 45
        00 0B 70 72 69 6E 74 65 72 2D 75 72 69 00 1F 69 70 70 3A 2F 2F 6C 6F 63
        61 6C 68 6F 73 74 3A 36 30 30 30 30 2F 69 70 70 2F 70 72 69 6E 74 44 00
        14 72 65 71 75 65 73 74 65 64 2D 61 74 74 72 69 62 75 74 65 73 00 0D 70
        72 69 6E 74 65 72 2D 73 74 61 74 65 44 00 00 00 15 70 72 69 6E 74 65 72
        2D 73 74 61 74 65 2D 72 65 61 73 6F 6E 73 03";

    const REPLY: &str = "02 00 00 00 00 00 00 01 01 47 00 12 61 74 74 72 69 62 75 74 65 73 2D 63
        68 61 72 73 65 74 00 05 75 74 66 2D 38 48 00 1B 61 74 74 72 69 62 75 74
        65 73 2D 6E 61 74 75 72 61 6C 2D 6C 61 6E 67 75 61 67 65 00 02 65 6E 04
        23 00 0D 70 72 69 6E 74 65 72 2D 73 74 61 74 65 00 04 00 00 00 05 44 00
        15 70 72 69 6E 74 65 72 2D 73 74 61 74 65 2D 72 65 61 73 6F 6E 73 00 11
        6D 65 64 69 61 2D 65 6D 70 74 79 2D 65 72 72 6F 72 44 00 00 00 11 74 6F
        6E 65 72 2D 6C 6F 77 2D 77 61 72 6E 69 6E 67 21 00 0D 6D 61 72 6B 65 72
        2D 6C 65 76 65 6C 73 00 04 00 00 00 07 03";

    /// The answer of `device-protocols.md` §10.4: stopped, out of paper, toner low.
    pub(crate) fn fact_sheet_answer() -> Vec<u8> {
        bytes(REPLY)
    }

    #[test]
    fn the_request_of_the_fact_sheet_is_built() {
        let uri = "ipp://localhost:60000/ipp/print";
        let request = Request::new(Version::V2_0, Operation::GetPrinterAttributes, 1, uri)
            .keywords(
                "requested-attributes",
                &["printer-state", "printer-state-reasons"],
            );
        assert_eq!(request.finish(), bytes(REQUEST));
    }

    #[test]
    fn the_answer_of_the_fact_sheet_is_read() {
        let answer = Answer::parse(&fact_sheet_answer()).unwrap();
        assert_eq!(answer.status, 0);
        assert_eq!(answer.number("printer-state"), Some(5));
        assert_eq!(
            answer.texts("printer-state-reasons").collect::<Vec<_>>(),
            ["media-empty-error", "toner-low-warning"]
        );
        assert_eq!(answer.numbers("marker-levels").collect::<Vec<_>>(), [7]);
        assert_eq!(answer.number("missing"), None);
    }

    #[test]
    fn every_cut_off_answer_is_an_error_or_a_shorter_answer() {
        let whole = fact_sheet_answer();
        for end in 0..whole.len() {
            if let Ok(answer) = Answer::parse(&whole[..end]) {
                assert!(answer.attributes.len() <= 5);
            }
        }
        let damaged = Answer::parse(&whole[..whole.len() - 10]).unwrap();
        assert!(damaged.is_damaged);
        assert_eq!(damaged.number("printer-state"), Some(5));
        assert!(!Answer::parse(&whole).unwrap().is_damaged);
        assert_eq!(Answer::parse(&whole[..7]), Err(MessageError::CutOff));
        assert_eq!(Answer::parse(&whole[..12]), Err(MessageError::CutOff));
        assert_eq!(Answer::parse(b"HTTP/1.1 200"), Err(MessageError::Version));
    }

    #[test]
    fn collections_and_languages_do_not_confuse() {
        let mut wire = bytes("02 00 00 00 00 00 00 01 04");
        let mut put = |tag: u8, name: &str, value: &[u8]| {
            wire.push(tag);
            for part in [name.as_bytes(), value] {
                wire.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                wire.extend(part);
            }
        };
        put(0x34, "media-col-ready", b"");
        put(0x4A, "", b"printer-state");
        put(0x34, "", b"");
        put(0x21, "", &[0, 0, 0, 9]);
        put(0x37, "", b"");
        put(0x37, "", b"");
        put(0x23, "printer-state", &[0, 0, 0, 3]);
        put(0x35, "printer-state-message", b"\0\x02en\0\x02ok");
        put(0x7F, "unknown", b"??");
        put(0x21, "short", b"\x02");
        put(0x21, "three", b"\0\0\0");
        put(0x22, "long", b"\0\0\0\x01");
        let answer = Answer::parse(&wire).unwrap();
        assert_eq!(answer.number("printer-state"), Some(3));
        assert_eq!(answer.texts("printer-state-message").next(), Some("ok"));
        assert_eq!(answer.values("unknown"), [Value::Other]);
        assert_eq!(answer.number("short"), Some(2));
        assert_eq!(answer.values("three"), [Value::Other]);
        assert_eq!(answer.boolean("long"), Some(true));
    }

    #[test]
    fn defects_of_the_field_do_not_hide_what_is_there() {
        let put = |bytes: &mut Vec<u8>, tag: u8, name: &str, value: &[u8]| {
            bytes.push(tag);
            for part in [name.as_bytes(), value] {
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
        };
        let mut wire = bytes("02 00 00 00 00 00 00 01 01");
        put(&mut wire, 0x47, "attributes-charset", b"utf-8");
        // A group that begins with a further value of nothing.
        wire.push(4);
        put(&mut wire, 0x44, "", b"stray");
        put(&mut wire, 0x23, "printer-state", &[0, 0, 0, 4]);
        // The same group again, as Pantum's firmware sends it.
        wire.push(4);
        put(&mut wire, 0x23, "printer-state", &[0, 0, 0, 4]);
        put(&mut wire, 0x44, "printer-state-reasons", b"media-empty");
        // A name that is said to be longer than the message.
        wire.extend(bytes("44 7F FF 78 FF FF 03"));
        let answer = Answer::parse(&wire).unwrap();
        assert!(answer.is_damaged);
        assert_eq!(answer.texts("attributes-charset").count(), 1);
        assert_eq!(answer.number("printer-state"), Some(4));
        let reasons: Vec<&str> = answer.texts("printer-state-reasons").collect();
        assert_eq!(reasons, ["media-empty"]);
    }

    #[test]
    fn jobs_are_told_apart_with_and_without_groups_of_their_own() {
        let put = |bytes: &mut Vec<u8>, tag: u8, name: &str, value: &[u8]| {
            bytes.push(tag);
            for part in [name.as_bytes(), value] {
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
        };
        let check = |groups: [&[u8]; 2]| {
            let mut wire = bytes("02 00 00 00 00 00 00 01");
            for (group, (id, name)) in groups.iter().zip([(7, "a"), (8, "b")]) {
                wire.extend(*group);
                put(&mut wire, 0x21, "job-id", &[0, 0, 0, id]);
                put(&mut wire, 0x42, "job-name", name.as_bytes());
            }
            let jobs = Answer::parse(&wire).unwrap().jobs();
            let found: Vec<(i32, Option<&str>)> = jobs
                .iter()
                .map(|job| (job.id, job.name.as_deref()))
                .collect();
            assert_eq!(found, [(7, Some("a")), (8, Some("b"))]);
        };
        check([&[2], &[2]]);
        check([&[2], &[]]);
        let mut wire = bytes("02 00 00 00 00 00 00 01 02");
        put(&mut wire, 0x42, "job-name", b"first");
        put(&mut wire, 0x21, "job-id", &[0, 0, 0, 9]);
        wire.push(2);
        put(&mut wire, 0x21, "job-id", &[0, 0, 0, 10]);
        let jobs = Answer::parse(&wire).unwrap().jobs();
        let names: Vec<Option<&str>> = jobs.iter().map(|job| job.name.as_deref()).collect();
        assert_eq!(names, [Some("first"), None]);
    }

    #[test]
    fn no_garbage_panics_and_floods_are_bounded() {
        let mut seed = 7_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        for _ in 0..2000 {
            let mut garbage = fact_sheet_answer();
            for _ in 0..4 {
                let at = usize::from(next()) % garbage.len();
                garbage[at] = next();
            }
            drop(Answer::parse(&garbage));
        }
        let mut flood = bytes("02 00 00 00 00 00 00 01 04 21 00 01 61 00 00");
        flood.extend([0x21, 0, 0, 0, 0].repeat(VALUES_MAX));
        assert_eq!(Answer::parse(&flood), Err(MessageError::TooLong));
    }

    /// The `ipp` crate is an implementation by other people: it must read what we write.
    #[test]
    fn an_independent_parser_reads_our_print_job() {
        use ::ipp::parser::IppParser;
        let request = Request::new(Version::V1_1, Operation::PrintJob, 42, "ipp://h/ipp/print")
            .name("requesting-user-name", "kiosk")
            .mime_type("document-format", "application/pdf")
            .boolean_true("ipp-attribute-fidelity")
            .group(GROUP_JOB)
            .integer("copies", 1)
            .keyword("sides", "one-sided")
            .range("page-ranges", 2, 3)
            .finish();
        let parsed = IppParser::new(std::io::Cursor::new(request))
            .parse()
            .unwrap();
        assert_eq!(parsed.header().operation_or_status, 2);
        assert_eq!(parsed.header().request_id, 42);
        let attributes: Vec<String> = parsed
            .attributes()
            .groups()
            .iter()
            .flat_map(::ipp::attribute::IppAttributeGroup::attributes)
            .map(|attribute| format!("{}={}", attribute.name(), attribute.value()))
            .collect();
        assert_eq!(
            attributes,
            [
                "attributes-charset=utf-8",
                "attributes-natural-language=en",
                "printer-uri=ipp://h/ipp/print",
                "requesting-user-name=kiosk",
                "document-format=application/pdf",
                "ipp-attribute-fidelity=true",
                "copies=1",
                "sides=one-sided",
                "page-ranges=2..3",
            ]
        );
    }
}
