-- What the administrators' view is made of: where each terminal stands, what it did by month,
-- when a ticket is late, what was taken back, who changed what, and notices that wait to be
-- sent. The same tables as in ../006_fleet.sql. Times are RFC 3339 in UTC; columns that
-- end in _s are seconds since 1970. Months and years are those of the terminals, UTC+8.

-- Every terminal that was heard of or that was given a place; an empty region is none.
CREATE TABLE terminal_place (
    terminal TEXT PRIMARY KEY,
    region TEXT NOT NULL,
    site TEXT NOT NULL,
    installed_on TEXT NOT NULL,
    target BIGINT NOT NULL CHECK (target >= 0)
);
INSERT INTO terminal_place
SELECT terminal, '', '', '', 0 FROM (SELECT terminal FROM heartbeat UNION SELECT terminal FROM accepted) known;

-- Cases that took effect: by year ('2026', item '') and by month and item ('2026-11').
CREATE TABLE case_count (
    period TEXT NOT NULL,
    item TEXT NOT NULL,
    terminal TEXT NOT NULL,
    cases BIGINT NOT NULL CHECK (cases > 0),
    PRIMARY KEY (period, item, terminal)
);
CREATE INDEX case_count_terminal ON case_count (terminal, period);
INSERT INTO case_count
SELECT to_char(received_at::timestamptz AT TIME ZONE 'UTC' + INTERVAL '8 hours', 'YYYY'), '', terminal, COUNT(*)
FROM accepted WHERE kind = 'case' GROUP BY 1, 3;
INSERT INTO case_count
SELECT to_char(received_at::timestamptz AT TIME ZONE 'UTC' + INTERVAL '8 hours', 'YYYY-MM'), item, terminal, COUNT(*)
FROM accepted WHERE kind = 'case' GROUP BY 1, 2, 3;

ALTER TABLE ticket ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
ALTER TABLE ticket ADD COLUMN level TEXT NOT NULL DEFAULT 'village';
ALTER TABLE ticket ADD COLUMN opened_at TEXT NOT NULL DEFAULT '';
ALTER TABLE ticket ADD COLUMN respond_by_s BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ticket ADD COLUMN repair_by_s BIGINT NOT NULL DEFAULT 0;
UPDATE ticket SET
    state = document::json->>'state',
    level = document::json->>'level',
    opened_at = document::json->>'opened_at',
    respond_by_s = EXTRACT(EPOCH FROM (document::json->>'respond_by')::timestamptz)::BIGINT,
    repair_by_s = EXTRACT(EPOCH FROM (document::json->>'repair_by')::timestamptz)::BIGINT;
CREATE INDEX ticket_standing ON ticket (terminal, level) WHERE state <> 'closed';

-- How often each terminal took a release back, by the reason; never goes down.
CREATE TABLE rollback_count (
    terminal TEXT NOT NULL,
    code TEXT NOT NULL,
    times BIGINT NOT NULL CHECK (times > 0),
    PRIMARY KEY (terminal, code)
);
INSERT INTO rollback_count
SELECT terminal, code, COUNT(*) FROM release_outcome WHERE is_taken_back = 1 GROUP BY terminal, code;

-- What administrators did. Written before it is done; status 0 stays where the platform died
-- in between.
CREATE TABLE admin_log (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    act TEXT NOT NULL,
    terminal TEXT NOT NULL,
    detail TEXT NOT NULL,
    status BIGINT NOT NULL
);

-- Notices to staff that nobody has taken yet; `hook` is the address. Deleted when taken.
CREATE TABLE notice (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hook TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    made_s BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    next_s BIGINT NOT NULL
);
CREATE INDEX notice_hook ON notice (hook, position);
UPDATE schema_version SET version = 6;
