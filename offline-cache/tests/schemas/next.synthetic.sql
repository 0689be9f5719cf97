-- No shipped version: what a version after the newest may look like, to prove that this one still
-- works on it. It adds a table, columns with defaults and an index; the test says who may open it.
ALTER TABLE outbox ADD COLUMN priority INTEGER NOT NULL DEFAULT 5;
ALTER TABLE command ADD COLUMN origin TEXT NOT NULL DEFAULT 'platform';
CREATE TABLE appointment (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    item TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO appointment VALUES (x'00000000000000000000000000000001', 'old-age-allowance');
CREATE INDEX outbox_priority ON outbox (priority, sequence) WHERE state <= 2;
