"""The policy of an experiment: every threshold and margin that a verdict rests on, and nothing else.

conf/policy/<name>.yaml holds the numbers, each with its unit and reason; these models hold names and ranges.
Changing a number re-runs the stage that reads it (gate: `gate`; eval: `looks`; pareto: everything else) and
no merge.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.core.errors import LabError
from stages.core.records.keys import PublicKey, from_base64
from stages.core.records.schema import Section

Share = Annotated[float, Field(ge=0, le=1)]
"""A share, probability or difference of accuracies, 0 to 1."""

Against = Literal["worse", "better"]
"""Which parent is the reference: the one that does worse on the task, or the one that does better."""


class EligibilityPolicy(Section):
    """What parents must show before they are merged.

    niche_accuracy: least accuracy on its own niche, by its evaluation card, at the confidence of the policy.
    distinct: least distance between two models, over the norm of the base. weight_cosine, relative_norm:
    least cosine of a parent's weights with the base's, and greatest norm of its task vector over that of the
    base, of the whole and of each layer. norm_factor: by how much the norm of a matrix may change, either
    way. unit_cosine: least cosine of a neuron, of an entry of a head or of a token with the same one of the
    base; unit_share: share of a matrix's units that may lie under it. rescale_factor: how much a unit may
    have been scaled where its partner was scaled back. delta_q99: greatest 99th percentile of |delta|, over
    the root mean square of the base's weights, for methods that drop entries by chance and rescale the rest.
    barrier_nats: by how much the loss of a mean of models may lie over the mean of their losses, nats an
    answer token; null: never probed. probe_items: smoke items of each skill for that probe.
    """

    niche_accuracy: Share
    distinct: float = Field(gt=0, lt=1)
    weight_cosine: float = Field(gt=0, lt=1)
    relative_norm: float = Field(gt=0)
    norm_factor: float = Field(gt=1)
    unit_cosine: float = Field(gt=0, lt=1)
    unit_share: Share
    rescale_factor: float = Field(gt=1)
    delta_q99: float = Field(gt=0)
    barrier_nats: Annotated[float, Field(ge=0)] | None
    probe_items: int = Field(gt=0)


class GatePolicy(Section):
    """Bounds of the cheap validity checks on each artifact.

    norm_ratio: a tensor's norm over the larger of its parents' norms. outlier_ratio: the same of its largest
    absolute entry. perplexity_ratio: perplexity on the smoke split over the worse parent's. smoke_items:
    items per task.
    """

    norm_ratio: float = Field(gt=0)
    outlier_ratio: float = Field(gt=0)
    perplexity_ratio: float = Field(gt=0)
    smoke_items: int = Field(gt=0)


class FrontPolicy(Section):
    """How uncertain the front is.

    bootstrap: number of resamples. cluster: what is resampled together: twins (`pair`), template families
    or single items. min_clusters: fewer clusters in a niche than this are refused. robust, not_excluded:
    shares of resamples in which a subject must be non-dominated. recovered_floor: least share of each
    parent's gain over the base that a merge must recover on that parent's niche.
    """

    bootstrap: int = Field(ge=100, le=100_000)
    cluster: Literal["pair", "family", "item"]
    min_clusters: int = Field(ge=2)
    robust: Share
    not_excluded: Share
    recovered_floor: float


class Constraint(Section):
    """A skill that a merge may not lose: at most `margin` (accuracy, 0 to 1) below the named parent.

    Of refusals it holds for each part by itself: what must be refused, and what must not.
    """

    margin: Share
    against: Against


class Constraints(Section):
    """One constraint per kind of task; null measures the kind and never rejects for it."""

    shared: Constraint | None
    rare: Constraint | None
    conflict: Constraint | None
    refusal: Constraint | None
    long_context: Constraint | None
    tool: Constraint | None
    out_of_distribution: Constraint | None
    bias: Constraint | None
    calibration: Constraint | None
    canary: Constraint | None
    perplexity: None

    def of(self, kind: str) -> Constraint | None:
        """The constraint on tasks of `kind`; None for niches (objectives) and for kinds only measured."""
        found = getattr(self, kind) if kind in type(self).model_fields else None
        return found if isinstance(found, Constraint) else None


class Margin(Section):
    """By how much what is measured may be worse than the named parent's; the unit is that of the measure."""

    margin: float = Field(ge=0)
    against: Against


class OwnMargin(Section):
    """By how much what is measured may be worse than the subject's own, untriggered or unrounded."""

    margin: Share


class Behaviour(Section):
    """Margins on what is measured beside right and wrong; null measures and never rejects for it.

    brier: mean Brier score of a calibration task, 0 to 2. nats: of running text, a token. confusion: share of
    conflicting prompts answered as the other context wants. flips: share of counterfactual pairs answered
    differently; gap: mean nats between the right answers of a pair. drop: accuracy that a shift costs.
    obeyed: share of triggers obeyed, beyond their twins without one. int8, int4: accuracy lost by rounding.
    """

    brier: Margin | None
    nats: Margin | None
    confusion: Margin | None
    flips: Margin | None
    gap: Margin | None
    drop: Margin | None
    obeyed: OwnMargin | None
    int8: OwnMargin | None
    int4: OwnMargin | None

    def of(self, quantity: str) -> Margin | OwnMargin | None:
        """The margin of one quantity; None where it is only measured."""
        found = getattr(self, quantity)
        return found if isinstance(found, Margin | OwnMargin) else None


class EnsemblePolicy(Section):
    """When running the parents side by side beats merging them.

    margin: how far (recovered fraction) a merge's headline may lie below the best ensemble's. pass_budget:
    most forward passes per token, in units of one parent, that may be served. model_budget: most models that
    may be kept in memory. An ensemble, router or cascade above either is to be distilled.
    """

    margin: float = Field(ge=0)
    pass_budget: float = Field(ge=1)
    model_budget: int = Field(ge=1)

    def affords(self, passes: float, models: int) -> bool:
        """Whether so much may be served."""
        return passes <= self.pass_budget and models <= self.model_budget


class LooksPolicy(Section):
    """How often hidden cases may be looked at, each time with another candidate set; null: counted alone.

    fresh: cases drawn anew for each set by one suite. private: one private file, the same for every set.
    """

    fresh: Annotated[int, Field(ge=1)] | None
    private: Annotated[int, Field(ge=1)] | None


class Signers(Section):
    """Whose signatures count. trusted: name → base64 of the public key: the text of its PEM on one line."""

    trusted: dict[str, str]

    @field_validator("trusted")
    @classmethod
    def _are_keys(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            keys = [from_base64(name, text) for name, text in value.items()]
        except LabError as problem:
            raise ValueError(str(problem)) from problem
        if len({key.keyid for key in keys}) != len(keys):
            raise ValueError("one key stands under two names: it would count twice")
        return value

    def keys(self) -> list[PublicKey]:
        """The trusted keys, in the order written."""
        return [from_base64(name, text) for name, text in self.trusted.items()]


class ParentSignatures(Signers):
    """Signatures that parents bring along (model.sig). if_present: one that is there must hold."""

    check: Literal["never", "if_present", "required"]


class PromotionSignatures(Signers):
    """Signatures of lineages (`mergelab sign`). required: nothing is exported without `threshold` of them."""

    check: Literal["never", "required"]
    threshold: int = Field(ge=1, le=16)


class SignaturePolicy(Section):
    """Whose word is taken for what: publishers for parents, reviewers for what may leave the lab."""

    parents: ParentSignatures
    promotion: PromotionSignatures


class Policy(Section):
    """Group `policy` of the request.

    confidence: level of every interval, and, one-sided, of every family of tests (decision 20). reject: who
    carries the burden of proof. `shown_loss` rejects what was shown to be lost; `unproven` rejects whatever
    was not shown to be kept.
    """

    name: str
    version: int = Field(ge=1)
    confidence: float = Field(gt=0.5, lt=1)
    reject: Literal["shown_loss", "unproven"]
    eligibility: EligibilityPolicy
    gate: GatePolicy
    front: FrontPolicy
    constraints: Constraints
    behaviour: Behaviour
    ensemble: EnsemblePolicy
    looks: LooksPolicy
    signatures: SignaturePolicy

    @property
    def level(self) -> float:
        """One-sided level of every test and family of tests: half of what an interval leaves out."""
        return (1 - self.confidence) / 2
