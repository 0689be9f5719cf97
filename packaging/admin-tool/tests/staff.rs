//! Permissions of staff and certificates of terminals as an operator, a technician in the field and
//! somebody with another machine use the tool.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use kiosk_sealing::certificate::Readiness;
use kiosk_sealing::unlock::{
    self, Challenge, Delegation, Expected, Grant, Revocations, Role, Scope,
};
use kiosk_sealing::{Algorithm, DeviceKey, PublicKey};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

const PIN: &str = "402917";

/// What names the file of a passphrase in the environment.
const PASSPHRASE_VARIABLE: &str = "KIOSK_PASSPHRASE_FILE";

fn admin(arguments: &[&str]) -> Output {
    admin_with(arguments, None)
}

/// Runs the tool with nobody to ask, and with a file of a passphrase in the environment or none.
fn admin_with(arguments: &[&str], passphrase_file: Option<&str>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args(arguments)
        .env(PASSPHRASE_VARIABLE, passphrase_file.unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn done(arguments: &[&str]) -> String {
    let output = admin(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the tool says when it does not do it; nothing is on its standard output then.
fn refused(arguments: &[&str]) -> String {
    let output = admin(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// An operator's desk: a key, a people file with a technician and an inspector.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let key = desk.path("operator.key");
        done(&["keys", "new", "--unprotected", &key]);
        desk.secret("pin", PIN);
        for (name, role) in [("technician-1", "technician"), ("inspector-1", "inspector")] {
            done(&[
                "person",
                "add",
                "--people",
                &desk.path("people.json"),
                "--name",
                name,
                "--role",
                role,
                "--pin-file",
                &desk.path("pin"),
            ]);
        }
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn secret(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn operator(&self) -> PublicKey {
        let shown = done(&["keys", "show", &self.path("operator.key")]);
        shown.lines().next().unwrap().parse().unwrap()
    }

    fn unlock(&self, challenge: &Challenge, more: &[&str]) -> Output {
        let (text, key, people) = (
            challenge.to_text(),
            self.path("operator.key"),
            self.path("people.json"),
        );
        let mut arguments = vec![
            "unlock",
            "--challenge",
            &text,
            "--key",
            &key,
            "--people",
            &people,
        ];
        arguments.extend(more);
        admin(&arguments)
    }

    fn verify(&self, text: &str, challenge: &Challenge, now: Timestamp) -> Grant {
        let expected = Expected {
            challenge,
            operators: &[self.operator()],
            now_s: now.as_second(),
        };
        unlock::verify(text.trim(), &expected).unwrap()
    }
}

fn challenge() -> Challenge {
    Challenge {
        terminal: "T001".to_owned(),
        nonce: [7; 16],
        boot: 3,
        counter: 14,
    }
}

/// The time by the tool's own clock, read out of something it signed.
fn tool_time(desk: &Desk) -> Timestamp {
    let output = desk.unlock(&challenge(), &["--person", "technician-1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let grant = desk.verify(&text, &challenge(), Timestamp::UNIX_EPOCH);
    Timestamp::from_second(grant.issued_at_s).unwrap()
}

#[test]
fn an_operator_permits_and_the_terminal_believes_it_in_every_form() {
    let desk = Desk::new();
    let (png, file) = (desk.path("permission.png"), desk.path("permission.txt"));
    let output = desk.unlock(
        &challenge(),
        &[
            "--person",
            "technician-1",
            "--scopes",
            "help,test",
            "--minutes",
            "30",
            "--qr",
            &png,
            "--out",
            &file,
            "--blocks",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let text = said.lines().next().unwrap();
    assert!(said.contains('█'), "{said}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("terminal T001") && told.contains("14"),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), text);
    let picture = std::fs::read(&png).unwrap();
    assert_eq!(kiosk_admin::code::read_picture(&picture).unwrap(), text);
    let grant = desk.verify(text, &challenge(), Timestamp::UNIX_EPOCH);
    assert_eq!(grant.scopes, BTreeSet::from([Scope::Help, Scope::Test]));
    assert_eq!((grant.minutes, grant.role), (30, Role::Technician));
    assert!(grant.pin.matches(PIN) && !grant.pin.matches("402918"));
    // Neither the PIN nor the key is anywhere but in their files.
    let key = std::fs::read(desk.path("operator.key")).unwrap();
    assert!(!said.contains(PIN) && !told.contains(PIN) && !key.is_empty());
}

#[test]
fn a_photo_of_the_challenge_is_as_good_as_its_text() {
    let desk = Desk::new();
    let photo = desk.path("challenge.png");
    let picture = kiosk_admin::code::png(&challenge().to_text()).unwrap();
    std::fs::write(&photo, picture).unwrap();
    let text = done(&[
        "unlock",
        "--challenge-file",
        &photo,
        "--key-file",
        &desk.path("operator.key"),
        "--people",
        &desk.path("people.json"),
        "--person",
        "inspector-1",
    ]);
    let grant = desk.verify(&text, &challenge(), Timestamp::UNIX_EPOCH);
    assert_eq!(grant.scopes, Role::Inspector.scopes());
}

/// Makes a technician's key in the file `own`, and its certificate in the file `certificate`.
fn certified(desk: &Desk, own: &str, certificate: &str) -> String {
    let public = done(&["technician", "key", "--unprotected", own]);
    done(&[
        "delegate",
        "--key-file",
        &desk.path("operator.key"),
        "--people",
        &desk.path("people.json"),
        "--person",
        "technician-1",
        "--own-key",
        public.lines().next().unwrap(),
        "--terminals",
        "T00*,U1",
        "--scopes",
        "help,test,mend",
        "--minutes",
        "120",
        "--out",
        certificate,
    ])
}

#[test]
fn a_technician_permits_himself_within_his_certificate() {
    let desk = Desk::new();
    let field = tempfile::tempdir().unwrap();
    let path = |name: &str| field.path().join(name).to_str().unwrap().to_owned();
    let (own, certificate) = (path("own.key"), path("certificate.txt"));
    let (own, certificate) = (own.as_str(), certificate.as_str());
    let text = certified(&desk, own, certificate);
    let delegation = Delegation::verify(text.trim(), &[desk.operator()]).unwrap();
    assert_eq!(delegation.terminals, ["T00*", "U1"]);
    let now = tool_time(&desk);
    let permit = |challenge: &Challenge, more: &[&str]| {
        let challenge = challenge.to_text();
        let mut arguments = vec![
            "unlock",
            "--challenge",
            &challenge,
            "--key-file",
            own,
            "--delegation",
            certificate,
        ];
        arguments.extend(more);
        admin(&arguments)
    };
    let output = permit(&challenge(), &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let grant = desk.verify(&text, &challenge(), now);
    assert_eq!(grant.person, "technician-1");
    assert_eq!(grant.scopes, delegation.scopes);
    assert!(grant.pin.matches(PIN));
    let elsewhere = Challenge {
        terminal: "V001".to_owned(),
        ..challenge()
    };
    for (challenge, more) in [
        (challenge(), &["--minutes", "121"][..]),
        (challenge(), &["--scopes", "help,queue"]),
        (elsewhere, &[]),
    ] {
        let output = permit(&challenge, more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("more than is allowed"), "{words}");
    }
    // Somebody else's key does not go with this certificate.
    let words = refused(&[
        "unlock",
        "--challenge",
        &challenge().to_text(),
        "--key-file",
        &desk.path("operator.key"),
        "--delegation",
        certificate,
    ]);
    assert!(words.contains("is not known here"), "{words}");
}

#[test]
fn what_may_not_be_is_not_signed_and_said_why() {
    let desk = Desk::new();
    for (more, words) in [
        (&["--person", "nobody"][..], "not in the people file"),
        (
            &["--person", "inspector-1", "--role", "technician"],
            "cannot come in as technician",
        ),
        (
            &["--person", "technician-1", "--scopes", "configure"],
            "more than is allowed",
        ),
    ] {
        let output = desk.unlock(&challenge(), more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
        assert!(output.stdout.is_empty());
    }
    let text = challenge().to_text();
    let mistyped = format!("{}{}", &text[..text.len() - 1], "0");
    let words = refused(&[
        "unlock",
        "--challenge",
        &mistyped,
        "--key-file",
        &desk.path("operator.key"),
        "--people",
        &desk.path("people.json"),
        "--person",
        "technician-1",
    ]);
    assert!(words.contains("the challenge"), "{words}");
    for wrong in [
        &["--person", "technician-1", "--minutes", "481"][..],
        &["--person", "technician-1", "--scopes", "everything"],
        &["--person", "technician-1", "--role", "king"],
        &[],
    ] {
        let output = desk.unlock(&challenge(), wrong);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn people_are_listed_without_anything_of_their_pins() {
    let desk = Desk::new();
    let people = desk.path("people.json");
    let list = done(&["person", "list", "--people", &people]);
    assert!(list.contains("technician-1") && list.contains("inspector"));
    assert!(!list.contains("argon2"));
    let add = |name: &str, pin: &str| {
        desk.secret("other-pin", pin);
        admin(&[
            "person",
            "add",
            "--people",
            &people,
            "--name",
            name,
            "--role",
            "vendor",
            "--pin-file",
            &desk.path("other-pin"),
        ])
    };
    for (name, pin, words) in [
        ("technician-1", PIN, "--replace"),
        ("vendor-1", "123456", "choose another"),
        ("vendor-1", "1234", "6 to 12 digits"),
        ("", PIN, "a name has"),
    ] {
        let output = add(name, pin);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words) && !said.contains(pin), "{said}");
    }
    assert_eq!(done(&["person", "list", "--people", &people]), list);
}

/// Runs the tool on a terminal, types each answer after its question, and gives all it showed.
fn typed(arguments: &[&str], answers: &[&str]) -> (bool, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(Path::new(name.to_str().unwrap()))
            .unwrap()
    };
    // Kept open until all is read: what a terminal showed is gone with its last user.
    let held = open();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args(arguments)
        .env_remove(PASSPHRASE_VARIABLE)
        .stdin(Stdio::from(open()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = BufReader::new(child.stderr.take().unwrap());
    let mut terminal = File::from(terminal);
    let mut shown = String::new();
    for answer in answers {
        let mut question = Vec::new();
        if questions.read_until(b':', &mut question).unwrap() == 0 {
            break;
        }
        shown.push_str(&String::from_utf8(question).unwrap());
        terminal
            .write_all(format!("{answer}\n").as_bytes())
            .unwrap();
    }
    questions.read_to_string(&mut shown).unwrap();
    let status = child.wait().unwrap();
    // A mark of our own ends what can be read, so that reading needs no deadline.
    (&held).write_all(b"THE-END").unwrap();
    let mut echoed = Vec::new();
    let mut byte = [0];
    while !echoed.ends_with(b"THE-END") {
        terminal.read_exact(&mut byte).unwrap();
        echoed.extend(byte);
    }
    shown.push_str(&String::from_utf8(echoed).unwrap());
    (status.success(), shown)
}

#[test]
fn a_pin_that_is_typed_is_asked_twice_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let people = directory.path().join("people.json");
    let arguments = [
        "person",
        "add",
        "--people",
        people.to_str().unwrap(),
        "--name",
        "technician-1",
        "--role",
        "technician",
    ];
    let (is_done, shown) = typed(&arguments, &[PIN, "402918"]);
    assert!(!is_done && shown.contains("differ"), "{shown}");
    assert!(!shown.contains("4029"), "{shown}");
    assert!(!people.exists());
    let (is_done, shown) = typed(&arguments, &[PIN, PIN]);
    assert!(is_done && !shown.contains("4029"), "{shown}");
    assert!(people.exists());
    // Without a terminal nobody is asked.
    let output = Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args(["person", "add", "--replace"])
        .args(&arguments[2..])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--pin-file"), "{said}");
}

#[test]
fn a_key_is_sealed_by_a_passphrase_that_only_its_owner_knows() {
    let desk = Desk::new();
    let key = desk.path("sealed.key");
    desk.secret("passphrase", "four words for a test\n");
    desk.secret("other", "another four words now");
    let (passphrase, other) = (desk.path("passphrase"), desk.path("other"));
    // Nobody to ask, and nothing said: no key, and what to do.
    let words = refused(&["keys", "new", &key]);
    assert!(words.contains("--passphrase-file") && words.contains(PASSPHRASE_VARIABLE));
    assert!(!Path::new(&key).exists());
    let made = done(&["keys", "new", "--passphrase-file", &passphrase, &key]);
    let content = std::fs::read(&key).unwrap();
    assert!(content.starts_with(b"-----BEGIN KIOSK PROTECTED KEY-----"));
    let show = ["keys", "show", key.as_str()];
    let output = admin_with(&show, Some(&passphrase));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), made);
    // An option goes before the environment.
    let with = ["keys", "show", "--passphrase-file", &passphrase, &key];
    assert!(admin_with(&with, Some(&other)).status.success());
    let output = admin_with(&show, Some(&other));
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("sealed.key") && words.contains("try again"),
        "{words}"
    );
    assert!(!words.contains("four words"), "{words}");
    let words = refused(&show);
    assert!(
        words.contains("passphrase of") && words.contains("sealed.key"),
        "{words}"
    );
}

#[test]
fn a_sealed_key_signs_as_any_other_and_its_passphrase_is_changed() {
    let desk = Desk::new();
    let key = desk.path("sealed.key");
    desk.secret("passphrase", "four words for a test\n");
    desk.secret("other", "another four words now");
    let (passphrase, other) = (desk.path("passphrase"), desk.path("other"));
    let made = done(&["keys", "new", "--passphrase-file", &passphrase, &key]);
    let content = std::fs::read(&key).unwrap();
    let show = ["keys", "show", key.as_str()];
    let challenge = challenge().to_text();
    let people = desk.path("people.json");
    let unlock = [
        "unlock",
        "--challenge",
        &challenge,
        "--key-file",
        &key,
        "--people",
        &people,
        "--person",
        "technician-1",
    ];
    assert!(admin_with(&unlock, Some(&passphrase)).status.success());
    assert!(refused(&unlock).contains("--passphrase-file"));
    // A mistyped new one leaves the file as it is; then it is changed, and taken away on purpose.
    desk.secret("short", "too short");
    let change = |now: &str, more: &[&str]| {
        let mut arguments = vec!["key", "change-passphrase", "--passphrase-file", now, &key];
        arguments.extend(more);
        admin(&arguments)
    };
    let short = desk.path("short");
    assert!(
        !change(&passphrase, &["--new-passphrase-file", &short])
            .status
            .success()
    );
    assert_eq!(std::fs::read(&key).unwrap(), content);
    assert!(
        change(&passphrase, &["--new-passphrase-file", &other])
            .status
            .success()
    );
    assert!(admin_with(&show, Some(&other)).status.success());
    let output = change(&other, &["--unprotected"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), made);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("warning") && words.contains("sealed.key"),
        "{words}"
    );
    assert_eq!(done(&show), made);
    let wrong = admin(&[
        "keys",
        "new",
        "--unprotected",
        "--passphrase-file",
        &other,
        "x",
    ]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_passphrase_that_is_typed_is_asked_twice_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("own.key");
    let key = key.to_str().unwrap();
    let make = ["technician", "key", key];
    let (first, second) = ("玉米 river 17 lantern", "玉米 river 17 lanterm");
    let (is_done, shown) = typed(&make, &[first, second]);
    assert!(!is_done && shown.contains("differ"), "{shown}");
    let (is_done, shown) = typed(&make, &["short"]);
    assert!(!is_done && shown.contains("12 to 1024"), "{shown}");
    assert!(!Path::new(key).exists());
    let (is_done, shown) = typed(&make, &[first, first]);
    assert!(is_done && !shown.contains("river"), "{shown}");
    let show = ["keys", "show", key];
    let (is_done, shown) = typed(&show, &[second]);
    assert!(!is_done && shown.contains("does not fit"), "{shown}");
    assert!(!shown.contains("river"), "{shown}");
    let (is_done, shown) = typed(&show, &[first]);
    assert!(is_done && !shown.contains("river"), "{shown}");
}

#[test]
fn whoever_is_removed_is_listed_with_the_date_and_gets_nothing_any_more() {
    let desk = Desk::new();
    let people = desk.path("people.json");
    let said = done(&["person", "remove", "technician-1", "--people", &people]);
    assert!(said.contains("technician-1 is removed since 20"), "{said}");
    let list = done(&["person", "list", "--people", &people]);
    let line = list
        .lines()
        .find(|line| line.contains("technician-1"))
        .unwrap();
    assert!(
        line.contains("technician ") && line.contains("removed on 20"),
        "{list}"
    );
    let output = desk.unlock(&challenge(), &["--person", "technician-1"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("was removed on"), "{words}");
    for again in [
        &["person", "remove", "technician-1", "--people", &people][..],
        &[
            "person",
            "add",
            "--people",
            &people,
            "--name",
            "technician-1",
            "--role",
            "vendor",
            "--replace",
            "--pin-file",
            &desk.path("pin"),
        ],
    ] {
        assert!(refused(again).contains("was removed on"));
    }
    let words = refused(&["person", "remove", "nobody", "--people", &people]);
    assert!(words.contains("not in the people file"), "{words}");
}

impl Desk {
    /// Signs the next list of revocations into the file `revoked.txt`.
    fn revoke(&self, more: &[&str]) -> Output {
        let (key, list, people) = (
            self.path("operator.key"),
            self.path("revoked.txt"),
            self.path("people.json"),
        );
        let mut arguments = vec!["revoke", "--key-file", &key, "--list", &list];
        arguments.extend(["--people", &people]);
        arguments.extend(more);
        admin(&arguments)
    }

    /// The list in that file, as a terminal takes it.
    fn list(&self) -> Revocations {
        let text = std::fs::read_to_string(self.path("revoked.txt")).unwrap();
        Revocations::verify(&text, &[self.operator()], &Revocations::default()).unwrap()
    }
}

#[test]
fn what_is_called_back_opens_nothing_at_a_terminal_that_has_the_list() {
    let desk = Desk::new();
    let certificate = desk.path("certificate.txt");
    let own = desk.path("own.key");
    let text = certified(&desk, &own, &certificate);
    let now = tool_time(&desk);
    let permission = done(&[
        "unlock",
        "--challenge",
        &challenge().to_text(),
        "--key-file",
        &own,
        "--delegation",
        &certificate,
    ]);
    let at_terminal = |list: &Revocations| {
        let expected = Expected {
            challenge: &challenge(),
            operators: &[desk.operator()],
            now_s: now.as_second(),
        };
        unlock::verify_unrevoked(permission.trim(), &expected, list).map_err(|error| error.code())
    };
    assert!(at_terminal(&Revocations::default()).is_ok());
    let id = Delegation::id(&text).unwrap().to_string();
    let own_id = done(&["keys", "show", &own]);
    let own_id = own_id.lines().nth(1).unwrap().trim_start_matches("id ");
    // Each way, one after the other; each list has the next number, and what is lifted counts again.
    let mut number = 0;
    for entry in [
        ["--delegation", &id],
        ["--delegation", &certificate],
        ["--person", "technician-1"],
        ["--key", own_id],
    ] {
        let output = desk.revoke(&entry);
        assert!(output.status.success(), "{output:?}");
        number += 1;
        assert_eq!((desk.list().number, desk.list().len()), (number, 1));
        assert_eq!(
            at_terminal(&desk.list()),
            Err("unlock.revoked"),
            "{entry:?}"
        );
        assert!(
            desk.revoke(&[entry[0], entry[1], "--lift"])
                .status
                .success()
        );
        number += 1;
        assert!(at_terminal(&desk.list()).is_ok(), "{entry:?}");
    }
}

#[test]
fn a_list_goes_onto_a_stick_and_into_a_picture_and_is_shown_with_names_here_only() {
    let desk = Desk::new();
    let stick = desk.path("office.kiosk-revocations");
    let picture = desk.path("list.png");
    let out = ["--person", "inspector-1", "--out", &stick, "--qr", &picture];
    let output = desk.revoke(&out);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(std::fs::read_to_string(&stick).unwrap(), said);
    let picture = std::fs::read(picture).unwrap();
    assert_eq!(
        kiosk_admin::code::read_picture(&picture).unwrap(),
        said.trim()
    );
    let shown = done(&[
        "revoked",
        "--list",
        &stick,
        "--people",
        &desk.path("people.json"),
    ]);
    assert!(
        shown.contains("inspector-1") && shown.contains("list 1"),
        "{shown}"
    );
    assert!(!said.contains("inspector"));
}

#[test]
fn a_list_that_is_not_the_operators_own_is_not_gone_on_with() {
    let desk = Desk::new();
    let list = desk.path("revoked.txt");
    for (more, words) in [
        (&[][..], "nothing is named"),
        (&["--person", "wnag"], "not in the people file"),
        (&["--delegation", "wang.certificate"], "neither the id"),
        (&["--key", "0123"], "neither the id"),
        (&["--person", "technician-1", "--lift"], "not on the list"),
        (&["--key", &desk.operator().key_id()], "revoked"),
    ] {
        let output = desk.revoke(more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
        assert!(!Path::new(&list).exists(), "{more:?}");
    }
    assert!(desk.revoke(&["--person", "technician-1"]).status.success());
    let before = std::fs::read(&list).unwrap();
    // Somebody else's list, and an altered one, would be signed with what others put on it.
    let new = desk.path("new.key");
    done(&["keys", "new", "--unprotected", &new]);
    let with_new = ["revoke", "--key-file", &new, "--list", &list, "--renew"];
    assert!(refused(&with_new).contains("not known here"));
    let mut altered = before.clone();
    altered[60] = if altered[60] == b'7' { b'8' } else { b'7' };
    std::fs::write(&list, &altered).unwrap();
    assert_eq!(desk.revoke(&["--renew"]).status.code(), Some(1));
    std::fs::write(&list, &before).unwrap();
    // A new key goes on where the old one is named.
    let old = desk.operator().to_string();
    let mut renewed = with_new.to_vec();
    renewed.extend(["--signed-by", &old]);
    let text = done(&renewed);
    let list = Revocations::parse(&text).unwrap();
    assert_eq!((list.number, list.len()), (2, 1));
    let shown = done(&["keys", "show", &new]);
    let new: PublicKey = shown.lines().next().unwrap().parse().unwrap();
    assert!(Revocations::verify(&text, &[new], &Revocations::default()).is_ok());
}

#[test]
fn the_tool_tells_when_a_terminal_has_an_older_list_and_signs_for_nobody_on_it() {
    let desk = Desk::new();
    assert!(desk.revoke(&["--person", "inspector-1"]).status.success());
    assert!(desk.revoke(&["--renew"]).status.success());
    let list = desk.path("revoked.txt");
    let unlock = |held: u32, person: &str| {
        let text = challenge().to_text_with_list(held);
        let (key, people) = (desk.path("operator.key"), desk.path("people.json"));
        admin(&[
            "unlock",
            "--challenge",
            &text,
            "--key-file",
            &key,
            "--people",
            &people,
            "--person",
            person,
            "--list",
            &list,
        ])
    };
    for (held, words) in [(0, "on a stick"), (1, "on a stick"), (3, "get the newest")] {
        let output = unlock(held, "technician-1");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("warning") && said.contains(words), "{said}");
    }
    let output = unlock(2, "technician-1");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !said.contains("warning"),
        "{said}"
    );
    let output = unlock(2, "inspector-1");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("was revoked"), "{said}");
}

/// A terminal, and a directory of somebody who has no more than the list of keys.
struct Elsewhere {
    directory: TempDir,
    key: DeviceKey,
    now: Timestamp,
}

impl Elsewhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let list = format!("# terminals\nT001 {}\n", key.public());
        std::fs::write(directory.path().join("keys"), list).unwrap();
        let now = tool_time(&Desk::new());
        Self {
            directory,
            key,
            now,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn readiness(&self) -> Readiness {
        let issued_at_s = self.now.as_second();
        Readiness {
            terminal: "T001".to_owned(),
            site: "测试村".to_owned(),
            issued_at_s,
            valid_until_s: issued_at_s + 24 * 3600,
            program: "0.1.0".to_owned(),
            program_digest: [1; 32],
            configuration_digest: [2; 32],
            items_digest: [3; 32],
            report_digest: [4; 32],
            passed: 21,
            failed: 1,
            not_run: 0,
            open_faults: vec!["printer.media-empty".to_owned()],
            audit_sequence: 4711,
            audit_head: [5; 32],
            is_ready: false,
        }
    }

    fn verify(&self, certificate: &str, more: &[&str]) -> (Option<i32>, String) {
        let keys = self.path("keys");
        let mut arguments = vec![
            "verify-certificate",
            certificate,
            "--keys",
            keys.to_str().unwrap(),
        ];
        arguments.extend(more);
        let output = admin(&arguments);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }
}

#[test]
fn a_certificate_is_checked_from_text_file_and_picture() {
    let elsewhere = Elsewhere::new();
    let text = elsewhere.readiness().sign(&elsewhere.key).unwrap();
    let (file, picture) = (elsewhere.path("text"), elsewhere.path("picture.png"));
    std::fs::write(&file, format!("{text}\n")).unwrap();
    std::fs::write(&picture, kiosk_admin::code::png(&text).unwrap()).unwrap();
    for certificate in [&text, file.to_str().unwrap(), picture.to_str().unwrap()] {
        let (status, words) = elsewhere.verify(certificate, &[]);
        assert_eq!(status, Some(0), "{words}");
        assert!(
            words.contains("NOT READY") && words.contains("测试村"),
            "{words}"
        );
        let (status, json) = elsewhere.verify(certificate, &["--json"]);
        assert_eq!(status, Some(0));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["verdict"], "valid");
        assert_eq!(json["is_ready"], false);
        assert_eq!(json["open_faults"][0], "printer.media-empty");
    }
}

#[test]
fn a_certificate_that_is_not_to_be_believed_is_status_one_and_none_is_status_two() {
    let elsewhere = Elsewhere::new();
    let good = elsewhere.readiness().sign(&elsewhere.key).unwrap();
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let mut old = elsewhere.readiness();
    old.issued_at_s -= 25 * 3600;
    old.valid_until_s = old.issued_at_s + 24 * 3600;
    let mut altered = good.clone().into_bytes();
    let last = altered.len() - 3;
    altered[last] = if altered[last] == b'1' { b'2' } else { b'1' };
    for (text, code) in [
        (
            elsewhere.readiness().sign(&stranger).unwrap(),
            "certificate.unknown-terminal",
        ),
        (old.sign(&elsewhere.key).unwrap(), "certificate.expired"),
        (String::from_utf8(altered).unwrap(), "certificate.forged"),
        (good[..100].to_owned(), "certificate.malformed"),
    ] {
        let (status, words) = elsewhere.verify(&text, &[]);
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains(code), "{words}");
        let (status, json) = elsewhere.verify(&text, &["--json"]);
        assert_eq!(status, Some(1));
        assert!(json.contains(code), "{json}");
    }
    let missing = elsewhere.path("missing");
    assert_eq!(elsewhere.verify(missing.to_str().unwrap(), &[]).0, Some(2));
    std::fs::write(elsewhere.path("keys"), "nonsense").unwrap();
    assert_eq!(elsewhere.verify(&good, &[]).0, Some(2));
    assert_eq!(admin(&["verify-certificate"]).status.code(), Some(2));
}

#[test]
fn the_page_is_written_with_the_keys_of_the_list() {
    let elsewhere = Elsewhere::new();
    let (keys, out) = (elsewhere.path("keys"), elsewhere.path("page.html"));
    let said = done(&[
        "verify-page",
        "--keys",
        keys.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(said.contains("1 keys"), "{said}");
    let page = std::fs::read_to_string(out).unwrap();
    assert!(page.contains(&elsewhere.key.public().to_string()));
    std::fs::write(&keys, "").unwrap();
    let words = refused(&[
        "verify-page",
        "--keys",
        keys.to_str().unwrap(),
        "--out",
        elsewhere.path("other.html").to_str().unwrap(),
    ]);
    assert!(words.contains("no key"), "{words}");
}
