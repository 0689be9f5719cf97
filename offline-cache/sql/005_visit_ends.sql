-- Version 5: how visits of an item ended. A table of its own, because `usage` takes no other words
-- than its own. Never edited once shipped: a later version adds a file of its own.
--
-- Only a table is added, so that every program that works on version 4 works on this file too.

-- The words have no CHECK: a later program may have more of them, and this one leaves those out.
CREATE TABLE visit_end (
    year INTEGER NOT NULL,
    item TEXT NOT NULL CHECK (length(CAST(item AS BLOB)) BETWEEN 1 AND 64),
    outcome TEXT NOT NULL,
    -- Why it was left; '' where it was not.
    cause TEXT NOT NULL,
    count INTEGER NOT NULL CHECK (count >= 1),
    PRIMARY KEY (year, item, outcome, cause)
) STRICT, WITHOUT ROWID;
