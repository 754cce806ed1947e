"""An image without an engine: a Dockerfile's own lines, followed in a small Debian, and what comes of them in a cage.

`tests/e2e/install_debian` says in what the base differs from python:3.13-slim. What Docker does and this does not:
layers and their cache, the registry, the image's format, cgroups, AppArmor and seccomp, and a network of its own.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from string import Template
from typing import Self

BASE_NAME = "python:3.13-slim"
DOCKER_CAPABILITIES = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot"
"""What a container has where nothing is dropped."""
_DEVICES = ("null", "zero", "full", "random", "urandom")
_HERE = {"LANG": "C.UTF-8", "PIP_CERT": "/etc/ssl/certs/machine.crt", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""How packages come to this machine; no part of the image."""


@dataclass(frozen=True)
class Instruction:
    name: str
    words: str
    """The rest of the line, with its continuations joined."""

    @property
    def arguments(self) -> list[str]:
        """The words of the exec form, or of the shell form without flags."""
        if self.words.startswith("["):
            found: list[str] = json.loads(self.words)
            return found
        return [word for word in shlex.split(self.words) if not word.startswith("--")]

    def flag(self, name: str) -> str | None:
        found = re.search(rf"(?:^|\s)--{name}=(\S+)", self.words)
        return found[1] if found else None


@dataclass
class Image:
    """What an image consists of."""

    root: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}
    )
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)


def instructions(dockerfile: str) -> Iterator[Instruction]:
    """Read a Dockerfile."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, words = line.strip().partition(" ")
            yield Instruction(name.upper(), words.strip())


def build(context: Path, base: Path, folder: Path, arguments: Mapping[str, str] | None = None) -> Image:
    """Follow the Dockerfile of a context, and return what its last stage has become.

    Args:
        context: the folder that is sent to the engine, less what `.dockerignore` leaves out.
        base: the Debian in the place of `python:3.13-slim`, which is the only base that is known.
        folder: where the stages are put.
        arguments: of the build.
    """
    ignored = (context / ".dockerignore").read_text().splitlines() if (context / ".dockerignore").exists() else []
    stages: dict[str, Image] = {}
    image = Image(base)
    given = dict(arguments or {})
    for step in instructions((context / "Dockerfile").read_text()):
        match step.name:
            case "FROM":
                name, *alias = step.arguments
                assert name == BASE_NAME, f"{name} is not at hand"
                image = Image(folder / (alias[1] if alias else "image"))
                folder.mkdir(exist_ok=True)
                subprocess.run(["cp", "-ax", "--reflink=auto", base, image.root], check=True)
                stages[image.root.name] = image
            case "RUN":
                environment = _HERE | image.environment | {"HOME": "/root"}
                _run(
                    [
                        "chroot",
                        image.root,
                        "env",
                        "-i",
                        "-C",
                        image.folder,
                        *_pairs(environment),
                        "sh",
                        "-c",
                        step.words,
                    ]
                )
            case "COPY":
                stage = step.flag("from")
                source = stages[stage].root if stage else context
                _copy(source, image, step.arguments, [] if stage else ignored)
            case _:
                _set(image, step, given)
    return image


def _set(image: Image, step: Instruction, given: Mapping[str, str]) -> None:
    match step.name:
        case "ENV" | "LABEL":
            target = image.environment if step.name == "ENV" else image.labels
            for pair in step.arguments:
                name, _, value = pair.partition("=")
                target[name] = Template(value).substitute(image.environment | dict(given))
        case "WORKDIR":
            image.folder = step.words
            (image.root / step.words[1:]).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.words
        case "VOLUME":
            image.volumes += step.arguments
        case "ENTRYPOINT":
            image.entrypoint, image.command = step.arguments, []
        case "CMD":
            image.command = step.arguments
        case "HEALTHCHECK":
            image.health = Instruction("CMD", step.words.partition("CMD ")[2]).arguments
        case "ARG":
            assert set(step.arguments) <= set(given), f"ARG {step.words}: not given"
        case other:
            raise AssertionError(f"{other} is not known here")


def is_ignored(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether `.dockerignore` leaves a path of the context out: the last line that fits it, or its folder, says."""
    verdict = False
    for line in patterns:
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.removeprefix("!")
        above = [path, *path.parents][:-1]
        names = [str(each) for each in above] + ([each.name for each in above] if wanted.startswith("**/") else [])
        if any(fnmatch(name, wanted.removeprefix("**/")) and name.count("/") <= wanted.count("/") for name in names):
            verdict = not pattern.startswith("!")
    return verdict


def _copy(source: Path, image: Image, words: Sequence[str], ignored: Sequence[str]) -> None:
    *names, target = words
    into = image.root / str(PurePosixPath(image.folder) / target)[1:]
    for name in names:
        found = sorted(source.glob(name.lstrip("/")))
        assert found, f"COPY {name}: no such file in {source}"
        for path in found:
            if path.is_dir():
                _copy_folder(path, source, into, ignored)
            elif not is_ignored(PurePosixPath(path.relative_to(source)), ignored):
                inside = into / path.name if target.endswith(("/", ".")) or len(names) > 1 else into
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, inside)


def _copy_folder(folder: Path, source: Path, into: Path, ignored: Sequence[str]) -> None:
    """Copy what a folder holds, which is what COPY does with folders."""

    def left_out(where: str, names: list[str]) -> list[str]:
        place = Path(where).relative_to(source)
        return [name for name in names if is_ignored(PurePosixPath(place / name), ignored)]

    shutil.copytree(folder, into, symlinks=True, dirs_exist_ok=True, ignore=left_out)


_CAGE = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for name in $DEVICES; do : >"$ROOT/dev/$name"; mount --bind "/dev/$name" "$ROOT/dev/$name"; done
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
for pair in $MOUNTS; do mount --bind "${pair%%:*}" "$ROOT${pair#*:}"; done
exec "$@"
"""


class Network:
    """A network with nothing but itself, as a compose file's services share one."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"

    @property
    def words(self) -> list[str | Path]:
        """What a command begins with that is run in it."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait(10)
        if self._holder.stdout is not None:
            self._holder.stdout.close()


@dataclass(frozen=True)
class Container:
    """An image that is run: its root read-only, one folder as /data, /tmp in memory.

    Attributes:
        image: what is run.
        data: the volume at /data.
        settings: further environment.
        files: what else is there, by its place in the container.
        capabilities: what a process that is root may do.
        network: this machine's without.
    """

    image: Image
    data: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    capabilities: str = ""
    network: Network | None = None

    def words(self, *words: str) -> list[str | Path]:
        """Return what starts this in the container, as its user."""
        image = self.image
        user, group = image.user.split(":")
        kept = ",".join(f"+{name}" for name in self.capabilities.split(",") if name)
        bounds = f"-all{',' if kept else ''}{kept}"
        # Without a process id space of its own tini is told that it is not the first.
        environment = image.environment | {"TINI_SUBREAPER": "1"} | dict(self.settings)
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        mounts = {"/data": self.data, **self.files}
        for place, source in mounts.items():
            _make_place(image.root / place[1:], is_folder=source.is_dir())
        return [
            *([] if self.network is None else self.network.words),
            "env", f"ROOT={image.root}", f"DEVICES={' '.join(_DEVICES)}",
            f"MOUNTS={' '.join(f'{source}:{place}' for place, source in mounts.items())}",
            "unshare", "--mount", "--ipc", "sh", "-c", _CAGE, "cage",
            "chroot", image.root, *become, f"--bounding-set={bounds}", "--inh-caps=-all",
            "env", "-i", "-C", image.folder, *_pairs(environment), *words,
        ]  # fmt: skip

    def start(self, log: Path) -> "subprocess.Popen[bytes]":
        """Start what the image is for."""
        with log.open("ab") as out:
            return subprocess.Popen(
                self.words(*self.image.entrypoint, *self.image.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def run(self, *words: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run something beside it, as `docker exec` does."""
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=timeout_s, check=False)


def _make_place(place: Path, *, is_folder: bool) -> None:
    """Make the place that something is mounted on, as an engine does."""
    (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder:
        place.touch()


def _pairs(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _run(words: Sequence[str | Path]) -> None:
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=600, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0, f"{words[-1]}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
