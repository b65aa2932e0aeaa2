"""conf/licences as it ships: well-formed, as permissive as the texts say, reviewed by whom."""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from license_expression import get_spdx_licensing
from rich.console import Console
from typer.testing import CliRunner

from stages.cli import app
from stages.core.errors import BadRequest
from stages.eligibility import listing
from stages.eligibility.lattice import combine_all
from stages.eligibility.licences import Row, hub_identifiers, load_rows, load_table, spellings, texts
from tests.eligibility.family import LICENCES

ROWS = {row.spdx: row for row in load_rows(LICENCES)}
FREE, NO, ASK = "yes", "no", "unknown"
# research, publish-noncommercial, publish, serve; read off the licences' own words, not off the rows
BY_HAND = {
    **dict.fromkeys(
        [
            *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"),
            *("GPL-3.0-only", "GPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later", "OpenMDW-1.0"),
            *(f"LicenseRef-llama-{version}" for version in ("2", "3", "3.1", "3.2", "3.3", "4")),
            *(f"LicenseRef-{name}-openrail-m" for name in ("bigscience", "creativeml", "bigcode")),
            *("LicenseRef-gemma", "LicenseRef-deepseek-1.0", "LicenseRef-tongyi-qianwen"),
        ],
        (FREE, FREE, FREE, FREE),
    ),
    "CC-BY-NC-4.0": (FREE, FREE, NO, NO),
    "CC-BY-NC-SA-4.0": (FREE, FREE, NO, NO),
    "CC-BY-ND-4.0": (FREE, NO, NO, ASK),
    "CC-BY-NC-ND-4.0": (FREE, NO, NO, NO),
    "LicenseRef-qwen-research": (FREE, FREE, NO, NO),
    "LicenseRef-mistral-research": (FREE, FREE, NO, NO),
    "LicenseRef-mistral-non-production": (FREE, ASK, NO, NO),
    "LicenseRef-other": (ASK, ASK, ASK, ASK),
    "LicenseRef-unknown": (ASK, ASK, ASK, ASK),
}
GIVES_ALL = {"CC0-1.0"}
NAMELESS = {"LicenseRef-other", "LicenseRef-unknown"}


def test_every_row_permits_per_intent_what_its_text_says() -> None:
    found = {
        name: tuple(level.name for level in listing.by_intent(row).values()) for name, row in ROWS.items()
    }
    assert found == BY_HAND


def test_every_row_but_a_dedication_asks_for_something() -> None:
    assert {name for name, row in ROWS.items() if not row.obligations} == GIVES_ALL | NAMELESS


def test_every_row_names_where_its_text_stands_but_those_that_have_none() -> None:
    assert {name for name, row in ROWS.items() if row.source is None} == NAMELESS


def test_no_row_counts_as_reviewed_before_a_person_has_read_it() -> None:
    assert [name for name, row in ROWS.items() if row.reviewed] == []


def test_every_identifier_is_one_of_spdx_or_says_that_it_is_none() -> None:
    known = {str(name) for name in get_spdx_licensing().known_symbols}
    newer = {"OpenMDW-1.0"}  # SPDX has it since a later list than the parser's
    assert [name for name in ROWS if not name.startswith("LicenseRef-") and name not in known | newer] == []


def test_the_expression_of_all_rows_at_once_is_one_that_spdx_parses_to_the_same_names() -> None:
    table = load_table(LICENCES)
    parsed = get_spdx_licensing().parse(combine_all(table.values()).expression, strict=True)
    assert {str(name) for name in parsed.literals} == set(table)


@pytest.mark.parametrize("version", ["3", "3.1", "3.2", "3.3", "4"])
def test_llama_rows_ask_for_the_words_that_a_shared_model_must_carry(version: str) -> None:
    row = ROWS[f"LicenseRef-llama-{version}"]
    shown = "Built with Meta Llama 3" if version == "3" else "Built with Llama"
    begins = "Llama 3" if version == "3" else "Llama"
    assert (row.naming.begins, row.naming.displays, row.user_cap) == (begins, shown, 700_000_000)
    assert any(shown in obligation for obligation in row.obligations)
    assert any(f"“{begins}”" in obligation for obligation in row.obligations)


def test_only_the_multimodal_llamas_exclude_the_union() -> None:
    excluding = {name: row.regions for name, row in ROWS.items() if row.regions}
    assert set(excluding) == {"LicenseRef-llama-3.2", "LicenseRef-llama-4"}
    assert all(found.excluded == ("EU",) and found.only == "multimodal" for found in excluding.values())


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.text])
def test_a_digest_is_that_of_the_copy_it_names_where_this_machine_has_it(name: str) -> None:
    text = ROWS[name].text
    assert text is not None
    path = Path(text.copy_of.split(" ")[0])
    if not path.is_file():
        assert re.search(r" [0-9a-f]{7}, |Rust's documentation", text.copy_of), (
            "names no commit and no package"
        )
        return
    assert hashlib.sha256(path.read_bytes()).hexdigest() == text.sha256


def test_texts_and_names_of_the_hub_lead_back_to_their_rows() -> None:
    rows = list(ROWS.values())
    assert spellings(rows)["llama3.1"] == "LicenseRef-llama-3.1"
    assert spellings(rows)["mrl"] == "LicenseRef-mistral-research"
    assert "LicenseRef-mistral-research" not in hub_identifiers(rows)  # the Hub says `license: other`
    assert len(texts(rows)) == sum(row.text is not None for row in rows)


def written(folder: Path, name: str = "MIT", **changes: Any) -> Path:
    tree = yaml.safe_load((LICENCES / "MIT.yaml").read_text()) | changes
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return folder


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"permissions": {"use": True}}, r"permissions\.modify: missing"),
        ({"permission": {}}, r"permission: unknown key; did you mean 'permissions'"),
        ({"reviewed": True}, "reviewed: true needs a reviewer"),
        ({"reviewed": True, "reviewer": "A. Reader, 2026-11-25"}, "and the text that was read"),
        ({"reviewer": "A. Reader, 2026-11-25"}, "reviewed is false: which of the two"),
        ({"text": {"sha256": "abc", "copy_of": "here"}}, r"text\.sha256: string should match"),
        ({"source": "http://example.org"}, "source: string should match"),
        ({"user_cap": 0}, "user_cap: input should be greater"),
        ({"regions": {"excluded": []}}, r"regions\.excluded: tuple should have at least 1"),
        ({"regions": {"excluded": ["Europe"]}}, r"regions\.excluded\.0: string should match"),
        ({"obligations": [""]}, r"obligations\.0: string should have at least 1"),
        ({"spdx": "MIT OR ISC"}, "spdx: string should match"),
        ({"naming": {"begin": "Llama"}}, r"naming\.begin: unknown key; did you mean 'begins'"),
    ],
)
def test_a_malformed_row_is_refused_by_file_and_key(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadRequest, match=rf"MIT\.yaml: .*{problem}"):
        load_rows(written(tmp_path, **changes))


def test_every_problem_of_every_row_is_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, version=0, titel="MIT")
    written(tmp_path, "ISC", spdx="ISC", source=None, hub="mit", reviewed="perhaps")
    (tmp_path / "X11.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "Zed.yaml").write_text("- a list")
    assert [problem.split("/")[-1].split(":")[0] for problem in listing.problems(tmp_path)] == [
        "ISC.yaml",
        "MIT.yaml",
        "MIT.yaml",
        "X11.yaml",
        "Zed.yaml",
    ]


def test_two_rows_with_one_name_of_the_hub_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, "ISC", spdx="ISC")
    assert listing.problems(tmp_path) == [f"{tmp_path}: hub: mit stands in two rows"]


def test_the_listing_says_what_each_intent_gets_and_that_nobody_has_read_it() -> None:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as listed:
        console.print(listing.table(list(ROWS.values())))
    [line] = [line for line in listed.get().splitlines() if "LicenseRef-mistral-non-production" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["yes", "?", "no", "no"]
    assert line.rstrip(" │").endswith("no")


def test_the_command_lists_every_row_whole_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LICENCES.parents[1])
    listed = CliRunner().invoke(app, ["licences", "--json"])
    assert listed.exit_code == 0
    tree = {row["spdx"]: row for row in json.loads(listed.output)}
    assert tree["CC-BY-ND-4.0"]["intents"] == dict(
        zip(("research", "publish-noncommercial", "publish", "serve"), BY_HAND["CC-BY-ND-4.0"], strict=True)
    )
    assert {name: Row.model_validate(_without(row)) for name, row in tree.items()} == ROWS


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "intents"}
