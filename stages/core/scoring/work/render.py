"""The rendering's job: a worker fills one chat template with fixed conversations.

A template is a program of strangers. It runs as transformers runs it (jinja2's immutable sandbox, same
filters and globals; the date stands still), and only here: never in a process that is not locked.

| code | refused |
|---|---|
| template-syntax | what is no template |
| template-unsafe | one that reaches for an attribute which the sandbox withholds, such as `__class__` |
| template-raises | one that raises on the plain conversation |
| template-size | one that writes more than TEXT_CHARACTERS |
| template-time | one that uses up the worker's CPU time |
| template-memory | one that uses up its memory |

Source: transformers, utils/chat_template_utils.py.
"""

import json
import signal
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from stages.core.records.canonical import Json
from stages.core.scoring.work import Tell

KIND = "render"
TEXT_CHARACTERS: Final = 1 << 16  # what is written on a conversation; the fixed ones hold under 1,000
PLAIN: Final = "turns"  # the conversation on which a template may not raise
NO_MEMORY: Final = "it used up the memory of its worker"
TODAY: Final = datetime(2026, 1, 1, 12)
QUESTION: Final = {"role": "user", "content": "How many legs has a spider?"}
ANSWER: Final = {"role": "assistant", "content": "Eight."}
CALL: Final = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "legs", "arguments": {"animal": "spider"}},
        }
    ],
}
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "legs",
        "description": "Count the legs of an animal.",
        "parameters": {
            "type": "object",
            "properties": {"animal": {"type": "string", "description": "Its name."}},
            "required": ["animal"],
        },
    },
}
CONVERSATIONS: Final[Mapping[str, Mapping[str, Json]]] = {
    PLAIN: {
        "messages": [QUESTION, ANSWER, {"role": "user", "content": "And a <b>fly</b>?\n "}],
        "add_generation_prompt": True,
    },
    "answered": {"messages": [QUESTION, ANSWER], "add_generation_prompt": False},
    "system": {
        "messages": [{"role": "system", "content": "Be brief."}, QUESTION],
        "add_generation_prompt": True,
    },
    "tools": {
        "messages": [QUESTION, CALL, {"role": "tool", "name": "legs", "content": "8"}],
        "tools": [TOOL],
        "add_generation_prompt": True,
    },
}


def request(template: str, tokens: Mapping[str, str]) -> dict[str, Json]:
    """The job. tokens: special tokens by name (bos_token, eos_token), which templates write."""
    return {"kind": KIND, "template": template, "tokens": dict(tokens)}


def run(job: Json, tell: Tell) -> Json:
    """{"texts": conversation → {"text"}, or {"raised"} with why}; or {"refused": a code, "why": a sentence}.

    Most templates refuse some conversation on purpose (two turns of one role, a system prompt), so raising is
    an answer like another, except on the plain one.
    """
    signal.signal(signal.SIGXCPU, _out_of_time)  # from the soft limit; the hard one ends the worker
    try:
        texts = {}
        template = _compiled(job["template"])
        for number, (name, given) in enumerate(CONVERSATIONS.items(), start=1):
            texts[name] = _filled(template.generate, {**job["tokens"], **given}, may_raise=name != PLAIN)
            tell(number, len(CONVERSATIONS))
    except _Refused as refused:
        return {"refused": refused.code, "why": refused.why}
    return {"texts": texts}


class _Refused(BaseException):
    """Not an Exception: nothing that a template calls may catch it."""

    def __init__(self, code: str, why: str) -> None:
        self.code, self.why = code, why


def _out_of_time(*_: object) -> NoReturn:
    raise _Refused("template-time", "it used up the CPU time of its worker")


def _compiled(text: str) -> Any:
    try:
        return _environment().from_string(text)
    except MemoryError as problem:
        raise _Refused("template-memory", NO_MEMORY) from problem
    except Exception as problem:
        raise _Refused("template-syntax", _shown(problem)) from problem


def _filled(
    generate: Callable[[Mapping[str, Json]], Iterable[str]], given: Mapping[str, Json], *, may_raise: bool
) -> Json:
    """{"text"}, bounded while it is written, or {"raised"}. given: copied, so that no template changes it."""
    from jinja2.exceptions import SecurityError

    parts, size = [], 0
    try:
        for part in generate(json.loads(json.dumps(given))):
            size += len(part)
            if size > TEXT_CHARACTERS:
                raise _Refused("template-size", f"it writes more than {TEXT_CHARACTERS} characters")
            parts.append(part)
    except SecurityError as problem:
        raise _Refused("template-unsafe", _shown(problem)) from problem
    except MemoryError as problem:
        raise _Refused("template-memory", NO_MEMORY) from problem
    except Exception as problem:
        if may_raise:
            return {"raised": _shown(problem)}
        raise _Refused("template-raises", f"it raises {_shown(problem)}") from problem
    return {"text": "".join(parts)}


def _environment() -> Any:
    """The environment of transformers, in which also a mere look at a withheld attribute raises."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """{% generation %} marks what an assistant wrote, for training; it writes its body."""

        tags = frozenset({"generation"})  # type: ignore[assignment]

        def parse(self, parser: Any) -> Any:
            """The body."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    class Withheld(ImmutableSandboxedEnvironment):
        """jinja2 would give an undefined value, which renders as nothing."""

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            """Raise."""
            raise SecurityError(f"it reaches for {attribute!r} of {type(obj).__name__}")

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    found = Withheld(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols])
    found.filters["tojson"] = tojson
    found.globals |= {"raise_exception": raise_exception, "strftime_now": TODAY.strftime}
    return found


def _shown(problem: BaseException) -> str:
    """Kind and message on one line, not long."""
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
