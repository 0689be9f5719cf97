-- What became of releases at terminals, and those that are held. The same tables as in
-- postgresql/004_held_releases.sql. Times are RFC 3339 in UTC. A release that was let go stays
-- here as not held, so that it is never held again by itself.
CREATE TABLE release_outcome (
    version TEXT NOT NULL,
    terminal TEXT NOT NULL,
    is_taken_back INTEGER NOT NULL CHECK (is_taken_back IN (0, 1)),
    code TEXT NOT NULL,
    reported_at TEXT NOT NULL,
    PRIMARY KEY (version, terminal)
) STRICT;
CREATE TABLE held_release (
    version TEXT PRIMARY KEY,
    is_held INTEGER NOT NULL CHECK (is_held IN (0, 1)),
    reason TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
