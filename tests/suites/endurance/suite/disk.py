"""File systems that can lose what wasn't synced: on loop devices, shut down without
flushing their logs, as xfstests' godown does it."""
from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from world import Wrong

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32).
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2

# Without the favours that ext4 does to programs that don't sync, and without
# anything that is written by itself in time.
EXT4 = "noauto_da_alloc,commit=600,lazytime"
DISKS = {
    "ext4-ordered": ("ext4", EXT4),
    "ext4-writeback": ("ext4", f"{EXT4},data=writeback"),
    "xfs": ("xfs", ""),
}
SIZE = {"ext4": "160M", "xfs": "320M"}
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^resize_inode", "-E", "lazy_itable_init=1"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}


def do(*command: str | Path) -> str:
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Wrong(f"{' '.join(map(str, command))}: {ran.stderr.strip()}")
    return ran.stdout.strip()


def tree(root: Path) -> set[str]:
    """Every path below a directory, with its mode. The directory of the conf file
    belongs to the host."""
    found = set()
    for dir, dirs, files in os.walk(root):
        for name in (*dirs, *files):
            path = Path(dir) / name
            found.add(f"{path.relative_to(root)} {path.lstat().st_mode & 0o7777:o}")
    return {path for path in found if path.split()[0] not in ("etc", "etc/binfmt.d", "lost+found")}


class Disk:
    """One of them, at a directory."""

    def __init__(self, kind: str, image: Path, at: Path) -> None:
        self.type, self.options = DISKS[kind]
        self.image, self.at = image, at
        self.loop = ""

    def make(self) -> None:
        self.image.unlink(missing_ok=True)
        do("truncate", "-s", SIZE[self.type], self.image)
        do(*MAKE[self.type], self.image)

    def take(self, base: Path) -> None:
        """Begins with what another one has."""
        do("cp", "--sparse=always", base, self.image)

    def mount(self) -> None:
        self.loop = do("losetup", "--find", "--show", self.image)
        options = ["-o", self.options] if self.options else []
        try:
            do("mount", "-t", self.type, *options, self.loop, self.at)
        finally:
            # It goes by itself with the last mount, whatever becomes of this process.
            do("losetup", "--detach", self.loop)

    def cut(self) -> None:
        """The power fails: what isn't on the disk yet never gets there."""
        dir = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(dir, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(dir)

    def unmount(self) -> None:
        """Until nothing of it is left in the kernel: what is mounted next is read
        from the disk. Rules that are gone hold their emulators for a moment."""
        deadline = time.monotonic() + 60
        while True:
            try:
                do("umount", self.at)
                break
            except Wrong:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        mounted = Path(f"/sys/fs/{self.type}/{Path(self.loop).name}")
        while mounted.exists():
            if time.monotonic() > deadline:
                raise Wrong(f"{self.loop} is still in use")
            time.sleep(0.005)
