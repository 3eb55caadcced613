"""Training rows as conversations in Hugging Face's form: `{"messages": [{"role", "content"}, ...], "images": [...]}`.

`content` is a text, or a list of parts `{"type": "text", "text": ...}` and `{"type": "image"}`. Pictures stand in
`images` (or `image`) in the order of their parts: as path, or as the `{"bytes", "path"}` that data sets hold; a part may
also name its own (`{"type": "image", "image": "a.png"}`). `prompt` and `completion` instead of `messages` are read alike.
An assistant's turn may have `"weight": 0`: it is shown and not learnt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keepsight.data.confine import RemoteSource, picture_at
from keepsight.data.conversations import conversation_fields, is_learnt
from keepsight.data.json_rows import rows_of
from keepsight.data.llava import IMAGE_MARK, collected, llava_sample, prompt_without_edge_mark, sample_id
from keepsight.data.tabular import dataset_rows, parquet_rows
from keepsight.types import KeepsightError, Media, Sample

__all__ = ["messages_sample", "picture_root", "read_training_rows", "row_sample", "rows_at"]

# Columns of rows that ask for another kind of training, and which.
_OTHER_TRAINING = {
    "chosen": "preference pairs",
    "rejected": "preference pairs",
    "tools": "tool calls",
    "videos": "films",
    "video": "films",
    "audio": "sounds",
    "audios": "sounds",
}
_ROLES = ("user", "assistant")


def read_training_rows(
    path: str | Path,
    image_root: str | Path | None = None,
    *,
    remote: RemoteSource | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> list[Sample]:
    """Samples to tune on, from rows in LLaVA's form or in Hugging Face's, told apart row by row.

    Args:
        path: JSON list, JSON lines, a parquet file or a folder of them, or a directory of `datasets.save_to_disk`.
        image_root: folder that pictures' paths start from, and may not leave (default: where the file lies).
        remote: what fetches pictures given as addresses (default: they are refused).
        on_bad_row: called with one line per unusable row, which is then left out.

    Raises:
        KeepsightError: no such folder, nothing that can be read, no usable row, or (without `on_bad_row`) any bad row.
    """
    path = Path(path)
    root = picture_root(path, image_root)
    return collected(path, rows_at(path), partial(row_sample, root=root, remote=remote), on_bad_row)


def picture_root(path: Path, image_root: str | Path | None = None) -> Path:
    """The folder that the pictures of a file start from. Raises KeepsightError when it is none."""
    root = (
        Path(image_root).expanduser()
        if image_root is not None
        else path
        if os.path.isdir(path)
        else path.parent
    )
    if not os.path.isdir(root):
        raise KeepsightError(f"{root} is no folder; give the one that the rows' pictures start from")
    return root


def rows_at(path: Path) -> Iterator[tuple[str, Any]]:
    """(where it stands, row) pairs of a JSON list, JSON lines, parquet or a data set's directory."""
    if path.suffix == ".parquet" or (os.path.isdir(path) and any(path.rglob("*.parquet"))):
        return parquet_rows(path)
    return dataset_rows(path) if os.path.isdir(path) else rows_of(path)


def row_sample(
    row: Mapping[str, Any], default_id: str, *, root: Path, remote: RemoteSource | None = None
) -> Sample:
    """The sample of one row in either form. Raises KeepsightError with what is wrong with it."""
    read = llava_sample if row.get("conversations") is not None else messages_sample
    return read(row, default_id, root=root, remote=remote)


def messages_sample(
    row: Mapping[str, Any], default_id: str, *, root: Path, remote: RemoteSource | None = None
) -> Sample:
    """The sample of one row: the first user turn is the prompt, the first learnt answer the target, as for LLaVA's rows.

    Raises:
        KeepsightError: what is wrong with the row, or what of it cannot be learnt here.
    """
    pictures = _Pictures(row, root, remote)
    turns = _turns(row)
    said = [_said(turn, role, pictures) for turn, role in turns]
    exchanges = list(zip(said[::2], said[1::2]))
    prompt, media = said[0], pictures.all()
    if prompt.count(IMAGE_MARK) not in (0, len(media)):
        raise KeepsightError(f"{prompt.count(IMAGE_MARK)} picture parts for {len(media)} pictures")
    if any(IMAGE_MARK in text for text in said[1:]):
        raise KeepsightError("a picture after the first user turn; all pictures belong to that turn")
    if not all(text.strip() for text in said[1:]):
        raise KeepsightError("a turn has no text")
    return Sample(
        id=sample_id(row, default_id),
        prompt=prompt_without_edge_mark(prompt),
        media=tuple(media),
        **conversation_fields(exchanges, [is_learnt(turn) for turn, _ in turns[1::2]]),
    )


def _turns(row: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """(turn, role) pairs that alternate user, assistant."""
    if other := [kind for column, kind in _OTHER_TRAINING.items() if row.get(column) not in (None, [], "")]:
        raise KeepsightError(f"{other[0]} are not learnt here; give messages and images")
    turns = row.get("messages")
    if turns is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        turns = [*row["prompt"], *row["completion"]]
    if not isinstance(turns, list) or not turns:
        raise KeepsightError(f"no conversations and no messages among {_listed(row)}")
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if roles[0] == "system":
        raise KeepsightError("system turns are not learnt from; put the text into the first user turn")
    if strange := [role for role in roles if role not in _ROLES]:
        raise KeepsightError(f"a turn of role {strange[0]!r:.40}; only user and assistant can be learnt from")
    if len(roles) % 2 or any(role != _ROLES[i % 2] for i, role in enumerate(roles)):
        raise KeepsightError("turns must alternate user, assistant, and end with assistant")
    return list(zip(turns, map(str, roles)))


def _said(turn: Mapping[str, Any], role: str, pictures: _Pictures) -> str:
    """A turn's text, with a mark for every picture part."""
    content = turn.get("content")
    if isinstance(content, str):
        return _plain(content, role)
    if not isinstance(content, list):
        raise KeepsightError(
            f"the content of a {role} turn is a {type(content).__name__}, not a text or parts"
        )
    return "\n".join(_part(part, role, pictures) for part in content)


def _part(part: Any, role: str, pictures: _Pictures) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise KeepsightError(f"a text part of a {role} turn has no text")
        return _plain(text, role)
    if kind in ("image", "image_url"):
        pictures.take(part)
        return IMAGE_MARK
    raise KeepsightError(
        f"a part of type {kind!r:.40} in a {role} turn; only text and image can be learnt from"
    )


def _plain(text: str, role: str) -> str:
    """LLaVA's mark in a user's plain text means a picture there, too; in an answer it would be learnt as words."""
    if role == "assistant" and IMAGE_MARK in text:
        raise KeepsightError(f"an assistant turn contains {IMAGE_MARK}")
    return text


class _Pictures:
    """The pictures of one row: those of its column, and those that parts name themselves."""

    def __init__(self, row: Mapping[str, Any], root: Path, remote: RemoteSource | None) -> None:
        column = row.get("images", row.get("image"))
        cells = [] if column is None else column if isinstance(column, list) else [column]
        self._at = partial(_medium, root=root, remote=remote)
        self._column = [self._at(cell) for cell in cells]
        self._own: list[Media] = []

    def take(self, part: Mapping[str, Any]) -> None:
        """Notes the picture that a part names itself, if it does."""
        own = next(
            (part[key] for key in ("image", "image_url", "path", "url") if part.get(key) is not None), None
        )
        if own is not None:
            self._own.append(self._at(own.get("url", own) if isinstance(own, dict) else own))

    def all(self) -> Sequence[Media]:
        """All pictures in order. Raises KeepsightError when column and parts both hold some."""
        if self._column and self._own:
            raise KeepsightError("pictures both in the images column and in the parts; give them once")
        return self._column or self._own


def _medium(cell: Any, *, root: Path, remote: RemoteSource | None) -> Media:
    """The picture of one cell: a path or address, or the struct that data sets hold."""
    if isinstance(cell, dict):
        if isinstance(data := cell.get("bytes"), bytes) and data:
            return Media(data=data)
        cell = cell.get("path")
    if isinstance(cell, bytes) and cell:
        return Media(data=cell)
    if not isinstance(cell, str) or not cell:
        raise KeepsightError("a picture is neither a path nor a file's bytes")
    return picture_at(root, cell, remote)


def _listed(row: Mapping[str, Any]) -> str:
    names = ", ".join(f"{name!s:.40}" for name in list(row)[:8])
    return names or "no columns"
