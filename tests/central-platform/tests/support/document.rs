//! The `OpenAPI` document as a test reads it: where references lead, whether a value fits a
//! schema, and values that fit one. A word of JSON Schema that is not known here fails the test,
//! so that nothing in the document is silently left unchecked.

use std::path::Path;

use proptest::strategy::{Strategy, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

/// The document beside the terminal's client.
const PLACE: &str = "../../kiosk-app/src/platform/openapi.yaml";
/// Longest text and list that are made where the schema sets no smaller limit.
const MADE_MAX: u64 = 40;
/// Words that say something to people only, or that are checked elsewhere.
const NOTES: &[&str] = &[
    "description",
    "default",
    "examples",
    "contentMediaType",
    "summary",
];
/// Words that [`Document::misfit`] looks at.
const WORDS: &[&str] = &[
    "$ref",
    "type",
    "const",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "maxProperties",
    "oneOf",
    "allOf",
    "if",
    "then",
    "format",
    "contentEncoding",
];

pub(crate) struct Document {
    pub(crate) root: Value,
}

/// Deterministic choice: the same seed makes the same requests.
pub(crate) struct Dice {
    state: u64,
    runner: TestRunner,
}

/// Seeds that follow one another begin far apart (`SplitMix64`); never 0, from which nothing follows.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)).max(1)
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self {
            state: mixed(seed),
            runner: TestRunner::new_with_rng(Config::default(), rng),
        }
    }

    /// A number below a limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit.max(1)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Text that matches a pattern.
    fn matching(&mut self, pattern: &str) -> String {
        // The generator has no anchors; a pattern that is open at one side may begin anyhow.
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        let strategy = string_regex(inner).unwrap();
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn text(&mut self, least: u64, most: u64) -> String {
        const LETTERS: [char; 8] = ['a', 'Z', '7', ' ', '测', '㛃', '𬱖', '"'];
        let length = least + self.below(most - least + 1);
        (0..length)
            .map(|_| LETTERS[usize::try_from(self.below(8)).unwrap()])
            .collect()
    }
}

impl Document {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PLACE);
        let text = std::fs::read_to_string(path).unwrap();
        Self {
            root: serde_yaml_ng::from_str(&text).unwrap(),
        }
    }

    /// Follows references until there is none.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let mut value = value;
        for _ in 0..16 {
            let Some(reference) = value["$ref"].as_str() else {
                return value;
            };
            let pointer = reference.strip_prefix('#').expect("references are local");
            value = self
                .root
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{reference} leads nowhere"));
        }
        panic!("references in a circle");
    }

    /// Why a value does not fit a schema, if it does not.
    pub(crate) fn misfit(&self, value: &Value, schema: &Value) -> Option<String> {
        let Some(words) = schema.as_object() else {
            return (*schema == json!(false)).then(|| "nothing fits".to_owned());
        };
        for word in words.keys() {
            let is_known = WORDS.contains(&word.as_str()) || NOTES.contains(&word.as_str());
            assert!(is_known, "teach the checker `{word}`");
        }
        if words.contains_key("$ref")
            && let Some(misfit) = self.misfit(value, self.resolve(schema))
        {
            return Some(misfit);
        }
        let no = |what: &str| Some(format!("{value} is not {what} of {schema}"));
        if words.contains_key("const") && schema["const"] != *value {
            return no("the constant");
        }
        if let Some(choices) = schema["enum"].as_array()
            && !choices.contains(value)
        {
            return no("a choice");
        }
        if words.contains_key("type") && !types(schema).iter().any(|kind| is_a(value, kind)) {
            return no("the type");
        }
        self.misfit_of_kind(value, schema)
            .or_else(|| self.misfit_of_choice(value, schema))
    }

    fn misfit_of_choice(&self, value: &Value, schema: &Value) -> Option<String> {
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices
                .iter()
                .filter(|choice| self.misfit(value, choice).is_none());
            if fits.count() != 1 {
                return Some(format!("{value} fits not exactly one of {schema}"));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            if let Some(misfit) = self.misfit(value, part) {
                return Some(misfit);
            }
        }
        if schema["if"].is_object() && self.misfit(value, &schema["if"]).is_none() {
            return self.misfit(value, &schema["then"]);
        }
        None
    }

    fn misfit_of_kind(&self, value: &Value, schema: &Value) -> Option<String> {
        let no = |what: &str| Some(format!("{value} is outside `{what}` of {schema}"));
        match value {
            Value::String(text) => {
                let length = text.chars().count() as u64;
                if length < schema["minLength"].as_u64().unwrap_or(0)
                    || length > schema["maxLength"].as_u64().unwrap_or(u64::MAX)
                {
                    return no("length");
                }
                let pattern = schema["pattern"].as_str();
                if pattern.is_some_and(|pattern| !matches(pattern, text)) {
                    return no("pattern");
                }
                let format = schema["format"].as_str();
                format
                    .is_some_and(|format| !is_format(format, text))
                    .then(|| format!("{text} is no {format:?}"))
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap();
                let is_inside = number >= schema["minimum"].as_f64().unwrap_or(f64::MIN)
                    && number <= schema["maximum"].as_f64().unwrap_or(f64::MAX);
                if is_inside { None } else { no("range") }
            }
            Value::Array(items) => {
                let length = items.len() as u64;
                if length < schema["minItems"].as_u64().unwrap_or(0)
                    || length > schema["maxItems"].as_u64().unwrap_or(u64::MAX)
                {
                    return no("items");
                }
                let schema = &schema["items"];
                items
                    .iter()
                    .filter(|_| !schema.is_null())
                    .find_map(|item| self.misfit(item, schema))
            }
            Value::Object(members) => self.misfit_of_members(members, schema),
            Value::Null | Value::Bool(_) => None,
        }
    }

    fn misfit_of_members(&self, members: &Map<String, Value>, schema: &Value) -> Option<String> {
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Some(format!("`{name}` is missing"));
            }
        }
        if members.len() as u64 > schema["maxProperties"].as_u64().unwrap_or(u64::MAX) {
            return Some("too many members".to_owned());
        }
        members.iter().find_map(|(name, value)| {
            let mut schema_of = &schema["properties"][name];
            if schema_of.is_null() {
                schema_of = &schema["additionalProperties"];
            }
            if schema_of.is_null() {
                return None;
            }
            self.misfit(value, schema_of)
                .map(|misfit| format!("`{name}`: {misfit}"))
        })
    }

    /// A value that fits a schema. `known` gives values for members by their names, where a
    /// random one would only ever be unknown to the platform.
    pub(crate) fn make(
        &self,
        schema: &Value,
        dice: &mut Dice,
        known: &dyn Fn(&str, &mut Dice) -> Option<Value>,
    ) -> Value {
        let mut schema = self.resolve(schema).clone();
        if let Some(choices) = schema["oneOf"].as_array() {
            let choice = usize::try_from(dice.below(choices.len() as u64)).unwrap();
            schema = self.resolve(&choices[choice]).clone();
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        if let Some(choices) = schema["enum"].as_array() {
            return choices[usize::try_from(dice.below(choices.len() as u64)).unwrap()].clone();
        }
        let types = types(&schema);
        let Some(kind) = types.get(usize::try_from(dice.below(types.len() as u64)).unwrap()) else {
            return json!({"any": [1, "text", null]});
        };
        match *kind {
            "string" => Value::String(make_text(&schema, dice)),
            "integer" | "number" => make_number(&schema, dice),
            "boolean" => json!(dice.coin()),
            "null" => Value::Null,
            "array" => {
                let most = schema["maxItems"].as_u64().unwrap_or(MADE_MAX).min(4);
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let length = least + dice.below(most - least + 1);
                (0..length)
                    .map(|_| self.make(&schema["items"], dice, known))
                    .collect()
            }
            "object" => self.make_members(&schema, dice, known),
            other => panic!("teach the maker `{other}`"),
        }
    }

    fn make_members(
        &self,
        schema: &Value,
        dice: &mut Dice,
        known: &dyn Fn(&str, &mut Dice) -> Option<Value>,
    ) -> Value {
        let mut members = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&json!(name)) || dice.coin() {
                let value = known(name, dice).unwrap_or_else(|| self.make(schema, dice, known));
                members.insert(name.clone(), value);
            }
        }
        if schema["additionalProperties"].is_object() {
            for number in 0..dice.below(3) {
                let value = self.make(&schema["additionalProperties"], dice, known);
                members.insert(format!("extra-{number}"), value);
            }
        }
        Value::Object(members)
    }

    /// Copies of a value that fits a schema, each broken in one way, with what was broken.
    pub(crate) fn broken(&self, value: &Value, schema: &Value) -> Vec<(String, Value)> {
        let schema = self.resolve(schema);
        let mut broken = Vec::new();
        match value {
            Value::Object(members) => {
                for name in schema["required"].as_array().into_iter().flatten() {
                    let name = name.as_str().unwrap();
                    let mut without = members.clone();
                    without.remove(name);
                    broken.push((format!("{name} missing"), Value::Object(without)));
                }
                if schema["additionalProperties"] == json!(false) {
                    let mut with = members.clone();
                    with.insert("extra".to_owned(), json!(1));
                    broken.push(("extra".to_owned(), Value::Object(with)));
                }
                for (name, value) in members {
                    let schema_of = &schema["properties"][name];
                    for (what, bad) in self.broken(value, schema_of) {
                        let mut other = members.clone();
                        other.insert(name.clone(), bad);
                        broken.push((format!("{name}.{what}"), Value::Object(other)));
                    }
                }
            }
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    for (what, bad) in self.broken(first, &schema["items"]) {
                        let mut other = items.clone();
                        other[0] = bad;
                        broken.push((format!("0.{what}"), Value::Array(other)));
                    }
                    if let Some(most) = schema["maxItems"].as_u64().filter(|most| *most <= 128) {
                        let many = vec![first.clone(); usize::try_from(most).unwrap() + 1];
                        broken.push(("too many".to_owned(), Value::Array(many)));
                    }
                }
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
        broken.extend(broken_itself(schema));
        broken.retain(|(_, bad)| self.misfit(bad, schema).is_some());
        broken
    }
}

/// Values that are not what a schema says by themselves.
fn broken_itself(schema: &Value) -> Vec<(String, Value)> {
    let mut broken = vec![
        ("a list".to_owned(), json!([[]])),
        ("a number".to_owned(), json!(-1.5)),
        ("true".to_owned(), json!(true)),
    ];
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| *most < 4096) {
        let long = "a".repeat(usize::try_from(most).unwrap() + 1);
        broken.push(("too long".to_owned(), json!(long)));
    }
    if schema["pattern"].is_string() {
        broken.push(("another pattern".to_owned(), json!("\u{1F4A3} no")));
        broken.push((
            "upper case".to_owned(),
            json!("01930000-0000-7000-8000-0000000000FF"),
        ));
        broken.push(("much too long".to_owned(), json!("a".repeat(1000))));
    }
    if schema["minLength"].as_u64().is_some_and(|least| least > 0) {
        broken.push(("empty".to_owned(), json!("")));
    }
    if schema["enum"].is_array() {
        broken.push(("another word".to_owned(), json!("no-such-word")));
    }
    if let Some(least) = schema["minimum"].as_i64() {
        broken.push(("too small".to_owned(), json!(least - 1)));
    }
    if let Some(most) = schema["maximum"].as_u64() {
        broken.push(("too large".to_owned(), json!(most + 1)));
    }
    broken
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type of JSON Schema"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(text)
}

fn is_format(format: &str, text: &str) -> bool {
    match format {
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        other => panic!("teach the checker the format `{other}`"),
    }
}

fn make_text(schema: &Value, dice: &mut Dice) -> String {
    match (schema["format"].as_str(), schema["pattern"].as_str()) {
        (Some("uuid"), _) => uuid::Uuid::from_u128(
            (u128::from(dice.below(u64::MAX)) << 64) | u128::from(dice.below(u64::MAX)),
        )
        .to_string(),
        (Some("date-time"), _) => {
            let second = i64::try_from(dice.below(4_000_000_000)).unwrap();
            jiff::Timestamp::from_second(second).unwrap().to_string()
        }
        (Some("date"), _) => format!("20{:02}-{:02}-28", 10 + dice.below(80), 1 + dice.below(12)),
        (_, Some(pattern)) => dice.matching(pattern),
        // A JPEG of four bytes, as small as one can look like one.
        _ if schema["contentEncoding"] == "base64" => "/9j/4A==".to_owned(),
        _ => {
            let least = schema["minLength"].as_u64().unwrap_or(0);
            let most = schema["maxLength"].as_u64().unwrap_or(MADE_MAX);
            // Now and then as long as it may be.
            let most = if dice.below(4) == 0 && most <= 512 {
                return dice.text(most, most);
            } else {
                most.min(MADE_MAX.max(least))
            };
            dice.text(least, most)
        }
    }
}

fn make_number(schema: &Value, dice: &mut Dice) -> Value {
    let least = schema["minimum"].as_i64().unwrap_or(0);
    let most = schema["maximum"].as_i64().unwrap_or(1_000_000);
    let width = u64::try_from(most.saturating_sub(least)).unwrap();
    // The ends are where mistakes are.
    let above = match dice.below(4) {
        0 => 0,
        1 => width,
        _ => dice.below(width.saturating_add(1)),
    };
    json!(least.saturating_add_unsigned(above))
}
