-- What the reference platform holds. Times are RFC 3339 in UTC.
CREATE TABLE accepted (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    case_number TEXT NOT NULL,
    content_digest BLOB NOT NULL,
    document TEXT NOT NULL,
    attachments INTEGER NOT NULL,
    receipt TEXT NOT NULL,
    received_at TEXT NOT NULL,
    times_received INTEGER NOT NULL
) STRICT;

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    length INTEGER NOT NULL CHECK (length > 0),
    sha256 TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND length)
) STRICT;

CREATE TABLE progress (
    case_number TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    state TEXT NOT NULL,
    text TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE catalogue_item (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    is_suspended INTEGER NOT NULL CHECK (is_suspended IN (0, 1))
) STRICT;

CREATE TABLE catalogue_version (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO catalogue_version VALUES (1, 1);
