-- Fault tickets of the terminals, the newest revision of each. The same table as in
-- postgresql/003_tickets.sql. Times are RFC 3339 in UTC.
CREATE TABLE ticket (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    document TEXT NOT NULL,
    received_at TEXT NOT NULL,
    times_received INTEGER NOT NULL
) STRICT;
CREATE INDEX ticket_open ON ticket (terminal, position) WHERE is_open = 1;
