"""Columns for readers: Arrow streams as far as `value` and `typed` need them.

`RowStream` makes a stream out of blocks of Python values, one block at a time; `WatchedStream` passes on another.
"""

import ctypes
import errno
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from adbc_driver_manager import ArrowArrayStreamHandle

from reconciler.arrow import FILL, FREE, SAY, Array, Pointer, Schema, StreamStructure

Block = tuple[Sequence[str | None], Sequence[bool] | None]
"""Values (None: NULL), and for each whether the source typed it as an id; None instead: all are."""

_NULLABLE = 2


class Stream:
    """A stream that remembers why it broke; `open` hands it to a reader, once."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.words = b""

    def open(self) -> ArrowArrayStreamHandle:
        """Give the stream; it keeps this object alive until it is released."""
        handle = ArrowArrayStreamHandle()
        stream = StreamStructure.from_address(handle.address)
        stream.get_schema, stream.get_next = _address(_GET_SCHEMA), _address(_GET_NEXT)
        stream.get_last_error, stream.release = _address(_GET_LAST_ERROR), _address(_RELEASE_STREAM)
        stream.private_data = _keep(self)
        return handle

    def serve(self, what: Callable[[int], None], address: int) -> int:
        """Do it, or keep the failure: nothing may be raised through C. Gives an errno."""
        try:
            what(address)
        except BaseException as failure:
            self.failure = failure.with_traceback(None)  # its frames would keep the reader's connection alive
            self.words = str(failure).encode()
            return errno.EIO
        return 0

    def write_schema(self, address: int) -> None:
        raise NotImplementedError

    def write_next(self, address: int) -> None:
        raise NotImplementedError


class RowStream(Stream):
    """`value` and `typed` over blocks of Python values that are made while it is read."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        super().__init__()
        self._blocks = blocks

    def write_schema(self, address: int) -> None:
        value, typed = Schema(), Schema()
        _write_schema(value, b"u", b"value", _NULLABLE, ())
        _write_schema(typed, b"b", b"typed", 0, ())
        _write_schema(Schema.from_address(address), b"+s", b"", 0, (value, typed))

    def write_next(self, address: int) -> None:
        block = next(self._blocks, None)
        if block is None:
            Array.from_address(address).release = None
        else:
            _write_batch(address, *block)


class WatchedStream(Stream):
    """Somebody else's stream, passed on as it is; its errors become `failure`s."""

    def __init__(self, inner: ArrowArrayStreamHandle) -> None:
        super().__init__()
        self._inner = inner

    def write_schema(self, address: int) -> None:
        self._call("get_schema", address)

    def write_next(self, address: int) -> None:
        self._call("get_next", address)

    def close(self) -> None:
        """Release what is behind; the stream itself then ends in an error."""
        self._inner.release()

    def _call(self, name: str, out: int) -> None:
        if not self._inner.is_valid:
            raise BrokenStream("the stream was closed")
        address = self._inner.address
        stream = StreamStructure.from_address(address)
        if FILL(getattr(stream, name))(address, out):
            words = SAY(stream.get_last_error)(address)
            raise BrokenStream((words or b"").decode(errors="replace"))


class BrokenStream(Exception):
    """A stream of somebody else ended in an error; its words."""


class _Owner:
    """Keeps the memory of one C structure."""

    def __init__(self, *memory: Any) -> None:
        self.memory = memory


def _keep(owner: object) -> int:
    """Hold a reference on behalf of C; `_drop` gives it back."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    return id(owner)


def _drop(address: int) -> None:
    ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))


def _address(function: Any) -> int | None:
    return ctypes.cast(function, Pointer).value


def _pointers(addresses: Sequence[int | None]) -> Any:
    return (Pointer * len(addresses))(*addresses)


# --- what a reader calls; one C function each, for the life of the process ----------------------------------------


def _get_schema(stream: int, schema: int) -> int:
    owner = _owner_of(stream)
    return owner.serve(owner.write_schema, schema)


def _get_next(stream: int, batch: int) -> int:
    owner = _owner_of(stream)
    return owner.serve(owner.write_next, batch)


def _get_last_error(stream: int) -> int | None:
    return ctypes.cast(ctypes.c_char_p(_owner_of(stream).words), Pointer).value


def _release_stream(address: int) -> None:
    _release(StreamStructure.from_address(address))


def _release_schema(address: int) -> None:
    schema = Schema.from_address(address)
    _release_children(schema, Schema)
    _release(schema)


def _release_array(address: int) -> None:
    batch = Array.from_address(address)
    _release_children(batch, Array)
    _release(batch)


_GET_SCHEMA = FILL(_get_schema)
_GET_NEXT = FILL(_get_next)
_GET_LAST_ERROR = ctypes.CFUNCTYPE(Pointer, Pointer)(_get_last_error)
_RELEASE_STREAM = FREE(_release_stream)
_RELEASE_SCHEMA = FREE(_release_schema)
_RELEASE_ARRAY = FREE(_release_array)


def _owner_of(stream: int) -> Stream:
    owner: Stream = ctypes.cast(StreamStructure.from_address(stream).private_data, ctypes.py_object).value
    return owner


def _release(structure: Any) -> None:
    owner, structure.private_data, structure.release = structure.private_data, None, None
    _drop(owner)


def _release_children(parent: Any, kind: Any) -> None:
    """Release the children that no reader has moved away."""
    for address in (Pointer * parent.n_children).from_address(parent.children) if parent.n_children else ():
        child = kind.from_address(address)
        if child.release:
            _release(child)


# --- writing ------------------------------------------------------------------------------------------------------


def _write_schema(schema: Any, form: bytes, name: bytes, flags: int, children: Sequence[Schema]) -> None:
    addresses = _pointers([ctypes.addressof(child) for child in children])
    schema.format, schema.name, schema.metadata, schema.flags = form, name, None, flags
    schema.n_children, schema.children = len(children), ctypes.addressof(addresses)
    schema.dictionary, schema.release = None, _address(_RELEASE_SCHEMA)
    schema.private_data = _keep(_Owner(addresses, children, form, name))


def _write_array(target: Any, length: int, nulls: int, buffers: Sequence[Any], children: Sequence[Array]) -> None:
    """`buffers` are bytes, arrays or None."""
    addresses = _pointers([_start(buffer) for buffer in buffers])
    below = _pointers([ctypes.addressof(child) for child in children])
    target.length, target.null_count, target.offset = length, nulls, 0
    target.n_buffers, target.buffers = len(buffers), ctypes.addressof(addresses)
    target.n_children, target.children = len(children), ctypes.addressof(below)
    target.dictionary, target.release = None, _address(_RELEASE_ARRAY)
    target.private_data = _keep(_Owner(addresses, below, buffers, children))


def _start(buffer: "bytes | array[int] | None") -> int | None:
    if buffer is None:
        return None
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), Pointer).value
    return buffer.buffer_info()[0]


def _write_batch(address: int, values: Sequence[str | None], typed: Sequence[bool] | None) -> None:
    try:
        texts = [b"" if value is None else value.encode() for value in values]
    except UnicodeEncodeError:
        _write_batch(address, *_without_broken(values, typed))
        return
    offsets = array("i", accumulate(map(len, texts), initial=0))
    nulls = sum(value is None for value in values)
    present = _bits([value is not None for value in values]) if nulls else None
    length = len(values)
    column, flags = Array(), Array()
    _write_array(column, length, nulls, (present, offsets, b"".join(texts)), ())
    _write_array(flags, length, 0, (None, _bits(typed) if typed is not None else _ones(length)), ())
    _write_array(Array.from_address(address), length, 0, (None,), (column, flags))


def _without_broken(values: Sequence[str | None], typed: Sequence[bool] | None) -> Block:
    """Half a surrogate pair is no text; such a value is of a wrong type."""
    fine = [value is None or value.isascii() or value.encode(errors="ignore").decode() == value for value in values]
    kept = [value if good else "" for value, good in zip(values, fine, strict=True)]
    return kept, [good and was for good, was in zip(fine, typed or [True] * len(kept), strict=True)]


def _bits(flags: Sequence[bool]) -> bytes:
    """Pack into bits, the first in the lowest."""
    number = int("".join("1" if flag else "0" for flag in reversed(flags)) or "0", 2)
    return number.to_bytes(len(flags) // 8 + 1, "little")


def _ones(length: int) -> bytes:
    return b"\xff" * (length // 8 + 1)
