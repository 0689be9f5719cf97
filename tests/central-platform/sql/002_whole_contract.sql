-- The whole contract: envelopes, upload pieces, keys, commands, heartbeats, orders.
-- The same tables as in postgresql/002_whole_contract.sql. Times are RFC 3339 in UTC.
ALTER TABLE accepted RENAME TO accepted_1;
CREATE TABLE accepted (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    case_number TEXT NOT NULL,
    upstream TEXT NOT NULL,
    payload_suite TEXT NOT NULL,
    road TEXT NOT NULL CHECK (road IN ('network', 'bundle')),
    content_digest BLOB NOT NULL,
    document TEXT NOT NULL,
    attachments INTEGER NOT NULL,
    receipt TEXT NOT NULL,
    received_at TEXT NOT NULL,
    times_received INTEGER NOT NULL
) STRICT;
INSERT INTO accepted (id, terminal, kind, item, case_number, upstream, payload_suite, road,
                      content_digest, document, attachments, receipt, received_at, times_received)
SELECT id, terminal, kind, item, case_number, '', 'plain', 'network',
       content_digest, document, attachments, receipt, received_at, times_received
FROM accepted_1 ORDER BY rowid;
DROP TABLE accepted_1;

-- Pieces lay in files before; what was there of unfinished uploads is sent again.
UPDATE upload SET received = 0;
CREATE TABLE upload_piece (
    upload TEXT NOT NULL,
    at_offset INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (upload, at_offset)
) STRICT;
-- What was opened from an upload when its transaction was accepted.
CREATE TABLE attachment (
    id TEXT PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE upstream (
    name TEXT PRIMARY KEY,
    is_up INTEGER NOT NULL CHECK (is_up IN (0, 1))
) STRICT;

CREATE TABLE terminal_key (
    terminal TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    enrolled TEXT NOT NULL CHECK (enrolled IN ('first-use', 'registered')),
    enrolled_at TEXT NOT NULL,
    PRIMARY KEY (terminal, key_id)
) STRICT;
CREATE TABLE nonce (
    terminal TEXT NOT NULL,
    nonce TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    PRIMARY KEY (terminal, nonce)
) STRICT;
CREATE INDEX nonce_age ON nonce (created_s);

-- The platform's own keys: 'sealing' (one row a rotation, the newest is current), 'command', 'seal'.
CREATE TABLE platform_key (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose TEXT NOT NULL,
    secret BLOB NOT NULL,
    made_at TEXT NOT NULL
) STRICT;

CREATE TABLE heartbeat (
    terminal TEXT PRIMARY KEY,
    received_at TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE anchor (
    terminal TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    head TEXT NOT NULL,
    anchored_at TEXT NOT NULL
) STRICT;
CREATE TABLE alarm (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    terminal TEXT NOT NULL,
    code TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    raised_at TEXT NOT NULL,
    UNIQUE (terminal, code, sequence)
) STRICT;

CREATE TABLE desired_state (
    terminal TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    settings TEXT NOT NULL,
    issued_at TEXT NOT NULL
) STRICT;
CREATE TABLE command (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    kind TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    expires_s INTEGER NOT NULL,
    signed TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'failed', 'refused')),
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    times_reported INTEGER NOT NULL
) STRICT;
CREATE INDEX command_open ON command (terminal, position) WHERE state = 'open';

CREATE TABLE bundle (
    id TEXT NOT NULL,
    part INTEGER NOT NULL,
    terminal TEXT NOT NULL,
    digest TEXT NOT NULL,
    imported_at TEXT NOT NULL,
    times_imported INTEGER NOT NULL,
    PRIMARY KEY (id, part)
) STRICT;

-- Orders of payment, and every state each was in: the state and its line are one commit.
CREATE TABLE payment (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    content_digest BLOB NOT NULL,
    item TEXT NOT NULL,
    case_number TEXT NOT NULL,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
    expires_at TEXT NOT NULL,
    expires_s INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('created', 'paid', 'expired', 'cancelled', 'refund-pending', 'refunded')),
    paid_at TEXT,
    refunded_at TEXT
) STRICT;
CREATE TABLE payment_event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    payment TEXT NOT NULL,
    state TEXT NOT NULL,
    entered_at TEXT NOT NULL
) STRICT;

CREATE TABLE appointment (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    content_digest BLOB NOT NULL,
    document TEXT NOT NULL,
    item TEXT NOT NULL,
    slot TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('booked', 'cancelled')),
    reference TEXT NOT NULL
) STRICT;
CREATE INDEX appointment_slot ON appointment (item, slot) WHERE state = 'booked';

CREATE TABLE video_session (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    content_digest BLOB NOT NULL,
    item TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ringing', 'active', 'ended'))
) STRICT;

CREATE TABLE shipment (
    case_number TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN
        ('announced', 'in-transit', 'out-for-delivery', 'delivered', 'returned')),
    carrier TEXT NOT NULL,
    tracking_number TEXT NOT NULL,
    events TEXT NOT NULL
) STRICT;

CREATE TABLE telemetry (
    terminal TEXT PRIMARY KEY,
    received_at TEXT NOT NULL,
    metrics TEXT NOT NULL
) STRICT;
