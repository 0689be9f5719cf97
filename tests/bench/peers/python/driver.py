"""Drives a Python queue for the bench: one command a line in, one JSON answer a line out.

The words are those of src/contestant.rs. Nothing is measured but the calls of the queue itself;
the records are read before, and each one taken is checked after its time was noted.
"""

import argparse
import gc
import importlib.metadata
import json
import pathlib
import sqlite3
import sys
import time

RECORD_BYTES = 1024
# The peer's own way of forgetting, called as often as its documentation suggests a batch.
CLEAR_EVERY = 1000


class PersistQueue:
    """SQLiteAckQueue of persist-queue, one connection, every call its own commit."""

    name = "persist-queue"

    def __init__(self, directory, synchronous):
        import persistqueue

        self.queue = persistqueue.SQLiteAckQueue(str(directory), multithreading=False)
        self.connection = self.queue._putter
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.taken = 0

    def put(self, record):
        self.queue.put(record)

    def take(self):
        """Claims, acknowledges, and forgets what was acknowledged long ago."""
        taken = self.queue.get(block=False, raw=True)
        self.queue.ack(id=taken["pqid"])
        self.taken += 1
        if self.taken % CLEAR_EVERY == 0:
            self.queue.clear_acked_data()
        return taken["data"]


class LiteQueue:
    """LiteQueue of litequeue; its own choice is NORMAL, so the pragma comes after."""

    name = "litequeue"

    def __init__(self, directory, synchronous):
        import litequeue

        directory.mkdir(parents=True, exist_ok=True)
        self.queue = litequeue.LiteQueue(str(directory / "queue.db"))
        self.connection = self.queue.conn
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.taken = 0

    def put(self, record):
        self.queue.put(record)

    def take(self):
        """Claims, marks done, and forgets what is done."""
        message = self.queue.pop()
        self.queue.done(message.message_id)
        self.taken += 1
        if self.taken % CLEAR_EVERY == 0:
            self.queue.prune()
        return message.data


QUEUES = {queue.name: queue for queue in (PersistQueue, LiteQueue)}


def answer(value):
    """Writes one answer."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def timed(count, call):
    """Nanoseconds of each call."""
    nanoseconds = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        value = call()
        nanoseconds.append(time.perf_counter_ns() - begin)
        assert value is None or len(value) == RECORD_BYTES, "another record than was put"
    return nanoseconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queue", choices=QUEUES)
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--records", type=pathlib.Path, required=True)
    parser.add_argument("--relaxed", action="store_true", help="do not sync; for filling only")
    arguments = parser.parse_args()
    text = arguments.records.read_text(encoding="ascii")
    records = [text[at : at + RECORD_BYTES] for at in range(0, len(text), RECORD_BYTES)]
    queue = QUEUES[arguments.queue](arguments.dir, "OFF" if arguments.relaxed else "FULL")
    following = 0

    def put():
        nonlocal following
        record = records[following % len(records)]
        following += 1
        queue.put(record)

    connection = queue.connection
    answer(
        {
            "version": importlib.metadata.version(queue.name),
            "engine": f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}",
            "journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0],
            "synchronous": connection.execute("PRAGMA synchronous").fetchone()[0],
        }
    )
    # A pause of the collector is the language's, not the queue's.
    gc.freeze()
    for line in sys.stdin:
        word, _, count = line.strip().partition(" ")
        if word == "put":
            answer({"nanoseconds": timed(int(count), put)})
        elif word == "take":
            answer({"nanoseconds": timed(int(count), queue.take)})
        elif word == "fill":
            for _ in range(int(count)):
                put()
            answer({"nanoseconds": []})
        elif word == "quit":
            break
        else:
            raise SystemExit(f"unknown command {word!r}")


main()
