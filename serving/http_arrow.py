"""Arrow IPC streams from strangers: read into columns without a surprise, and written.

A stream may say that a small buffer unpacks to terabytes, or hold types that mean nothing here; both are refused before any memory is taken.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..datasets.errors import FormatError, TableError
from .http_answers import Answered
from .http_columns import Coded, Column

#: Message.header_type of the Arrow format (Message.fbs)
_DICTIONARY, _RECORDS = 2, 3


def read_columns(body: bytes, most_rows: int) -> tuple[dict[str, Column], int]:
    """(columns, rows) of an IPC stream. Raises FormatError for what is none, TableError for too many rows or a type that is no number or text."""
    import pyarrow as pa

    try:
        _uncompressed(body, most_rows)
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise FormatError(f"request: not a readable Arrow IPC stream ({str(error)[:200]})") from None
    if table.num_rows > most_rows:
        raise TableError(f"request: {table.num_rows:,} rows; {most_rows:,} are the most at once")
    if len(set(table.column_names)) != len(table.column_names):
        raise TableError("request: two columns have the same name")
    return {name: _column(name, table.column(name)) for name in table.column_names}, table.num_rows


def _column(name: str, chunked: Any) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = chunked.type
    if pa.types.is_dictionary(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        found = chunked.unify_dictionaries().combine_chunks()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        found = pc.dictionary_encode(chunked).combine_chunks()
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(chunked.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    else:
        raise TableError(f"column {name[:80]}: expected numbers or texts, got {kind}")
    if isinstance(found, pa.ChunkedArray):  # no rows: no chunks
        found = found.chunk(0) if found.num_chunks else pa.array([], type=pa.dictionary(pa.int32(), pa.string()))
    codes = pc.fill_null(found.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return Coded(codes, tuple(found.dictionary.to_pylist()))


def write(answered: Answered) -> bytes:
    """T, T_low, T_high, domain, domain_reason, calibrated, novelty, nearest (both null where a student answered), error; model, version, level and units in the schema's metadata."""
    import json

    import pyarrow as pa

    arrays: dict[str, Any] = {}
    for name, values in answered.coded().items():
        if isinstance(values, Coded):
            arrays[name] = pa.DictionaryArray.from_arrays(pa.array(values.codes.astype(np.int32), mask=_absent(values) if name == "nearest" else None), pa.array([_text(v) for v in values.values], type=pa.string()))
        else:
            arrays[name] = pa.array(values, from_pandas=values.dtype == np.float64)
    model = answered.model
    about = {"model": model.name, "version": model.version, "level": f"{answered.level:g}", "units": json.dumps(answered.units()), "speed": answered.speed}
    table = pa.table(arrays).replace_schema_metadata({k.encode(): _text(v).encode() for k, v in about.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _absent(values: Coded) -> np.ndarray:
    return np.array([one == "" for one in values.values], dtype=bool)[values.codes]


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _uncompressed(body: bytes, most_rows: int) -> None:
    """Raises ValueError for a stream with compressed buffers or more rows than `most_rows`, from the messages' metadata alone."""
    import pyarrow as pa

    rows = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        meta = memoryview(message.metadata)
        header = _Table(meta, struct.unpack_from("<I", meta, 0)[0])
        kind = header.scalar(1, "<B")
        if kind not in (_DICTIONARY, _RECORDS):
            continue
        batch = header.table(2)
        if batch is not None and kind == _DICTIONARY:
            batch = batch.table(1)
        if batch is None:
            raise ValueError("a batch without a header")
        if batch.at(3):
            raise ValueError("its buffers are compressed; send them as they are")
        length = batch.scalar(0, "<q")
        rows += length if kind == _RECORDS else 0
        if not 0 <= length <= 2**31 or rows > max(most_rows, 1):
            raise ValueError(f"it says it has {max(rows, length):,} rows; {most_rows:,} are the most at once")


class _Table:
    """A table of a FlatBuffer at `place`: enough of the format to read two fields."""

    def __init__(self, data: memoryview, place: int) -> None:
        self._data, self._place = data, place
        self._fields = place - struct.unpack_from("<i", data, place)[0]

    def at(self, field: int) -> int:
        """Where a field lies, 0 where it is absent."""
        size = struct.unpack_from("<H", self._data, self._fields)[0]
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, self._fields + slot)[0] if slot + 2 <= size else 0
        return self._place + offset if offset else 0

    def scalar(self, field: int, form: str) -> int:
        """A number, 0 where it is absent."""
        place = self.at(field)
        return int(struct.unpack_from(form, self._data, place)[0]) if place else 0

    def table(self, field: int) -> _Table | None:
        """A table inside, None where it is absent."""
        place = self.at(field)
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0]) if place else None
