//! The encoding of IPP messages (RFC 8010), as much as a printer needs.
//!
//! Reading is bounded and never panics; writing keeps the order of attributes.

/// Groups in one message at most. Chosen.
const GROUPS_MAX: usize = 64;
/// Attributes in one message at most. Chosen.
const ATTRIBUTES_MAX: usize = 2048;

pub(crate) const OPERATION: u8 = 0x01;
pub(crate) const JOB: u8 = 0x02;
const END: u8 = 0x03;
pub(crate) const PRINTER: u8 = 0x04;
pub(crate) const UNSUPPORTED: u8 = 0x05;

/// One value with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) tag: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Value {
    pub(crate) fn integer(number: i32) -> Self {
        Self {
            tag: 0x21,
            bytes: number.to_be_bytes().to_vec(),
        }
    }

    pub(crate) fn boolean(is_true: bool) -> Self {
        Self {
            tag: 0x22,
            bytes: vec![u8::from(is_true)],
        }
    }

    pub(crate) fn enumeration(number: i32) -> Self {
        Self {
            tag: 0x23,
            bytes: number.to_be_bytes().to_vec(),
        }
    }

    pub(crate) fn octets(text: &str) -> Self {
        Self {
            tag: 0x30,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn range(low: i32, high: i32) -> Self {
        Self {
            tag: 0x33,
            bytes: [low.to_be_bytes(), high.to_be_bytes()].concat(),
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self {
            tag: 0x41,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn name(text: &str) -> Self {
        Self {
            tag: 0x42,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn keyword(text: &str) -> Self {
        Self {
            tag: 0x44,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn uri(text: &str) -> Self {
        Self {
            tag: 0x45,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn charset(text: &str) -> Self {
        Self {
            tag: 0x47,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn language(text: &str) -> Self {
        Self {
            tag: 0x48,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn mime(text: &str) -> Self {
        Self {
            tag: 0x49,
            bytes: text.as_bytes().to_vec(),
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i32> {
        matches!(self.tag, 0x21 | 0x23)
            .then(|| {
                self.bytes
                    .as_slice()
                    .try_into()
                    .ok()
                    .map(i32::from_be_bytes)
            })
            .flatten()
    }

    pub(crate) fn as_range(&self) -> Option<(i32, i32)> {
        let (low, high) = self.bytes.split_first_chunk::<4>()?;
        let high: [u8; 4] = high.try_into().ok()?;
        (self.tag == 0x33).then(|| (i32::from_be_bytes(*low), i32::from_be_bytes(high)))
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// A named set of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) values: Vec<Value>,
}

impl Attribute {
    pub(crate) fn one(name: &str, value: Value) -> Self {
        Self {
            name: name.to_owned(),
            values: vec![value],
        }
    }

    pub(crate) fn set(name: &str, values: Vec<Value>) -> Self {
        Self {
            name: name.to_owned(),
            values,
        }
    }

    pub(crate) fn keywords(name: &str, words: &[&str]) -> Self {
        Self::set(
            name,
            words.iter().map(|word| Value::keyword(word)).collect(),
        )
    }
}

/// Attributes below one group tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) tag: u8,
    pub(crate) attributes: Vec<Attribute>,
}

/// A request as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) version: [u8; 2],
    /// Operation of a request, status of a reply.
    pub(crate) code: u16,
    pub(crate) request_id: u32,
    pub(crate) groups: Vec<Group>,
    pub(crate) document: Vec<u8>,
}

impl Message {
    /// Reads a message; `None` when it is malformed.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let version = [cursor.byte()?, cursor.byte()?];
        let code = cursor.short()?;
        let request_id = u32::from_be_bytes(cursor.take(4)?.try_into().ok()?);
        let mut groups: Vec<Group> = Vec::new();
        let mut attributes = 0;
        // Bounded: each turn takes at least one byte.
        loop {
            let tag = cursor.byte()?;
            match tag {
                END => break,
                0x00..=0x0F => {
                    groups.push(Group {
                        tag,
                        attributes: Vec::new(),
                    });
                    if groups.len() > GROUPS_MAX {
                        return None;
                    }
                }
                _ => {
                    let length = usize::from(cursor.short()?);
                    let name = String::from_utf8(cursor.take(length)?.to_vec()).ok()?;
                    let length = usize::from(cursor.short()?);
                    let value = Value {
                        tag,
                        bytes: cursor.take(length)?.to_vec(),
                    };
                    let group = groups.last_mut()?;
                    if name.is_empty() {
                        group.attributes.last_mut()?.values.push(value);
                    } else {
                        group.attributes.push(Attribute {
                            name,
                            values: vec![value],
                        });
                    }
                    attributes += 1;
                    if attributes > ATTRIBUTES_MAX {
                        return None;
                    }
                }
            }
        }
        Some(Self {
            version,
            code,
            request_id,
            groups,
            document: cursor.0.to_vec(),
        })
    }

    /// The bytes of the message, without its document.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = self.version.to_vec();
        bytes.extend(self.code.to_be_bytes());
        bytes.extend(self.request_id.to_be_bytes());
        for group in &self.groups {
            bytes.push(group.tag);
            for attribute in &group.attributes {
                for (at, value) in attribute.values.iter().enumerate() {
                    let name = if at == 0 {
                        attribute.name.as_bytes()
                    } else {
                        b""
                    };
                    bytes.push(value.tag);
                    for part in [name, value.bytes.as_slice()] {
                        bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
                        bytes.extend(part);
                    }
                }
            }
        }
        bytes.push(END);
        bytes
    }

    /// The values of an attribute of a group; empty when absent.
    pub(crate) fn values(&self, group: u8, name: &str) -> &[Value] {
        self.groups
            .iter()
            .filter(|found| found.tag == group)
            .flat_map(|found| &found.attributes)
            .find(|attribute| attribute.name == name)
            .map_or(&[], |attribute| attribute.values.as_slice())
    }

    pub(crate) fn text(&self, group: u8, name: &str) -> Option<&str> {
        self.values(group, name).first()?.as_text()
    }

    pub(crate) fn integer(&self, group: u8, name: &str) -> Option<i32> {
        self.values(group, name).first()?.as_integer()
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of the fact sheet, section 10.4.
    fn sample() -> Message {
        Message {
            version: [2, 0],
            code: 0x000B,
            request_id: 1,
            groups: vec![Group {
                tag: OPERATION,
                attributes: vec![
                    Attribute::one("attributes-charset", Value::charset("utf-8")),
                    Attribute::one("attributes-natural-language", Value::language("en")),
                    Attribute::one("printer-uri", Value::uri("ipp://localhost:60000/ipp/print")),
                    Attribute::keywords(
                        "requested-attributes",
                        &["printer-state", "printer-state-reasons"],
                    ),
                ],
            }],
            document: Vec::new(),
        }
    }

    #[test]
    fn the_sample_request_has_the_length_of_the_fact_sheet() {
        let bytes = sample().write();
        assert_eq!(bytes.len(), 183);
        assert_eq!(bytes[..8], [2, 0, 0, 0x0B, 0, 0, 0, 1]);
        assert_eq!(Message::read(&bytes).unwrap(), sample());
    }

    #[test]
    fn a_message_cut_anywhere_is_malformed_and_no_bytes_panic() {
        let bytes = sample().write();
        for length in 0..bytes.len() {
            assert_eq!(Message::read(&bytes[..length]), None, "{length}");
        }
        let mut rubbish = crate::steering::Rubbish::new(11);
        for _ in 0..500 {
            let mut bytes = sample().write();
            let noise = rubbish.bytes(2);
            let at = usize::from(noise[0]) % bytes.len();
            bytes[at] = noise[1];
            let document = Message::read(&bytes).map_or(0, |message| message.document.len());
            assert!(document <= bytes.len());
        }
    }
}
