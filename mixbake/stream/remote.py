"""A bake on S3, Google Cloud Storage, a web server or wherever fsspec reaches, brought here file by file.

Rule: what comes over the network is taken for what it should be only when size and SHA-256 say so. What may
pass (cut connections, timeouts, 5xx) is tried again; wrong contents are fetched once more, since a proxy may
have handed out a stale copy, and are Damage then. A connection belongs to one process and is made on first
use in it: none survives a fork.
"""

import errno
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import cache_root
from mixbake.errors import Damage, MissingExtra, StorageError, UsageError
from mixbake.storage.shelf import ABSENT, UNKNOWN, LocalShelf, Shelf, missing
from mixbake.storage.store import sha256_file, storage_error
from mixbake.stream.content import DIGEST, ContentCache

R = TypeVar("R")

SMALL_BYTES = 256_000_000
"""The most that `read` takes."""
EXTRA = "remote"
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""What the extra installs, by the protocol that needs it."""
WEB = frozenset({"http", "https"})
"""Protocols without a listing to rely on."""
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
FAILURES = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "ChecksumError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""What transports raise besides OSError."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PASSING_4XX = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to bear with a network, in attempts and seconds; the pause between attempts doubles."""

    attempts: int = 5
    pause: float = 0.5
    timeout: float = 30.0


class _Differs(Exception):
    """The bytes that came are not those that were promised; the message says what came."""


class _SomethingCame(Exception):
    """The first bytes are here: the file exists."""


class RemoteShelf:
    """A bake below an fsspec URL; safe to use from several threads, after a fork, and pickled.

    cache:           folder for what is fetched, shared by all bakes and processes; default: `remote` in MIXBAKE_CACHE
    limit_bytes:     the least recently used files in the cache are deleted beyond this; 0: none ever is
    storage_options: what fsspec passes to the protocol: credentials, endpoint_url, client_kwargs, ...

    Raises UsageError for an unknown protocol, MissingExtra when its package is not installed; UsageError on
    first use for storage options that do not fit the protocol.
    """

    def __init__(
        self,
        url: str,
        *,
        cache: str | Path | None = None,
        limit_bytes: int = 0,
        storage_options: Mapping[str, Any] | None = None,
        patience: Patience = Patience(),
    ) -> None:
        if limit_bytes < 0:
            raise UsageError(f"the cache's limit is {limit_bytes} bytes: give a positive number, or 0 for no limit")
        self._url, self._patience = url, patience
        self._protocol = _checked_protocol(url)
        self._options = dict(storage_options or {})
        self._cache = ContentCache(root=Path(cache or cache_root() / "remote"), limit_bytes=limit_bytes)
        self._connections: dict[int, tuple[Any, str]] = {}
        self._cache.sweep()

    def __reduce__(self) -> tuple[Callable[..., "RemoteShelf"], tuple[str]]:
        keywords: dict[str, Any] = {
            "cache": self._cache.root,
            "limit_bytes": self._cache.limit_bytes,
            "storage_options": self._options,
            "patience": self._patience,
        }
        return partial(RemoteShelf, **keywords), (self._url,)

    @property
    def name(self) -> str:
        """The URL, without what may be secret in it: a password, a signature."""
        parts = urlsplit(self._url)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        if self._protocol in WEB:
            shown = shown._replace(query="", fragment="")
        return urlunsplit(shown).rstrip("/")

    @property
    def distant(self) -> bool:
        """Yes."""
        return True

    def exists(self, name: str) -> bool:
        """Whether the file is there. Raises StorageError when that cannot be found out."""
        look = self._answers if self._protocol in WEB else self._listed
        try:
            return self._retrying(name, partial(look, name))
        except FileNotFoundError:
            return False

    def read(self, name: str) -> bytes:
        """A file of at most SMALL_BYTES, fetched anew. Raises Damage when it is not there, StorageError."""
        try:
            with tempfile.TemporaryDirectory(prefix="mixbake-") as folder:
                path = Path(folder, "file")
                self._retrying(name, partial(self._download, name, path, SMALL_BYTES))
                return path.read_bytes()
        except FileNotFoundError as error:
            raise missing(name, self.name) from error
        except _Differs as error:
            raise Damage(
                f"{name} in {self.name} should be at most {SMALL_BYTES} bytes and is {error}: restore it from a copy"
            ) from error
        except OSError as error:
            raise storage_error("write", Path(tempfile.gettempdir()), error) from error

    def sizes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """int64[n]: bytes of each file, or ABSENT, as the folders' listings say; UNKNOWN on web servers."""
        if self._protocol in WEB:
            return np.full(len(names), UNKNOWN, np.int64)
        folders = {name.rpartition("/")[0] for name in names}
        listings = {folder: self._listing(folder) for folder in sorted(folders)}
        parts = (name.rpartition("/") for name in names)
        return np.fromiter((listings[folder].get(last, ABSENT) for folder, _, last in parts), np.int64, len(names))

    def local(self, name: str, *, size: int, sha256: str) -> Path:
        """The file in the cache, checked when it was fetched; stays there for a minute at least.

        Raises Damage naming the file when it is not there or differs, StorageError when it cannot be brought here.
        """
        if not DIGEST.fullmatch(sha256):
            raise Damage(f"the receipt of {name} in {self.name} promises the SHA-256 {sha256!r}, which is none")
        return self._cache.keep(size=size, sha256=sha256, fetch=partial(self._bring, name, size, sha256))

    def _bring(self, name: str, size: int, sha256: str, into: Path) -> None:
        """Fetch a file and check it; wrong contents are fetched a second time."""
        check = partial(self._download_checked, name, into, size, sha256)
        try:
            try:
                self._retrying(name, check)
            except _Differs:
                self._retrying(name, check)
        except FileNotFoundError as error:
            raise missing(name, self.name) from error
        except _Differs as error:
            raise Damage(
                f"{name} in {self.name} should be {size} bytes with the SHA-256 {sha256} and is {error}, twice:"
                " restore it from a copy, or bake it again with the same build command"
            ) from error

    def _download_checked(self, name: str, into: Path, size: int, sha256: str) -> None:
        self._download(name, into, size)
        found, length = sha256_file(into)
        if (found, length) != (sha256, size):
            raise _Differs(f"{length} bytes with the SHA-256 {found}")

    def _download(self, name: str, into: Path, most: int) -> None:
        """Stream a file to the disk, in one request; no more than `most` bytes and one chunk arrive."""

        def limit(promised: int | None, so_far: int, **_: object) -> None:
            if so_far > most:
                raise _Differs(f"more than {most} bytes")
            if so_far and promised and promised > most:
                raise _Differs(f"{promised} bytes")

        try:
            self._filesystem().get_file(self._address(name), str(into), callback=_callback(limit))
        except OSError as error:
            if error.errno in DISK_FULL or error.filename == str(into):
                raise storage_error("write", into, error) from error
            raise

    def _answers(self, name: str) -> bool:
        """Ask for a file, and hang up at its first bytes: a HEAD is not allowed everywhere, and a GET is."""

        def stop(_: int | None, so_far: int, **__: object) -> None:
            if so_far:
                raise _SomethingCame

        with suppress(_SomethingCame):
            self._filesystem().get_file(self._address(name), os.devnull, callback=_callback(stop))
        return True

    def _listed(self, name: str) -> bool:
        return bool(self._filesystem().info(self._address(name))["type"] == "file")

    def _listing(self, folder: str) -> dict[str, int]:
        """Bytes of each file in a folder, by its last name; empty if there is no such folder."""

        def look() -> Any:
            return self._filesystem().ls(self._address(folder), detail=True)

        try:
            entries = self._retrying(folder, look)
        except FileNotFoundError:
            return {}
        return {
            entry["name"].rpartition("/")[2]: UNKNOWN if entry["size"] is None else int(entry["size"])
            for entry in entries
            if entry["type"] == "file"
        }

    def _retrying(self, name: str, attempt: Callable[[], R]) -> R:
        """Return `attempt()`, tried again after what may pass. Raises StorageError; FileNotFoundError at once."""
        for number in range(1, self._patience.attempts + 1):
            try:
                return attempt()
            except FileNotFoundError:
                raise
            except _failures() as error:
                if number == self._patience.attempts or not _may_pass(error):
                    raise self._failed(name, error, number) from error
            time.sleep(self._patience.pause * 2 ** (number - 1))
        raise ValueError(f"attempts must be at least 1, not {self._patience.attempts}")

    def _failed(self, name: str, error: BaseException, attempts: int) -> StorageError:
        times = f" ({attempts} attempts)" if attempts > 1 else ""
        return StorageError(f"cannot read {name} in {self.name}: {_reason(error)}{times}; {_advice(error)}")

    def _address(self, name: str) -> str:
        """What fsspec calls a file, or a folder (the bake itself if `name` is empty)."""
        root = self._connection()[1]
        if self._protocol in WEB:
            parts = urlsplit(root)  # a signature follows the path
            return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment=""))
        return f"{root.rstrip('/')}/{name}".rstrip("/")

    def _filesystem(self) -> Any:
        return self._connection()[0]

    def _connection(self) -> tuple[Any, str]:
        """fsspec's file system in this process, and what it calls the bake's folder."""
        process = os.getpid()
        if process not in self._connections:
            # Without a lock, which a fork could copy while it is held: of two threads' connections one stays.
            self._connections.setdefault(process, self._connect())
        return self._connections[process]

    def _connect(self) -> tuple[Any, str]:
        options = _options(self._protocol, self._options, self._patience.timeout)
        try:
            filesystem, root = import_module("fsspec.core").url_to_fs(self._url, **options)
        except (TypeError, KeyError, ValueError) as error:
            raise UsageError(
                f"{self._protocol}:// does not take these storage options ({', '.join(sorted(self._options))}):"
                f" {_reason(error)}"
            ) from error
        if "s3fs" in type(filesystem).__module__:
            filesystem.retries = 1  # `_retrying` does it for all protocols
        return filesystem, str(root)


def open_shelf(path_or_url: str | Path, **options: Any) -> Shelf:
    """The shelf at a path, a file:// URL, or any other URL that fsspec knows.

    `options` are RemoteShelf's; a folder on this machine needs none of them. Raises what RemoteShelf raises.
    """
    text = str(path_or_url)
    scheme = None if isinstance(path_or_url, Path) else SCHEME.match(text)
    if not scheme:
        return LocalShelf(Path(path_or_url))
    if scheme[1].lower() != "file":
        return RemoteShelf(text, **options)
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError(f"{text} is on the host {parts.netloc}: a file:// URL has three slashes, file:///folder/bake")
    return LocalShelf(Path(unquote(parts.path)))


def _checked_protocol(url: str) -> str:
    """The protocol of a URL, after a look whether everything is installed that it needs."""
    scheme = SCHEME.match(url)
    if not scheme or "::" in url:
        raise UsageError(f"{url!r} is no URL that a bake can be read from: give one like s3://bucket/bake")
    protocol = scheme[1]
    try:
        import_module("fsspec").get_filesystem_class(protocol)
    except ValueError as error:
        raise UsageError(
            f"the protocol {protocol}:// is unknown: use one of fsspec's, such as s3://, gs://, https://"
        ) from error
    except ImportError as error:
        if getattr(error, "name", None) == "fsspec":
            raise MissingExtra("fsspec", EXTRA) from error
        if protocol in PACKAGES:
            raise MissingExtra(PACKAGES[protocol], EXTRA) from error
        raise UsageError(f"the package that reads {protocol}:// is not installed: {error}") from error
    return protocol


def _options(protocol: str, given: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """What fsspec is given: nothing remembered between calls, time limits on silence, one stream a file."""
    ours: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    package = PACKAGES.get(protocol)
    if package == "s3fs":
        once = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"total_max_attempts": 1}}
        ours |= {"max_concurrency": 1, "config_kwargs": once}
    elif package == "gcsfs":
        ours |= {"requests_timeout": _silence(timeout)}
    elif package == "aiohttp":
        # Compressed in transit, promised and received lengths would not be those of the file.
        ours |= {"client_kwargs": {"timeout": _silence(timeout)}, "headers": {"Accept-Encoding": "identity"}}
    nested = {name for name in ours.keys() & given.keys() if isinstance(ours[name], dict)}
    return {**ours, **given, **{name: {**ours[name], **given[name]} for name in nested}}


def _silence(seconds: float) -> Any:
    """A limit on the time without a byte; none on the whole, as shards are large."""
    return import_module("aiohttp").ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)


def _callback(hook: Callable[..., None]) -> Any:
    """Let fsspec call `hook(promised bytes or None, bytes so far)` while it streams."""
    return import_module("fsspec.callbacks").Callback(hooks={"mixbake": hook})


def _failures() -> tuple[type[BaseException], ...]:
    """What the transports that are loaded raise when something fails."""
    return (OSError, *(getattr(sys.modules[module], name) for module, name in FAILURES if module in sys.modules))


def _may_pass(error: BaseException) -> bool:
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in PASSING_4XX
    return not refused and not isinstance(error, PermissionError)


def _reason(error: BaseException) -> str:
    """What went wrong, without the URL, which may hold a signature."""
    status = getattr(error, "status", None)
    told = f"HTTP {status} {getattr(error, 'message', '')}".strip() if isinstance(status, int) else str(error)
    return told or type(error).__name__


def _advice(error: BaseException) -> str:
    if _may_pass(error):
        return "check the network and the URL, then run the same command again: what was fetched is kept"
    return (
        "check the credentials (storage options), and that they allow listing, too:"
        " without it absent files are refused instead of reported"
    )
