-- What the reference platform holds on PostgreSQL: the same tables as on SQLite after
-- 002_whole_contract.sql. Times are RFC 3339 in UTC.
CREATE TABLE schema_version (
    version BIGINT NOT NULL
);
INSERT INTO schema_version VALUES (2);

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    length BIGINT NOT NULL CHECK (length > 0),
    sha256 TEXT NOT NULL,
    received BIGINT NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND length)
);

CREATE TABLE progress (
    case_number TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    state TEXT NOT NULL,
    text TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE catalogue_item (
    id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    is_suspended BIGINT NOT NULL CHECK (is_suspended IN (0, 1))
);

CREATE TABLE catalogue_version (
    "only" BIGINT PRIMARY KEY CHECK ("only" = 1),
    version BIGINT NOT NULL
);
INSERT INTO catalogue_version VALUES (1, 1);

CREATE TABLE accepted (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    case_number TEXT NOT NULL,
    upstream TEXT NOT NULL,
    payload_suite TEXT NOT NULL,
    road TEXT NOT NULL CHECK (road IN ('network', 'bundle')),
    content_digest BYTEA NOT NULL,
    document TEXT NOT NULL,
    attachments BIGINT NOT NULL,
    receipt TEXT NOT NULL,
    received_at TEXT NOT NULL,
    times_received BIGINT NOT NULL
);
CREATE TABLE upload_piece (
    upload TEXT NOT NULL,
    at_offset BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (upload, at_offset)
);
-- What was opened from an upload when its transaction was accepted.
CREATE TABLE attachment (
    id TEXT PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content BYTEA NOT NULL
);

CREATE TABLE upstream (
    name TEXT PRIMARY KEY,
    is_up BIGINT NOT NULL CHECK (is_up IN (0, 1))
);

CREATE TABLE terminal_key (
    terminal TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    enrolled TEXT NOT NULL CHECK (enrolled IN ('first-use', 'registered')),
    enrolled_at TEXT NOT NULL,
    PRIMARY KEY (terminal, key_id)
);
CREATE TABLE nonce (
    terminal TEXT NOT NULL,
    nonce TEXT NOT NULL,
    created_s BIGINT NOT NULL,
    PRIMARY KEY (terminal, nonce)
);
CREATE INDEX nonce_age ON nonce (created_s);

-- The platform's own keys: 'sealing' (one row a rotation, the newest is current), 'command', 'seal'.
CREATE TABLE platform_key (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    purpose TEXT NOT NULL,
    secret BYTEA NOT NULL,
    made_at TEXT NOT NULL
);

CREATE TABLE heartbeat (
    terminal TEXT PRIMARY KEY,
    received_at TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE anchor (
    terminal TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    head TEXT NOT NULL,
    anchored_at TEXT NOT NULL
);
CREATE TABLE alarm (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal TEXT NOT NULL,
    code TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    raised_at TEXT NOT NULL,
    UNIQUE (terminal, code, sequence)
);

CREATE TABLE desired_state (
    terminal TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    settings TEXT NOT NULL,
    issued_at TEXT NOT NULL
);
CREATE TABLE command (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    kind TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    expires_s BIGINT NOT NULL,
    signed TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'failed', 'refused')),
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    times_reported BIGINT NOT NULL
);
CREATE INDEX command_open ON command (terminal, position) WHERE state = 'open';

CREATE TABLE bundle (
    id TEXT NOT NULL,
    part BIGINT NOT NULL,
    terminal TEXT NOT NULL,
    digest TEXT NOT NULL,
    imported_at TEXT NOT NULL,
    times_imported BIGINT NOT NULL,
    PRIMARY KEY (id, part)
);

-- Orders of payment, and every state each was in: the state and its line are one commit.
CREATE TABLE payment (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    content_digest BYTEA NOT NULL,
    item TEXT NOT NULL,
    case_number TEXT NOT NULL,
    amount_fen BIGINT NOT NULL CHECK (amount_fen > 0),
    expires_at TEXT NOT NULL,
    expires_s BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('created', 'paid', 'expired', 'cancelled', 'refund-pending', 'refunded')),
    paid_at TEXT,
    refunded_at TEXT
);
CREATE TABLE payment_event (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment TEXT NOT NULL,
    state TEXT NOT NULL,
    entered_at TEXT NOT NULL
);

CREATE TABLE appointment (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    content_digest BYTEA NOT NULL,
    document TEXT NOT NULL,
    item TEXT NOT NULL,
    slot TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('booked', 'cancelled')),
    reference TEXT NOT NULL
);
CREATE INDEX appointment_slot ON appointment (item, slot) WHERE state = 'booked';

CREATE TABLE video_session (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    terminal TEXT NOT NULL,
    content_digest BYTEA NOT NULL,
    item TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ringing', 'active', 'ended'))
);

CREATE TABLE shipment (
    case_number TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN
        ('announced', 'in-transit', 'out-for-delivery', 'delivered', 'returned')),
    carrier TEXT NOT NULL,
    tracking_number TEXT NOT NULL,
    events TEXT NOT NULL
);

CREATE TABLE telemetry (
    terminal TEXT PRIMARY KEY,
    received_at TEXT NOT NULL,
    metrics TEXT NOT NULL
);
