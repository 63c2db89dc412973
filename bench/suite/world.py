"""The little world that everything is measured in: a binfmt_misc instance of
its own, a work directory on a disk, and the package behind a server.

Refuses an instance that has rules: `reset` removes all that are there.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from measure import Action, Command, CommandFailed, output, run

MOUNT = Path("/proc/sys/fs/binfmt_misc")
HERE = Path(__file__).resolve().parent
THEIRS = HERE.parent / "theirs"
MANIFEST = HERE.parent.parent / "qemu-manifest.toml"
NO_RULES = {"register", "status"}


class WorldError(Exception):
    """Nothing can be measured here."""


@dataclass(frozen=True)
class Tools:
    """What is measured, and what it is measured with; files, all of them."""

    binary: Path
    package: Path
    rules_package: Path
    foreign: Path
    systemd_binfmt: Path
    binfmt: Path | None


@dataclass(frozen=True)
class Emulator:
    """One of the package, as the manifest has it."""

    target: str
    size: int
    blocks: tuple[int, ...]


class Mirror:
    """A server of the package; see server.py."""

    def __init__(self, package: Path, path: str, options: Command) -> None:
        command = [sys.executable, "-B", str(HERE / "server.py"), str(package), path, *map(str, options)]
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.base = f"http://127.0.0.1:{int(self.line())}"
        self.url = self.base + path

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorldError("the server ended")
        return line

    def counted(self) -> dict[str, int]:
        """What went out since this was asked last."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


@dataclass
class World:
    """Where it happens."""

    work: Path
    tools: Tools
    env: dict[str, str] = field(default_factory=dict)
    release: dict = field(default_factory=dict)
    blocks: list[dict] = field(default_factory=list)
    emulators: list[Emulator] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.work / "store"
        self.conf = self.work / "zz-binfmtctl.conf"
        self.theirs = self.work / "theirs"
        self.lines = self.work / "lines"
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.work), "LC_ALL": "C", "TMPDIR": str(self.work),
            "BINFMTCTL_USERNS": "1",
            "BINFMTCTL_PREFIX": str(self.store),
            "BINFMTCTL_CONF": str(self.conf),
        }
        mount_instance()
        self.read_manifest()
        self.unpack_lines()
        self.members = self.work / "members"

    def read_manifest(self) -> None:
        """The default release for this host: its file, blocks and emulators."""
        host = output("dpkg", "--print-architecture").strip()
        manifest = tomllib.loads(MANIFEST.read_text())
        self.release = next(release for release in manifest["release"]
                            if release["qemu"] == manifest["default"] and release["host"] == host)
        try:
            shown = json.loads(output(self.tools.binary, "manifest", "show", "--json", env=self.env))
        except (CommandFailed, ValueError) as error:
            raise WorldError(f"{self.tools.binary} isn't binfmtctl: {error}") from error
        if self.release["sha256"] not in [release["sha256"] for release in shown["releases"]]:
            raise WorldError(f"{self.tools.binary} has another manifest than {MANIFEST}")
        if self.release["size"] != self.tools.package.stat().st_size:
            raise WorldError(f"{self.tools.package} isn't the pinned {self.release['file']}: "
                             f"{self.tools.package.stat().st_size} bytes, not {self.release['size']}")
        self.blocks = self.release["blocks"]
        self.emulators = [Emulator(emulator["target"], emulator["size"], tuple(emulator["blocks"]))
                          for emulator in self.release["emulators"]]

    def unpack_lines(self) -> None:
        """The package's rules, with the interpreter in the directory of theirs."""
        unpacked = self.work / "rules"
        unpacked.mkdir()
        for package, directory in ((self.tools.package, "share/qemu/binfmt.d"),
                                   (self.tools.rules_package, "lib/binfmt.d")):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
                subprocess.run(["tar", "-x", "-C", unpacked, f"./usr/{directory}"],
                               stdin=archive.stdout, check=True)
        self.lines.mkdir()
        for rule in sorted((unpacked / "usr/lib/binfmt.d").iterdir()):
            text = rule.read_text()
            assert ":/usr/" in text
            (self.lines / rule.name).write_text(text.replace(":/usr/", f":{self.theirs}/root/usr/"))

    def line(self, target: str) -> Path:
        return self.lines / f"qemu-{target}.conf"

    def every_line(self) -> list[Path]:
        return sorted(self.lines.iterdir())

    def bytes_of(self, emulators: list[Emulator]) -> int:
        """Of the blocks that these lie in."""
        blocks = {block for emulator in emulators for block in emulator.blocks}
        return sum(self.blocks[block]["length"] for block in blocks)

    @contextlib.contextmanager
    def mirror(self, *options: str) -> Iterator[Mirror]:
        """The package behind a server, where Debian's archive has it."""
        server = Mirror(self.tools.package, "/" + self.release["path"], options)
        try:
            yield server
        finally:
            server.end()

    def ours(self, *words: str, times: int = 1) -> Action:
        return lambda: run([self.tools.binary, *words], self.env, times)

    def reset(self) -> None:
        """No rules, nothing stored, nothing waiting to be written."""
        for entry in MOUNT.iterdir():
            if entry.name not in NO_RULES:
                entry.write_text("-1")
        for directory in (self.store, self.theirs):
            shutil.rmtree(directory, ignore_errors=True)
        self.conf.unlink(missing_ok=True)
        self.theirs.mkdir()
        self.settle()

    def settle(self) -> None:
        output("sync", "-f", self.work)

    def foreign_true(self, times: int = 1) -> Action:
        """An arm64 program that ends at once; it takes arm64's rule."""
        program = self.work / "true"
        if not program.exists():
            program.symlink_to(self.tools.foreign)
        return lambda: run([program], self.env, times)

    def rules(self) -> int:
        return len(set(os.listdir(MOUNT)) - NO_RULES)

    def add_foreign_rules(self, numbers: range) -> None:
        for number in numbers:
            (MOUNT / "register").write_text(f":x{number}:E::x{number}::/bin/true:")

    def engine_set(self, mirror: Mirror) -> list[str]:
        """What `install` brings when nothing is named, as targets."""
        self.reset()
        said = json.loads(output(self.tools.binary, "install", "--json", "--source", "https",
                                 "--mirror", mirror.base, env=self.env))
        return [platform["target"] for platform in said["platforms"] if platform["runs"] == "emulated"]

    def their_one(self, mirror: Mirror, target: str) -> Action:
        return lambda: run([THEIRS / "one", mirror.url, self.theirs, MOUNT, self.line(target)], self.env)

    def their_members(self, mirror: Mirror, targets: list[str]) -> Action:
        self.members.write_text("".join(f"./usr/bin/qemu-{target}\n"
                                        f"./usr/libexec/qemu-binfmt/{target}-binfmt-P\n" for target in targets))
        lines = [self.line(target) for target in targets]
        return lambda: run([THEIRS / "members", mirror.url, self.theirs, MOUNT, self.members, *lines], self.env)

    def their_all(self, mirror: Mirror) -> Action:
        return lambda: run([THEIRS / "all", mirror.url, self.theirs, self.tools.systemd_binfmt,
                            *self.every_line()], self.env)

    def download(self, mirror: Mirror) -> Action:
        """The whole package, and nothing done with it."""
        return lambda: run(["curl", "-fsS", "-o", self.theirs / "qemu-user.deb", mirror.url], self.env)


def mount_instance() -> None:
    """An instance of this user namespace's own, with no rule in it."""
    if Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]:
        raise WorldError("this is the host's own user namespace; start bench/run")
    try:
        output("mount", "-t", "binfmt_misc", "none", MOUNT)
    except CommandFailed as error:
        raise WorldError(f"a binfmt_misc of this namespace's own takes Linux 6.7 or later: {error}") from error
    found = set(os.listdir(MOUNT))
    if found != NO_RULES:
        raise WorldError(f"the new binfmt_misc has rules already: {sorted(found - NO_RULES)}")
