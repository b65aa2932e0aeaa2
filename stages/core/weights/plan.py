"""A merge worked out before any weight is read: from the recipe and the headers alone.

A plan can be printed (`describe`), costed (bytes, memory), hashed (`digest`) and executed (engine.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Literal

from stages.core.errors import BadRequest, Unmergeable
from stages.core.records.canonical import Json, dumps, hex_float
from stages.core.records.files import sha256_bytes
from stages.core.records.recipe import Recipe, Value, plain
from stages.core.weights import budget, depth, fitting, header, layout, registry, routes, spectra
from stages.core.weights.fitting import FLOATS
from stages.core.weights.method import WHOLE, Method, Options
from stages.core.weights.numerics import BLOCK, LEAF, NUMERICS, float32
from stages.core.weights.reader import Checkpoint, FileSpec, TensorSpec

SCHEMA = "mergelab/plan/1"
SHARD_BYTES = 5_000_000_000  # tensor bytes of one output file, as the Hub's tools cut them; decides bytes
MEMORY_BYTES = 512 << 20  # of anonymous memory that a merge by blocks may take, unless told otherwise
PASSES = 3  # over a tensor for its statistics, at most
WHOLE_BYTES = 7 << 30  # for one tensor given whole: what an 8 GiB worker has beside torch and its blocks
ROOM_BYTES = 256 << 20  # resident interpreter with torch and numpy, and their slack: measured 220 to 250


@dataclass(frozen=True)
class Job:
    """One output tensor. `merge` runs the method; `copy` takes integer or bool bytes, equal in all it reads.

    start and end: byte offsets in the output `file`. options: the recipe's parameters as they hold here.
    reads: (place in the plan's inputs, tensor there) of all that it is made of, the base first for a delta
    method, then the parents in order.
    """

    name: str
    action: Literal["merge", "copy"]
    dtype: str
    shape: tuple[int, ...]
    coefficients: Options
    file: str
    start: int
    end: int
    reads: tuple[tuple[int, str], ...]
    options: Options = field(default_factory=dict)

    @property
    def elements(self) -> int:
        """How many elements; 1 for a scalar."""
        return prod(self.shape)

    @property
    def whole(self) -> bool:
        """Whether the method is given the tensor whole, instead of by blocks."""
        return self.coefficients.get(WHOLE) is True


@dataclass(frozen=True)
class Input:
    """One checkpoint to read, as its headers describe it. role: 'base', 'parent 1', 'parent 2' …"""

    role: str
    digest: str
    tensors: Mapping[str, TensorSpec]
    files: Mapping[str, FileSpec]


@dataclass(frozen=True)
class Plan:
    """Everything that a merge will do.

    inputs: the base first, where the method needs one, then the parents in order.
    texts: the first bytes of every output file: a header, or the whole index of a sharded output.
    slots: for a path through layers, (place of the parent, from 0; layer there) of every output layer.
    memory_bytes: what the merge may take beside its interpreter; it decides no byte.
    """

    recipe: Recipe
    method: Method
    inputs: tuple[Input, ...]
    jobs: tuple[Job, ...]
    files: Mapping[str, int]
    texts: Mapping[str, bytes]
    slots: tuple[tuple[int, int], ...] = ()
    memory_bytes: int = MEMORY_BYTES

    @property
    def bytes_written(self) -> int:
        """Bytes of all output files."""
        return sum(self.files.values())

    @property
    def bytes_read(self) -> int:
        """Bytes read at most: every input file once, and each tensor too large to hold once more per pass.

        A tensor that goes into several output tensors is read once for each. A budget bounds what is read of
        the parents; what the indexes take, where they are not known, is budget.index_bytes.
        """
        once = budget.input_bytes(self)
        again = sum(self._tensor_bytes(job) for job in self.jobs if self.rereads(job))
        shared = sum((uses - 1) * self._bytes_of(source) for source, uses in self._uses.items())
        return once + PASSES * again + shared

    @property
    def peak_bytes(self) -> int:
        """Estimate of the greatest resident memory of a merge on up to two threads."""
        held = max((self._tensor_bytes(job) for job in self.jobs if not self.rereads(job)), default=0)
        blocks = self._blocks_bytes(self.block_elements(2), 2)
        whole = max((self.whole_bytes(job) for job in self.jobs), default=0)
        return ROOM_BYTES + (held if self.needed else 0) + blocks + whole

    @property
    def hold_bytes(self) -> int:
        """A tensor is read once if its bytes in all inputs fit in this; else again for each pass."""
        return self.memory_bytes // 2

    def block_elements(self, threads: int) -> int:
        """Elements merged at a time: BLOCK, or less where the blocks under way would fill the memory."""
        block = BLOCK
        while block > LEAF and self._blocks_bytes(block, threads) > self.memory_bytes // 4:
            block //= 2
        return block

    def _blocks_bytes(self, block: int, threads: int) -> int:
        """Estimate of the memory of all blocks under way: float32 arrays of what is read and made."""
        parents, longest = len(self.recipe.parents), 0
        arrays = 3 * parents + 9
        if any(need.of is not None for need in self.method.needs):
            arrays += 2 * parents  # float64 copies of the deltas
        if self.method.rows:  # slices end where rows do
            longest = max((job.shape[-1] for job in self.jobs if job.shape), default=0)
        return (threads + 2) * arrays * (block + longest) * 4

    def whole_bytes(self, job: Job) -> int:
        """Estimate of the memory of one tensor that the method is given whole; 0 for others.

        Its bytes in every input, float32 copies of them and of the k differences, and the greater of what
        is held while the differences are made and of the float64 work on them (spectra.workspace_bytes).
        """
        if not job.whole:
            return 0
        parents, (rows, columns) = len(self.recipe.parents), job.shape
        single = 4 * job.elements
        work = max(spectra.workspace_bytes((rows, columns)), single * parents)
        return self._tensor_bytes(job) + single * (parents + 1) + work

    @property
    def read_bytes(self) -> int | None:
        """The budget for the parents' tensors; None reads all."""
        value = self.recipe.parameters.get(registry.READ_BYTES)
        return value if isinstance(value, int) else None

    @property
    def needed(self) -> bool:
        """Whether the method takes statistics of a tensor before it merges it."""
        return bool(self.method.needed(self.recipe.parameters))

    def rereads(self, job: Job) -> bool:
        """Whether the tensor is read again after its statistics, instead of being held."""
        return job.action == "merge" and self.needed and self._tensor_bytes(job) > self.hold_bytes

    def reads_of_parents(self, job: Job) -> tuple[tuple[int, str], ...]:
        """`job.reads` without the base."""
        return job.reads[1:] if self.method.space == "delta" else job.reads

    def parents_of(self, job: Job) -> tuple[tuple[str, str], ...]:
        """Digest of each parent read, and the name of the tensor there, in order."""
        return tuple((self.inputs[place].digest, name) for place, name in self.reads_of_parents(job))

    def shared(self, place: int, name: str) -> bool:
        """Whether several output tensors are made of this tensor of an input."""
        return self._uses[place, name] > 1

    @cached_property
    def _uses(self) -> Counter[tuple[int, str]]:
        return Counter(source for job in self.jobs for source in job.reads)

    def _bytes_of(self, source: tuple[int, str]) -> int:
        spec = self.inputs[source[0]].tensors[source[1]]
        return spec.end - spec.start

    def _tensor_bytes(self, job: Job) -> int:
        return sum(self._bytes_of(source) for source in job.reads)

    def _routed(self, job: Job) -> list[list[str]]:
        """[role, tensor] of what a job reads; [] where it is the tensor of its own name in every input."""
        if job.reads == tuple((place, job.name) for place in range(len(self.inputs))):
            return []
        return [[self.inputs[place].role, name] for place, name in job.reads]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the output: recipe, tensors, coefficients, files; not input layout."""
        tensors = [
            [
                *(job.name, job.action, job.dtype, list(job.shape), job.file, job.start),
                _shown(job.coefficients),
                *self._routed(job),
            ]
            for job in self.jobs
        ]
        tree = {"schema": SCHEMA, "recipe": self.recipe.digest, "tensors": tensors, "files": dict(self.files)}
        return sha256_bytes(dumps(tree))

    def describe(self) -> Json:
        """The plan for people and `--json`: costs, files, inputs, and each tensor with its coefficients."""
        return {
            "schema": SCHEMA,
            "digest": self.digest,
            "recipe": self.recipe.digest,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "peak_bytes": self.peak_bytes,
            **({} if self.read_bytes is None else {"budget": budget.describe(self)}),
            "files": dict(self.files),
            "inputs": [
                {
                    "role": given.role,
                    "digest": given.digest,
                    "dtypes": _dtypes(given),
                    "files": sorted(given.files),
                }
                for given in self.inputs
            ],
            "tensors": {
                job.name: {
                    "action": job.action,
                    "dtype": job.dtype,
                    "shape": list(job.shape),
                    "coefficients": _shown(job.coefficients),
                    **({"reads": routed} if (routed := self._routed(job)) else {}),
                }
                for job in self.jobs
            },
        }


def plan(
    recipe: Recipe,
    sources: Mapping[str, Path],
    *,
    shard_bytes: int = SHARD_BYTES,
    memory_bytes: int = MEMORY_BYTES,
    whole_bytes: int = WHOLE_BYTES,
) -> Plan:
    """The plan of `recipe`, from the headers in `sources` (manifest digest -> checkpoint directory).

    memory_bytes: bound of the anonymous memory of a merge, beside the interpreter's own; a lower one reads
    large tensors more often, and smaller blocks. whole_bytes: bound of the memory of one tensor that a method
    is given whole (Plan.whole_bytes), the one place where the memory of a merge depends on a tensor's size.
    The default is enough for matrices of 14336 x 4096, the greatest in the layers of a model with 8e9
    parameters, of up to 12 parents in bfloat16 or 9 in float32. Neither is part of a plan's digest.
    Raises BadRequest for a recipe that this version cannot honour, BadCheckpoint for malformed files, and
    Unmergeable with the full list of tensors that are missing, extra, misshaped or of an unmergeable type, or
    for a byte budget that cannot be kept (budget.check).
    """
    method = _checked(recipe, sources)
    inputs = _inputs(recipe, method, sources)
    reads, slots = _reads(recipe, method, inputs)
    if method.rows:
        fitting.rankable(inputs[0])
    first = 1 if method.space == "delta" else 0  # of what a tensor is made of: its first parent
    made = {name: inputs[of[first][0]].tensors[of[first][1]] for name, of in reads.items()}
    outputs = [
        (name, recipe.output_dtype if spec.dtype in FLOATS else spec.dtype, spec.shape)
        for name, spec in made.items()
    ]
    outputs.sort(key=lambda output: (-header.ITEMSIZE[output[1]], output[0]))  # aligned, as the library sorts
    texts, entries = layout.lay_out(outputs, shard_bytes)
    merged = {name: shape for name, _, shape in outputs if made[name].dtype in FLOATS}
    local = _coefficients(recipe, method, merged)
    jobs = tuple(_job(file, entry, reads[entry.name], local.get(entry.name)) for file, entry in entries)
    sizes = {name: len(text) for name, text in texts.items()}
    for job in jobs:
        sizes[job.file] = max(sizes[job.file], job.end)
    planned = Plan(recipe, method, inputs, jobs, sizes, texts, slots, memory_bytes)
    _small_enough(planned, whole_bytes)
    budget.check(planned)
    return planned


def _job(
    file: str, entry: header.Entry, reads: tuple[tuple[int, str], ...], local: tuple[Options, Options] | None
) -> Job:
    """The job of one tensor; local: its parameters and coefficients, or None where its bytes are copied."""
    options, coefficients = local or ({}, {})
    return Job(
        name=entry.name,
        action="copy" if local is None else "merge",
        dtype=entry.dtype,
        shape=entry.shape,
        coefficients=coefficients,
        file=file,
        start=entry.start,
        end=entry.end,
        reads=reads,
        options=options,
    )


def _checked(recipe: Recipe, sources: Mapping[str, Path]) -> Method:
    method = registry.get(recipe.method)
    found = registry.problems(recipe.method, recipe.parameters, len(recipe.parents))
    if not found and dict(recipe.parameters) != registry.resolve(
        method.name, recipe.parameters, len(recipe.parents)
    ):
        found.append("parameters: the recipe must state every parameter, resolved")
    if recipe.method_version != method.version:
        found.append(f"method_version: this is {method.version}, the recipe asks for {recipe.method_version}")
    if recipe.numerics != NUMERICS:
        found.append(f"numerics: this is version {NUMERICS}, the recipe asks for {recipe.numerics}")
    if recipe.output_dtype not in FLOATS:
        found.append(f"output_dtype: expected one of {', '.join(FLOATS)}, got {recipe.output_dtype!r}")
    if method.space == "delta" and recipe.base is None:
        found.append(f"base: {method.name} merges differences from a base, and the recipe names none")
    wanted = [*recipe.parents, *([recipe.base] if recipe.base and method.space == "delta" else [])]
    found += [f"no source for {digest}" for digest in wanted if digest not in sources]
    if found:
        raise BadRequest([f"recipe {recipe.id}: {problem}" for problem in found])
    return method


def _coefficients(
    recipe: Recipe, method: Method, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[Options, Options]]:
    """Tensor name -> the parameters that hold there, and the coefficients that follow from them.

    Raises BadRequest with every rule that fits no tensor or has no value for one, and every set of values
    that the method cannot use together.
    """
    lines = recipe.parameters.get(registry.LINES)
    apart = (registry.LINES, registry.READ_BYTES, *method.routing)
    given = {name: value for name, value in recipe.parameters.items() if name not in apart}
    known: dict[str, Options] = {}
    found: dict[str, tuple[Options, Options]] = {}
    problems: list[str] = []
    for name, (options, place) in depth.resolved(given, shapes).items():
        key = repr(options)
        if key not in known:
            wrong = method.check(options)
            problems += [f"{name}: {method.name}.{one}" for one in wrong]
            known[key] = {} if wrong else method.coefficients(options)
        local: dict[str, Value] = {}
        if isinstance(lines, tuple):
            local[registry.LINES] = float32(depth.lines_factor(lines, place))
        if method.whole is not None:
            local[WHOLE] = method.whole(options, name, shapes[name])
        found[name] = options, {**known[key], **local}
    if problems:
        raise BadRequest(problems)
    return found


def _inputs(recipe: Recipe, method: Method, sources: Mapping[str, Path]) -> tuple[Input, ...]:
    roles = [(f"parent {place}", digest) for place, digest in enumerate(recipe.parents, start=1)]
    if method.space == "delta" and recipe.base is not None:
        roles.insert(0, ("base", recipe.base))
    found = []
    for role, digest in roles:
        checkpoint = Checkpoint(sources[digest])
        found.append(Input(role, digest, checkpoint.tensors, checkpoint.files))
    return tuple(found)


def _reads(
    recipe: Recipe, method: Method, inputs: Sequence[Input]
) -> tuple[Mapping[str, tuple[tuple[int, str], ...]], tuple[tuple[int, int], ...]]:
    """Output tensor -> what it is made of (Job.reads), and the slots of a path.

    Raises Unmergeable with the full list of what does not fit, BadRequest for a route that leads nowhere.
    """
    if method.route == "every_parent":
        fitting.compatible(inputs)
        names = inputs[-len(recipe.parents)].tensors
        return {name: tuple((place, name) for place in range(len(inputs))) for name in names}, ()
    parents = [given.tensors for given in inputs]
    follow = routes.one_parent if method.route == "one_parent" else routes.along_path
    routed = follow(recipe.parameters, parents)
    wrong = [
        fitting.no_type(f"{name} of {inputs[place].role}", [spec.dtype])
        for place, name in dict.fromkeys(routed.sources.values())
        if fitting.foreign(spec := parents[place][name])
    ]
    if wrong:
        fitting.refuse(wrong)
    return {name: (source,) for name, source in routed.sources.items()}, routed.slots


def _small_enough(planned: Plan, whole_bytes: int) -> None:
    """Raises Unmergeable listing every tensor given whole that needs more memory than the bound."""
    wrong = [
        f"{job.name}: {list(job.shape)} needs {needed} bytes"
        for job in planned.jobs
        if (needed := planned.whole_bytes(job)) > whole_bytes
    ]
    if wrong:
        move = (
            "Merge fewer parents, or give these tensors `spectral` 0 by a rule on their names: they then get "
        )
        raise Unmergeable(
            "\n  ".join([f"{planned.method.name} takes matrices whole, in {whole_bytes} bytes:", *wrong])
            + f"\n{move}the mean."
        )


def _dtypes(given: Input) -> dict[str, int]:
    counts: dict[str, int] = {}
    for spec in given.tensors.values():
        counts[spec.dtype] = counts.get(spec.dtype, 0) + 1
    return counts


def _shown(options: Options) -> dict[str, Json]:
    def show(value: Value) -> Json:
        if isinstance(value, tuple):
            return [hex_float(number) for number in value]
        return hex_float(value) if isinstance(value, float) else plain(value)

    return {name: show(value) for name, value in options.items()}
