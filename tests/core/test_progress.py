import pytest

from stages.core import progress
from stages.core.progress import narrate


def test_a_line_a_unit_says_how_many_are_done_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with narrate("candidate", rejects=True) as report:
        report(1, 0, 4)
        report(2, 1, 4)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(", ETA")[0] for line in lines] == [
        "candidate 1/4, 0 rejected", "candidate 2/4, 1 rejected",
    ]  # fmt: skip


def test_units_of_another_kind_are_counted_on_the_same_display(capsys: pytest.CaptureFixture[str]) -> None:
    with narrate("subject", rejects=True) as report:
        report(2, 1, 2)
        report.of("rounded model")(1, 0, 3)
    lines = [line.rpartition(", ETA")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["subject 2/2, 1 rejected", "rounded model 1/3"]


def test_what_is_over_soon_says_nothing_and_the_rest_not_too_often(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with narrate("tensors", every=2.0) as report:
        for done in range(1, 13):
            now[0] += 0.5
            report(done, 0, 100)
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["tensors 4/100", "tensors 8/100", "tensors 12/100"]
