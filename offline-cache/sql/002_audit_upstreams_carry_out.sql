-- Version 2: several upstreams, envelopes, carry-out, audit log, device diary, commands, desired
-- state. Never edited once shipped: a later version adds a file of its own.
--
-- A program of version 1 must still work on this file, because updates roll back: every new
-- column has a default, every index keeps its name, its rows and its condition, and no statement
-- of version 1 is refused. The engine's `user_version` therefore stays at the oldest version that
-- may open the file; what the file really is stands in `schema_info`.

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
