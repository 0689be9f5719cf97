-- Fault tickets of the terminals, the newest revision of each. The same table as in
-- ../003_tickets.sql. Times are RFC 3339 in UTC.
CREATE TABLE ticket (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    revision BIGINT NOT NULL CHECK (revision > 0),
    is_open BIGINT NOT NULL CHECK (is_open IN (0, 1)),
    document TEXT NOT NULL,
    received_at TEXT NOT NULL,
    times_received BIGINT NOT NULL
);
CREATE INDEX ticket_open ON ticket (terminal, position) WHERE is_open = 1;
UPDATE schema_version SET version = 3;
