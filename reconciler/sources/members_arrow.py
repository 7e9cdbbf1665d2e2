"""The rows of a comparison at the source, where an engine gives and takes them as Arrow."""

import pyarrow

ANSWER = pyarrow.schema(
    {
        "stays": pyarrow.bool_(),
        "id": pyarrow.string(),
        "typed": pyarrow.bool_(),
        "flags": pyarrow.int64(),
        "number": pyarrow.int64(),
        "held": pyarrow.int64(),
        "members": pyarrow.int64(),
        "total": pyarrow.string(),
    }
)
"""As `models.members.Answer` has them."""


def read_answer(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Give a batch of what the comparison returned with the columns of `ANSWER`."""
    ids, typed = _decode(batch.column("id"), batch.column("typed"))
    columns = {**{name: batch.column(name) for name in ANSWER.names}, "id": ids, "typed": typed}
    arrays = [columns[one.name].cast(one.type) for one in ANSWER]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=ANSWER)


def _decode(ids: pyarrow.Array, typed: pyarrow.Array) -> tuple[pyarrow.Array, pyarrow.Array]:
    """Give ids that are UTF-8; a string of Spark need be none, and is then of no type that may be an id."""
    raw = ids.cast(pyarrow.binary())
    try:
        return raw.cast(pyarrow.string()), typed
    except pyarrow.ArrowInvalid:
        found = []
        for value, is_typed in zip(raw.to_pylist(), typed.to_pylist(), strict=True):
            try:
                found.append((value and value.decode(), is_typed))
            except UnicodeDecodeError:
                found.append(("", False))
        texts, kinds = zip(*found, strict=True)
        return pyarrow.array(texts, pyarrow.string()), pyarrow.array(kinds, pyarrow.bool_())
