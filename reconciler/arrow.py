"""The structures of the Arrow C data and C stream interface, and what is read of them in Python.

Source: https://arrow.apache.org/docs/format/CDataInterface.html
"""

import ctypes
from collections.abc import Iterator
from itertools import pairwise

from adbc_driver_manager import ArrowArrayStreamHandle

from reconciler.models.columns import ArrowStream

Pointer = ctypes.c_void_p


class Schema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", ctypes.c_char_p),
        ("flags", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class Array(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", Pointer),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class StreamStructure(ctypes.Structure):
    _fields_ = (
        ("get_schema", Pointer),
        ("get_next", Pointer),
        ("get_last_error", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = Pointer
_get_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


def take(capsule: object) -> ArrowArrayStreamHandle:
    """Move a stream out of its capsule into a handle that also tells its schema, without which DuckDB reads twice."""
    handle = ArrowArrayStreamHandle()
    address = _get_pointer(capsule, b"arrow_array_stream")
    ctypes.memmove(handle.address, address, ctypes.sizeof(StreamStructure))
    StreamStructure.from_address(address).release = None
    return handle


class Once:
    """A stream that gives its one capsule to whoever asks: DuckDB asks twice, for the schema and for the rows."""

    def __init__(self, stream: ArrowStream) -> None:
        self._stream = stream
        self._capsule: object | None = None

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._capsule is None:
            self._capsule = self._stream.__arrow_c_stream__(requested_schema)
        return self._capsule


FILL = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer)
SAY = ctypes.CFUNCTYPE(ctypes.c_char_p, Pointer)
FREE = ctypes.CFUNCTYPE(None, Pointer)


def read_texts(stream: ArrowStream) -> list[tuple[str, ...]]:
    """Read a small stream whole; its columns are text, without nulls. Raises OSError, ValueError."""
    handle = take(stream.__arrow_c_stream__())
    try:
        return [row for batch in _batches(handle.address) for row in _rows(batch)]
    finally:
        handle.release()


def _batches(address: int) -> Iterator[Array]:
    """Give the batches; each goes when the next one is asked for."""
    stream = StreamStructure.from_address(address)
    while True:
        batch = Array()
        if code := FILL(stream.get_next)(address, ctypes.addressof(batch)):
            words = SAY(stream.get_last_error)(address)
            raise OSError(code, (words or b"").decode(errors="replace"))
        if not batch.release:
            return
        try:
            yield batch
        finally:
            FREE(batch.release)(ctypes.addressof(batch))


def _rows(batch: Array) -> Iterator[tuple[str, ...]]:
    children = (Pointer * batch.n_children).from_address(batch.children)
    return zip(*(_texts(Array.from_address(child)) for child in children), strict=True)


def _texts(column: Array) -> list[str]:
    """A column of format `u`: offsets of 32 bits, and bytes."""
    if column.n_buffers != 3:
        raise ValueError("a column is no text")
    present, places, data = (Pointer * 3).from_address(column.buffers)
    if _has_nulls(column, present):
        raise ValueError("a column is no text everywhere")
    offsets = (ctypes.c_int32 * (column.offset + column.length + 1)).from_address(places)[column.offset :]
    first = data or 0  # where all are empty there need be no bytes
    return [ctypes.string_at(first + start, end - start).decode() for start, end in pairwise(offsets)]


def _has_nulls(column: Array, present: int | None) -> bool:
    """Look at the bits, one for each row that is no null; who writes a stream need not have counted them."""
    if column.null_count == 0 or not present:
        return False
    end = column.offset + column.length
    bits = ctypes.string_at(present, -(-end // 8))
    return any(not bits[row // 8] >> row % 8 & 1 for row in range(column.offset, end))
