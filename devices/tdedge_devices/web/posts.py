"""What a page may post, checked: every field is named, bounded and finite; anything else is refused."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tdedge_runtimes.session import Array, TensorInfo

#: The kinds of numbers that cross between page and server, as NumPy names them.
DTYPES = (
    *("float32", "float64", "float16", "int64", "uint64", "int32", "uint32"),
    *("int16", "uint16", "int8", "uint8", "bool"),
)

_MAX_HEADER_BYTES = 1 << 20


class Malformed(ValueError):
    """A post that is not what a page of ours sends; the text is one line."""


def _finite(value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise ValueError("expected a finite number of at least 0")
    return value


Text = Annotated[str, Field(max_length=1000)]
Milliseconds = Annotated[float, AfterValidator(_finite)]
T = TypeVar("T", bound=BaseModel)
Count = Annotated[int, Field(ge=1, le=10**9)]


class _Post(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Gpu(_Post):
    """The graphics adapter a page was given; ``software`` where it only imitates one."""

    vendor: Text
    architecture: Text
    description: Text
    software: bool


class Facts(_Post):
    """What a page can tell about its browser."""

    user_agent: Text
    platform: Text
    secure_context: bool
    isolated: bool
    threads: bool
    hardware_concurrency: int = Field(ge=1, le=4096)
    device_memory_gib: float | None = Field(ge=0, le=1 << 20)
    clock_step_ms: Milliseconds = Field(gt=0)
    gpu: Gpu | None
    gpu_missing: Text | None


class Tensor(_Post):
    """One input or output of a model."""

    name: Text
    shape: list[Annotated[int, Field(ge=0, le=2**31)] | None] = Field(max_length=16)
    dtype: Literal[DTYPES]  # type: ignore[valid-type]

    def info(self) -> TensorInfo:
        """The same for the runtimes."""
        return TensorInfo(self.name, tuple(self.shape), str(self.dtype))


class Inputs(_Post):
    """A model's inputs, whose values the page asks for."""

    label: Text
    inputs: list[Tensor] = Field(min_length=1, max_length=1000)


class SessionFacts(_Post):
    """A loaded model's runtime."""

    runtime: Literal["onnxruntime", "tflite"]
    package: Text
    version: Text
    threads: Count
    execution: dict[str, str | int | float | bool | None] = Field(max_length=40)


class Model(_Post):
    """One model as the page loaded it, and its samples where latency was measured."""

    session: SessionFacts
    inputs: list[Tensor] = Field(max_length=1000)
    outputs: list[Tensor] = Field(max_length=1000)
    load_ms: Milliseconds
    first_ms: Milliseconds | None = None
    calls_per_sample: Count | None = None
    samples_ms: list[list[Milliseconds]] | None = Field(None, max_length=100_000)


class Load(_Post):
    """Inference without a pause: when, by the browser's clock, and how much."""

    begin_ms: Milliseconds
    end_ms: Milliseconds
    inferences: Count


class Result(_Post):
    """The page's answer to a job."""

    facts: Facts
    versions: dict[str, Text] = Field(max_length=10)
    models: dict[str, Model] = Field(min_length=1, max_length=1000)
    orders: list[list[Text]] | None = Field(None, max_length=100_000)
    window_s: Milliseconds | None = None
    load: Load | None = None
    hidden: bool


class Failure(_Post):
    """The page could not do a job. ``wrong``: the model or an option is; otherwise the runtime failed."""

    error: str = Field(min_length=1, max_length=10_000)
    wrong: bool = False


def parse(kind: type[T], text: bytes) -> T:
    """A post of one kind.

    Raises:
        Malformed: it is not JSON, or not of that kind.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise Malformed(f"{where}: {first['msg']}") from None


def unpack(body: bytes) -> dict[str, Array]:
    """Arrays from bytes: the length of a JSON header (4 bytes, little-endian), the header, raw values.

    The header is a list of ``{"name", "shape", "dtype"}``; the values follow in its order, unpadded.

    Raises:
        Malformed: the header is wrong, or the sizes do not add up.
    """
    length = int.from_bytes(body[:4], "little")
    if len(body) < 4 + length or length > _MAX_HEADER_BYTES:
        raise Malformed("outputs: the header is cut off or too long")
    try:
        tensors = [Tensor.model_validate(entry) for entry in json.loads(body[4 : 4 + length])]
    except (ValidationError, ValueError, TypeError, RecursionError):
        raise Malformed("outputs: the header is no list of name, shape and dtype") from None
    arrays: dict[str, Array] = {}
    place = 4 + length
    for tensor in tensors:
        shape = [-1 if extent is None else extent for extent in tensor.shape]
        size = math.prod(shape) * np.dtype(tensor.dtype).itemsize
        if min(shape, default=0) < 0 or tensor.name in arrays or place + size > len(body):
            raise Malformed(f"outputs: {tensor.name!r} has an unknown extent, comes twice or is cut off")
        values = np.frombuffer(body, dtype=tensor.dtype, count=math.prod(shape), offset=place)
        arrays[tensor.name] = values.reshape(shape).copy()
        place += size
    if place != len(body):
        raise Malformed(f"outputs: {len(body) - place} bytes follow the last array")
    return arrays


def pack(arrays: dict[str, Array]) -> bytes:
    """The bytes of arrays, in the form that ``unpack`` reads."""
    header = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in arrays.items()
    ]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)  # values begin on a multiple of four
    values = (np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return b"".join((len(text).to_bytes(4, "little"), text, *values))


def as_json(post: BaseModel) -> dict[str, Any]:
    """A post as JSON values."""
    return post.model_dump(mode="json")
