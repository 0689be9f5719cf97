-- Who may become a terminal, which terminals there are, and their certificates. The same tables as
-- in postgresql/005_enrolment.sql. Times are RFC 3339 in UTC. A code is kept as a digest under a salt of its own.
CREATE TABLE enrolment (
    terminal TEXT PRIMARY KEY,
    salt BLOB NOT NULL,
    code_digest BLOB NOT NULL,
    made_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    expires_s INTEGER NOT NULL,
    wrong INTEGER NOT NULL DEFAULT 0,
    wrong_s INTEGER NOT NULL DEFAULT 0,
    used_at TEXT NOT NULL DEFAULT '',
    -- What the code was used with: the same again has the same answer.
    csr_key TEXT NOT NULL DEFAULT '',
    device_key TEXT NOT NULL DEFAULT '',
    certificate TEXT NOT NULL DEFAULT '',
    not_after TEXT NOT NULL DEFAULT ''
) STRICT;
-- Every terminal that was enrolled or revoked, one row each.
CREATE TABLE installation (
    terminal TEXT PRIMARY KEY,
    enrolled_at TEXT NOT NULL,
    certificate_until TEXT NOT NULL,
    is_revoked INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
    reason TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
-- Certificates that were issued and have not ended; a retired one counts no more.
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    until_s INTEGER NOT NULL,
    is_retired INTEGER NOT NULL CHECK (is_retired IN (0, 1))
) STRICT;
CREATE INDEX certificate_terminal ON certificate (terminal);
ALTER TABLE terminal_key ADD COLUMN is_retired INTEGER NOT NULL DEFAULT 0;
