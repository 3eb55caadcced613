"""Picture sets that are tables: parquet files, and Hugging Face data sets on disk or on the hub."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.data.confine import RemoteSource, Unreadable, picture_at
from keepsight.data.labelled import LabelledSet, Rows, label_text
from keepsight.data.splits import SPLIT_NAMES, settle
from keepsight.limits import limit
from keepsight.types import KeepsightError, Media

__all__ = [
    "IMAGE_COLUMNS",
    "LABEL_COLUMNS",
    "dataset_rows",
    "opened_parquet",
    "parquet_rows",
    "read_dataset",
    "read_parquet",
]

# MNIST, CIFAR-10, CIFAR-100 and miniImagenet on the hub use these; the first that is there counts.
IMAGE_COLUMNS = ("image", "img", "picture", "pixels")
LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "class_name", "target")

_ROWS_AT_ONCE = 64
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-_./])({'|'.join(SPLIT_NAMES)})(?=[-_.]|$)")


@dataclass(frozen=True)
class _Table:
    """One part's label column and a way to the pictures of chosen rows."""

    prefix: str
    values: Sequence[Any]
    names: Sequence[str]  # of a label column that holds class numbers
    cells: Callable[[Sequence[int]], list[Any]]
    root: Path  # pictures given by path lie in here
    remote: RemoteSource | None = None


def read_parquet(
    path: str | Path, labels: Sequence[str] = (), *, remote: RemoteSource | None = None
) -> LabelledSet:
    """A parquet file, or a folder of them (`train-00000-of-00002.parquet`, `data/test-....parquet`).

    The picture column is `struct<bytes, path>` or plain bytes, the label column class numbers (named by the file's
    Hugging Face metadata or by `labels`) or strings.

    Raises:
        KeepsightError: no such file, no picture or label column, or class numbers without names.
    """
    path = Path(path)
    files = _parquet_files(path)
    parts: dict[str, list[_Table]] = defaultdict(list)
    for file in files:
        relative = file.relative_to(path).as_posix() if os.path.isdir(path) else file.name
        found = _SPLIT_IN_NAME.search(relative)
        table = _parquet_table(file, relative, labels, remote)
        parts[SPLIT_NAMES[found[1]] if found else "all"].append(table)
    return _labelled_set(path.stem if os.path.isfile(path) else path.resolve().name, parts, labels)


def read_dataset(
    ref: str | Path, labels: Sequence[str] = (), *, remote: RemoteSource | None = None
) -> LabelledSet:
    """A directory written by `datasets.save_to_disk`, or a hub id as `hf:org/name`.

    Raises:
        KeepsightError: not such a directory, the hub cannot be reached, no picture or label column.
    """
    text = str(ref)
    if text.startswith("hf:"):
        name, loaded, root = text.rsplit("/", 1)[-1].removeprefix("hf:"), _from_hub(text[3:]), _hub_cache()
    else:
        name, loaded, root = Path(text).resolve().name, _from_disk(Path(text)), Path(text)
    splits = loaded.items() if isinstance(loaded, dict) else [("all", loaded)]
    parts: dict[str, list[_Table]] = defaultdict(list)
    for split, data in splits:
        table = _dataset_table(text, split, data, labels, root, remote)
        parts[SPLIT_NAMES.get(split.lower(), split)].append(table)
    return _labelled_set(name, parts, labels)


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, row) pairs of a parquet file or a folder of them; of files with a split, the training part.

    Raises:
        KeepsightError: a file that is damaged or above the limits.
    """
    import pyarrow as pa

    files = _parquet_files(path)
    parts = [_SPLIT_IN_NAME.search(file.relative_to(path).as_posix() or file.name) for file in files]
    if any(part and SPLIT_NAMES[part[1]] == "train" for part in parts):
        files = [file for file, part in zip(files, parts) if part and SPLIT_NAMES[part[1]] == "train"]
    for file in files:
        number = 0
        try:
            for batch in opened_parquet(file).iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    yield f"{file.name}, row {number}", row
                    number += 1
        except (*_FAULTS, pa.ArrowException) as error:
            raise _damaged(file, error) from error


def dataset_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, row) pairs of a directory of `datasets.save_to_disk`: its training part, if it has parts.

    Pictures come as `{"bytes", "path"}`, not decoded. Raises KeepsightError when it is no such directory.
    """
    loaded = _from_disk(path)
    data = loaded.get("train") or next(iter(loaded.values())) if isinstance(loaded, dict) else loaded
    tables = data.with_format("arrow")
    for start in range(0, len(data), _ROWS_AT_ONCE):
        rows = tables[start : start + _ROWS_AT_ONCE].to_pylist()
        yield from ((f"row {start + i}", row) for i, row in enumerate(rows))


def _parquet_files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.parquet")) if os.path.isdir(path) else [path]
    if not files:
        raise KeepsightError(f"no parquet files in {path}")
    return files


def _labelled_set(name: str, parts: Mapping[str, Sequence[_Table]], labels: Sequence[str]) -> LabelledSet:
    order = tuple(labels) or _label_order([table for tables in parts.values() for table in tables])
    rows, notes = {}, []
    for part, tables in parts.items():
        rows[part], unlabelled = _joined(tables, order)
        notes += [f"{unlabelled} {part} rows have no label."] if unlabelled else []
    splits, choices = settle(name, rows)
    noun = "number" if all(label.isdecimal() for label in order) else "object"
    distinct = tuple(dict.fromkeys(order))  # places name class numbers, so that they are merged last
    notes += [f"{len(order)} classes have {len(distinct)} names."] * (len(distinct) < len(order))
    return LabelledSet(name, distinct, splits, noun, (*choices, *notes))


def _label_order(tables: Sequence[_Table]) -> tuple[str, ...]:
    """The order of the class numbers; of string labels the sorted order."""
    for table in tables:
        if table.names:
            return tuple(label_text(name) for name in table.names)
    found = {label_text(value) for table in tables for value in table.values if value is not None}
    return tuple(sorted(found, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name)))


def _joined(tables: Sequence[_Table], order: Sequence[str]) -> tuple[Rows, int]:
    """The labelled rows of several tables as one, and how many rows had no label (None or -1)."""
    places = [(t, i) for t, table in enumerate(tables) for i in range(len(table.values))]
    names = [_label(tables[t], i, order) for t, i in places]
    kept = [k for k, name in enumerate(names) if name is not None]

    def fetch(chosen: Sequence[int]) -> list[Media]:
        wanted: dict[int, list[int]] = defaultdict(list)
        for k in chosen:
            table, row = places[kept[k]]
            wanted[table].append(row)
        cells = {(t, i): cell for t, rows in wanted.items() for i, cell in zip(rows, tables[t].cells(rows))}
        return [
            _media(tables[places[kept[k]][0]], places[kept[k]][1], cells[places[kept[k]]]) for k in chosen
        ]

    ids = tuple(f"{tables[places[k][0]].prefix}/{places[k][1]:06d}" for k in kept)
    return Rows(ids, tuple(str(names[k]) for k in kept), fetch), len(places) - len(kept)


def _label(table: _Table, row: int, order: Sequence[str]) -> str | None:
    value = table.values[row]
    if value is None or value == -1:
        return None
    if isinstance(value, str):
        return label_text(value)
    names = table.names or order
    if not 0 <= value < len(names):
        raise KeepsightError(
            f"{table.root}: {table.prefix}, row {row}: class number {value}, but there are {len(names)} labels"
        )
    name = label_text(names[value])
    # A known set's own spelling wins over the table's (the hub's CIFAR-100 says "cra" for crab), place by place.
    return name if name in order or len(names) != len(order) else order[value]


def _media(table: _Table, row: int, cell: Any) -> Media:
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if data:
        return Media(data=bytes(data))
    if path:
        try:
            return picture_at(table.root, str(path), table.remote)
        except KeepsightError as error:
            return Unreadable(path=table.root, fault=f"{table.prefix}, row {row}: {error}")
    fault = f"{table.prefix}, row {row}: the picture column is empty; remove the row"
    return Unreadable(path=table.root, fault=fault)


def _column(source: str, there: Sequence[str], wanted: Sequence[str], what: str) -> str:
    for name in wanted:
        if name in there:
            return name
    raise KeepsightError(
        f"{source}: no {what} column among {', '.join(there) or 'no columns'}; name one of them {wanted[0]!r}"
    )


def _check_labels(source: str, values: Sequence[Any], names: Sequence[str], labels: Sequence[str]) -> None:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, bool) or not isinstance(first, (str, int, type(None))):
        raise KeepsightError(f"{source}: labels are {type(first).__name__}, not class numbers or names")
    if isinstance(first, int) and not names and not labels:
        raise KeepsightError(
            f"{source}: the labels are numbers without names; store the names as strings instead"
        )


# What pyarrow raises on damaged files besides its own errors.
_FAULTS = (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError)


def opened_parquet(file: Path) -> Any:
    """The parquet file, its sizes checked against the limits before a row is read: a small file can unpack to anything."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    about = parquet.metadata
    if about.num_rows > (most := limit("MAX_ROWS")):
        raise KeepsightError(
            f"{file} has {about.num_rows:,} rows, more than {most:,}; set KEEPSIGHT_MAX_ROWS"
        )
    most = limit("MAX_TABLE_BYTES")
    for group in range(about.num_row_groups):
        part = about.row_group(group)
        sizes = [part.column(i).total_uncompressed_size for i in range(part.num_columns)]
        if max(sizes, default=0) > most:
            raise KeepsightError(
                f"{file}: row group {group} is larger than {most:,} bytes; write smaller row groups"
            )
    return parquet


def _damaged(file: Path, error: Exception) -> KeepsightError:
    return KeepsightError(f"cannot read {file}: {' '.join(str(error).split())[:300]}; give a parquet file")


def _parquet_table(file: Path, relative: str, labels: Sequence[str], remote: RemoteSource | None) -> _Table:
    import pyarrow as pa

    try:
        parquet = opened_parquet(file)
        columns = parquet.schema_arrow.names
        image = _column(str(file), columns, IMAGE_COLUMNS, "picture")
        label = _column(str(file), columns, LABEL_COLUMNS, "label")
        values = parquet.read(columns=[label]).column(label).to_pylist()
        metadata = parquet.schema_arrow.metadata or {}
    except (*_FAULTS, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    names = _class_label_names(metadata, label)
    _check_labels(str(file), values, names, labels)
    return _Table(
        relative, values, names, lambda rows: _parquet_cells(file, image, rows), file.parent, remote
    )


def _parquet_cells(file: Path, column: str, rows: Sequence[int]) -> list[Any]:
    """Cells of one column at increasing or any rows, reading only the row groups that hold them."""
    import pyarrow as pa

    try:
        return _cells(opened_parquet(file), column, rows)
    except (*_FAULTS, pa.ArrowException) as error:
        raise _damaged(file, error) from error


def _cells(parquet: Any, column: str, rows: Sequence[int]) -> list[Any]:
    wanted, start = set(rows), 0
    cells: dict[int, Any] = {}
    for group in range(parquet.num_row_groups):
        stop = start + parquet.metadata.row_group(group).num_rows
        inside = sorted(row for row in wanted if start <= row < stop)
        if inside:
            group_rows = parquet.read_row_group(group, columns=[column]).column(column)
            cells.update(zip(inside, group_rows.take([row - start for row in inside]).to_pylist()))
        start = stop
    return [cells[row] for row in rows]


def _class_label_names(metadata: Mapping[bytes, bytes], column: str) -> list[str]:
    """Names that Hugging Face datasets keeps for a ClassLabel column in the schema's metadata."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _dataset_table(
    source: str, split: str, data: Any, labels: Sequence[str], root: Path, remote: RemoteSource | None
) -> _Table:
    from datasets import Image

    image = _column(source, data.column_names, IMAGE_COLUMNS, "picture")
    label = _column(source, data.column_names, LABEL_COLUMNS, "label")
    try:
        values, names = list(data[label]), list(getattr(data.features[label], "names", None) or [])
    except Exception as error:  # damaged tables raise whatever their reader did not expect
        raise KeepsightError(f"cannot read data set {root}: {' '.join(str(error).split())[:300]}") from error
    _check_labels(source, values, names, labels)
    try:
        encoded = data.select_columns([image]).cast_column(image, Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise KeepsightError(
            f"{source}: column {image!r} does not hold encoded pictures ({error})"
        ) from error
    return _Table(split, values, names, lambda rows: list(encoded.select(list(rows))[image]), root, remote)


def _from_disk(path: Path) -> Any:
    from datasets import load_from_disk

    try:
        loaded = load_from_disk(str(path))
        for part in loaded.values() if isinstance(loaded, dict) else [loaded]:
            part.data.table.validate(full=True)  # nothing checks the offsets of a memory-mapped file later
        return loaded
    except Exception as error:  # the library raises its own, pyarrow's and the file system's errors
        raise KeepsightError(f"cannot read data set {path}: {' '.join(str(error).split())}") from error


def _from_hub(name: str) -> Any:
    from datasets import DownloadConfig, load_dataset

    try:
        return load_dataset(name, download_config=DownloadConfig(max_retries=0))
    except Exception as error:  # the same, and every way in which a network fails
        raise KeepsightError(
            f"cannot load data set hf:{name}: {' '.join(str(error).split())[:200]}; without a network connection give "
            "a local folder, parquet file or data-set directory"
        ) from error


def _hub_cache() -> Path:
    import datasets

    return Path(datasets.config.HF_CACHE_HOME)
