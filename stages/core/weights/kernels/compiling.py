"""numba makes the object file of a kernel: once per machine, in the process that starts workers.

No fast-math flag is set and nothing is contracted: + − × ÷ round one by one, as numpy and torch round them.
The file is plain machine code: numba's own cache would be read back through pickle.
"""

from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types

from stages.core.errors import LabError
from stages.core.weights.kernels import exported
from stages.core.weights.kernels.catalogue import Kernel
from stages.core.weights.kernels.loading import NEVER_CALLED, initialise

NUMBA: dict[str, Any] = {
    "i16": types.int16, "i32": types.int32, "i64": types.int64, "u16": types.uint16, "u32": types.uint32,
    "u8": types.uint8, "u64": types.uint64, "f32": types.float32, "f64": types.float64,
}  # fmt: skip
FEATURES = {"sha256": ("sha",)}  # that a kernel is useless without, by LLVM's names
LIBC = ("memset", "memcpy", "memmove")


def compile_kernel(kernel: Kernel, *, cpu: str | None = None) -> bytes:
    """The object file of a kernel for this processor, or for another by LLVM's name, such as x86-64.

    Raises LabError if it is not self-contained.
    """
    initialise()
    module, machine = _module(kernel), _machine(kernel, cpu)
    code: bytes = machine.emit_object(module)
    return code


def assembly(kernel: Kernel, *, cpu: str | None = None) -> str:
    """What `compile_kernel` makes, as text, for tests."""
    initialise()
    return str(_machine(kernel, cpu).emit_assembly(_module(kernel)))


@cache
def _numba(kernel: Kernel) -> tuple[str, str]:
    """The function's name and LLVM's text, from which code for any processor is made."""
    signature = types.int64(*(_type(word) for word in kernel.arguments))
    made = numba.cfunc(signature, nopython=True, error_model="numpy")(exported.TABLE[kernel.name])
    return made.native_name, made.inspect_llvm()


def _module(kernel: Kernel) -> Any:
    name, text = _numba(kernel)
    module = llvm.parse_assembly(text)
    module.get_function(name).name = kernel.symbol
    for function in module.functions:
        name = function.name
        if function.is_declaration and not name.startswith("llvm.") and name not in (*NEVER_CALLED, *LIBC):
            raise LabError(f"the kernel {kernel.name} calls {name}, which no worker has")
    return module


def _machine(kernel: Kernel, cpu: str | None) -> Any:
    least = ",".join(f"+{feature}" for feature in FEATURES.get(kernel.name, ()))
    features = llvm.get_host_cpu_features().flatten() if cpu is None else least
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=cpu or llvm.get_host_cpu_name(),
        features=features,
        opt=3,
        reloc="pic",
        codemodel="default",
        jit=True,
    )


def _type(word: str) -> Any:
    return types.CPointer(_type(word[:-1])) if word.endswith("*") else NUMBA[word]
