"""Judges of generated text: pure functions of what was said and of its item.

A form that generates names its judge, with settings, in `metadata.judge` of its YAML
(conf/suite/lm_eval/tool_call.yaml), which makes both part of the digest of the cases. To add a judge, add its
file and one line to JUDGES.
"""

from collections.abc import Callable, Mapping
from typing import Final

from stages.core.records.canonical import Json
from stages.core.scoring.judges import canary, contains, equality, refusal, tool_call
from stages.core.scoring.judges.outcome import BadSettings, Judge, Judgement, Settings

__all__ = ["JUDGES", "BadSettings", "Judge", "Judgement", "judge_of"]

DEFAULT: Final = {"name": "equality"}
JUDGES: Final[Mapping[str, Callable[[Settings], Judge]]] = {
    "equality": equality.judge,
    "contains": contains.judge,
    "refusal": refusal.judge,
    "canary": canary.judge,
    "tool_call": tool_call.judge,
}


def judge_of(tree: Json) -> Judge:
    """The judge of {"name": one of JUDGES, its settings}. Raises BadSettings."""
    if not isinstance(tree, dict) or tree.get("name") not in JUDGES:
        raise BadSettings(f"expected a mapping with a name of {', '.join(JUDGES)}, got {tree!r}")
    settings = {key: value for key, value in tree.items() if key != "name"}
    try:
        return JUDGES[tree["name"]](settings)
    except BadSettings as problem:
        raise BadSettings(f"{tree['name']}: {problem}") from problem
