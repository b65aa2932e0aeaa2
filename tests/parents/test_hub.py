"""A model on the hub arrives as the request pins it, or nothing of it does; huggingface_hub does the
talking."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.conf import Member, Parents
from stages.core.errors import BadCheckpoint, BadRequest, LabError
from stages.core.records import manifest as manifests
from stages.parents import sources
from stages.parents.acquire import acquire
from stages.parents.fetch import fetch
from stages.parents.pin import pin
from tests.parents import tiny
from tests.parents.hub_server import COMMIT, REPO, Hub, serving

WEIGHTS = "model.safetensors"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A repository with one model of a few hundred bytes, in an environment that has a token and is
    online."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (home / ".netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy", "MERGELAB_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits a second before it tries again
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 20)  # what a cut loses; else 10 MB
    made = tiny.write(tmp_path / "made" / "sorter")
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    with serving(Hub(files)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that holds nothing yet."""
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def pinned(hub: Hub, **changes: Any) -> Member:
    """The request for all files of the hub as they should be."""
    files = {name: sha256(data) for name, data in hub.files.items()}
    return Member(source={"kind": "hub", "repo": REPO, "commit": COMMIT, "files": files | changes})


def get(member: Member, root: Path) -> manifests.Manifest:
    return acquire({"sorter": member}, root, root / "data/parents")["sorter"]


def nothing_published(root: Path) -> bool:
    return not list((root / "data/parents").iterdir())


def kept(root: Path, folder: str) -> set[str]:
    return {path.name for path in (root / ".mergelab/sources" / folder).iterdir()}


def test_a_pinned_model_is_fetched_scanned_and_published(hub: Hub, root: Path) -> None:
    manifest = get(pinned(hub), root)
    manifests.check(root / "data/parents/sorter", manifest)
    assert manifest.files[WEIGHTS].sha256 == sha256(hub.files[WEIGHTS])


def test_the_second_time_nothing_is_asked_of_the_hub(hub: Hub, root: Path) -> None:
    first = get(pinned(hub), root)
    hub.asked.clear()
    assert get(pinned(hub), root) == first
    assert hub.asked == []


def test_no_token_of_this_machine_is_sent(hub: Hub, root: Path) -> None:
    get(pinned(hub), root)
    assert hub.asked
    assert all("authorization" not in headers and "cookie" not in headers for _, _, headers in hub.asked)


def test_nothing_but_the_pinned_files_is_asked_for(hub: Hub, root: Path) -> None:
    hub.files["pytorch_model.bin"] = b"\x80\x04."
    member = Member(source=pinned(hub).source.model_dump() | {"files": {
        name: sha256(data) for name, data in hub.files.items() if name != "pytorch_model.bin"
    }})  # fmt: skip
    get(member, root)
    names = {path.rsplit("/", 1)[1] for _, path, _ in hub.asked}
    assert names == {WEIGHTS, "config.json", "tokenizer.json", "card.json"}


def test_a_connection_cut_half_way_goes_on_from_there_in_the_same_run(hub: Hub, root: Path) -> None:
    hub.cut_after[WEIGHTS] = 100
    get(pinned(hub), root)
    assert [headers.get("range") for headers in hub.requests("GET", WEIGHTS)][::2] == [None, "bytes=100-"]


def test_a_run_that_was_killed_half_way_goes_on_from_there_in_the_next(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cut_after[WEIGHTS] = 100

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("time.sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(pinned(hub), root)
    assert nothing_published(root)
    part = root / ".mergelab/sources/parts" / sha256(hub.files[WEIGHTS])
    assert part.read_bytes() == hub.files[WEIGHTS][:100]
    hub.asked.clear()
    get(pinned(hub), root)
    assert hub.requests("GET", WEIGHTS)[0]["range"] == "bytes=100-"


def test_a_server_without_ranges_sends_the_file_again_from_its_start(hub: Hub, root: Path) -> None:
    hub.cut_after[WEIGHTS] = 100
    hub.without_ranges = True
    manifest = get(pinned(hub), root)
    assert manifest.files[WEIGHTS].bytes == len(hub.files[WEIGHTS])


def test_a_part_of_other_bytes_is_found_out_and_thrown_away(hub: Hub, root: Path) -> None:
    part = root / ".mergelab/sources/parts" / sha256(hub.files[WEIGHTS])
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 100)
    with pytest.raises(BadCheckpoint, match="is not the file asked for"):
        get(pinned(hub), root)
    assert not part.exists()
    get(pinned(hub), root)


def test_a_fetched_file_that_was_altered_since_is_fetched_again(hub: Hub, root: Path) -> None:
    get(pinned(hub), root)
    held = root / ".mergelab/sources/files" / sha256(hub.files[WEIGHTS])
    held.write_bytes(held.read_bytes()[:-1] + b"\xff")
    hub.asked.clear()
    get(pinned(hub), root)
    assert {path.rsplit("/", 1)[1] for _, path, _ in hub.asked} == {WEIGHTS}


def test_other_bytes_of_the_same_size_are_refused(hub: Hub, root: Path) -> None:
    data = hub.files[WEIGHTS]
    hub.instead[WEIGHTS] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(BadCheckpoint, match="is not the file asked for") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "source-digest"
    assert nothing_published(root)
    assert sha256(data) not in kept(root, "files") | kept(root, "parts")


def test_a_large_file_that_the_hub_states_another_sha256_of_is_refused_before_a_byte_of_it(
    hub: Hub, root: Path
) -> None:
    with pytest.raises(BadCheckpoint, match=r"expected sha256 0{64}, it states") as caught:
        get(pinned(hub, **{WEIGHTS: "0" * 64}), root)
    assert caught.value.code == "source-digest"
    assert hub.requests("GET", WEIGHTS) == []


def test_a_truncated_file_is_refused(hub: Hub, root: Path) -> None:
    hub.instead[WEIGHTS] = hub.files[WEIGHTS][:-10]
    with pytest.raises(BadCheckpoint, match=r"bytes were sent") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "hub-truncated"
    assert nothing_published(root)


def test_a_server_that_sends_more_than_it_stated_is_stopped(hub: Hub, root: Path) -> None:
    hub.append[WEIGHTS] = b"\0" * 100
    with pytest.raises(BadCheckpoint, match="sends more than") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "hub-oversize"
    part = root / ".mergelab/sources/parts" / sha256(hub.files[WEIGHTS])
    assert part.stat().st_size <= len(hub.files[WEIGHTS])


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/latest", "https://hub.example/file", "http://127.0.0.1:9/x"]
)
@pytest.mark.parametrize("method", ["redirect", "redirect_head"])
def test_a_redirect_to_another_host_is_not_followed(hub: Hub, root: Path, method: str, place: str) -> None:
    getattr(hub, method)[WEIGHTS] = place
    with pytest.raises(BadCheckpoint, match="which is no host of the hub") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "hub-redirect"
    assert nothing_published(root)


def test_another_commit_than_the_one_asked_for_is_refused(hub: Hub, root: Path) -> None:
    hub.commit = "f" * 40
    with pytest.raises(BadCheckpoint, match=r"the server answers with f{40}") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "hub-commit"


def test_a_commit_that_is_gone_is_one_message(hub: Hub, root: Path) -> None:
    member = Member(source=pinned(hub).source.model_dump() | {"commit": "e" * 40})
    with pytest.raises(LabError, match=r"answers 404\. Correct repo, commit and file names"):
        get(member, root)


def test_a_model_that_wants_a_token_is_refused_with_the_way_around(hub: Hub, root: Path) -> None:
    hub.status["config.json"] = 403
    with pytest.raises(LabError, match="The lab sends no token: fetch such a model by hand"):
        get(pinned(hub), root)


def test_a_hub_that_cannot_be_reached_is_one_message(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LabError, match=r"cannot fetch .* run it again"):
        get(pinned(hub), root)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_refuses_what_is_not_here_by_the_variables_name(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(LabError, match=f"{variable} is set. Unset it"):
        get(pinned(hub), root)
    assert hub.asked == []


def test_offline_uses_what_was_fetched_before(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get(pinned(hub), root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(pinned(hub), root) == first


@pytest.mark.parametrize(
    ("name", "code"),
    [("pytorch_model.bin", "pickle"), ("modeling_x.py", "code"), ("model-1-of-2.safetensors",
    "not-listed"), ("tokenizer.model", "not-listed")],
)  # fmt: skip
def test_a_file_that_no_artifact_has_is_refused_before_anything_is_asked(
    hub: Hub, root: Path, name: str, code: str
) -> None:
    with pytest.raises(BadCheckpoint, match=name) as caught:
        get(pinned(hub, **{name: "0" * 64}), root)
    assert caught.value.code == code
    assert hub.asked == []


def test_a_file_larger_than_its_kind_may_be_is_refused_before_a_byte_of_it(hub: Hub, root: Path) -> None:
    hub.files["config.json"] = b" " * ((1 << 20) + 1)
    with pytest.raises(BadCheckpoint, match="the limit is 1048576") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "file-size"
    assert hub.requests("GET", "config.json") == []


def test_what_was_fetched_is_scanned_like_any_other_parent(hub: Hub, root: Path) -> None:
    hub.files["config.json"] = json.dumps(tiny.CONFIG | {"auto_map": {"AutoModel": "x.Y"}}).encode()
    with pytest.raises(BadCheckpoint, match="auto_map") as caught:
        get(pinned(hub), root)
    assert caught.value.code == "remote-code"
    assert nothing_published(root)


def test_a_card_of_ours_stands_in_for_one_that_the_hub_does_not_have(hub: Hub, root: Path) -> None:
    card = hub.files.pop("card.json")
    with pytest.raises(BadCheckpoint, match=r"named by parents\.members\.sorter\.card"):
        get(pinned(hub), root)
    (root / "data/sources").mkdir(parents=True)
    (root / "data/sources/sorter.json").write_bytes(card)
    member = Member(source=pinned(hub).source, card="data/sources/sorter.json")
    get(member, root)
    assert (root / "data/parents/sorter/card.json").read_bytes() == card


def test_what_would_be_fetched_is_told_by_file_and_bytes(hub: Hub, root: Path) -> None:
    member = pinned(hub)
    told = {want.name: want.bytes for want in sources.wanted(member.source, root)}
    assert told == {name: len(data) for name, data in hub.files.items()}
    get(member, root)
    assert {want.bytes for want in sources.wanted(member.source, root)} == {0}


def test_fetching_beforehand_lets_the_stage_run_offline(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {name: pinned(hub) for name in ("base", "sorter", "other")}
    parents = Parents(base="base", merge=("sorter", "other"), members=members, complementarity="")
    would = fetch(parents, root, dry_run=True)
    assert sum(need.bytes for need in would if need.parent == "base") == sum(map(len, hub.files.values()))
    assert hub.requests("GET", WEIGHTS) == []
    fetch(parents, root, dry_run=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    get(members["sorter"], root)


ASKED = f"{{kind: hub, repo: {REPO}, commit: {COMMIT}}}"


def test_what_pin_prints_is_a_source_that_can_be_acquired(hub: Hub, root: Path) -> None:
    hub.files |= {"pytorch_model.bin": b"\x80\x04.", "../../evil.json": b"{}", "README.md": b"words"}
    found = pin(ASKED, root)
    taken = {
        name: sha256(hub.files[name]) for name in (WEIGHTS, "config.json", "tokenizer.json", "card.json")
    }
    assert found.source["files"] == taken
    assert found.left == ["../../evil.json", "README.md", "pytorch_model.bin"]
    hub.asked.clear()
    assert get(Member(source=found.source), root).digest == found.manifest.digest
    assert hub.asked == []  # it was fetched, and kept, when it was pinned


def test_pin_prints_nothing_for_a_model_that_no_parent_may_be(hub: Hub, root: Path) -> None:
    hub.files["config.json"] = json.dumps(tiny.CONFIG | {"auto_map": {}}).encode()
    with pytest.raises(BadCheckpoint, match="auto_map"):
        pin(ASKED, root)


def test_pin_refuses_bytes_that_are_not_those_the_hub_states(hub: Hub, root: Path) -> None:
    data = hub.files[WEIGHTS]
    hub.instead[WEIGHTS] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(BadCheckpoint, match="its bytes give"):
        pin(ASKED, root)


@pytest.mark.parametrize("commit", ["main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_revision_that_can_move_is_refused(hub: Hub, root: Path, commit: str) -> None:
    with pytest.raises(BadRequest, match=r"source\.commit: expected the 40 hexadecimal digits"):
        pin(f"{{kind: hub, repo: {REPO}, commit: '{commit}'}}", root)
    assert hub.asked == []
