"""`kernel`: a function compiled by numba, kept in a folder that the parent fills and workers only read.

The folder is named after all that machine code depends on (ready.py). No fast-math flag
is set and nothing is contracted: + − × ÷ round one by one, as numpy and torch round them.
Compiled code is code: the folder must be writable by the user alone, like the environment it came from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from stages.core.errors import LabError

KERNELS: list[Any] = []


class NotCompiled(LabError):
    """A kernel is not in the folder, and this process may not compile it."""


class _Place:
    """Where numba looks for compiled code; set by `use`."""

    folder: Path | None = None
    compiling = False


class _Locator(_CacheLocator):
    """numba's questions about a function's cache. Source stamps are in the folder's name instead."""

    def ensure_cache_path(self) -> None:
        if _Place.folder is not None:
            _Place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_cache_path(self) -> str:
        return str(_Place.folder)

    def get_source_stamp(self) -> str:
        return str(numba.__version__)

    def get_disambiguator(self) -> str:
        return ""

    @classmethod
    def from_function(cls, function: Any, file: str) -> "_Locator":
        del function, file
        return cls()


class _Code(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item] # noqa: RUF012 -- as the base class has it


class _Cache(FunctionCache):
    _impl_class = _Code

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context) if _Place.folder else None
        if found is None and not _Place.compiling:
            raise NotCompiled(f"{self._name} is not compiled for {sig}")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        if _Place.folder is not None:
            super().save_overload(sig, data)


def kernel(function: Callable[..., Any]) -> Any:
    """`function` compiled at its first call for a set of argument types, without the interpreter's lock."""
    made = numba.njit(nogil=True, fastmath=False, error_model="numpy", boundscheck=False)(function)
    KERNELS.append(made)
    return made


def use(folder: Path | None, *, compiling: bool) -> None:
    """Look for machine code in `folder`, compile what it lacks only if `compiling`; None keeps nothing."""
    _Place.folder, _Place.compiling = folder, compiling
    for made in KERNELS:
        made._cache = _Cache(made.py_func)
