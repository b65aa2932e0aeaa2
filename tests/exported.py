"""A repository with one candidate that may be exported, in small files, and what the command says of it.

The shipped records of the base, the parents and one candidate, with small files in place of its weights:
digests in lineage and evidence follow them. Without ensembles beside it, its evidence makes it a candidate.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from stages import judgement
from stages.cli import app
from stages.compose import compose
from stages.conf import load_request
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.evidence import SCHEMA
from stages.core.records.files import sha256_file
from stages.core.records.manifest import FileRecord, Manifest

ROOT = Path(__file__).parents[1]
ID = "11452c1d8a69"
LINEAGE = Path("data/candidates") / ID / "lineage.json"
EVIDENCE = Path("data/evidence") / f"{ID}.json"
FRONT = Path("reports/front.json")
SUBJECTS = ("pico-base", "pico-a", "pico-b", ID)
COPIED = (
    "conf",
    "data/sources",
    "data/cases/hidden",
    "dvc.yaml",
    "data/eligibility.json",
    "data/gates.json",
    "data/candidates/index.json",
    "data/evidence/index.json",
    LINEAGE,
    *(f"data/evidence/{name}.json" for name in SUBJECTS),
)


def make(root: Path) -> Path:
    """A repository at `root` with one candidate, whose outcome is *candidate*."""
    for name in [Path(name) for name in COPIED]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, root / name)
    params = compose(ROOT, []).text
    assert "bootstrap: 2000" in params
    (root / "params.yaml").write_text(params.replace("bootstrap: 2000", "bootstrap: 100"))
    edit(root / "data/evidence/index.json", lambda tree: tree.update(subjects=[*SUBJECTS], ensembles={}))
    edit(
        root / "data/candidates/index.json",
        lambda tree: tree.update(
            candidates=[one for one in tree["candidates"] if one["id"] == ID], unmergeable=[]
        ),
    )
    folder = (root / LINEAGE).parent
    statement = read_json(root / LINEAGE)
    for subject in statement["subject"]:
        (folder / subject["name"]).write_text(f"bytes of {subject['name']}")
        subject["digest"]["sha256"] = sha256_file(folder / subject["name"])
    write_json(root / LINEAGE, statement)
    files = {one["name"]: FileRecord(one["digest"]["sha256"], 0) for one in statement["subject"]}
    for name in SUBJECTS:  # what an older schema lacks may be absent in this one
        edit(root / f"data/evidence/{name}.json", lambda tree: tree.update(schema=SCHEMA))
    edit(root / EVIDENCE, lambda tree: tree["subject"].update(artifact=Manifest(files).digest))
    rows = judgement.table(root, load_request(root / "params.yaml"))
    assert row(rows)["outcome"] == "candidate"
    write_json(root / FRONT, rows)
    return root


def edit(path: Path, change: Callable[[Json], object]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def row(rows: Json) -> Json:
    return next(one for one in rows if one["id"] == ID)


def export(*more: str) -> tuple[int, Json]:
    done = CliRunner().invoke(app, ["export", ID, "--out", "out", "--json", *more])
    return done.exit_code, json.loads(done.stdout)
