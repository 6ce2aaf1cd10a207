"""What a station keeps over a kill or a power cut: a SQLite file, written before the frame goes out."""

import sqlite3
from pathlib import Path

from twin.engine.station import Persist

_TABLE = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class StoreError(Exception):
    """The file cannot be read or written; the text says which and why."""


class StationStore:
    """Keys and values as ``Persist`` commands name them. One process at a time holds the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.execute(_TABLE)
            self._file.execute("BEGIN IMMEDIATE")  # takes the lock now, not at the first frame
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            self._file.close()
            raise StoreError(f"{path}: {error}") from error

    def held(self) -> dict[str, bytes]:
        """Everything that was persisted, by key."""
        try:
            return dict(self._file.execute("SELECT key, value FROM kept ORDER BY key"))
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def write(self, commands: list[Persist]) -> None:
        """All of them or none, durable when this returns. A key that ends in "/" removes all below it."""
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for command in commands:
                if command.value is not None:
                    self._file.execute("REPLACE INTO kept VALUES (?, ?)", (command.key, command.value))
                elif command.key.endswith("/"):
                    after = command.key[:-1] + "0"  # the character behind "/"
                    self._file.execute("DELETE FROM kept WHERE key > ? AND key < ?", (command.key, after))
                else:
                    self._file.execute("DELETE FROM kept WHERE key = ?", (command.key,))
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._file.close()
