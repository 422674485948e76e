"""The journal of a watch: events, names of environments, and how far each receiver has come.

One SQLite file, so that several programs may use it at once, and what was written stays written. It
keeps the latest MOST_EVENTS events.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vase.errors import RunError

MOST_EVENTS = 100_000
SECONDS_TO_WAIT = 30.0  # while another program writes
TABLES = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL,
    time TEXT NOT NULL, json TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS name (environment INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS receiver (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
"""


class Journal:
    """Events by their number, in a file or, with no path, in memory alone.

    Any thread may use it. A `RunError` says what is wrong with the file, or that there is no room;
    a call that raises has changed nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=SECONDS_TO_WAIT, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # what is told is on the disk
            self._connection.executescript(TABLES)
        except sqlite3.Error as error:
            raise self._wrong(error) from None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ---- events --------------------------------------------------------------------------------

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write events that are not there yet, all of them or none."""
        rows = [
            (event["sequence"], event["id"], event["kind"], event["time"], json.dumps(event))
            for event in events
        ]
        if rows:
            newest = max(row[0] for row in rows)
            self._write(
                ("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)", rows),
                ("DELETE FROM event WHERE sequence <= ?", [(newest - MOST_EVENTS,)]),
            )

    def after(self, sequence: int, limit: int = 100) -> list[dict[str, Any]]:
        """The first events after a number, in order."""
        text = "SELECT json FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return [json.loads(row[0]) for row in self._read(text, (sequence, limit))]

    def latest(self, limit: int = 20, since: str = "") -> list[dict[str, Any]]:
        """The last events, in order; only those at or after a time in ISO form, UTC."""
        text = "SELECT json FROM event WHERE time >= ? ORDER BY sequence DESC LIMIT ?"
        return [json.loads(row[0]) for row in self._read(text, (since, limit))][::-1]

    # ---- names ---------------------------------------------------------------------------------

    def names(self) -> dict[int, str]:
        """What environments are called."""
        return dict(self._read("SELECT environment, name FROM name", ()))

    def rename(self, environment: int, name: str) -> None:
        """Call an environment by a name; an empty one takes its name away."""
        self._write(
            ("DELETE FROM name WHERE environment = ?", [(environment,)]),
            ("INSERT INTO name VALUES (?, ?)", [(environment, name)] if name else []),
        )

    # ---- receivers -----------------------------------------------------------------------------

    def join(self, receiver: str) -> None:
        """Let a receiver that is new here get what comes from now on, and not all there was."""
        text = "INSERT OR IGNORE INTO receiver SELECT ?, COALESCE(MAX(sequence), 0) FROM event"
        self._write((text, [(receiver,)]))

    def cursor(self, receiver: str) -> int:
        """The number of the last event that a receiver has got; 0 before the first."""
        rows = self._read("SELECT sequence FROM receiver WHERE name = ?", (receiver,))
        return int(rows[0][0]) if rows else 0

    def delivered(self, receiver: str, sequence: int) -> None:
        """Note that a receiver has got all events up to one."""
        self._write(("INSERT OR REPLACE INTO receiver VALUES (?, ?)", [(receiver, sequence)]))

    def waiting(self, receiver: str) -> int:
        """How many events a receiver has not got yet."""
        text = "SELECT COUNT(*) FROM event WHERE sequence > ?"
        return int(self._read(text, (self.cursor(receiver),))[0][0])

    # ---- inside --------------------------------------------------------------------------------

    def _read(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise self._wrong(error) from None

    def _write(self, *statements: tuple[str, list[tuple[Any, ...]]]) -> None:
        """Carry out statements for every row of theirs, in one transaction."""
        try:
            with self._lock, self._connection:
                for text, rows in statements:
                    self._connection.executemany(text, rows)
        except sqlite3.Error as error:
            raise self._wrong(error) from None

    def _wrong(self, error: Exception) -> RunError:
        return RunError(f"The journal '{self.path}' cannot be used: {error}. Is there room?")
