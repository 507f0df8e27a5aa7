"""The journal on a real file: all or nothing, found again, and a broken file is kept, not emptied."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fairway.apiserver.store import Row, Store
from fairway.io.storage.journal import Durability, SqliteJournal
from fairway.values.errors import UnavailableError


def row(version: int, key: str = "default/a", *, deleted: bool = False) -> Row:
    return Row(version, "pods", key, f"data-{version}".encode(), deleted, float(version))


@pytest.mark.parametrize("durability", list(Durability))
def test_rows_are_found_again(tmp_path: Path, durability: Durability) -> None:
    journal = SqliteJournal(tmp_path / "db", durability)
    journal.append([row(4), row(5, "default/b"), row(6, deleted=True)], [], 0)
    journal.close()

    again = SqliteJournal(tmp_path / "db", durability)

    assert list(again.rows()) == [row(4), row(5, "default/b"), row(6, deleted=True)]
    again.close()


def test_forgotten_rows_go_and_the_window_is_remembered(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "db")
    journal.append([row(4), row(5)], [], 0)
    journal.append([row(6)], [4], 5)

    assert [r.version for r in journal.rows()] == [5, 6]
    assert journal.compacted() == 5
    journal.close()


def test_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "db")
    journal.append([row(4)], [], 0)

    with pytest.raises(OSError, match="cannot be written"):
        journal.append([row(5), row(4)], [], 0)

    assert [r.version for r in journal.rows()] == [4]
    journal.append([row(5)], [], 0)
    journal.close()


def test_full_disk_is_told_and_heals(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "db")
    journal._db.execute("PRAGMA max_page_count=10")
    large = row(4)._replace(data=b"x" * 100_000)

    with pytest.raises(OSError, match="full"):
        journal.append([large], [], 0)

    journal._db.execute("PRAGMA max_page_count=1000000")
    journal.append([large], [], 0)
    assert [r.version for r in journal.rows()] == [4]
    journal.close()


def test_corrupt_database_is_kept_aside_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"this is no database" * 1000)

    with pytest.raises(UnavailableError, match=r"corrupt.*kept as"):
        SqliteJournal(path)

    assert (tmp_path / "db.corrupt-0").read_bytes().startswith(b"this is no database")
    SqliteJournal(path).close()


def test_database_of_another_format_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()

    with pytest.raises(UnavailableError, match="format 99"):
        SqliteJournal(path)

    assert path.exists()


def test_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "db")
    for version in range(4, 2004):
        journal.append([row(version)._replace(data=b"x" * 10_000)], [version - 1], version - 1)

    assert (tmp_path / "db-wal").stat().st_size < 100 << 20
    journal.close()


def test_store_comes_back_as_it_was(tmp_path: Path) -> None:
    journal, store = SqliteJournal(tmp_path / "db"), Store()
    store.put("pods", "default/a", b"1", 1.0)
    store.put("pods", "default/b", b"2", 1.0)
    store.delete("pods", "default/a", b"1", 2.0)
    changes, forgotten = store.take_pending(2.0)
    journal.append([Row(c.version, c.resource, c.key, c.data, c.deleted, c.at) for c in changes], forgotten, 0)

    again = Store()
    again.restore(journal.rows(), journal.compacted())

    assert again.entries("pods") == store.entries("pods")
    assert [c.version for c in again.since(3)] == [4, 5, 6]
    journal.close()
