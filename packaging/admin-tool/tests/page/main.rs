//! The page's script gives the verdict that the program gives, about genuine certificates and forged
//! ones, in all three algorithms. `QuickJS` runs it as it stands in the page, without anything that
//! came into browsers after ECMAScript 5.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

mod es5;

use kiosk_admin::terminal_keys::TerminalKeys;
use kiosk_admin::verify_page::{VERIFY_SCRIPT, keys_json, page};
use kiosk_sealing::certificate::{self, Readiness};
use kiosk_sealing::{Algorithm, DeviceKey, Suite};
use rquickjs::{CatchResultExt, Context, Ctx, Function, Object, Runtime};

const NOW_S: i64 = 1_795_311_660;
const LETTERS: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// The engine with the script in it.
struct Page {
    context: Context,
}

impl Page {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let context = Context::full(&runtime).unwrap();
        context.with(|ctx| {
            ctx.eval::<(), _>(OLD_BROWSER).catch(&ctx).unwrap();
            ctx.eval::<(), _>(VERIFY_SCRIPT).catch(&ctx).unwrap();
            let shown = "function judge(text, keys, now) { \
                 var verdict = Certificate.verify(text, JSON.parse(keys), now); \
                 return [verdict.code, JSON.stringify(verdict.readiness || null)]; }";
            ctx.eval::<(), _>(shown).catch(&ctx).unwrap();
        });
        Self { context }
    }

    /// The code of its verdict, and the fields it shows.
    fn verdict(&self, text: &str, keys: &TerminalKeys, now_s: i64) -> (String, serde_json::Value) {
        let answer: Vec<String> = self.context.with(|ctx| {
            let judge: Function<'_> = ctx.globals().get("judge").unwrap();
            judge
                .call((text, keys_json(keys), now_s))
                .catch(&ctx)
                .unwrap()
        });
        (answer[0].clone(), serde_json::from_str(&answer[1]).unwrap())
    }

    fn digest(&self, name: &str, bytes: &[u8]) -> String {
        self.context.with(|ctx: Ctx<'_>| {
            let call = format!(
                "(function (bytes) {{ return Certificate.hex(Certificate.digests.{name}(bytes)); }})"
            );
            let function: Function<'_> = ctx.eval(call).catch(&ctx).unwrap();
            let list: Vec<u32> = bytes.iter().map(|byte| u32::from(*byte)).collect();
            function.call((list,)).catch(&ctx).unwrap()
        })
    }
}

fn readiness() -> Readiness {
    Readiness {
        terminal: "T001".to_owned(),
        site: "测试村 𬱖".to_owned(),
        issued_at_s: NOW_S - 60,
        valid_until_s: NOW_S + 86_000,
        program: "0.1.0".to_owned(),
        program_digest: [0xab; 32],
        configuration_digest: [2; 32],
        items_digest: [3; 32],
        report_digest: [4; 32],
        passed: 21,
        failed: 300,
        not_run: 0,
        open_faults: vec![
            "printer.media-empty".to_owned(),
            "ups.on-battery".to_owned(),
        ],
        audit_sequence: u64::MAX,
        audit_head: [5; 32],
        is_ready: true,
    }
}

fn list(entries: &[(&str, &DeviceKey)]) -> TerminalKeys {
    let lines: Vec<String> = entries
        .iter()
        .map(|(terminal, key)| format!("{terminal} {}", key.public()))
        .collect();
    TerminalKeys::parse(&lines.join("\n")).unwrap()
}

/// What the program says.
fn code(text: &str, keys: &TerminalKeys, now_s: i64) -> &'static str {
    certificate::verify(text, |terminal, id| keys.find(terminal, id), now_s)
        .map_or_else(|error| error.code(), |_| "valid")
}

/// Both must say this.
fn both(page: &Page, text: &str, keys: &TerminalKeys, now_s: i64, expected: &str) {
    assert_eq!(code(text, keys, now_s), expected, "{text}");
    assert_eq!(page.verdict(text, keys, now_s).0, expected, "{text}");
}

/// The bytes of a text.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.as_bytes()[4..].chunks(3) {
        let value = group.iter().rev().fold(0_usize, |value, letter| {
            value * 45 + LETTERS.iter().position(|known| known == letter).unwrap()
        });
        if group.len() == 3 {
            bytes.push(u8::try_from(value >> 8).unwrap());
        }
        bytes.push(u8::try_from(value & 255).unwrap());
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    let mut text = "KR1:".to_owned();
    for pair in bytes.chunks(2) {
        let value = pair
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));
        let letters = [value % 45, value / 45 % 45, value / 2025];
        text.extend(
            letters[..=pair.len()]
                .iter()
                .map(|at| char::from(LETTERS[*at])),
        );
    }
    text
}

fn altered(certificate: &str, alter: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = bytes(certificate);
    alter(&mut bytes);
    text(&bytes)
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .position(|window| window == part)
        .unwrap()
}

/// Adds to, or takes from, a number of 32 bytes; big endian.
fn minus(order: &[u8; 32], value: &[u8]) -> Vec<u8> {
    let mut result = vec![0; 32];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i16::from(order[index]) - i16::from(value[index]) - borrow;
        borrow = i16::from(difference < 0);
        result[index] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    result
}

#[test]
fn genuine_certificates_are_believed_and_shown_whole() {
    let page = Page::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
        for _ in 0..3 {
            let (key, other) = (
                DeviceKey::generate(algorithm).unwrap(),
                DeviceKey::generate(algorithm).unwrap(),
            );
            // The key of before a repair, and another terminal's.
            let keys = list(&[("T001", &other), ("T002", &other), ("T001", &key)]);
            let certificate = readiness().sign(&key).unwrap();
            both(&page, &certificate, &keys, NOW_S, "valid");
            both(
                &page,
                &format!("\r\n {certificate}\t\n"),
                &keys,
                NOW_S,
                "valid",
            );
            let shown = page.verdict(&certificate, &keys, NOW_S).1;
            assert_eq!(shown["terminal"], "T001");
            assert_eq!(shown["site"], "测试村 𬱖");
            assert_eq!(shown["issuedAt"], NOW_S - 60);
            assert_eq!(shown["validUntil"], NOW_S + 86_000);
            assert_eq!(shown["failed"], 300);
            assert_eq!(shown["openFaults"][1], "ups.on-battery");
            assert_eq!(shown["programDigest"], "ab".repeat(32));
            assert_eq!(shown["auditSequence"], "18446744073709551615");
            assert_eq!(shown["isReady"], true);
        }
    }
}

#[test]
fn every_forgery_is_refused_for_the_same_reason_in_all_algorithms() {
    let page = Page::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
        let (key, stranger) = (
            DeviceKey::generate(algorithm).unwrap(),
            DeviceKey::generate(algorithm).unwrap(),
        );
        let keys = list(&[("T001", &key)]);
        let good = readiness().sign(&key).unwrap();
        let length = bytes(&good).len();
        let forged = "certificate.forged";
        let malformed = "certificate.malformed";
        let flip = |at: usize| altered(&good, |bytes| bytes[at] ^= 1);
        let site = position(&bytes(&good), "测试村".as_bytes());
        let cases = [
            // Fields, signature, both halves.
            (flip(site + 2), forged),
            (flip(length - 1), forged),
            (flip(length - 64), forged),
            (altered(&good, |bytes| bytes[length - 64..].fill(0)), forged),
            (altered(&good, |bytes| bytes[length - 32..].fill(0)), forged),
            (
                altered(&good, |bytes| bytes[length - 64..].fill(255)),
                forged,
            ),
            // Cut, followed by something, empty, of another kind.
            (
                altered(&good, |bytes| bytes.truncate(length - 1)),
                malformed,
            ),
            (altered(&good, |bytes| bytes.push(0)), malformed),
            (good[..good.len() - 1].to_owned(), malformed),
            (String::new(), malformed),
            ("KR1:".to_owned(), malformed),
            (good.replacen("KR1", "KU1", 1), malformed),
            (good.to_lowercase(), malformed),
            (format!("{good}村"), malformed),
            (good.repeat(20), "certificate.too-long"),
            ("村".repeat(1000), "certificate.too-long"),
            // Signed by a stranger, also in the name of the key.
            (
                readiness().sign(&stranger).unwrap(),
                "certificate.unknown-terminal",
            ),
            (
                Readiness {
                    terminal: "T002".to_owned(),
                    ..readiness()
                }
                .sign(&key)
                .unwrap(),
                "certificate.unknown-terminal",
            ),
            (
                altered(&readiness().sign(&stranger).unwrap(), |bytes| {
                    let (theirs, ours) = (stranger.public().key_id(), key.public().key_id());
                    let at = position(bytes, &unhex(&theirs));
                    bytes[at..at + 8].copy_from_slice(&unhex(&ours));
                }),
                forged,
            ),
        ];
        for (text, expected) in &cases {
            both(&page, text, &keys, NOW_S, expected);
        }
    }
}

#[test]
fn headers_outside_the_profile_are_refused() {
    let page = Page::new();
    for (algorithm, number) in [
        (Algorithm::Ed25519, &[0x27][..]),
        (Algorithm::EcdsaP256, &[0x26]),
        (Algorithm::Sm2, &[0x3a, 0, 1, 0, 0]),
    ] {
        let key = DeviceKey::generate(algorithm).unwrap();
        let keys = list(&[("T001", &key)]);
        let good = readiness().sign(&key).unwrap();
        let head = position(&bytes(&good), &[&[1][..], number, &[4, 0x48]].concat());
        // A tag, another label in the place of each, an indefinite length.
        for text in [
            altered(&good, |bytes| bytes.insert(0, 0xd2)),
            altered(&good, |bytes| bytes[head] = 2),
            altered(&good, |bytes| bytes[head + 1 + number.len()] = 5),
            altered(&good, |bytes| bytes[0] = 0x9f),
        ] {
            both(&page, &text, &keys, NOW_S, "certificate.malformed");
        }
    }
}

#[test]
fn an_algorithm_that_was_swapped_is_refused() {
    let page = Page::new();
    for (algorithm, from, to) in [
        (Algorithm::Ed25519, 0x27, 0x26),
        (Algorithm::EcdsaP256, 0x26, 0x27),
    ] {
        let key = DeviceKey::generate(algorithm).unwrap();
        let keys = list(&[("T001", &key)]);
        let text = altered(&readiness().sign(&key).unwrap(), |bytes| {
            let at = position(bytes, &[1, from, 4]);
            bytes[at + 1] = to;
        });
        both(&page, &text, &keys, NOW_S, "certificate.forged");
        let text = altered(&readiness().sign(&key).unwrap(), |bytes| {
            let at = position(bytes, &[1, from, 4]);
            bytes[at + 1] = 0x25;
        });
        both(&page, &text, &keys, NOW_S, "certificate.malformed");
    }
}

#[test]
fn the_other_signature_that_fits_is_refused() {
    const P256_ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    // The order of the base point of Ed25519, little endian.
    const ED25519_ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let page = Page::new();
    let key = DeviceKey::generate(Algorithm::EcdsaP256).unwrap();
    let text = altered(&readiness().sign(&key).unwrap(), |bytes| {
        let at = bytes.len() - 32;
        let other = minus(&P256_ORDER, &bytes[at..]);
        bytes[at..].copy_from_slice(&other);
    });
    both(
        &page,
        &text,
        &list(&[("T001", &key)]),
        NOW_S,
        "certificate.forged",
    );
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let text = altered(&readiness().sign(&key).unwrap(), |bytes| {
        let at = bytes.len() - 32;
        let mut carry = 0;
        for (byte, order) in bytes[at..].iter_mut().zip(ED25519_ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    });
    both(
        &page,
        &text,
        &list(&[("T001", &key)]),
        NOW_S,
        "certificate.forged",
    );
}

#[test]
fn the_hour_decides_as_in_the_program() {
    let page = Page::new();
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let keys = list(&[("T001", &key)]);
    let text = readiness().sign(&key).unwrap();
    let Readiness {
        issued_at_s,
        valid_until_s,
        ..
    } = readiness();
    for (now_s, expected) in [
        (issued_at_s - 601, "certificate.not-yet-valid"),
        (issued_at_s - 600, "valid"),
        (valid_until_s, "valid"),
        (valid_until_s + 1, "certificate.expired"),
        (0, "certificate.not-yet-valid"),
        (valid_until_s + 1_000_000_000, "certificate.expired"),
    ] {
        both(&page, &text, &keys, now_s, expected);
    }
}

#[test]
fn every_altered_byte_gets_the_same_verdict() {
    let page = Page::new();
    let key = DeviceKey::generate(Algorithm::EcdsaP256).unwrap();
    let keys = list(&[("T001", &key)]);
    let good = readiness().sign(&key).unwrap();
    let length = bytes(&good).len();
    // Here and there only: what is in order costs a verification, which an interpreter does slowly.
    let places = (0..length - 64)
        .step_by(7)
        .chain((length - 64..length).step_by(32));
    for at in places {
        let text = altered(&good, |bytes| bytes[at] ^= 0x11);
        let expected = code(&text, &keys, NOW_S);
        assert_ne!(expected, "valid", "{at}");
        assert_eq!(page.verdict(&text, &keys, NOW_S).0, expected, "{at}");
    }
}

#[test]
fn digests_agree_with_the_standards() {
    let page = Page::new();
    for (name, text, expected) in [
        (
            "sha256",
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "sm3",
            "abc",
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
        ),
        (
            "sha512",
            "abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        assert_eq!(page.digest(name, text.as_bytes()), expected, "{name}");
    }
}

#[test]
fn the_whole_page_draws_its_verdicts_in_three_languages() {
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let keys = list(&[("T001", &key)]);
    let html = page(&keys);
    let (_, rest) = html.split_once("<script>").unwrap();
    let (script, _) = rest.split_once("</script>").unwrap();
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    let mut not_ready = readiness();
    not_ready.is_ready = false;
    context.with(|ctx| {
        ctx.eval::<(), _>(OLD_BROWSER).catch(&ctx).unwrap();
        ctx.eval::<(), _>(DOCUMENT).catch(&ctx).unwrap();
        let document: Object<'_> = ctx.globals().get("document").unwrap();
        let find: Function<'_> = document.get("getElementById").unwrap();
        let element: Object<'_> = find.call(("keys",)).unwrap();
        element.set("textContent", keys_json(&keys)).unwrap();
        ctx.globals().set("now", NOW_S * 1000).unwrap();
        ctx.eval::<(), _>(script).catch(&ctx).unwrap();
        let try_out: Function<'_> = ctx.globals().get("tryOut").unwrap();
        let shown =
            |text: &str, lang: &str| -> String { try_out.call((text, lang)).catch(&ctx).unwrap() };
        let ready = readiness().sign(&key).unwrap();
        // A form that breaks the text into lines does not harm it.
        let broken = format!("{}\r\n{}", &ready[..80], &ready[80..]);
        for (text, lang, kind, words) in [
            (
                &ready,
                "zh-Hans",
                "good ✔ 可以用",
                "证书是真的，机器可以使用",
            ),
            (
                &broken,
                "zh-Hant",
                "good ✔ 可以使用",
                "證書真確，機器可以使用",
            ),
            (&ready, "en", "good ✔", "21 passed, 300 failed, 0 not run"),
            (
                &not_ready.sign(&key).unwrap(),
                "zh-Hans",
                "warn ！ 还不能用",
                "还没准备好",
            ),
            (
                &ready[..90].to_owned(),
                "zh-Hans",
                "bad ✘ 不要相信",
                "不是完整的证书",
            ),
            (
                &format!("KR1:0{}", &ready[5..]),
                "en",
                "bad ✘ Do not trust",
                "Scan and copy it again",
            ),
        ] {
            let shown = shown(text, lang);
            assert!(shown.starts_with(kind), "{shown}");
            assert!(shown.contains(words), "{shown}");
        }
        assert!(shown(&ready, "zh-Hans").contains("printer.media-empty"));
        assert!(shown("", "zh-Hans").contains("请先粘贴"));
    });
}

#[test]
fn digests_of_every_length_around_a_block_agree_with_the_program() {
    let page = Page::new();
    for length in [
        0, 1, 55, 56, 57, 63, 64, 65, 111, 112, 113, 127, 128, 129, 300,
    ] {
        let bytes: Vec<u8> = (0..length)
            .map(|index: u32| index.wrapping_mul(37).to_le_bytes()[0])
            .collect();
        for (name, suite) in [("sha256", Suite::Intl), ("sm3", Suite::Gm)] {
            let expected = kiosk_sealing::hex(&suite.digest(&bytes));
            assert_eq!(page.digest(name, &bytes), expected, "{name} {length}");
        }
    }
    // FIPS 180-4's own example of two blocks, of the digest that the program leaves to a library.
    let two = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
        hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    assert_eq!(
        page.digest("sha512", two),
        "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018\
         501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"
    );
}

#[test]
fn numbers_beyond_what_a_script_holds_are_compared_and_shown_exactly() {
    let page = Page::new();
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let keys = list(&[("T001", &key)]);
    for issued_at_s in [(1_i64 << 53) - 1, (1 << 53) + 1, i64::MAX - 86_400] {
        for life_s in [86_399, 86_400] {
            let far = Readiness {
                issued_at_s,
                valid_until_s: issued_at_s + life_s,
                audit_sequence: 9_007_199_254_740_993,
                ..readiness()
            };
            let text = far.sign(&key).unwrap();
            both(&page, &text, &keys, NOW_S, "certificate.not-yet-valid");
        }
    }
    let mut exact = readiness();
    exact.audit_sequence = 9_007_199_254_740_993;
    let text = exact.sign(&key).unwrap();
    let shown = page.verdict(&text, &keys, NOW_S).1;
    assert_eq!(shown["auditSequence"], "9007199254740993");
}

#[test]
fn the_script_of_the_page_is_ecmascript_5() {
    let html = page(&list(&[(
        "T001",
        &DeviceKey::generate(Algorithm::Sm2).unwrap(),
    )]));
    let (_, rest) = html.split_once("<script>").unwrap();
    let (script, _) = rest.split_once("</script>").unwrap();
    assert_eq!(es5::newer(script), Vec::<String>::new());
    assert!(es5::count(script) > 5000, "the whole script was looked at");
}

/// Takes away what browsers did not have before 2015.
const OLD_BROWSER: &str = r#"
(function (all) {
  "BigInt Map Set WeakMap WeakSet Symbol Promise Proxy Reflect Uint8Array Uint32Array Float64Array Int32Array DataView ArrayBuffer".split(" ")
    .forEach(function (name) { delete all[name]; });
  function strip(owner, names) {
    names.split(" ").forEach(function (name) { delete owner[name]; });
  }
  strip(Array, "from of");
  strip(Array.prototype, "fill find findIndex findLast includes flat flatMap keys entries values copyWithin at");
  strip(String, "fromCodePoint raw");
  strip(String.prototype, "padStart padEnd includes startsWith endsWith repeat codePointAt normalize trimStart trimEnd matchAll replaceAll at");
  strip(Object, "assign entries values fromEntries is setPrototypeOf");
  strip(Number, "isInteger isSafeInteger isFinite isNaN parseFloat parseInt");
  strip(Math, "trunc sign imul clz32 log2 log10 hypot fround cbrt");
})(this);
"#;

/// As much of a browser's document as the page uses.
const DOCUMENT: &str = r#"
var now = 0;
Date.now = function () { return now; };
var setTimeout = function (later) { later(); };
function Element(name) {
  this.name = name; this.attributes = {}; this.children = []; this.listeners = {};
  this.textContent = ""; this.className = ""; this.value = "";
}
Element.prototype.appendChild = function (child) { this.children.push(child); };
Element.prototype.addEventListener = function (kind, listener) { this.listeners[kind] = listener; };
Element.prototype.setAttribute = function (name, value) { this.attributes[name] = value; };
Element.prototype.getAttribute = function (name) { return this.attributes[name]; };
Object.defineProperty(Element.prototype, "textContent", {
  get: function () { return this.own + this.children.map(function (child) { return child.textContent; }).join("\n"); },
  set: function (text) { this.own = text; this.children = []; },
});
var elements = {};
var buttons = ["zh-Hans", "zh-Hant", "en"].map(function (lang) {
  var button = new Element("button"); button.setAttribute("data-lang", lang); return button;
});
var document = {
  documentElement: {}, title: "",
  getElementById: function (id) { return elements[id] = elements[id] || new Element(id); },
  createElement: function (tag) { return new Element(tag); },
  querySelectorAll: function (selector) { return selector === "[data-lang]" ? buttons : []; },
};
function tryOut(text, lang) {
  buttons.forEach(function (button) { if (button.getAttribute("data-lang") === lang) button.listeners.click(); });
  var find = document.getElementById;
  find("text").value = text;
  find("check").listeners.click();
  return find("result").className + " " + find("result").textContent + " " + find("hint").textContent;
}
"#;

fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
