"""Weights on S3 arrive through DVC's own remote: a real server and a real client, each in an environment.

Asked for by MERGELAB_TEST_S3=1, since it installs two environments into .mergelab/s3 (80 MB, once).
"""

import hashlib
import json
import os
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.parents import dvc_repository as other

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".mergelab" / "s3"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ACQUIRE = """
import json, sys
from pathlib import Path
from stages.conf import Member
from stages.core.errors import LabError
from stages.parents.acquire import acquire
root = Path(sys.argv[1])
try:
    found = acquire({"sorter": Member(source=json.loads(sys.argv[2]))}, root, root / "data/parents")
    print(found["sorter"].files["model.safetensors"].sha256)
except LabError as problem:
    print(problem)
"""

pytestmark = pytest.mark.skipif(
    os.environ.get("MERGELAB_TEST_S3") != "1",
    reason="MERGELAB_TEST_S3=1 runs DVC against an S3 server; it installs two environments into .mergelab/s3",
)


def environment(name: str, *arguments: str, beside: str | None = None) -> Path:
    """The interpreter of an environment that pip made with `arguments`. beside: packages it sees too."""
    python = PLACE / name / "bin" / "python"
    done = PLACE / f"{name}.done"
    if not done.exists():
        venv.create(PLACE / name, with_pip=True, clear=True)
        if beside:
            [packages] = (PLACE / name).glob("lib/*/site-packages")
            (packages / "beside.pth").write_text(f"{beside}\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True, cwd=ROOT)
        done.touch()
    return python


@pytest.fixture(scope="module")
def client() -> Path:
    """Python with everything that runs this test, and the extra `s3`."""
    wanted = ("-c", "constraints.txt", "-r", "tests/parents/s3_client.txt")
    return environment("client", *wanted, beside=sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server with one bucket."""
    python = environment("server", "-r", "tests/parents/s3_server.txt")
    command = [python.with_name("moto_server"), "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            lines = iter(server.stderr.readline, "")
            address = next(line.split()[-1] for line in lines if "Running on" in line)
            make_bucket(f"{address}/models")
            yield address
        finally:
            server.terminate()


def make_bucket(url: str) -> None:
    with urlopen(Request(url, data=b"", method="PUT"), timeout=30) as answer:
        assert answer.status == 200


def overwrite(client: Path, endpoint: str, path: str, data: bytes) -> None:
    """Put other bytes under a key, as whoever owns the bucket can."""
    code = (
        "import sys, s3fs\n"
        "s3fs.S3FileSystem(endpoint_url=sys.argv[1]).pipe(sys.argv[2], sys.stdin.buffer.read())"
    )
    clean = {"PATH": os.environ["PATH"], **KEYS}
    subprocess.run([client, "-c", code, endpoint, path], env=clean, input=data, check=True)


def acquire(client: Path, root: Path, source: dict[str, object]) -> str:
    """What the lab says, run where the extra is installed. Keys are DVC's, from its environment."""
    root.mkdir(exist_ok=True)
    clean = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "PYTHONPATH": str(ROOT), **KEYS}
    done = subprocess.run(
        [client, "-c", ACQUIRE, root, json.dumps(source)],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


NAMES = ("model.safetensors", "config.json", "tokenizer.json", "card.json")


def source(registry: Path, commit: str) -> dict[str, object]:
    """The request for all files of a registry as its working tree has them."""
    data = {name: (registry / other.FOLDER / name).read_bytes() for name in NAMES}
    files = {name: hashlib.sha256(one).hexdigest() for name, one in data.items()}
    url = f"file://{registry}"
    return {"kind": "dvc", "url": url, "commit": commit, "path": other.FOLDER, "files": files}


def test_weights_on_s3_arrive_by_their_sha256_and_others_do_not(
    client: Path, endpoint: str, tmp_path: Path
) -> None:
    registry = tmp_path / "registry"
    remote = {"url": "s3://models/store", "endpointurl": endpoint}
    asked = source(registry, other.make(registry, remote=remote, python=client, **KEYS))
    weights = (registry / other.FOLDER / "model.safetensors").read_bytes()
    assert acquire(client, tmp_path / "one", asked) == hashlib.sha256(weights).hexdigest()

    md5 = hashlib.md5(weights).hexdigest()
    place = f"models/store/files/md5/{md5[:2]}/{md5[2:]}"
    overwrite(client, endpoint, place, weights[:-1] + b"\xff")
    told = acquire(client, tmp_path / "two", asked)
    assert told.startswith("[source-digest] model.safetensors")
    assert not list((tmp_path / "two/data/parents").iterdir())


def test_an_s3_server_that_is_gone_is_one_message(client: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    other.make(registry, python=client)
    (registry / ".dvc/config").write_text(
        "[core]\n    remote = store\n"
        "['remote \"store\"']\n    url = s3://models/store\n    endpointurl = http://127.0.0.1:9\n"
    )
    told = acquire(client, tmp_path / "one", source(registry, other.commit(registry)))
    assert told.startswith("cannot fetch model.safetensors of models/sorter")
