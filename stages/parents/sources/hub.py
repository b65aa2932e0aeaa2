"""Files of one commit of a model repository on the Hugging Face hub, through huggingface_hub.

Covered: no token is read or sent; the client speaks to the hub's own hosts alone, whatever it is redirected
to; the server must serve the commit that was asked for; what was fetched of a file before a cut is not
fetched again, in this run or the next. The hub's own caches and its chunked storage (Xet) are not used: every
byte comes over HTTP into a file of ours, and sha256 decides (store.py).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records.source import Hub
from stages.parents.sources.kind import Elsewhere, Grew, Offer

if TYPE_CHECKING:
    import httpx2

HUB_HOSTS: Final = ("huggingface.co", "hf.co")  # and below them: where the hub keeps large files
SHA256_DIGITS: Final = 64
LOOK_SECONDS: Final = 30.0
HEADERS: Final = {"user-agent": "mergelab", "accept-encoding": "identity"}
OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class HubRemote:
    """One commit of one repository."""

    def __init__(self, source: Hub) -> None:
        self._source = source
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
        self.where = f"{source.repo} at {source.commit[:12]} on {self._endpoint}"

    def listing(self) -> Mapping[str, int]:
        """Name → bytes of every file of the commit, folders included in the names."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        with self._asking("its list of files"):
            api = HfApi(endpoint=self._endpoint, token=False, headers=HEADERS)
            tree = api.list_repo_tree(
                self._source.repo, revision=self._source.commit, recursive=True, token=False
            )
            return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}

    def look(self, name: str) -> Offer:
        """Size of the file, and its sha256 where the hub states one (large files).

        Raises BadCheckpoint `hub-commit` if another commit is served, `hub-size` if no size is stated.
        """
        from huggingface_hub import get_hf_file_metadata

        with self._asking(name):
            found = get_hf_file_metadata(
                self._url(name),
                token=False,
                timeout=LOOK_SECONDS,
                headers=HEADERS,
                endpoint=self._endpoint,
                retry_on_errors=True,
            )
            self._permit(found.location)
        if found.commit_hash != self._source.commit:
            raise BadCheckpoint(
                "hub-commit",
                f"{name} of {self.where}: expected commit {self._source.commit}, the server answers with "
                f"{found.commit_hash}. Do not use this server; review the commit that you want.",
            )
        if found.size is None:
            raise BadCheckpoint("hub-size", f"{name} of {self.where}: the server states no size.")
        stated = found.etag if found.etag and len(found.etag) == SHA256_DIGITS else None
        return Offer(name, found.size, stated)

    def download(self, offer: Offer, target: Path, grew: Grew) -> None:
        """Append to `target` what is missing, by a range request where some of it is there.

        Raises BadCheckpoint `hub-truncated`, `hub-oversize`, `hub-redirect`; LabError if the network fails.
        """
        from huggingface_hub.file_download import http_get

        with target.open("ab") as stream, self._asking(offer.name):
            bounded = cast(BinaryIO, _Bounded(stream, offer, grew))
            try:
                http_get(
                    self._url(offer.name),
                    bounded,
                    resume_size=stream.tell(),
                    headers=dict(HEADERS),
                    expected_size=offer.bytes,
                )
            except OSError as problem:
                if problem.errno is not None:
                    raise
                raise BadCheckpoint(
                    "hub-truncated",
                    f"{offer.name} of {self.where}: {stream.tell()} of {offer.bytes} bytes were sent. Run it "
                    "again; if that does not help, the server's copy is damaged.",
                ) from problem

    def _url(self, name: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self._source.repo, name, revision=self._source.commit, endpoint=self._endpoint)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """A client that speaks to the hub alone, and its failures in the lab's own words."""
        if name := next(
            (name for name in OFFLINE if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")), None
        ):
            raise LabError(
                f"cannot fetch {what} of {self.where}: {name} is set. Unset it for `mergelab parents fetch`; "
                "what that has fetched needs no network later."
            )
        # read when huggingface_hub is first imported: no bars of its own, and no call that nobody asked for
        os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        import httpx2
        from huggingface_hub import set_client_factory
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils._http import default_client_factory

        set_client_factory(
            lambda: httpx2.Client(
                event_hooks={"request": [self._watch]}, follow_redirects=True, timeout=LOOK_SECONDS
            )
        )
        try:
            yield
        except HfHubHTTPError as problem:
            status = problem.response.status_code
            raise LabError(
                f"cannot fetch {what} of {self.where}: the server answers {status}. {_advice(status)}"
            ) from problem
        except httpx2.HTTPError as problem:
            raise LabError(
                f"cannot fetch {what} of {self.where}: {problem or type(problem).__name__}. What has "
                "arrived is "
                "kept: run it again, and it goes on from there."
            ) from problem
        finally:
            set_client_factory(default_client_factory)

    def _watch(self, request: "httpx2.Request") -> None:
        """Before every request, those that follow a redirect too."""
        self._permit(str(request.url))
        request.headers.pop("authorization", None)  # whatever this machine has for that host

    def _permit(self, url: str) -> None:
        """Raises BadCheckpoint (`hub-redirect`) for a host that is not the hub's."""
        from urllib.parse import urlsplit

        asked, home = urlsplit(url), urlsplit(self._endpoint)
        host = (asked.hostname or "").lower()
        own = (asked.scheme, host, asked.port) == (home.scheme, home.hostname, home.port)
        kept = asked.scheme == "https" and any(
            host == name or host.endswith(f".{name}") for name in HUB_HOSTS
        )
        if not own and not kept:
            raise BadCheckpoint(
                "hub-redirect",
                f"{self.where} leads to {asked.scheme}://{asked.netloc[:100]}, which is no host of the hub. "
                "Nothing was fetched from there.",
            )


def _advice(status: int) -> str:
    if status in (401, 403):
        return "The lab sends no token: fetch such a model by hand and use {kind: path, path: …, digest: …}."
    if status == 404:
        return "Correct repo, commit and file names in the request."
    return "What has arrived is kept: run it again later."


class _Bounded:
    """A file that takes no more bytes than were offered, whatever a server sends."""

    def __init__(self, stream: BinaryIO, offer: Offer, grew: Grew) -> None:
        self._stream, self._offer, self._grew = stream, offer, grew

    def write(self, data: bytes) -> int:
        """Append. Raises BadCheckpoint (`hub-oversize`)."""
        if self._stream.tell() + len(data) > self._offer.bytes:
            raise BadCheckpoint(
                "hub-oversize",
                f"{self._offer.name}: the server sends more than the {self._offer.bytes} bytes it stated.",
            )
        self._grew(len(data))
        return self._stream.write(data)

    def truncate(self) -> int:
        """Forget what lies behind the place: the server began again."""
        place = self._stream.tell()
        before = self._stream.seek(0, os.SEEK_END)
        self._grew(place - before)
        self._stream.seek(place)
        return self._stream.truncate()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


KIND: Final = Elsewhere("hub", HubRemote)
