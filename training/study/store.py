"""results.jsonl: a finished trial a line, appended and synced; a torn last line is passed over."""

import json
import os
from pathlib import Path
from typing import Any


class Store:
    """The records of a study's folder; the last record of a key counts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"

    def read(self) -> dict[str, dict[str, Any]]:
        """Records by key, in the order they were finished."""
        found: dict[str, dict[str, Any]] = {}
        text = self.path.read_text() if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                found[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                continue  # the process was killed while it wrote: the trial is run again
        return found

    def add(self, record: dict[str, Any]) -> None:
        """Appends a record; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with open(self.path, "a") as file:
            file.write("\n" * torn + json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
