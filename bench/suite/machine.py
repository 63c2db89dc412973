"""What the figures were measured on, and with."""
from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from measure import CommandFailed, output
from world import World


def first_line(*command: str) -> str:
    try:
        return output(*command).strip().splitlines()[0]
    except (CommandFailed, OSError, IndexError):
        return "unknown"


def field(file: str, name: str) -> str:
    found = re.search(rf"^{name}\s*[:=]\s*\"?([^\"\n]*)", Path(file).read_text(), re.MULTILINE)
    return found[1].strip() if found else "unknown"


def their_version(binfmt: Path) -> str:
    """Of tonistiigi/binfmt, which says it on stderr, or of the stand-in."""
    return first_line("sh", "-c", '"$1" -version 2>&1', "sh", str(binfmt))


def machine(world: World) -> dict[str, object]:
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": field("/proc/meminfo", "MemTotal"),
        "virtualization": first_line("systemd-detect-virt"),
        "kernel": platform.release(),
        "system": f"{field('/etc/os-release', 'PRETTY_NAME')}, {Path('/etc/debian_version').read_text().strip()}",
        "file_system": " ".join(first_line("findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", str(world.work)).split()),
    }


def versions(world: World) -> dict[str, str]:
    tools = world.tools
    binfmt = "not given"
    if tools.binfmt is not None:
        binfmt = their_version(tools.binfmt)
    return {
        "binfmtctl": first_line(str(tools.binary), "--version"),
        "binfmtctl's sha256": first_line("sha256sum", str(tools.binary)).split()[0],
        "package": f"{world.release['file']}, {world.release['size']} bytes",
        "curl": " ".join(first_line("curl", "--version").split()[:2]),
        "dpkg": first_line("dpkg-deb", "--version"),
        "tar": first_line("tar", "--version"),
        "xz": first_line("xz", "--version"),
        "coreutils": first_line("sha256sum", "--version"),
        "systemd-binfmt": first_line(str(tools.systemd_binfmt), "--version"),
        "tonistiigi/binfmt": binfmt,
    }
