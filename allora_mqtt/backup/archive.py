"""The archive: a gzipped tar with a manifest first, and the files that it lists with their checksums."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from allora_mqtt.files import whole_file

MANIFEST: Final = "manifest.json"
DATABASE: Final = "bot.sqlite3"
BOOKS: Final = "books.json"
PENDING: Final = "spool/pending"
NAMES: Final = re.compile(
    r"bot\.sqlite3|books\.json|simulator\.(json|key)|paper-[0-9a-f]{8}\.json|spool/pending/[^/.\0][^/\0]{0,200}\.json"
)
"""Every name that may be in an archive: nothing else is ever written by a restore."""
_MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
_MAX_FILES: Final = 20_000
_CHUNK: Final = 1024 * 1024


class ArchiveUnusable(Exception):  # noqa: N818 - it names what happened
    """The archive is none, or is damaged; the message says in what."""


class Content(BaseModel):
    """One file of an archive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What an archive holds, and whose books they are.

    Attributes:
        format: of the archive.
        made_at: when the database was copied.
        version: of the program that made it.
        schema_revision: of the database.
        account: whose money is at stake.
        files: by their names in the data folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    made_at: datetime
    version: str = Field(max_length=64)
    schema_revision: str = Field(max_length=64)
    network: str = Field(max_length=32)
    account: str = Field(max_length=64)
    base_topic: str = Field(max_length=512)
    files: Mapping[str, Content] = Field(max_length=_MAX_FILES)

    @field_validator("files")
    @classmethod
    def _known_names(cls, files: Mapping[str, Content]) -> Mapping[str, Content]:
        strange = [name for name in files if not NAMES.fullmatch(name)]
        if strange or DATABASE not in files or BOOKS not in files:
            raise ValueError("it lists other files than a backup has")
        return files


def measure(path: Path) -> Content:
    """Return a file's size and checksum."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Content(bytes=size, sha256=digest.hexdigest())


def pack(target: Path, manifest: Manifest, sources: Mapping[str, Path]) -> None:
    """Write an archive with mode 0600, whole or not at all.

    Args:
        target: the file.
        manifest: the sizes and checksums of the sources.
        sources: where the content of each file in the manifest is; they do not change meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(target) as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
        _add(tar, MANIFEST, manifest.made_at, io.BytesIO(manifest.model_dump_json(indent=1).encode()))
        for name in manifest.files:
            with sources[name].open("rb") as file:
                _add(tar, name, manifest.made_at, file)


def _add(tar: tarfile.TarFile, name: str, made_at: datetime, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, io.SEEK_END)
    entry.mode, entry.mtime = 0o600, int(made_at.timestamp())
    content.seek(0)
    tar.addfile(entry, content)


def read_manifest(archive: Path) -> Manifest:
    """Return what an archive says of itself.

    Raises:
        ArchiveUnusable: it is none.
    """
    with _opened(archive) as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MAX_MANIFEST_BYTES:
            raise ArchiveUnusable(f"{archive} is no backup of allora-mqtt: its first file is not {MANIFEST}.")
        content = tar.extractfile(first)
        try:
            return Manifest.model_validate_json(b"" if content is None else content.read())
        except ValidationError as error:
            why = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ArchiveUnusable(f"{archive} is no backup that this version can read: {why}.") from error


def unpack(archive: Path, manifest: Manifest, folder: Path) -> None:
    """Write the files of an archive into an empty folder, each one checked.

    Raises:
        ArchiveUnusable: one is missing or is not what the manifest says.
        OSError: the folder cannot be written to.
    """
    missing = dict(manifest.files)
    with _opened(archive) as tar:
        for entry in tar:
            wanted = missing.pop(entry.name, None)
            source = tar.extractfile(entry) if wanted is not None and entry.isreg() else None
            if source is None or wanted is None:
                if entry.name == MANIFEST:
                    continue
                raise ArchiveUnusable(f"{archive} is damaged: {entry.name!r} is not in its manifest.")
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if entry.size != wanted.bytes or _copied(source, path) != wanted.sha256:
                raise ArchiveUnusable(f"{archive} is damaged: {entry.name} is not what was backed up.")
    if missing:
        raise ArchiveUnusable(f"{archive} is damaged: {', '.join(missing)} is missing.")


def _copied(source: IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    path.touch(0o600, exist_ok=False)
    with path.open("wb") as out:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            yield tar
    except FileNotFoundError as error:
        raise ArchiveUnusable(f"There is no {archive}.") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveUnusable(f"{archive} cannot be read: {error}.") from error
