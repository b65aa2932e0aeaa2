"""The request: what `params.yaml` may say, and every way in which it may be wrong, reported at once.

Stages read it through `load_request`; composing it from conf/ is `stages.compose`.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from stages.core.errors import BadRequest
from stages.core.records import document
from stages.core.records.canonical import Json
from stages.core.records.policy import Policy
from stages.core.records.schema import Section, explain, nearest
from stages.core.records.source import Source, unpinned

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"  # of a task and of a form: both are names of files
TaskName = Annotated[str, Field(pattern=NAME)]
DATA_FILE = r"^conf/suite/data(/[A-Za-z0-9][A-Za-z0-9._-]*)+\.(jsonl|txt)$"
LINES = "lines"  # registry.LINES, named again: this module starts without the methods
READ_BYTES = "read_bytes"  # registry.READ_BYTES


class Experiment(Section):
    """What is asked, in words."""

    id: Identifier
    title: str = Field(min_length=3)
    question: str = Field(min_length=10)


class Member(Section):
    """One model of the family.

    card: its card.json, a file under data/sources, for a source that brings none of ours. adapter_on: the id
    of the base that this LoRA adapter was trained on; the parent is then that base with the adapter merged
    in.
    """

    source: Source
    card: str | None = Field(default=None, pattern=r"^data/sources(/[A-Za-z0-9][A-Za-z0-9._-]*)+\.json$")
    adapter_on: Identifier | None = None

    @model_validator(mode="after")
    def _is_pinned(self) -> "Member":
        if why := unpinned(self.source):
            raise ValueError(f"source.{why}")
        return self


class Waiver(Section):
    """Somebody takes responsibility for what a parent's card leaves open, for research alone.

    rule: the open field of its restrictions. by: a person. until: the last day, judged by parents.as_of.
    """

    parent: Identifier
    rule: str = Field(min_length=1, max_length=64)
    why: str = Field(min_length=10, max_length=1000)
    by: str = Field(min_length=3, max_length=200)
    until: date


class Parents(Section):
    """The base and the ordered parents; `members` is keyed by id so that a diff reads well.

    as_of: the day on which consents and waivers are judged, an input like any other. regions, monthly_users,
    release_name: where the merge is used (ISO 3166 codes, EU or WORLD), by how many, under which name; where
    a licence depends on one that is not stated, it refuses. licence_choices: which alternative is taken of a
    licence with OR, over what the cards say.
    """

    base: Identifier
    merge: tuple[Identifier, ...] = Field(min_length=2, max_length=16)
    members: dict[Identifier, Member]
    complementarity: str
    intent: Literal["research", "publish-noncommercial", "publish", "serve"] = "research"
    as_of: date | None = None
    regions: tuple[Annotated[str, Field(pattern=r"^([A-Z]{2}|WORLD)$")], ...] | None = Field(
        None, min_length=1
    )
    monthly_users: int | None = Field(None, ge=0)
    release_name: str | None = Field(None, min_length=1, max_length=200)
    licence_choices: dict[str, str] = Field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _ids_are_members(self) -> "Parents":
        if len(set(self.merge)) != len(self.merge):
            raise ValueError(f"merge lists a parent twice: {list(self.merge)}")
        for name in (self.base, *self.merge):
            if name not in self.members:
                raise ValueError(f"{name!r} is not among the members{nearest(name, self.members)}")
        for name, member in self.members.items():
            if member.adapter_on not in (None, self.base) or (member.adapter_on and name == self.base):
                raise ValueError(
                    f"members.{name}.adapter_on: expected the base, {self.base!r}, of an expert; "
                    f"got {member.adapter_on!r}"
                )
        return self


class Parameter(Section):
    """A method's parameter: the value used, and the range or the choices a search may visit.

    value: what a recipe accepts. A number; a list with one for each parent; or rules by tensor name, tried in
    order, the last for all tensors:

        density:
          value:
            - {match: "*.mlp.*", layers: [0.2, 0.6]}   # the first layer to the last, straight lines between
            - {match: "*", value: 0.4}
          search: null                                 # a search moves numbers, not rules

    For delta methods `lines: {value: [a, b, outside]}` scales the merged delta over depth (LiNeS); for those
    with a bound `read_bytes: {value: 100000000}` reads no more bytes of the parents' tensors. What the method
    makes of a value is checked beside it (compose.inconsistencies).
    """

    value: float | int | bool | str | tuple[Json, ...]
    search: tuple[float, float] | tuple[str, ...] | None = None


def unsearchable(name: str, parameter: Parameter) -> str | None:
    """Why a search cannot move this parameter, or None: it can, or it is not asked to."""
    if parameter.search is None:
        return None
    if isinstance(parameter.value, tuple) and any(isinstance(entry, dict) for entry in parameter.value):
        return "a search moves numbers, and the value is a list of rules. Write search: null, or one number"
    if name == LINES:
        return "a search moves numbers, and lines is a curve. Leave search out"
    if name == READ_BYTES:
        return "a search moves coefficients, and read_bytes is a limit. Leave search out"
    return None


class Method(Section):
    """One method's space: version and source, and a Parameter per key."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Parameter]
    version: int = Field(ge=1)
    source: str

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Name → Parameter, in the order of the file."""
        return self.__pydantic_extra__ or {}


class Budget(Section):
    """How much may be spent. candidates: merges made, over all methods."""

    candidates: int = Field(ge=1, le=100_000)


class IsolationSection(Section):
    """What a worker is locked into, and its limits."""

    level: Literal["auto", "L3", "L2", "L1", "L0"] = "auto"
    minimum: Literal["L3", "L2", "L1", "L0"] = "L2"
    wall_seconds: float = Field(gt=0)
    cpu_seconds: int = Field(gt=0)
    memory_bytes: int = Field(ge=1 << 28)


class Executor(Section):
    """Where units of work run; no part of any identity."""

    workers: int = Field(ge=1, le=256)


class Storage(Section):
    """What the lab may keep; no part of any identity. quota_bytes: work cache and data/ together."""

    quota_bytes: int = Field(default=100 << 30, gt=0)


class Items(Section):
    """How many cases of a task each split holds."""

    calibration: int = Field(ge=1, le=100_000)
    search: int = Field(ge=1, le=100_000)
    selection: int = Field(ge=1, le=100_000)
    hidden: int = Field(ge=1, le=100_000)


class Private(Section):
    """Hidden cases of a task that lie outside the repository (stages/eval/private.py).

    file: its name in the folder of MERGELAB_PRIVATE; hmac: of its bytes, as `mergelab suite hide` prints it.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    hmac: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Task(Section):
    """One entry of the test matrix: a skill of the lab, or a file of one's own (exactly one of the two).

    data: JSONL, or for perplexity a text, under conf/suite/data (core/scoring/datafile.py says what a line
    holds); it lies there because the stages depend on that folder. form: conf/suite/lm_eval/<form>.yaml;
    else the skill's. description: of a file. parent: the id of the parent whose niche it is. private: where
    its hidden cases come from, if they are not drawn.
    """

    skill: str | None = None
    data: Annotated[str, Field(pattern=DATA_FILE)] | None = None
    form: Annotated[str, Field(pattern=NAME)] | None = None
    kind: str
    description: str | None = Field(None, max_length=200)
    parent: Identifier | None = None
    items: Items | None = None
    private: Private | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> "Task":
        if (self.skill is None) is (self.data is None):
            raise ValueError("expected exactly one of skill and data")
        if self.data is not None and self.form is None:
            raise ValueError("data needs a form: a file of conf/suite/lm_eval, such as exact_answer")
        if self.data is None and self.description is not None:
            raise ValueError("description: a skill brings its own; it is for data")
        return self


class Baselines(Section):
    """What stands beside the merges; no part of what is asked, so that the hidden cases stay the same.

    cascade_risk: share of items at which the cascade may stop at a wrong answer that a later parent would
    have corrected, in expectation. quantised: widths that candidates and parents are rounded to, on niches.
    """

    cascade_risk: float = Field(0.05, gt=0, lt=1)
    quantised: tuple[Literal["int8", "int4"], ...] = ("int8", "int4")


class Suite(Section):
    """A versioned test matrix: default numbers of items, and the tasks by name."""

    name: Identifier
    version: int = Field(ge=1)
    items: Items
    tasks: dict[TaskName, Task] = Field(min_length=1)
    baselines: Baselines = Baselines()

    @property
    def measures(self) -> dict[str, str]:
        """Task → the skill that it measures, by which cards and advisories know it; else its own name."""
        return {name: task.skill or name for name, task in self.tasks.items()}


class Request(Section):
    """All of params.yaml."""

    experiment: Experiment
    parents: Parents
    method: dict[str, Method] = Field(min_length=1)
    budget: Budget
    policy: Policy
    isolation: IsolationSection
    suite: Suite
    executor: Executor
    storage: Storage = Storage()
    seed: int = Field(ge=0, lt=1 << 53)

    @model_validator(mode="after")
    def _niches_belong_to_parents(self) -> "Request":
        for name, task in self.suite.tasks.items():
            if task.parent is not None and task.parent not in self.parents.merge:
                raise ValueError(
                    f"suite.tasks.{name}.parent: {task.parent!r} is not merged here"
                    f"{nearest(task.parent, self.parents.merge)}"
                )
        return self


def load_request(path: Path) -> Request:
    """Read and check `path` (params.yaml). Raises BadRequest with every problem, each with file and key."""
    if not path.is_file():
        raise BadRequest([f"{path}: there is no such file. Run `mergelab compose`."])
    return parse(document.read(path), str(path))


def parse(tree: Any, where: str) -> Request:
    """The request of a plain tree. `where` names its origin in problems. Raises BadRequest."""
    try:
        return Request.model_validate(tree)
    except ValidationError as failure:
        raise BadRequest(
            [f"{where}: {problem}" for problem in explain(failure, Request, "the request")]
        ) from None
