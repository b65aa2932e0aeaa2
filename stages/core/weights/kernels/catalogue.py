"""The kernels by name, their arguments, and the types they exist for. Imports neither numba nor numpy.

Arguments are C's: i64, u32, f32 by value, or a pointer to them (`*`); `in*` and `out*` point to elements of
an input and of the output, `in**` to pointers to such rows. Each kernel is a function of the same name in
exported.py and returns i64.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ARGUMENTS: Mapping[str, str] = {
    "combine": "in** i64 i64 i64 out* i64 u64* i64 u16* f32* f32 f32* u64*",
    "consensus": (
        "in** i64 i64 out* i64 u64* i64 u16* f32* i32* i64* i64 f32* i64 f32* i64 f32* f32 f32 f32* u64*"
    ),
    "finite": "in* i64",
    "dots": "in** i64 i64 i64 f64* f32* f64*",
    "masked_l1": "in** i64 i64 i64 u64* u16* f64* f32* f64* u64*",
    "sample": "in* in* i64 i64 i32*",
    "tally": "in* in* i64 i32* i64 i64*",
    "count_high": "in* in* i64 i64* f32*",
    "count_low": "in* in* i64 u32 i64* f32*",
    "collect": "in* in* i64 u32 u32 i64* i32* i64* f32*",
    "sha256": "u32* u8* u32* u8* i64",
}
TYPES: Mapping[str, str] = {"float32": "f32", "bfloat16": "u16", "float16": "i16"}  # as kernels see them
BY_VALUE: Mapping[str, Any] = {"i64": ctypes.c_int64, "u32": ctypes.c_uint32, "f32": ctypes.c_float}


@dataclass(frozen=True)
class Kernel:
    """One kernel for one type of input and one of output ('' where it reads or writes no weights)."""

    name: str
    read: str
    written: str = ""

    @property
    def file(self) -> str:
        """The name of its object file."""
        return "-".join(filter(None, (self.name, self.read, self.written))) + ".o"

    @property
    def symbol(self) -> str:
        """The name of its function in the object file."""
        return f"mergelab_{self.name}"

    @property
    def arguments(self) -> list[str]:
        """Its arguments with the types filled in."""
        read = TYPES.get(self.read, "")
        types = {"in*": read + "*", "in**": read + "**", "out*": TYPES.get(self.written, "") + "*"}
        return [types.get(word, word) for word in ARGUMENTS[self.name].split()]


def kernel(name: str, read: str, written: str) -> Kernel:
    """The kernel of that name for these types, as far as it reads or writes weights."""
    arguments = ARGUMENTS[name]
    return Kernel(name, read if "in*" in arguments else "", written if "out*" in arguments else "")
