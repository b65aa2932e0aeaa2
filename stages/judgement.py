"""Does the outcome follow from the evidence? A report is a text that anybody may edit: it is worked out anew.

The pareto stage is a pure function of data/ and the request, so its table can be made again in a second and
compared. Covered: an edited or stale reports/front.json, and gates, eligibility, candidates or a policy that
were changed since it was written. Not covered: evidence that was invented as a whole; that is for `dvc repro`
and for the review of data/evidence.
"""

from pathlib import Path

from stages.conf import Request
from stages.core.errors import LabError
from stages.core.records.canonical import Json
from stages.pareto.results import plot_records, results
from stages.pareto.study import Experiment, load
from stages.pareto.trial import trial


def table(root: Path, request: Request) -> list[Json]:
    """What reports/front.json must hold: a record for each subject, from `root`/data and the policy.

    Raises LabError if a file under data/ is missing, malformed, or disagrees with another.
    """
    asked = request.experiment
    experiment = Experiment(
        asked.id, asked.title, asked.question, request.parents.base, request.parents.merge
    )
    try:
        return plot_records(results(trial(load(root / "data", experiment), request.policy)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:  # of edited JSON
        raise LabError(f"data/ holds records that are none of ours: {problem!r}") from problem


def row(rows: Json, identifier: str) -> Json:
    """The record of one subject; {} if there is none, as in what is no table."""
    found = rows if isinstance(rows, list) else []
    return next((one for one in found if isinstance(one, dict) and one.get("id") == identifier), {})
