//! Whether a script is ECMAScript 5 (ECMA-262, 5.1 edition): its words one after the other, and among
//! them everything that a browser of before 2015 does not understand. Not a parser: it knows the forms
//! that came later by how they look, and each of them is tried below.

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Number(String),
    /// Between quotes.
    Text(String),
    Pattern(String),
    Sign(String),
}

/// Signs of more than one letter, the longest first.
const SIGNS: [&str; 37] = [
    ">>>=", "...", "===", "!==", ">>>", "<<=", ">>=", "**=", "&&=", "||=", "??=", "=>", "?.", "??",
    "**", "==", "!=", "<=", ">=", "&&", "||", "++", "--", "<<", ">>", "+=", "-=", "*=", "/=", "%=",
    "&=", "|=", "^=", "=", "?", "`", "#",
];
/// Signs that came later.
const NEWER_SIGNS: [&str; 9] = ["...", "=>", "?.", "??", "**", "**=", "&&=", "||=", "??="];
/// Words that came later, or were reserved.
const NEWER_WORDS: [&str; 12] = [
    "let", "const", "class", "extends", "super", "import", "export", "async", "await", "yield",
    "enum", "of",
];
/// Objects that came later and are not asked for before they are used.
const NEWER_OBJECTS: [&str; 18] = [
    "BigInt",
    "Set",
    "Map",
    "WeakSet",
    "WeakMap",
    "Symbol",
    "Proxy",
    "Reflect",
    "Promise",
    "Intl",
    "Uint8Array",
    "Uint32Array",
    "Float64Array",
    "DataView",
    "TextEncoder",
    "TextDecoder",
    "globalThis",
    "fetch",
];
/// Members that came later.
const NEWER_MEMBERS: [&str; 31] = [
    "includes",
    "startsWith",
    "endsWith",
    "repeat",
    "padStart",
    "padEnd",
    "codePointAt",
    "fromCodePoint",
    "normalize",
    "trimStart",
    "trimEnd",
    "matchAll",
    "replaceAll",
    "fill",
    "find",
    "findIndex",
    "from",
    "flat",
    "flatMap",
    "assign",
    "entries",
    "values",
    "fromEntries",
    "isInteger",
    "isSafeInteger",
    "trunc",
    "imul",
    "clz32",
    "dataset",
    "finally",
    "closest",
];

/// How many words and signs the script has.
pub(crate) fn count(script: &str) -> usize {
    tokens(script).len()
}

/// What of the script is newer; each with what stands around it.
pub(crate) fn newer(script: &str) -> Vec<String> {
    let tokens = tokens(script);
    (0..tokens.len())
        .filter(|at| is_newer(&tokens, *at))
        .map(|at| {
            let around = &tokens[at.saturating_sub(3)..(at + 4).min(tokens.len())];
            format!("{:?} in {around:?}", tokens[at])
        })
        .collect()
}

fn is_newer(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| &tokens[before]);
    let after = tokens.get(at + 1);
    match &tokens[at] {
        Token::Word(word) => {
            let is_member = is_sign(before, ".");
            let is_name = is_sign(after, ":") && (is_sign(before, "{") || is_sign(before, ","));
            let word = word.as_str();
            if is_member {
                return NEWER_MEMBERS.contains(&word);
            }
            let is_word = NEWER_WORDS.contains(&word) || NEWER_OBJECTS.contains(&word);
            (is_word && !is_name)
                || (word == "catch" && !is_sign(after, "("))
                || (word == "var" && (is_sign(after, "[") || is_sign(after, "{")))
                || (word == "function" && !has_plain_parameters(&tokens[at + 1..]))
        }
        Token::Number(digits) => {
            let later = ["0b", "0B", "0o", "0O"];
            let is_hexadecimal = digits.starts_with("0x");
            digits.contains('_')
                || (digits.ends_with('n') && !is_hexadecimal)
                || (is_hexadecimal && !digits[2..].bytes().all(|byte| byte.is_ascii_hexdigit()))
                || later.iter().any(|start| digits.starts_with(start))
        }
        Token::Text(text) => text.contains("\\u{"),
        Token::Pattern(pattern) => {
            let (_, flags) = pattern.rsplit_once('/').unwrap();
            pattern.contains("(?<")
                || pattern.contains("\\u{")
                || pattern.contains("\\p{")
                || flags.contains(|flag| !"gim".contains(flag))
        }
        Token::Sign(sign) => match sign.as_str() {
            "`" | "#" => true,
            "{" if is_object(before) => !has_plain_names(&tokens[at + 1..]),
            "=" => is_pattern_before(&tokens[..at]),
            sign => NEWER_SIGNS.contains(&sign),
        },
    }
}

fn is_sign(token: Option<&Token>, sign: &str) -> bool {
    matches!(token, Some(Token::Sign(found)) if found == sign)
}

/// After `function`: a name or none, then names with commas between them and nothing else.
fn has_plain_parameters(tokens: &[Token]) -> bool {
    let from = usize::from(matches!(tokens.first(), Some(Token::Word(_))));
    if !is_sign(tokens.get(from), "(") {
        return false;
    }
    tokens[from + 1..]
        .iter()
        .take_while(|token| **token != Token::Sign(")".to_owned()))
        .enumerate()
        .all(|(at, token)| match token {
            Token::Word(_) => at % 2 == 0,
            Token::Sign(sign) => at % 2 == 1 && sign == ",",
            Token::Number(_) | Token::Text(_) | Token::Pattern(_) => false,
        })
}

/// Whether a brace after this begins an object and not a block.
fn is_object(before: Option<&Token>) -> bool {
    match before {
        Some(Token::Sign(sign)) => {
            ["(", ",", "=", ":", "[", "?", "&&", "||", "==", "==="].contains(&sign.as_str())
        }
        Some(Token::Word(word)) => ["return", "throw", "typeof"].contains(&word.as_str()),
        Some(Token::Number(_) | Token::Text(_) | Token::Pattern(_)) | None => false,
    }
}

/// Whether each entry of an object is a name, a colon and a value.
fn has_plain_names(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    let mut is_name = true;
    for (at, token) in tokens.iter().enumerate() {
        if depth == 0 && is_sign(Some(token), "}") {
            return true;
        }
        if is_name {
            let is_plain = !matches!(token, Token::Sign(_) | Token::Pattern(_));
            if !is_plain || !is_sign(tokens.get(at + 1), ":") {
                return false;
            }
            is_name = false;
        }
        if let Token::Sign(sign) = token {
            match sign.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "," if depth == 0 => is_name = true,
                _ => {}
            }
        }
    }
    false
}

/// Whether an assignment takes apart a list or an object.
fn is_pattern_before(tokens: &[Token]) -> bool {
    let close = match tokens.last() {
        Some(Token::Sign(sign)) if sign == "}" => return true,
        Some(Token::Sign(sign)) => sign == "]",
        Some(Token::Word(_) | Token::Number(_) | Token::Text(_) | Token::Pattern(_)) | None => {
            false
        }
    };
    if !close {
        return false;
    }
    let mut depth = 0_usize;
    for at in (0..tokens.len()).rev() {
        if is_sign(tokens.get(at), "]") {
            depth += 1;
        } else if is_sign(tokens.get(at), "[") {
            depth -= 1;
            if depth == 0 {
                // What is looked up has a name, or a bracket that ends, before it.
                let before = at.checked_sub(1).map(|before| &tokens[before]);
                let is_looked_up = matches!(before, Some(Token::Word(_)))
                    || is_sign(before, ")")
                    || is_sign(before, "]");
                return !is_looked_up;
            }
        }
    }
    true
}

fn tokens(script: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = script.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if first == '"' || first == '\'' {
            let length = quoted(rest, first);
            (Some(Token::Text(rest[..length].to_owned())), length)
        } else if first == '/' && begins_a_pattern(tokens.last()) {
            let body = quoted(rest, '/');
            let flags = rest[body..].find(|flag: char| !flag.is_ascii_alphabetic());
            let length = flags.map_or(rest.len(), |flags| body + flags);
            (Some(Token::Pattern(rest[..length].to_owned())), length)
        } else if first.is_ascii_alphanumeric() || first == '_' || first == '$' {
            let is_word = |letter: char| letter.is_alphanumeric() || "_$".contains(letter);
            let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            let word = rest[..length].to_owned();
            let token = if first.is_ascii_digit() {
                Token::Number(word)
            } else {
                Token::Word(word)
            };
            (Some(token), length)
        } else {
            let long = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let length = long.map_or(first.len_utf8(), |sign| sign.len());
            (Some(Token::Sign(rest[..length].to_owned())), length)
        };
        tokens.extend(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Bytes to the end of what stands between two of these marks.
fn quoted(text: &str, mark: char) -> usize {
    let (mut is_escaped, mut is_class) = (false, false);
    for (at, letter) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' {
            is_escaped = true;
        } else if mark == '/' && (letter == '[' || letter == ']') {
            is_class = letter == '[';
        } else if letter == mark && !is_class {
            return at + letter.len_utf8();
        }
    }
    text.len()
}

/// Whether a slash begins a pattern, and does not divide.
fn begins_a_pattern(before: Option<&Token>) -> bool {
    match before {
        Some(Token::Sign(sign)) => sign != ")" && sign != "]" && sign != "}",
        Some(Token::Word(word)) => word == "return" || word == "typeof",
        Some(Token::Number(_) | Token::Text(_) | Token::Pattern(_)) => false,
        None => true,
    }
}

#[test]
fn every_newer_form_is_found() {
    for script in [
        "let a = 1;",
        "const a = 1;",
        "class A {}",
        "var f = x => x;",
        "var f = function (a = 1) {};",
        "function f(...rest) {}",
        "function f({ a }) {}",
        "f(...list);",
        "var s = `text`;",
        "for (var a of list) {}",
        "var [a, b] = list;",
        "var { a } = list;",
        "[a, b] = [b, a];",
        "(function () { x; [a.b, c[0]] = d; })();",
        "({ a } = list);",
        "var o = { a, b: 1 };",
        "var o = { a: 1, b() {} };",
        "return { [a]: 1 };",
        "f({ a: { b: 1, ...c } });",
        "var a = b?.c;",
        "var a = b ?? c;",
        "var a = b ** 2;",
        "a ||= b;",
        "var a = 1n;",
        "var a = 0b11;",
        "var a = 0o17;",
        "var a = 1_000;",
        "try {} catch {}",
        "async function f() {}",
        "await f();",
        "function* g() {}",
        "import a from \"a\";",
        "export var a = 1;",
        "var a = new Map();",
        "var a = BigInt(1);",
        "var a = [1].includes(1);",
        "var a = Array.from(b);",
        "var a = \"x\".padStart(2);",
        "var a = b.dataset.c;",
        "var a = /x/u;",
        "var a = /(?<y>x)/;",
        "var a = \"\\u{1f600}\";",
        "class A { #x; }",
    ] {
        assert!(!newer(script).is_empty(), "{script}");
    }
}

#[test]
fn what_browsers_always_understood_is_left_alone() {
    for script in [
        "var a = 1, b, c; // let const => `",
        "/* class */ var s = \"let `a` => 1n\";",
        "var o = { a: 1, \"b\": [1, 2], 3: function (x, y) { return x / y; }, of: 1 };",
        "a[0] = b[c[1]][2] = 3; f(a)[0] = 1;",
        "for (var k in list) { if (k) { var x = 1, y; } }",
        "try { f(); } catch (error) { throw { code: error }; }",
        "var f = curve.of(1), g = map.map(function (x) { return x; });",
        "text.replace(/^[\\t/ ]+/, \"\").replace(/a/g, \"\\u0041\");",
        "var q = a / b / c, h = b ? 1 : 2;",
        "x = y === z ? { a: 1 } : [];",
        "var n = 0x1f, m = 1.5, e = a >>> 3 | b << 2;",
    ] {
        let found = newer(script);
        assert!(found.is_empty(), "{found:?}");
    }
}
