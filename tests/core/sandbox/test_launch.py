"""One worker from outside: what comes back, how it ends, what it leaves behind."""

import fcntl
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import BadCheckpoint, BadRequest, LabError, NotIsolated, Unmergeable, WorkerFailed
from stages.core.sandbox import dialogue, launch
from stages.core.sandbox.launch import Isolation, Limits, Outcome
from tests.core.sandbox.scene import jobs_of

HERE = Path(__file__).resolve().parent
QUICK = Limits(wall_seconds=20, cpu_seconds=20, memory_bytes=1 << 30)


@pytest.fixture(autouse=True)
def misdeeds() -> Iterator[None]:
    with jobs_of(HERE / "misdeeds.py"):
        yield


def work(kind: str, *, level: str = "L2", limits: Limits = QUICK, **job: Any) -> Outcome:
    options = {name: job.pop(name) for name in ("readable", "writable", "scratch") if name in job}
    return launch.run(
        {"kind": kind, **job}, isolation=Isolation(level, minimum="L0"), limits=limits, **options
    )


def children() -> set[int]:
    """Processes whose parent is this one."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(status.parent.name))
    return found


# --- results ---


def test_a_result_its_progress_and_its_records_come_back(level: str) -> None:
    steps: list[tuple[int, int]] = []
    done = launch.run(
        {"kind": "probe", "x": [1, "é"]}, isolation=Isolation(level), on_progress=steps_into(steps)
    )
    assert done.result == {"echo": {"kind": "probe", "x": [1, "é"]}}
    assert steps == [(1, 1)]
    assert done.isolation["level"] == level
    assert done.run["start_seconds"] <= done.run["wall_seconds"]
    assert 5 << 20 < done.run["peak_rss_bytes"] < 100 << 20  # a bare interpreter, not this process with numpy


def steps_into(steps: list[tuple[int, int]]) -> Any:
    return lambda done, total: steps.append((done, total))


def test_the_proof_repeats_to_the_byte_and_differs_between_levels() -> None:
    first, second, unlocked = (work("probe", level=level).isolation for level in ("L2", "L2", "L0"))
    assert first == second
    assert first["probes"]["read_outside"] == "denied"
    assert first["sha256"] != unlocked["sha256"]
    assert (first["degraded"], unlocked["degraded"]) == (False, True)


def test_what_a_worker_prints_cannot_forge_its_result(level: str) -> None:
    assert work("chatter", level=level).result == "the true result"


def test_a_worker_sees_no_variable_or_folder_of_ours(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    seen = work("surroundings", level=level).result
    assert "hunter2" not in str(seen)
    assert seen["environment"]["ATEN_CPU_CAPABILITY"] == "default"
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["folder"] == "/"


def test_threads_start_under_the_lock(level: str) -> None:
    assert work("use_threads", level=level).result == 8


def test_an_output_can_be_rewritten_shorter_but_not_longer(tmp_path: Path, level: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(8))
    large.write_bytes(bytes(1000))
    assert work("rewrite", level=level, writable=[small, large], file=str(small)).result == "new"
    with pytest.raises(WorkerFailed, match=r"lengthened .*small: expected at most 3 bytes, got 500"):
        work("grow", level=level, writable=[small, large], file=str(small), bytes=500)
    with pytest.raises(WorkerFailed, match="File too large"):
        work("grow", level=level, writable=[small, large], file=str(large), bytes=1001)


def test_a_scratch_folder_is_the_workers_own_and_goes_with_it(level: str) -> None:
    text, temporary, folder = work("use_scratch", level=level, scratch=True).result
    assert text == "two"
    assert temporary == folder
    assert not Path(folder).exists()


def test_scratch_folders_of_killed_launchers_are_swept_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    places = [tmp_path / f"{launch.SCRATCH}{name}" for name in ("left", "held", "new")] + [tmp_path / "other"]
    for place in places:
        place.mkdir()
        (place / "cases.arrow").touch()
        if not place.name.endswith("new"):
            os.utime(place, (1000, 1000))
    link = tmp_path / f"{launch.SCRATCH}link"
    link.symlink_to(places[-1])
    held = os.open(places[1], os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert work("use_scratch", level="L2", scratch=True).result[0] == "two"
    os.close(held)
    assert sorted(tmp_path.iterdir()) == sorted([*places[1:], link])
    assert all((place / "cases.arrow").exists() for place in places[1:])


def test_two_names_for_one_input_both_work(tmp_path: Path, level: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x" * 3)
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    file = tmp_path / "alias" / "file"
    assert work("read", level=level, readable=[tmp_path / "alias"], file=str(file)).result == "xxx"


def test_parts_of_a_result_come_before_it_and_in_order() -> None:
    parts: list[Any] = []
    done = launch.run({"kind": "say", "text": '{"part": {"n": 1}}\n{"part": null}\n'}, on_part=parts.append)
    assert parts == [{"n": 1}, None]
    assert done.result is None


def test_limits_for_several_give_more_time_and_no_more_memory() -> None:
    assert QUICK.times(3) == Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=1 << 30)
    assert QUICK.times(0) == QUICK


# --- refusals and failures ---


def test_a_part_that_nobody_takes_ends_the_worker() -> None:
    with pytest.raises(WorkerFailed, match="the say worker gave a part of a result that nobody may take"):
        work("say", text='{"part": 1}\n')


def test_a_part_before_the_proof_of_isolation_is_not_taken() -> None:
    parts: list[Any] = []
    talk = dialogue.Dialogue("probe", "L2", QUICK, None, parts.append)
    with pytest.raises(WorkerFailed, match="nobody may take"):
        talk.hear(b'{"part": 1}\n')
    assert not parts


def test_an_unknown_kind_of_job_is_named_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no job of kind 'mint' .*merge, index, probe"):
        work("mint")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (BadCheckpoint, r"^\[header-hole\] model.safetensors has a hole. Acquire it again.$"),
        (BadRequest, "^one: wrong\ntwo: wrong$"),
        (Unmergeable, "^tensor 'w' has norm 0$"),
        (LabError, "^no luck$"),
    ],
)
def test_the_jobs_own_error_is_raised_again_in_the_parent(error: type[LabError], match: str) -> None:
    with pytest.raises(LabError, match=match) as caught:
        work("refuse", error=error.__name__)
    assert type(caught.value) is error
    assert getattr(caught.value, "code", None) in ("header-hole", None)


def test_a_bug_is_reported_with_its_traceback() -> None:
    with pytest.raises(
        WorkerFailed, match=r"(?s)forget worker .* please report it:.*KeyError: 'a bug of ours'"
    ):
        work("forget")


@pytest.mark.parametrize(
    ("kind", "match"),
    [("crash", "ended by SIGSEGV: .*run it again"), ("be_killed", "ended by SIGKILL: .*memory")],
)
def test_a_signal_is_named_with_the_next_move(kind: str, match: str, level: str) -> None:
    with pytest.raises(WorkerFailed, match=match):
        work(kind, level=level)


def test_a_file_that_is_cut_while_it_is_mapped_is_named_as_the_cause(tmp_path: Path, level: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(mmap.PAGESIZE))
    with pytest.raises(WorkerFailed, match="ended by SIGBUS: a file was cut while it was read"):
        work("read_beyond_the_end", level=level, writable=[file], file=str(file))


def test_the_wall_clock_kills_a_sleeper(level: str) -> None:
    with pytest.raises(WorkerFailed, match=r"killed after 0.5 s: raise isolation.wall_seconds"):
        work("sleep", level=level, limits=Limits(wall_seconds=0.5), seconds=60)


def test_cpu_time_ends_a_spinner(level: str) -> None:
    with pytest.raises(WorkerFailed, match=r"ended by SIGXCPU: .*isolation.cpu_seconds"):
        work("spin", level=level, limits=Limits(wall_seconds=20, cpu_seconds=1))


def test_memory_is_bounded(level: str) -> None:
    assert work("allocate", level=level, bytes=1 << 28).result == 1 << 28
    with pytest.raises(
        WorkerFailed, match=r"ran out of memory \(1073741824 bytes\): raise isolation.memory_bytes"
    ):
        work("allocate", level=level, bytes=1 << 30)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("not json\n", "no JSON"),
        ("[1]\n", "expected an object"),
        ('{"result": NaN}\n', "NaN is no JSON"),
        ("[" * 100_000 + "\n", "no JSON"),
        (
            '{"error": {"type": "SystemExit", "message": "\\u001b[31mred"}}\n',
            "\N{REPLACEMENT CHARACTER}\\[31mred",
        ),
    ],
)
def test_nonsense_from_a_worker_fails_cleanly(text: str, match: str) -> None:
    with pytest.raises(WorkerFailed, match=match):
        work("say_only", text=text)


def test_odd_progress_is_ignored() -> None:
    steps: list[tuple[int, int]] = []
    done = launch.run({"kind": "say", "text": '{"progress": ["a"]}\n'}, on_progress=steps_into(steps))
    assert done.result is None
    assert not steps


def test_a_flood_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "MAX_BYTES", 1 << 20)
    with pytest.raises(WorkerFailed, match="said more than 1048576 bytes"):
        work("flood")


def test_a_worker_that_closes_its_pipes_and_stays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "END_SECONDS", 0.2)
    with pytest.raises(WorkerFailed, match=r"did not end within 0.2 s"):
        work("linger")
    assert not children()


def test_a_missing_input_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"Missing: .*nowhere"):
        work("probe", readable=[tmp_path / "nowhere"])


def test_a_worker_that_cannot_prove_its_lock_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The input's folder is granted as writable, by a name that the self-test does not exempt."""
    (tmp_path / "in").mkdir()
    lock, alias = launch._lock, f"{tmp_path}/in/../in"
    monkeypatch.setattr(launch, "_lock", lambda *arguments: lock(*arguments) | {"folders": [alias]})
    with pytest.raises(NotIsolated, match=r"L2 in the probe worker: .*create_beside_files"):
        work("probe", readable=[tmp_path / "in"])
    assert not list((tmp_path / "in").iterdir())


# --- ends ---


def test_many_workers_at_once_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: work("probe", n=n).result["echo"]["n"], range(12)))
    assert results == list(range(12))
    assert not children()


def test_stop_all_ends_workers_of_other_threads(tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.touch()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, "sleep", writable=[started], started=str(started), seconds=60)
        wait_for(lambda: launch._alive)
        launch.stop_all()
        with pytest.raises(WorkerFailed, match="SIGKILL"):
            future.result(timeout=20)
    assert not children()


def test_an_interrupt_leaves_no_process() -> None:
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work("sleep", seconds=60)
    timer.join()
    assert not children()


def test_a_killed_parent_takes_its_worker_with_it(tmp_path: Path, level: str) -> None:
    started = tmp_path / "started"
    program = f"""
from pathlib import Path
from stages.core.sandbox.launch import Isolation, run
from tests.core.sandbox.scene import jobs_of
job = {{"kind": "sleep", "seconds": 60, "started": {str(started)!r}}}
with jobs_of(Path({str(HERE / "misdeeds.py")!r})):
    run(job, writable=[Path({str(tmp_path)!r})], isolation=Isolation({level!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=HERE.parents[2])
    wait_for(started.exists)
    before = descendants(parent.pid)
    assert before
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
