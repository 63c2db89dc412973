"""A user and mount namespace with a binfmt_misc of its own, and what runs in it."""
from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

MOUNT = "proc/sys/fs/binfmt_misc"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Longer than this nothing may take, however busy the machine is.
PATIENCE = 180

# For each platform of the trials: ELF's data encoding, machine and flags, and code
# that exits with 0.
PLATFORMS = {
    "arm64": ("aarch64", "<", 183, 0, "a80b80d2000080d2010000d4"),
    "riscv64": ("riscv64", "<", 243, 4, "130500009308d00573000000"),
    "s390x": ("s390x", ">", 22, 0, "a72900000a01"),
}


def program(platform: str) -> bytes:
    """The smallest program of a platform: it ends at once, and well."""
    _, order, machine, flags, code = PLATFORMS[platform]
    base, start = 0x400000, 64 + 56
    size = start + len(code) // 2
    identity = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    header = struct.pack(
        order + "HHIQQQIHHHHHH", 2, machine, 1, base + start, 64, 0, flags, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack(order + "IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return identity + header + segment + bytes.fromhex(code)


@dataclass(frozen=True)
class Tools:
    """What everything is tried with."""

    binary: Path
    packages: Path
    programs: Path

    def make_programs(self) -> None:
        self.programs.mkdir(parents=True, exist_ok=True)
        for platform in PLATFORMS:
            path = self.programs / platform
            path.write_bytes(program(platform))
            path.chmod(0o755)


class Wrong(Exception):
    """Something that has to hold didn't."""


class World:
    """Held by a process of its own; when that ends, the rules are gone."""

    def __init__(self, tools: Tools, root: Path) -> None:
        self.tools, self.root = tools, root
        self.holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private", "sh", "-c",
             f"mount -t binfmt_misc binfmt_misc /{MOUNT} && echo && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        if self.holder.stdout.readline() != b"\n":
            raise Wrong("no namespace with a binfmt_misc of its own can be had here")
        self.instance = Path(f"/proc/{self.holder.pid}/root/{MOUNT}")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()
        self.holder.stdin.close()
        self.holder.stdout.close()

    # Where things are.

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def conf(self) -> Path:
        return self.root / "etc/binfmt.d/zz-binfmtctl.conf"

    # What is run.

    def start(self, *command: str | Path, **variables: str) -> subprocess.Popen[bytes]:
        """Starts a command in here; the process is the command's own."""
        environment = {
            "PATH": PATH,
            "LC_ALL": "C",
            "TMPDIR": str(self.root / "tmp"),
            "BINFMTCTL_USERNS": "1",
            "BINFMTCTL_PREFIX": str(self.store),
            "BINFMTCTL_CONF": str(self.conf),
            "BINFMTCTL_SOURCE": str(self.tools.packages),
            **variables,
        }
        return subprocess.Popen(
            ["nsenter", "--user", "--mount", "--preserve-credentials",
             "--target", str(self.holder.pid), *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, cwd="/", umask=0o077,
        )

    def ctl(self, line: str, *, may: tuple[int, ...] = (0,), **variables: str) -> str:
        """Runs binfmtctl, which has to end with one of these."""
        run = self.start(self.tools.binary, *line.split(), **variables)
        said = finish(run, line)
        if run.returncode not in may:
            raise Wrong(f"{line}: exit {run.returncode}\n{said}")
        return said

    def runs(self, platform: str) -> bool:
        run = self.start(self.tools.programs / platform)
        finish(run, platform)
        return run.returncode == 0

    # The rules.

    def rules(self) -> dict[str, str]:
        """All rules, by name."""
        found = {}
        for file in self.instance.iterdir():
            if file.name not in ("register", "status"):
                found[file.name] = file.read_text()
        return found

    def register(self, line: str) -> None:
        (self.instance / "register").write_bytes(line.encode())

    def forget(self) -> None:
        """Removes every rule, of this namespace's own instance."""
        for name in self.rules():
            (self.instance / name).write_bytes(b"-1")


def finish(run: subprocess.Popen[bytes], what: str, limit: float = PATIENCE) -> str:
    """Waits for a process, but not for ever; what it said."""
    try:
        said, _ = run.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        run.kill()
        said, _ = run.communicate()
        raise Wrong(f"{what}: still there after {limit:.0f} s\n{said.decode()}") from None
    return said.decode(errors="replace")


def rules_of(text: str) -> list[str]:
    """The register lines of a conf file."""
    return [line for line in text.splitlines() if line.startswith(":")]
