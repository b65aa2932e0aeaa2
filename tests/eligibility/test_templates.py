"""Chat templates are judged by what they write, in a worker; a hostile one is refused with its code."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2.sandbox
import pytest

from stages.core.errors import LabError, NotIsolated, WorkerFailed
from stages.core.records.verdict import Finding
from stages.eligibility.facts import Facts
from stages.eligibility.rules import judge
from stages.eligibility.templates import chat_template, rendered
from tests.eligibility.family import NAMES, family, locked, only_refusal, spoil

PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
RENAMED = "{%- for m in messages -%}{{ '<' + m['role'] + '>' ~ m['content'] ~ eos_token }}{% endfor %}\n"
LOUDER = PLAIN.replace("<{{", "<|{{")
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system prompts') }}{% endif %}" + PLAIN
)
GENERATION = PLAIN.replace(
    "{{ message.content }}", "{% generation %}{{ message.content }}{% endgeneration %}"
)


def using(folder: Path, templates: dict[str, Any]) -> Facts:
    """The passing family where each model has that chat template in tokenizer_config.json."""
    config = {"eos_token": "\n"}
    return family(
        folder, {name: {"tokenizer_config": config | {"chat_template": templates[name]}} for name in NAMES}
    )


def judged(folder: Path, *templates: Any) -> Finding:
    """The rule's finding on the base's and the parents' templates, in that order."""
    return chat_template(using(folder, dict(zip(NAMES, templates, strict=True))))


def test_one_template_for_all_passes_and_so_does_one_written_otherwise(tmp_path: Path) -> None:
    same = judged(tmp_path / "same", PLAIN, PLAIN, PLAIN)
    assert (same.passed, same.message) == (True, "the chat template is the same in all")
    apart = judged(tmp_path / "apart", PLAIN, RENAMED, GENERATION)
    assert (apart.passed, apart.message) == (True, "the chat template is written the same by all")
    assert len({one["default"]["sha256"] for one in apart.evidence.values()}) == 3
    assert len({one["default"]["rendered"] for one in apart.evidence.values()}) == 1


def test_the_first_difference_of_two_texts_is_named(tmp_path: Path) -> None:
    found = judged(tmp_path, PLAIN, PLAIN, LOUDER)
    assert not found.passed
    assert "shift has another chat template 'default': on the conversation 'turns' from character 1 on" in (
        found.message
    )
    assert "expected 'user>How many" in found.message
    assert "got '|user>How many" in found.message


def test_a_template_that_refuses_a_system_prompt_is_another_one_and_no_hostile_one(tmp_path: Path) -> None:
    both = judged(tmp_path / "both", NO_SYSTEM, NO_SYSTEM, NO_SYSTEM)
    assert both.passed
    found = judged(tmp_path / "one", PLAIN, NO_SYSTEM, PLAIN)
    assert (
        "sort has another chat template 'default': on the conversation 'system' expected text"
        in found.message
    )
    assert "got raised 'TemplateError: no system prompts'" in found.message


def test_a_template_that_one_alone_has_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil(tmp_path, "shift", tokenizer_config={"chat_template": "{{ messages }}"}))
    assert refused.rule == "chat_template"
    assert "shift has a chat template 'default'" in refused.message
    assert refused.evidence["sort"] is None


def test_a_file_of_its_own_goes_before_what_the_configuration_says(tmp_path: Path) -> None:
    told = {"chat_template": LOUDER}
    files = {name: {"jinja": PLAIN.encode(), "tokenizer_config": told} for name in NAMES}
    files["sort"] = {"tokenizer_config": {"chat_template": PLAIN}}
    assert chat_template(family(tmp_path, files)).passed


def test_a_named_template_that_is_missing_is_named(tmp_path: Path) -> None:
    named = [{"name": name, "template": PLAIN} for name in ("default", "tool_use")]
    found = judged(tmp_path, named, named, PLAIN)
    assert "shift has no chat template 'tool_use'" in found.message


MALFORMED: dict[str, Any] = {
    "a number": {"chat_template": 7},
    "a list of texts": {"chat_template": [PLAIN]},
    "one name twice": {"chat_template": [{"name": "a", "template": "x"}, {"name": "a", "template": "y"}]},
    "half a surrogate pair": {"chat_template": "\ud800"},
    "a token that is half of one": {"chat_template": PLAIN, "eos_token": "\udfff"},
    "too many": {"chat_template": [{"name": str(number), "template": ""} for number in range(9)]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_template_is_refused_and_run_by_nobody(name: str, tmp_path: Path) -> None:
    found = chat_template(spoil(tmp_path, "shift", tokenizer_config=MALFORMED[name]))
    assert "[template-form] shift: " in found.message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    found = chat_template(spoil(tmp_path, "shift", jinja=b"\xff{{ messages }}"))
    assert "[template-form] shift: a chat template or a token is no UTF-8 text" in found.message


HOSTILE: dict[str, tuple[str, str]] = {
    "loops": (
        "template-time",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ),
    "builds a gigabyte": ("template-memory", "{{ 'a' * 1000000000 }}"),
    "doubles a text": (
        "template-memory",
        "{% set n = namespace(a='a') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    ),
    "writes a megabyte": ("template-size", "{% for a in range(99999) %}0123456789{% endfor %}"),
    "reads a class": ("template-unsafe", "{{ ''.__class__ }}"),
    "reads it by a name that it puts together": ("template-unsafe", "{{ ''|attr('__cla' ~ 'ss__') }}"),
    "reads it in a format": ("template-unsafe", "{{ '{0.__class__}'.format(messages) }}"),
    "climbs to globals": ("template-unsafe", "{{ cycler.__init__.__globals__.os.system('id') }}"),
    "changes the messages": ("template-unsafe", "{{ messages.append(1) }}"),
    "raises": ("template-raises", "{{ raise_exception('no') }}"),
    "calls itself": ("template-raises", "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"),
    "includes a file": ("template-raises", "{% include '/etc/passwd' %}"),
    "is nested deeply": ("template-syntax", "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}"),
    "is no template": ("template-syntax", "{% for %}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_is_refused_that(name: str, passing: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    code, template = HOSTILE[name]
    monkeypatch.delattr(jinja2.sandbox, "ImmutableSandboxedEnvironment")  # this process renders nothing
    hostile = tuple(
        replace(one, tokenizer_config={"chat_template": template})
        for one in (passing.base, *passing.parents)
        if one
    )
    results, proof = rendered(hostile, locked)
    facts = replace(passing, base=hostile[0], parents=hostile[1:], rendered=results)
    found = chat_template(facts)
    assert not found.passed
    assert proof["degraded"] is False
    assert len(results) == 1, "one template is rendered once, whoever has it"
    for parent in facts.family:
        assert f"[{code}] {parent.id}: its chat template 'default' is refused: " in found.message


LIES: dict[str, Any] = {
    "nothing": None,
    "a conversation too few": {"texts": {"turns": {"text": ""}}},
    "no texts": {"texts": {key: {"text": 1} for key in ("turns", "answered", "system", "tools")}},
}


@pytest.mark.parametrize("name", LIES)
def test_a_worker_that_a_template_took_over_gives_no_pass(name: str, passing: Facts) -> None:
    has = {"chat_template": PLAIN}
    parents = tuple(replace(one, tokenizer_config=has) for one in passing.parents)
    results, _ = rendered(parents, lambda job: (LIES[name], None))
    found = chat_template(replace(passing, base=None, parents=parents, rendered=results))
    assert "[template-worker] sort: " in found.message


def test_a_worker_that_dies_refuses_and_one_that_cannot_be_locked_in_stops(passing: Facts) -> None:
    def asked(problem: LabError) -> Any:
        def ask(job: Any) -> tuple[Any, Any]:
            raise problem

        return rendered([replace(passing.parents[0], tokenizer_config={"chat_template": "x"})], ask)[0]

    (found,) = asked(WorkerFailed("the render worker ended by SIGSEGV")).values()
    assert (found.code, "SIGSEGV" in found.why) == ("template-worker", True)
    with pytest.raises(NotIsolated, match="no lock"):
        asked(NotIsolated("no lock"))


def test_a_template_that_nobody_rendered_is_refused(passing: Facts) -> None:
    parents = tuple(replace(one, tokenizer_config={"chat_template": PLAIN}) for one in passing.parents)
    refused = judge(replace(passing, base=None, parents=parents)).refusals
    assert "[template-worker] sort: " in next(one.message for one in refused if one.rule == "chat_template")
