"""What judges have said, by request: `<root>/judge/*.jsonl`, so that equal questions are asked once for all runs.

Every writer has a file of its own, begun with its first reply: any number of processes may judge at once, and a kill
tears at most the last line of one file.
"""

from __future__ import annotations

import os
import weakref
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from keepsight.store.files import Journal, read_rows
from keepsight.store.schema import ReplyRow
from keepsight.types import Output

__all__ = ["JudgeReplies"]


class JudgeReplies:
    """The replies below one directory as they were when the first was looked for, and those kept since."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "judge"

    @cached_property
    def _known(self) -> dict[str, ReplyRow]:
        files = sorted(self._folder.glob("*.jsonl")) if os.path.isdir(self._folder) else []
        return {row.key: row for path in files for row in read_rows(path, ReplyRow)}

    @cached_property
    def _journal(self) -> Journal:
        journal = Journal(self._folder / f"{uuid4().hex}.jsonl")
        weakref.finalize(self, journal.close)
        return journal

    def recall(self, key: str) -> Output | None:
        """The reply to this request, if there was one. Raises KeepsightError when a file is damaged."""
        row = self._known.get(key)
        return None if row is None else Output(row.text, stop=row.stop, usage=row.usage)

    def keep(self, key: str, reply: Output) -> None:
        """Appends a reply; it is with the operating system when this returns."""
        text = reply.text.encode("utf-8", "backslashreplace").decode()
        row = ReplyRow(key=key, text=text, stop=reply.stop, usage=dict(reply.usage))
        self._known[key] = row
        self._journal.append(row)
