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
