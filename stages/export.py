"""`mergelab export`: a folder for somebody else's pipeline, with everything that says what it is.

Weights (hashed while they are copied), configuration, tokenizer and model card; lineage.json with its
signature if there is one; gate.json and evaluation.json, the verdicts as in-toto statements about the same
files; and SHA256SUMS. It appears whole or not at all. Nothing is sent anywhere: the rest is for others.

Every rule below runs, and a refusal is a result that names all of them:

| code | refused | exit status |
|---|---|---|
| not-judged | without evaluation, or judged as other files than those of the lineage | 4 |
| outcome | whose outcome is not *candidate*, as it follows from the evidence and the policy | 4 |
| front | whose outcome in reports/front.json is another than the one that follows | 4 |
| gate | with a failed gate | 4 |
| isolation | made at L1 or L0, or without proof of a lock | 4 |
| by-hand | merged by hand, or of a parent that nobody has reviewed | 4 |
| intent | whose intent is not allowed, by eligibility or by its own lineage | 4 |
| signature | unsigned where the policy asks for it, or with a signature that does not hold | 4 |
| evicted | whose weights are not here | 5 |
| changed | whose bytes are not those of the lineage | 3 |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stages import judgement, signing
from stages.conf import Request
from stages.core.errors import BadCheckpoint, BadSignature, LabError
from stages.core.records import attestation, dsse, terms
from stages.core.records import lineage as lineages
from stages.core.records.canonical import Json, dumps, read_json, write_json
from stages.core.records.files import copy_hashed, sha256_bytes, sha256_file, write_text
from stages.core.records.keys import PrivateKey
from stages.core.records.lineage import Recorded
from stages.core.records.manifest import FileRecord, Manifest
from stages.merge import by_hand, model_card, output_folder, rebuild
from stages.merge.workshop import CANDIDATES

GATE: Final = "gate.json"
EVALUATION: Final = "evaluation.json"
SUMS: Final = "SHA256SUMS"
CANDIDATE: Final = "candidate"
LOCKED: Final = ("L2", "L3")
STATUS: Final = {"changed": 3, "evicted": 5}  # of the other codes: 4


@dataclass(frozen=True)
class Refusal:
    """Why nothing was exported. message: what, expected and got, and the next move."""

    code: str
    message: str

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return STATUS.get(self.code, 4)


@dataclass(frozen=True)
class Exported:
    """What came of it: the files of the folder, or the refusals and no folder."""

    id: str
    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)  # name → sha256
    refusals: tuple[Refusal, ...] = ()

    @property
    def status(self) -> int:
        """0, or the status of the first refusal."""
        return self.refusals[0].status if self.refusals else 0

    def to_json(self) -> Json:
        """One JSON document."""
        return {
            "id": self.id,
            "exported": not self.refusals,
            "folder": str(self.folder),
            "files": dict(self.files),
            "refusals": [{**vars(one), "status": one.status} for one in self.refusals],
        }

    def text(self) -> str:
        """The same for people."""
        if self.refusals:
            return "\n".join(
                [f"{self.id}  NOT EXPORTED", *(f"  {one.code}: {one.message}" for one in self.refusals)]
            )
        return "\n".join(
            [
                f"{self.id}  {self.folder}",
                *(f"  {name}  sha256 {digest}" for name, digest in self.files.items()),
            ]
        )


@dataclass(frozen=True)
class Case:
    """One candidate with everything that was recorded about it; what is missing is empty.

    front: its record in reports/front.json. follows: the one that the evidence gives; unjudged: why there is
    none.
    """

    root: Path
    recorded: Recorded
    request: Request
    gates: Json
    front: Json
    eligibility: Json
    evidence: Json
    follows: Json
    unjudged: str | None

    @property
    def id(self) -> str:
        """The candidate's."""
        return self.recorded.recipe.id

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.root / CANDIDATES / self.id

    @property
    def definition(self) -> Json:
        """The build definition of its lineage."""
        return self.recorded.statement["predicate"]["buildDefinition"]


def export(root: Path, prefix: str, out: Path, request: Request, key: PrivateKey | None = None) -> Exported:
    """Write the candidate into the folder `out`, which must be empty or absent; or say why not.

    key: signs the two verdicts as well (gate.dsse.json, evaluation.dsse.json). Raises LabError for an unknown
    candidate, a taken place, or a file that cannot be read.
    """
    case = gather(root, rebuild.find(root / CANDIDATES, prefix), request)
    output_folder.free(out)
    refusals = tuple(refusal for rule in RULES for refusal in rule(case))
    if refusals:
        return Exported(case.id, out, refusals=refusals)
    out = out.resolve()
    try:
        with output_folder.draft(out) as draft:
            _fill(case, draft, key)
            sums = {path.name: sha256_file(path) for path in sorted(draft.iterdir())}
            write_text(draft / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    except _Changed as problem:
        return Exported(case.id, out, refusals=(Refusal("changed", str(problem)),))
    return Exported(case.id, out, sums)


def gather(root: Path, identifier: str, request: Request) -> Case:
    """What the repository records about a candidate. Raises BadCheckpoint if its lineage is in disorder."""
    front = _if_there(root / "reports/front.json") or []
    rows, unjudged = _worked_out(root, request)
    return Case(
        root=root,
        recorded=lineages.load(root / CANDIDATES / identifier / lineages.NAME),
        request=request,
        gates=_if_there(root / "data/gates.json").get("candidates", {}).get(identifier, {}),
        front=judgement.row(front, identifier),
        eligibility=_if_there(root / "data/eligibility.json"),
        evidence=_if_there(_evidence(root, identifier)),
        follows=judgement.row(rows, identifier),
        unjudged=unjudged,
    )


def _worked_out(root: Path, request: Request) -> tuple[list[Json], str | None]:
    """The table that follows from data/, or why none does."""
    try:
        return judgement.table(root, request), None
    except LabError as problem:
        return [], str(problem).replace(f"{root}/", "")


class _Changed(LabError):
    """The bytes on disk are not those of the lineage."""


def _fill(case: Case, draft: Path, key: PrivateKey | None) -> None:
    """Everything of the folder but the sums. Raises _Changed for the first file that is another one."""
    for name, digest in case.recorded.files.items():
        try:
            found, _ = copy_hashed(case.folder / name, draft / name)
        except BadCheckpoint as problem:
            raise _Changed(f"{problem} {_again(case)}") from problem
        if found != digest:
            raise _Changed(f"{name} has sha256 {found}, its lineage records {digest}. {_again(case)}")
    write_json(draft / lineages.NAME, case.recorded.statement)
    if (case.folder / model_card.NAME).is_file():
        copy_hashed(case.folder / model_card.NAME, draft / model_card.NAME)
    place = signing.of_candidate(case.root, case.id)
    if place.envelope.exists():
        copy_hashed(place.envelope, draft / dsse.NAME)
    for name, statement in ((GATE, gate(case)), (EVALUATION, evaluation(case))):
        write_json(draft / name, statement)
        if key:
            write_text(draft / name.replace(".json", ".dsse.json"), dsse.sign(statement, key))


def gate(case: Case) -> Json:
    """The gates' verdict about the candidate's files."""
    rules = {finding["rule"]: finding["passed"] for finding in case.gates["findings"]}
    told = attestation.descriptor("gates", sha256_bytes(dumps(case.gates)), case.gates)
    return attestation.test_result(
        case.recorded.files,
        passed=[rule for rule, passed in rules.items() if passed],
        failed=[rule for rule, passed in rules.items() if not passed],
        configuration=[told],
    )


def evaluation(case: Case) -> Json:
    """The outcome of the evaluation, with the digests of evidence, policy and eligibility, and the intent."""
    evidence, policy = case.evidence, case.request.policy.model_dump(mode="json")
    suite = {"suite_digest": evidence["suite_digest"], "scorer": evidence["scorer"]}
    intent = {"intent": case.request.parents.intent}
    return attestation.test_result(
        case.recorded.files,
        passed=[f"outcome: {case.front['outcome']}"],
        failed=[],
        configuration=[
            attestation.descriptor("front", sha256_bytes(dumps(case.front)), case.front),
            attestation.descriptor("evidence", sha256_file(_evidence(case.root, case.id)), suite),
            attestation.descriptor("policy", sha256_bytes(dumps(policy)), {"name": policy["name"]}),
            attestation.descriptor("eligibility", sha256_file(case.root / "data/eligibility.json"), intent),
        ],
    )


def _judged(case: Case) -> Iterator[Refusal]:
    """The evidence is there and is about these files: its artifact is the digest of the lineage's subject."""
    artifact = Manifest({name: FileRecord(digest, 0) for name, digest in case.recorded.files.items()}).digest
    judged = case.evidence.get("subject", {}).get("artifact")
    if judged != artifact or not case.front or not case.gates:
        yield Refusal(
            "not-judged",
            f"{case.id} was not evaluated as these files (artifact {artifact[:12]}…, evidence on "
            f"{str(judged)[:12]}…). Run `mergelab run`.",
        )


def _outcome(case: Case) -> Iterator[Refusal]:
    """What the evidence says is asked, not what the report does."""
    outcome = case.follows.get("outcome", "none")
    if outcome != CANDIDATE:
        reason = case.follows.get("reason") or case.unjudged or "there is no evidence of it"
        yield Refusal("outcome", f"expected the outcome {CANDIDATE!r}, got {outcome!r}: {reason}.")


def _front(case: Case) -> Iterator[Refusal]:
    """The report says what the evidence says, in every number."""
    differ = [key for key in case.follows | case.front if case.front.get(key) != case.follows.get(key)]
    if case.front and differ:
        key = "outcome" if "outcome" in differ else differ[0]
        yield Refusal(
            "front",
            f"reports/front.json gives the {key} {case.front.get(key)!r}, from data/ follows "
            f"{case.follows.get(key)!r}. Run `mergelab run`.",
        )


def _gate(case: Case) -> Iterator[Refusal]:
    failed = [finding["rule"] for finding in case.gates.get("findings", []) if not finding["passed"]]
    if failed or case.gates.get("passed") is not True:
        yield Refusal(
            "gate", f"expected every gate to pass; failed: {', '.join(failed) or 'none was recorded'}."
        )


def _isolation(case: Case) -> Iterator[Refusal]:
    told = case.definition["internalParameters"]["isolation"]
    level = told.get("level") if isinstance(told, dict) else None
    if level not in LOCKED or told.get("degraded") is not False or "sha256" not in told:
        yield Refusal(
            "isolation",
            f"it was made at {level or 'no level'}: expected L2 or L3 with the worker's own proof. Make it "
            "again with isolation=lock or bubblewrap.",
        )


def _by_hand(case: Case) -> Iterator[Refusal]:
    materials = case.definition["resolvedDependencies"]
    unread = [one["name"] for one in materials if not one["annotations"].get("card_sha256")]
    if case.recorded.proposal.origin == by_hand.PROCEDURE or unread:
        whose = f"nobody has reviewed {', '.join(unread)}" if unread else "no eligibility judged its parents"
        yield Refusal("by-hand", f"merged outside the pipeline: {whose}. Propose it: `mergelab import`.")


def _intent(case: Case) -> Iterator[Refusal]:
    """Eligibility passed, of these very parents; and what it decided allows the intent of the request.

    The decision is the lineage's own: it is what a signature covers.
    """
    verdict, intent = case.eligibility, case.request.parents.intent
    judged = {one["digest"] for one in (*verdict.get("parents", []), verdict.get("base")) if one}
    made_of = {one["digest"]["sha256"] for one in case.definition["resolvedDependencies"]}
    if verdict.get("passed") is not True or not made_of <= judged:
        yield Refusal("intent", "eligibility did not pass these parents. Run `mergelab run`.")
    byproducts = case.recorded.statement["predicate"]["runDetails"]["byproducts"]
    decided = next((one["annotations"] for one in byproducts if one["name"] == terms.KEY), None) or {}
    decision = decided.get("decisions", {}).get(intent, {"because": ["no rule has judged it"]})
    if decision.get("allowed") is not True:
        yield Refusal(
            "intent",
            f"licences and restrictions do not allow {intent!r}: {'; '.join(decision['because'])}. "
            "Choose another parents.intent, or other parents.",
        )
    elif decided != terms.of_verdict(verdict) or decided.get("use", {}).get("intent") != intent:
        yield Refusal("intent", "the use was judged anew, or changed, since the merge. Run `mergelab run`.")


def _signature(case: Case) -> Iterator[Refusal]:
    """Signed by enough trusted keys where the policy asks; one that is there is about this lineage."""
    policy, place = case.request.policy.signatures.promotion, signing.of_candidate(case.root, case.id)
    try:
        if policy.check == "required":
            signing.check(place, policy.keys(), policy.threshold)
        elif place.envelope.exists():
            dsse.matching(place.envelope.read_bytes(), case.recorded.statement)
    except BadSignature as problem:
        yield Refusal("signature", str(problem))


def _present(case: Case) -> Iterator[Refusal]:
    gone = [name for name in case.recorded.files if not (case.folder / name).exists()]
    if gone:
        yield Refusal("evicted", f"{', '.join(gone)} not here: weights are a cache. {_again(case)}")


RULES: Final[Sequence[Callable[[Case], Iterator[Refusal]]]] = (
    _judged,
    _outcome,
    _front,
    _gate,
    _isolation,
    _by_hand,
    _intent,
    _signature,
    _present,
)


def _again(case: Case) -> str:
    return f"Put the recorded bytes back: mergelab rebuild {case.id}"


def _evidence(root: Path, identifier: str) -> Path:
    return root / "data/evidence" / f"{identifier}.json"


def _if_there(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}
