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
