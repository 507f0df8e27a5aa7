"""The API server's journal: one append-only table in SQLite (WAL), a row for each change.

The row's id is the version of the change, so writes go to the end of one B-tree. An acknowledged write survives a
kill of the process (durability `process`) or of the machine (`full`: one fsync for each batch). A database that cannot
be read is kept aside under another name, never emptied.
"""

from __future__ import annotations

import enum
import fcntl
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairway.apiserver.store import Row
from fairway.values.errors import UnavailableError

_log = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    version  INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    key      TEXT NOT NULL,
    deleted  INTEGER NOT NULL,
    at       REAL NOT NULL,
    data     BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
FORMAT = 1
# Pages of the log after which the database file is brought up to date, in a thread of its own.
_CHECKPOINT_BYTES = 8 << 20


class Durability(enum.Enum):
    """What an acknowledged write survives."""

    PROCESS = "process"
    FULL = "full"


class SqliteJournal:
    """Opens or makes the database; raises UnavailableError when it is corrupt or somebody else's."""

    def __init__(self, path: Path, durability: Durability = Durability.PROCESS) -> None:
        self._path = path
        self._durability = durability
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_name(path.name + ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UnavailableError(f"{path}: another process has this database open") from None
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise self._corrupt(error) from None
        except UnavailableError:
            self._lock.close()
            raise
        self._checkpointing = threading.Event()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if self._durability is Durability.FULL else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("PRAGMA cache_size=-2000")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, FORMAT):
            raise UnavailableError(
                f"{self._path}: written by another version of Fairway (format {found}, this is {FORMAT})"
            )
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version={FORMAT}")
        return db

    def _corrupt(self, error: sqlite3.DatabaseError) -> UnavailableError:
        number = 0
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        for suffix in ("", "-wal", "-shm"):
            source = self._path.with_name(self._path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        return UnavailableError(
            f"{self._path}: the database is corrupt ({error}); it was kept as {aside}. "
            "Start again for an empty one, or put a copy back."
        )

    # ---- reading ----------------------------------------------------------------------------------------------
    def rows(self) -> Iterator[Row]:
        """Every row, oldest first."""
        query = "SELECT version, resource, key, data, deleted, at FROM changes ORDER BY version"
        for version, resource, key, data, deleted, at in self._db.execute(query):
            yield Row(version, resource, key, data, bool(deleted), at)

    def compacted(self) -> int:
        """Versions up to this one have no history."""
        found = self._db.execute("SELECT value FROM facts WHERE name='compacted'").fetchone()
        return int(found[0]) if found else 0

    # ---- writing ----------------------------------------------------------------------------------------------
    def append(self, rows: Sequence[Row], forgotten: Sequence[int], compacted: int) -> None:
        """One transaction; raises OSError with the reason when nothing of it was written."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO changes (version, resource, key, data, deleted, at) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            if forgotten:
                db.executemany("DELETE FROM changes WHERE version = ?", [(v,) for v in forgotten])
                db.execute("INSERT OR REPLACE INTO facts VALUES ('compacted', ?)", (compacted,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise OSError(f"the database cannot be written: {error}") from None
        self._maybe_checkpoint()

    def _maybe_checkpoint(self) -> None:
        try:
            size = self._path.with_name(self._path.name + "-wal").stat().st_size
        except OSError:
            return
        if size > 8 * _CHECKPOINT_BYTES:
            # Writes came so fast that the thread never saw the end of the log: what little is left is done here.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if size > _CHECKPOINT_BYTES and not self._checkpointing.is_set():
            self._checkpointing.set()
            threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True).start()

    def _checkpoint(self) -> None:
        """In a thread with a connection of its own, because it waits for the disk; writers are never in its way."""
        try:
            db = sqlite3.connect(self._path, timeout=1)
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                db.close()
        except sqlite3.Error as error:
            _log.warning("checkpoint failed, tried again after the next write reason=%s", error)
        finally:
            self._checkpointing.clear()

    def close(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._lock.close()
