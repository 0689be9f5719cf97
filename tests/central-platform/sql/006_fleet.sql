-- What the administrators' view is made of: where each terminal stands, what it did by month,
-- when a ticket is late, what was taken back, who changed what, and notices that wait to be
-- sent. The same tables as in postgresql/006_fleet.sql. Times are RFC 3339 in UTC; columns that
-- end in _s are seconds since 1970. Months and years are those of the terminals, UTC+8.

-- Every terminal that was heard of or that was given a place; an empty region is none.
CREATE TABLE terminal_place (
    terminal TEXT PRIMARY KEY,
    region TEXT NOT NULL,
    site TEXT NOT NULL,
    installed_on TEXT NOT NULL,
    target INTEGER NOT NULL CHECK (target >= 0)
) STRICT;
INSERT INTO terminal_place
SELECT terminal, '', '', '', 0 FROM (SELECT terminal FROM heartbeat UNION SELECT terminal FROM accepted) known;

-- Cases that took effect: by year ('2026', item '') and by month and item ('2026-11').
CREATE TABLE case_count (
    period TEXT NOT NULL,
    item TEXT NOT NULL,
    terminal TEXT NOT NULL,
    cases INTEGER NOT NULL CHECK (cases > 0),
    PRIMARY KEY (period, item, terminal)
) STRICT;
CREATE INDEX case_count_terminal ON case_count (terminal, period);
INSERT INTO case_count
SELECT COALESCE(strftime('%Y', received_at, '+8 hours'), '1970'), '', terminal, COUNT(*)
FROM accepted WHERE kind = 'case' GROUP BY 1, 3;
INSERT INTO case_count
SELECT COALESCE(strftime('%Y-%m', received_at, '+8 hours'), '1970-01'), item, terminal, COUNT(*)
FROM accepted WHERE kind = 'case' GROUP BY 1, 2, 3;

ALTER TABLE ticket ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
ALTER TABLE ticket ADD COLUMN level TEXT NOT NULL DEFAULT 'village';
ALTER TABLE ticket ADD COLUMN opened_at TEXT NOT NULL DEFAULT '';
ALTER TABLE ticket ADD COLUMN respond_by_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ticket ADD COLUMN repair_by_s INTEGER NOT NULL DEFAULT 0;
UPDATE ticket SET
    state = json_extract(document, '$.state'),
    level = json_extract(document, '$.level'),
    opened_at = json_extract(document, '$.opened_at'),
    respond_by_s = COALESCE(CAST(strftime('%s', json_extract(document, '$.respond_by')) AS INTEGER), 0),
    repair_by_s = COALESCE(CAST(strftime('%s', json_extract(document, '$.repair_by')) AS INTEGER), 0);
CREATE INDEX ticket_standing ON ticket (terminal, level) WHERE state <> 'closed';

-- How often each terminal took a release back, by the reason; never goes down.
CREATE TABLE rollback_count (
    terminal TEXT NOT NULL,
    code TEXT NOT NULL,
    times INTEGER NOT NULL CHECK (times > 0),
    PRIMARY KEY (terminal, code)
) STRICT;
INSERT INTO rollback_count
SELECT terminal, code, COUNT(*) FROM release_outcome WHERE is_taken_back = 1 GROUP BY terminal, code;

-- What administrators did. Written before it is done; status 0 stays where the platform died
-- in between.
CREATE TABLE admin_log (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    act TEXT NOT NULL,
    terminal TEXT NOT NULL,
    detail TEXT NOT NULL,
    status INTEGER NOT NULL
) STRICT;

-- Notices to staff that nobody has taken yet; `hook` is the address. Deleted when taken.
CREATE TABLE notice (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    hook TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    made_s INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_s INTEGER NOT NULL
) STRICT;
CREATE INDEX notice_hook ON notice (hook, position);
