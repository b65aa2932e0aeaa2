"""The rule on chat templates: what they write must be the same, and they must be harmless to run.

Each distinct template is filled by a disposable worker of its own with the fixed conversations of
core/scoring/work/render.py, whose docstring lists the codes of refusal; `template-form` and `template-worker`
are added here. In this process a template is text, which is hashed, handed on and never run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stages.core.errors import LabError, NotIsolated
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes
from stages.core.records.verdict import Finding
from stages.core.sandbox.dialogue import printable
from stages.core.sandbox.limits import Limits
from stages.core.scoring.work import render
from stages.eligibility.facts import Ask, Facts, Parent, Rendering, finding

LIMITS: Final = Limits(wall_seconds=60, cpu_seconds=3, memory_bytes=1 << 28, file_bytes=0)
DEFAULT: Final = "default"
MOST: Final = 8  # templates of one model: those with several have two or three
SHOWN: Final = 40  # characters of each text from where they differ


@dataclass(frozen=True)
class Stated:
    """What one model has: name → template. problem: why that cannot be said; then nothing is rendered."""

    templates: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    def job(self, name: str) -> dict[str, Json]:
        """The rendering of one of them."""
        return render.request(self.templates[name], self.tokens)

    def key(self, name: str) -> str:
        """sha256 of the job: templates that are one job are rendered once."""
        return sha256_bytes(dumps(self.job(name)))


def rendered(family: Sequence[Parent], ask: Ask) -> tuple[dict[str, Rendering], Json]:
    """Key → what came of each distinct template of the family; the proof of the workers, None without any.

    Files that were altered are not looked at. Raises NotIsolated where no worker can be locked in as wanted.
    """
    found: dict[str, Rendering] = {}
    proof: Json = None
    for parent in family:
        has = stated(parent)
        for name in has.templates if not parent.altered else ():
            if has.key(name) in found:
                continue
            try:
                result, proof = ask(has.job(name))
                found[has.key(name)] = _taken(result)
            except NotIsolated:
                raise
            except LabError as problem:
                found[has.key(name)] = Rendering(code="template-worker", why=_line(str(problem)))
    return found, proof


def chat_template(facts: Facts) -> Finding:
    """One way of writing a chat for all, or none; and no template that is refused."""
    has = {parent.id: stated(parent) for parent in facts.family}
    reference = facts.reference.id
    problems, evidence = [], {}
    for name, one in has.items():
        evidence[name] = {key: _evidence(one, key, facts) for key in one.templates} or None
        problems += _refusals(name, one, facts)
        if name != reference:
            problems += _differences(name, one, has[reference], facts)
    texts = [dict(one.templates) for one in has.values()]
    same = "is the same in all" if all(one == texts[0] for one in texts) else "is written the same by all"
    return finding(
        "chat_template",
        problems,
        fine=f"the chat template {same}" if texts[0] else "none has a chat template",
        move=f"Expected is what {reference} has. Choose parents that were trained on one template.",
        evidence=evidence,
    )


def stated(parent: Parent) -> Stated:
    """The templates of one model: a file of its own goes before tokenizer_config.json, as in transformers."""
    told = parent.tokenizer_config.get("chat_template") or {}
    entries = [{"name": DEFAULT, "template": told}] if isinstance(told, str) else told or []
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        names = (entry.get("name"), entry.get("template")) if isinstance(entry, dict) else (None, None)
        if not all(isinstance(part, str) for part in names) or names[0] in found:
            return Stated(problem="chat_template is neither a text nor a list of named texts")
        found[str(names[0])[:SHOWN]] = str(names[1])
    tokens = _tokens(parent.tokenizer_config) if found or parent.chat_template else {}
    try:
        if parent.chat_template is not None:
            found[DEFAULT] = parent.chat_template.decode("utf-8")
        for text in (*found, *found.values(), *tokens.values()):
            text.encode("utf-8")  # JSON may spell half of a surrogate pair
    except (UnicodeDecodeError, UnicodeEncodeError) as problem:
        return Stated(problem=f"a chat template or a token is no UTF-8 text ({problem.reason})")
    if len(found) > MOST:
        return Stated(problem=f"it has {len(found)} chat templates; the limit is {MOST}")
    return Stated(found, tokens)


def _tokens(config: Mapping[str, Json]) -> dict[str, str]:
    """Special tokens by name, as templates know them."""
    found = {key: value for key, value in config.items() if key.endswith("_token")}
    plain = {key: value.get("content") if isinstance(value, dict) else value for key, value in found.items()}
    return {key: value for key, value in plain.items() if isinstance(value, str)}


def _taken(result: Json) -> Rendering:
    """What a worker said, if it is an answer; the template may have taken it over. Raises LabError."""
    if isinstance(result, dict) and isinstance(result.get("refused"), str):
        return Rendering(code=_line(result["refused"]), why=_line(str(result.get("why"))))
    texts = result.get("texts") if isinstance(result, dict) else None
    if not isinstance(texts, dict) or texts.keys() != render.CONVERSATIONS.keys():
        raise LabError("its worker gave no text for each conversation")
    for one in texts.values():
        if not (
            isinstance(one, dict) and len(one) == 1 and isinstance(one.get("text", one.get("raised")), str)
        ):
            raise LabError("its worker gave something else than texts")
    return Rendering(texts=texts)


def _refusals(name: str, has: Stated, facts: Facts) -> list[str]:
    """A sentence with its code for every template of one model that is refused."""
    if has.problem:
        return [f"[template-form] {name}: {has.problem}"]
    found = []
    for key in has.templates:
        one = _rendering(has, key, facts)
        if one.code:
            found.append(f"[{one.code}] {name}: its chat template {key!r} is refused: {one.why}")
    return found


def _differences(name: str, has: Stated, expected: Stated, facts: Facts) -> list[str]:
    """A sentence for every template that is missing, too many, or writes something else than expected."""
    if has.problem or expected.problem:
        return []
    found = []
    for key in dict.fromkeys([*expected.templates, *has.templates]):
        if key not in has.templates or key not in expected.templates:
            found.append(f"{name} has {'a' if key in has.templates else 'no'} chat template {key!r}")
            continue
        one, other = _rendering(expected, key, facts), _rendering(has, key, facts)
        apart = [chat for chat in one.texts if one.texts[chat] != other.texts.get(chat)]
        if apart and not one.code and not other.code:
            where = _first(one.texts[apart[0]], other.texts[apart[0]])
            found.append(
                f"{name} has another chat template {key!r}: on the conversation {apart[0]!r} {where}"
            )
    return found


def _rendering(has: Stated, key: str, facts: Facts) -> Rendering:
    """What came of it; a template that nobody rendered is refused like one that cannot be."""
    return facts.rendered.get(has.key(key), Rendering(code="template-worker", why="no worker rendered it"))


def _evidence(has: Stated, key: str, facts: Facts) -> Json:
    """Digests of the template and of what it wrote, or the code."""
    one = _rendering(has, key, facts)
    came = {"code": one.code} if one.code else {"rendered": sha256_bytes(dumps(dict(one.texts)))}
    return {"sha256": sha256_bytes(has.templates[key].encode()), **came}


def _first(expected: Mapping[str, str], got: Mapping[str, str]) -> str:
    """Where two answers part: both from their first different character on."""
    one, other = expected.get("text"), got.get("text")
    if one is None or other is None:
        told = [f"{next(iter(answer))} {next(iter(answer.values()))[:SHOWN]!r}" for answer in (expected, got)]
        return f"expected {told[0]}, got {told[1]}"
    pairs = zip(one, other, strict=False)
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return (
        f"from character {place} on: expected {one[place : place + SHOWN]!r}, "
        f"got {other[place : place + SHOWN]!r}"
    )


def _line(text: str) -> str:
    """One line that a terminal may show."""
    return " ".join(printable(text).split())[:300]
