"""The tree as the architecture tests see it: every module's syntax, and who imports whom."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules() -> dict[str, Path]:
    """Dotted name → file, for everything under stages/."""
    found = {}
    for path in sorted((ROOT / "stages").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def syntax(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, *, at_run_time_only: bool = False) -> Iterator[str]:
    """Dotted names imported anywhere in the file; without those under `if TYPE_CHECKING:` when asked."""
    skipped = _type_checking(syntax(path)) if at_run_time_only else set()
    for node in ast.walk(syntax(path)):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def first_party(name: str) -> set[str]:
    """The modules that importing `name` runs: itself (or the module it is in) and its packages."""
    known = modules()
    parts = name.split(".")
    return {prefix for n in range(1, len(parts) + 1) if (prefix := ".".join(parts[:n])) in known}


def closure(start: str, *, without: frozenset[str] = frozenset()) -> set[str]:
    """Every first-party module reachable from `start`, lazy imports too, except through `without`."""
    known = modules()
    seen: set[str] = set()
    waiting = first_party(start)
    while waiting:
        name = waiting.pop()
        if name in seen or name in without:
            continue
        seen.add(name)
        for imported in imports(known[name], at_run_time_only=True):
            waiting |= first_party(imported) - seen
    return seen


def _type_checking(tree: ast.Module) -> set[ast.AST]:
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
