-- The schema as version 5 ships it, with rows. Never edited once shipped.
CREATE TABLE outbox (
    -- The order of everything; the clock of a terminal is not to be trusted.
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    item_version INTEGER NOT NULL,
    case_number TEXT NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    -- 0 waiting-attachments, 1 pending, 2 in-flight, 3 acked, 4 dead
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    -- Open rows hold their place in their subject's line: all but acked and closed ones.
    is_open INTEGER NOT NULL DEFAULT 1 CHECK (is_open IN (0, 1)),
    -- An earlier row of the same subject is open.
    is_blocked INTEGER NOT NULL CHECK (is_blocked IN (0, 1)),
    -- 0: at once. Else: not before.
    next_at INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_code TEXT,
    enqueued_at INTEGER NOT NULL,
    payload_suite TEXT NOT NULL,
    payload BLOB,
    -- SHA-256 of the content, to tell a repeated call from a clash of ids. Erased with the payload.
    content_digest BLOB CHECK (length(content_digest) = 32),
    ended_at INTEGER,
    ended_by TEXT,
    ended_reason TEXT,
    receipt_reference TEXT,
    receipt_outcome TEXT,
    receipt_message TEXT,
    receipt_valid_until TEXT,
    receipt_raw TEXT,
    CHECK (state NOT IN (0, 1, 2) OR (is_open = 1 AND payload IS NOT NULL)),
    CHECK (state <> 3 OR (is_open = 0 AND payload IS NULL AND receipt_reference IS NOT NULL))
) STRICT;

-- Partial indexes keep claiming flat, however many rows wait or have been settled.
CREATE INDEX outbox_ready ON outbox (sequence)
    WHERE state = 1 AND is_blocked = 0 AND next_at = 0;
CREATE INDEX outbox_uploading ON outbox (sequence)
    WHERE state = 0 AND is_blocked = 0 AND next_at = 0;
CREATE INDEX outbox_deferred ON outbox (next_at)
    WHERE state <= 1 AND next_at > 0;
CREATE INDEX outbox_in_flight ON outbox (sequence)
    WHERE state = 2;
CREATE INDEX outbox_unsettled ON outbox (sequence, enqueued_at)
    WHERE state <= 2;
CREATE INDEX outbox_dead ON outbox (sequence)
    WHERE state = 4 AND is_open = 1;
CREATE INDEX outbox_line ON outbox (subject, sequence)
    WHERE is_open = 1;
CREATE INDEX outbox_tombstone ON outbox (ended_at)
    WHERE is_open = 0;
CREATE INDEX outbox_case ON outbox (case_number);

CREATE TABLE attachment (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    transaction_sequence INTEGER NOT NULL REFERENCES outbox (sequence) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    uploaded INTEGER NOT NULL DEFAULT 0 CHECK (uploaded BETWEEN 0 AND size),
    upload_url TEXT,
    is_complete INTEGER NOT NULL DEFAULT 0 CHECK (is_complete IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_transaction ON attachment (transaction_sequence, position);

CREATE TABLE print (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- A slip that speaks of a transaction cannot exist without the record.
    transaction_id BLOB REFERENCES outbox (id) ON DELETE SET NULL,
    case_number TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('slip', 'page')),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    pages INTEGER NOT NULL CHECK (pages >= 1),
    first_page INTEGER NOT NULL CHECK (first_page BETWEEN 1 AND pages),
    copy_no INTEGER NOT NULL CHECK (copy_no >= 1),
    reprint_of BLOB REFERENCES print (id) ON DELETE SET NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'printing', 'presented', 'taken', 'spoiled')),
    pages_done INTEGER NOT NULL DEFAULT 0 CHECK (pages_done BETWEEN 0 AND pages),
    code TEXT,
    prepared_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX print_unfinished ON print (prepared_at)
    WHERE state IN ('prepared', 'printing', 'presented');
CREATE INDEX print_finished ON print (changed_at)
    WHERE state IN ('taken', 'spoiled');
CREATE INDEX print_case ON print (case_number);
CREATE INDEX print_transaction ON print (transaction_id);
CREATE INDEX print_reprint ON print (reprint_of);

CREATE TABLE case_counter (
    terminal TEXT NOT NULL,
    day TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (terminal, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    year INTEGER NOT NULL,
    item TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('visit', 'transaction', 'print')),
    count INTEGER NOT NULL,
    PRIMARY KEY (year, item, what)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE catalogue (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    etag TEXT NOT NULL,
    version INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT;

CREATE TABLE catalogue_item (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    is_suspended INTEGER NOT NULL CHECK (is_suspended IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE schema_info (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    -- The version of this file.
    version INTEGER NOT NULL,
    -- The oldest program version that may still open it.
    oldest_reader INTEGER NOT NULL
) STRICT;
INSERT INTO schema_info VALUES (1, 2, 1);

-- Which system behind the platform the transaction is for; '' is the platform itself.
ALTER TABLE outbox ADD COLUMN upstream TEXT NOT NULL DEFAULT '';
-- The platform's key the payload is sealed to; '' when it is plain.
ALTER TABLE outbox ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
-- May be left for the off-hours.
ALTER TABLE outbox ADD COLUMN can_wait INTEGER NOT NULL DEFAULT 0 CHECK (can_wait IN (0, 1));
-- The platform's words on the last failure, for staff. Erased with the payload.
ALTER TABLE outbox ADD COLUMN last_detail TEXT CHECK (length(CAST(last_detail AS BLOB)) <= 512);
-- When it was written into a carry-out bundle last, and into which.
ALTER TABLE outbox ADD COLUMN carried_at INTEGER;
ALTER TABLE outbox ADD COLUMN carried_in BLOB CHECK (length(carried_in) = 16);

-- The same lines as before, now one line an upstream, so that a million rows of one that is held
-- are not looked at to find one row of another.
DROP INDEX outbox_ready;
CREATE INDEX outbox_ready ON outbox (upstream, can_wait, sequence)
    WHERE state = 1 AND is_blocked = 0 AND next_at = 0;
DROP INDEX outbox_uploading;
CREATE INDEX outbox_uploading ON outbox (upstream, can_wait, sequence)
    WHERE state = 0 AND is_blocked = 0 AND next_at = 0;
DROP INDEX outbox_deferred;
CREATE INDEX outbox_deferred ON outbox (upstream, can_wait, next_at)
    WHERE state <= 1 AND next_at > 0;
DROP INDEX outbox_unsettled;
CREATE INDEX outbox_unsettled ON outbox (upstream, sequence, enqueued_at)
    WHERE state <= 2;
DROP INDEX outbox_dead;
CREATE INDEX outbox_dead ON outbox (upstream, sequence)
    WHERE state = 4 AND is_open = 1;
CREATE INDEX outbox_key ON outbox (key_id)
    WHERE is_open = 1 AND key_id <> '';

-- A program of version 1 erases the payload and knows nothing of the words beside it.
CREATE TRIGGER outbox_words_go_with_the_payload AFTER UPDATE OF payload ON outbox
    WHEN NEW.payload IS NULL AND NEW.last_detail IS NOT NULL
BEGIN
    UPDATE outbox SET last_detail = NULL WHERE sequence = NEW.sequence;
END;

-- Append-only and hash-chained. A subject is a keyed digest, never a number or a name.
CREATE TABLE audit_entry (
    sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject BLOB CHECK (length(subject) = 32),
    transaction_id BLOB CHECK (length(transaction_id) = 16),
    detail TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE audit_checkpoint (
    sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
    head BLOB NOT NULL CHECK (length(head) = 32),
    at INTEGER NOT NULL,
    signed TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_entry_is_not_changed BEFORE UPDATE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_entry_is_not_deleted BEFORE DELETE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- Replacing a row would go round the two above. A gap is allowed: a salvage leaves one, and it
-- must show.
CREATE TRIGGER audit_entry_is_appended BEFORE INSERT ON audit_entry
    WHEN NEW.sequence <= (SELECT max(sequence) FROM audit_entry)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_checkpoint_is_not_changed BEFORE UPDATE ON audit_checkpoint
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_checkpoint_is_not_deleted BEFORE DELETE ON audit_checkpoint
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_checkpoint_is_appended BEFORE INSERT ON audit_checkpoint
    WHEN NEW.sequence <= (SELECT max(sequence) FROM audit_checkpoint)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- What the clock was when it was looked at last, and since when it has run without a leap.
CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seen_at INTEGER NOT NULL,
    steady_since INTEGER NOT NULL
) STRICT;

-- What a device did and suffered on a day.
CREATE TABLE diary (
    day TEXT NOT NULL,
    device TEXT NOT NULL,
    what TEXT NOT NULL,
    count INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (day, device, what)
) STRICT, WITHOUT ROWID;

-- Commands of the platform: performed once, reported until the platform has heard.
CREATE TABLE command (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    result TEXT,
    begun_at INTEGER NOT NULL,
    finished_at INTEGER,
    reported_at INTEGER,
    CHECK ((result IS NULL) = (finished_at IS NULL)),
    CHECK (reported_at IS NULL OR finished_at IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX command_unreported ON command (finished_at)
    WHERE finished_at IS NOT NULL AND reported_at IS NULL;
CREATE INDEX command_reported ON command (reported_at)
    WHERE reported_at IS NOT NULL;

CREATE TABLE desired_state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL CHECK (version >= 0),
    body TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT;

-- Version 3: what is confirmed is made durable in a table of arrivals, which costs a page, and takes
-- its place in the outbox with its nine indexes at the next look at the outbox, many at a time.
-- Never edited once shipped: a later version adds a file of its own.
--
-- A program of version 2 must still work on this file, because updates roll back. It knows nothing
-- of arrivals; but it looks at the clock when it opens the file, before it looks at the outbox, and
-- the trigger on the clock puts all arrivals into their places. Version 1 does not, and is refused.

CREATE TABLE arrival (
    -- The place in the outbox, given before.
    sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
    -- Without an index, which would be one more page to write: there are few rows, and the program
    -- knows which ids may be among them.
    id BLOB NOT NULL CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    item_version INTEGER NOT NULL,
    case_number TEXT NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    -- Always pending and not yet known to be blocked. These two are here so that a salvage reads an
    -- arrival as a row of the outbox.
    state INTEGER NOT NULL DEFAULT 1 CHECK (state = 1),
    is_blocked INTEGER NOT NULL DEFAULT 0 CHECK (is_blocked = 0),
    can_wait INTEGER NOT NULL CHECK (can_wait IN (0, 1)),
    upstream TEXT NOT NULL,
    enqueued_at INTEGER NOT NULL,
    payload_suite TEXT NOT NULL,
    key_id TEXT NOT NULL,
    content_digest BLOB NOT NULL CHECK (length(content_digest) = 32),
    payload BLOB NOT NULL
) STRICT;

-- The only way out leads into the outbox.
CREATE TRIGGER arrival_takes_its_place BEFORE DELETE ON arrival
BEGIN
    INSERT INTO outbox (sequence, id, kind, item, item_version, case_number, subject, state,
        is_blocked, enqueued_at, payload_suite, payload, content_digest, key_id, upstream, can_wait)
    VALUES (OLD.sequence, OLD.id, OLD.kind, OLD.item, OLD.item_version, OLD.case_number,
        OLD.subject, OLD.state,
        EXISTS (SELECT 1 FROM outbox WHERE subject = OLD.subject AND is_open = 1),
        OLD.enqueued_at, OLD.payload_suite, OLD.payload, OLD.content_digest, OLD.key_id,
        OLD.upstream, OLD.can_wait);
    -- What stands behind patient work makes it urgent: it can only leave after it.
    UPDATE outbox SET can_wait = 0
        WHERE OLD.can_wait = 0 AND subject = OLD.subject AND is_open = 1 AND can_wait = 1;
END;
CREATE TRIGGER arrival_is_not_changed BEFORE UPDATE ON arrival
BEGIN SELECT RAISE(ABORT, 'an arrival is not changed'); END;

CREATE TRIGGER clock_is_looked_at_first AFTER INSERT ON clock
BEGIN DELETE FROM arrival; END;
CREATE TRIGGER clock_is_looked_at_again AFTER UPDATE ON clock
BEGIN DELETE FROM arrival; END;

-- Version 4: what a technician's work leaves behind: test records, fault tickets, replenishments,
-- the lock-out of the unlocking, used grants, daily checks, calibrations. Never edited once
-- shipped: a later version adds a file of its own.
--
-- Only tables are added, so that every program that works on version 3 works on this file too.

-- The order is the sequence: the clock of a terminal is not to be trusted. A sequence is not given
-- twice, because tickets remember up to which one a test cannot prove their mending.
CREATE TABLE test_record (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    test TEXT NOT NULL,
    -- '' is the machine itself.
    device TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('passed', 'failed', 'skipped', 'canceled')),
    -- A JSON object of texts.
    figures TEXT NOT NULL CHECK (length(CAST(figures AS BLOB)) <= 4096),
    problem TEXT NOT NULL,
    tested_by TEXT NOT NULL,
    tested_at INTEGER NOT NULL,
    took_ms INTEGER NOT NULL CHECK (took_ms >= 0),
    ticket BLOB CHECK (length(ticket) = 16),
    -- When it came into the store; decides only when it is forgotten.
    recorded_at INTEGER NOT NULL
) STRICT;
CREATE INDEX test_record_latest ON test_record (device, test, sequence);
CREATE INDEX test_record_age ON test_record (recorded_at);

CREATE TABLE ticket (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    number TEXT NOT NULL UNIQUE,
    device TEXT NOT NULL,
    class TEXT NOT NULL,
    code TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'mended', 'closed')),
    -- Who acts first; later ones follow from the times below.
    level TEXT NOT NULL CHECK (level IN ('village', 'town', 'city', 'vendor')),
    opened_at INTEGER NOT NULL,
    respond_by INTEGER NOT NULL,
    repair_by INTEGER NOT NULL,
    acknowledged_at INTEGER,
    mended_at INTEGER,
    closed_at INTEGER,
    acted_by TEXT NOT NULL,
    note TEXT NOT NULL CHECK (length(CAST(note AS BLOB)) <= 2048),
    before_test BLOB CHECK (length(before_test) = 16),
    after_test BLOB CHECK (length(after_test) = 16),
    -- Tests up to this one were done before the fault was last seen to begin.
    tests_before INTEGER NOT NULL,
    times_seen INTEGER NOT NULL CHECK (times_seen >= 1),
    times_reopened INTEGER NOT NULL CHECK (times_reopened >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 1),
    -- The newest revision that the platform has; 0 for none.
    reported_revision INTEGER NOT NULL DEFAULT 0
        CHECK (reported_revision BETWEEN 0 AND revision),
    -- Decides only when it is forgotten.
    changed_at INTEGER NOT NULL,
    CHECK (state <> 'mended' OR mended_at IS NOT NULL),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
) STRICT;
-- One fault has one ticket at a time.
CREATE UNIQUE INDEX ticket_fault ON ticket (device, code)
    WHERE state IN ('open', 'acknowledged');
CREATE INDEX ticket_of_fault ON ticket (device, code, sequence);
CREATE INDEX ticket_open ON ticket (sequence)
    WHERE state IN ('open', 'acknowledged');
CREATE INDEX ticket_unreported ON ticket (sequence)
    WHERE reported_revision < revision;
CREATE INDEX ticket_ended ON ticket (changed_at)
    WHERE state IN ('mended', 'closed');

CREATE TABLE ticket_part (
    ticket BLOB NOT NULL REFERENCES ticket (id) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    what TEXT NOT NULL,
    old_serial TEXT NOT NULL,
    new_serial TEXT NOT NULL,
    PRIMARY KEY (ticket, position)
) STRICT, WITHOUT ROWID;

-- The newest filling of what is used up; what was used since follows from the diary.
CREATE TABLE replenishment (
    device TEXT NOT NULL,
    what TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    -- What the diary had counted when it was filled, less what the diary has forgotten since.
    counted INTEGER NOT NULL CHECK (counted >= 0),
    filled_at INTEGER NOT NULL,
    filled_by TEXT NOT NULL,
    PRIMARY KEY (device, what)
) STRICT, WITHOUT ROWID;

CREATE TABLE unlock_guard (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    failures INTEGER NOT NULL CHECK (failures >= 0),
    wait_s INTEGER NOT NULL CHECK (wait_s >= 0),
    boots INTEGER NOT NULL CHECK (boots >= 0),
    counter INTEGER NOT NULL CHECK (counter >= 0)
) STRICT;
-- A grant opens once.
CREATE TABLE used_grant (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_grant_age ON used_grant (used_at);

CREATE TABLE daily_check (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('open', 'close')),
    checked_by TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    -- A JSON object of truths.
    answers TEXT NOT NULL CHECK (length(CAST(answers AS BLOB)) <= 4096),
    note TEXT NOT NULL CHECK (length(CAST(note AS BLOB)) <= 1024),
    recorded_at INTEGER NOT NULL
) STRICT;
CREATE INDEX daily_check_age ON daily_check (recorded_at);

CREATE TABLE calibration (
    what TEXT PRIMARY KEY,
    json TEXT NOT NULL CHECK (length(CAST(json AS BLOB)) <= 16384),
    set_at INTEGER NOT NULL,
    set_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The words have no CHECK: a later program may have more of them, and this one leaves those out.
CREATE TABLE visit_end (
    year INTEGER NOT NULL,
    item TEXT NOT NULL CHECK (length(CAST(item AS BLOB)) BETWEEN 1 AND 64),
    outcome TEXT NOT NULL,
    -- Why it was left; '' where it was not.
    cause TEXT NOT NULL,
    count INTEGER NOT NULL CHECK (count >= 1),
    PRIMARY KEY (year, item, outcome, cause)
) STRICT, WITHOUT ROWID;

UPDATE schema_info SET version = 5, oldest_reader = 2;
PRAGMA user_version = 2;

INSERT INTO outbox (sequence, id, kind, item, item_version, case_number, subject, state, is_open,
    is_blocked, enqueued_at, payload_suite, payload, content_digest, ended_at, receipt_reference,
    receipt_outcome, receipt_message, receipt_valid_until, receipt_raw) VALUES
    (1, x'00000000000000000000000000000001', 'case', 'pension-qualification', 1, 'T1-20260601-0001', zeroblob(32), 3, 0, 0,
     1794900000000, 'plain', NULL, NULL, 1794900001000, 'R-1', 'completed', 'ok', '2027-06-01', '{}');
INSERT INTO outbox (sequence, id, kind, item, item_version, case_number, subject, state,
    is_blocked, enqueued_at, payload_suite, payload, content_digest) VALUES
    (2, x'00000000000000000000000000000002', 'case', 'old-age-allowance', 1, 'T1-20260601-0002', zeroblob(32), 2, 0,
     1794900000000, 'plain', x'7B7D', zeroblob(32)),
    (3, x'00000000000000000000000000000003', 'rating', 'old-age-allowance', 1, 'T1-20260601-0003', zeroblob(32), 1, 1,
     1794900000000, 'plain', x'7B7D', zeroblob(32));
INSERT INTO outbox (sequence, id, kind, item, item_version, case_number, subject, state,
    is_blocked, enqueued_at, payload_suite, payload, content_digest, ended_at, ended_by,
    ended_reason) VALUES
    (4, x'00000000000000000000000000000004', 'case', 'old-age-allowance', 1, 'T1-20260601-0004', x'0000000000000000000000000000000000000000000000000000000000000001', 4, 0,
     1794900000000, 'plain', x'7B7D', zeroblob(32), 1794900002000, 'platform', 'case.rejected');
INSERT INTO print (id, transaction_id, case_number, kind, digest, pages, first_page, copy_no,
    state, prepared_at, changed_at) VALUES
    (x'00000000000000000000000000000099', x'00000000000000000000000000000002', 'T1-20260601-0002', 'slip', zeroblob(32), 1, 1, 1, 'printing',
     1794900000000, 1794900000000);
INSERT INTO case_counter VALUES ('T1', '2026-06-01', 4);
INSERT INTO usage VALUES (2026, 'old-age-allowance', 'visit', 12);
INSERT INTO setting VALUES ('volume', '3');
INSERT INTO catalogue VALUES (1, '"e1"', 7, 1794900000000);
INSERT INTO catalogue_item VALUES ('old-age-allowance', 1, 0);

INSERT INTO outbox (sequence, id, kind, item, item_version, case_number, subject, state,
    is_blocked, enqueued_at, payload_suite, payload, content_digest, upstream, key_id, can_wait,
    carried_at, carried_in) VALUES
    (5, x'00000000000000000000000000000005', 'rating', 'old-age-allowance', 1, 'T1-20260601-0005', x'0000000000000000000000000000000000000000000000000000000000000002', 1, 0,
     1794900000000, 'gm', x'E5E5', zeroblob(32), 'civil-affairs', '0011223344556677', 1,
     1794900003000, x'000000000000000000000000000000AA');
UPDATE outbox SET last_detail = 'page 2 is missing' WHERE sequence = 4;
INSERT INTO audit_entry VALUES
    (1, 1794900000000, 'transaction.enqueued', 'visitor', zeroblob(32), x'00000000000000000000000000000001', '{}', zeroblob(32)),
    (2, 1794900001000, 'transaction.settled', 'platform', zeroblob(32), x'00000000000000000000000000000001', '{}', x'0000000000000000000000000000000000000000000000000000000000000001');
INSERT INTO audit_checkpoint VALUES (1, zeroblob(32), 1794900000500, 'signed');
INSERT INTO clock VALUES (1, 1794900000000, 1794900000000);
INSERT INTO diary VALUES ('2026-06-01', 'slip-printer', 'page', 9);
INSERT INTO command VALUES (x'00000000000000000000000000000007', 'lock', '{"state":"done"}', 1794900000000, 1794900001000, NULL);
INSERT INTO desired_state VALUES (1, 12, '{"version":12}', 1794900000000);
-- After the clock, which lets arrivals take their places.
INSERT INTO arrival (sequence, id, kind, item, item_version, case_number, subject, can_wait, upstream,
    enqueued_at, payload_suite, key_id, content_digest, payload) VALUES
    (6, x'00000000000000000000000000000006', 'case', 'old-age-allowance', 1, 'T1-20260601-0006', x'0000000000000000000000000000000000000000000000000000000000000002', 0, 'civil-affairs',
     1794900004000, 'gm', '0011223344556677', zeroblob(32), x'E6E6'),
    (7, x'00000000000000000000000000000007', 'case', 'old-age-allowance', 1, 'T1-20260601-0007', x'0000000000000000000000000000000000000000000000000000000000000003', 0, '',
     1794900005000, 'gm', '0011223344556677', zeroblob(32), x'E7E7');

INSERT INTO test_record (sequence, id, test, device, verdict, figures, problem, tested_by, tested_at,
    took_ms, ticket, recorded_at) VALUES
    (1, x'00000000000000000000000000000011', 'print', 'slip-printer', 'failed', '{}', 'printer.media-jam', 'tech-3', 1794900000000, 900, NULL, 1794900000000),
    (2, x'00000000000000000000000000000012', 'print', 'slip-printer', 'passed', '{"darkness":"0.93"}', '', 'tech-3', 1794900001000, 950, x'00000000000000000000000000000021', 1794900001000);
INSERT INTO ticket (sequence, id, number, device, class, code, action, state, level, opened_at,
    respond_by, repair_by, acknowledged_at, mended_at, closed_at, acted_by, note, before_test,
    after_test, tests_before, times_seen, times_reopened, revision, reported_revision, changed_at)
    VALUES
    (1, x'00000000000000000000000000000021', 'T1-0001', 'slip-printer', 'printer', 'printer.media-jam', 'clear-nearest', 'mended', 'village', 1794900000000,
     1794914400000, 1794986400000, 1794900000500, 1794900001000, NULL, 'tech-3', 'cut paper', x'00000000000000000000000000000011',
     x'00000000000000000000000000000012', 1, 3, 0, 4, 3, 1794900001000),
    (2, x'00000000000000000000000000000022', 'T1-0002', '', '', 'queue.disk-full', '', 'open', 'town', 1794900002000,
     1794914400000, 1794986400000, NULL, NULL, NULL, 'terminal', '', NULL, NULL, 2, 1, 0, 1, 1, 1794900002000);
INSERT INTO ticket_part VALUES (x'00000000000000000000000000000021', 0, 'cutter', 'A1', 'B2');
INSERT INTO replenishment VALUES ('slip-printer', 'page', 500, 4, 1794900000000, 'village-1');
INSERT INTO unlock_guard VALUES (1, 2, 30, 5, 17);
INSERT INTO used_grant VALUES (x'00000000000000000000000000000031', 1794900000000);
INSERT INTO daily_check (sequence, id, kind, checked_by, checked_at, answers, note, recorded_at)
    VALUES (1, x'00000000000000000000000000000041', 'open', 'village-1', 1794900000000, '{"paper":true}', '', 1794900000000);
INSERT INTO calibration VALUES ('touch', '[1,2]', 1794900000000, 'tech-3');
INSERT INTO visit_end VALUES (2026, 'old-age-allowance', 'completed', '', 7);
INSERT INTO visit_end VALUES (2026, 'old-age-allowance', 'abandoned', 'timeout', 3);
