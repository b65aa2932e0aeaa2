"""An object file becomes functions, through llvmlite alone: a worker imports neither numba nor torch.

A kernel raises nothing. What numba would have it call to raise, or to free memory, ends the process instead.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from stages.core.weights.kernels.catalogue import BY_VALUE, Kernel

NEVER_CALLED = (
    "NRT_Free", "NRT_MemInfo_call_dtor", "PyBytes_FromStringAndSize", "PyErr_Clear", "PyErr_SetNone",
    "PyErr_SetString", "PyErr_WriteUnraisable", "PyUnicode_FromString", "Py_DecRef", "numba_do_raise",
    "numba_gil_ensure", "numba_gil_release", "numba_runtime_build_excinfo_struct", "numba_unpickle",
)  # fmt: skip


@cache
def initialise() -> None:
    """Make LLVM ready in this process, and let every name in NEVER_CALLED be the C library's abort."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for name in NEVER_CALLED:
        llvm.add_symbol(name, abort)


@cache
def load(folder: Path, kernel: Kernel) -> Callable[..., int]:
    """The function of a kernel; it runs without the interpreter's lock. Raises OSError if it has no file."""
    code = (folder / kernel.file).read_bytes()
    engine = _engine(folder, kernel)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    types = [ctypes.c_void_p if word.endswith("*") else BY_VALUE[word] for word in kernel.arguments]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *types)(engine.get_function_address(kernel.symbol))


@cache
def _engine(folder: Path, kernel: Kernel) -> Any:
    """An engine for one object file, which lives as long as the process."""
    del folder, kernel
    initialise()
    module = llvm.parse_assembly("")
    module.triple = llvm.get_default_triple()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(module, machine)
