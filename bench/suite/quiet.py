"""Whether a command writes: to the kernel's rules, to the store, to the conf file.

Seen twice: by its system calls, and by what it left of time stamps and content.
"""
from __future__ import annotations

import os
import re
from pathlib import Path

from measure import run
from world import MOUNT, World

CALLS = ("trace=%file,write,pwrite64,writev,pwritev,ftruncate,fallocate,"
         "copy_file_range,sendfile,splice,fchmod,fchown,fsetxattr")
OPENS = re.compile(r"\b(open|openat|openat2|creat)\(")
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE|\bcreat\(")
CHANGES = re.compile(r"\b(write|pwrite64|writev|pwritev|ftruncate|truncate|fallocate|copy_file_range|sendfile|splice|"
                     r"f?chmod|fchmodat2?|[fl]?chown|fchownat|[fl]?(set|remove)xattr|rename|renameat2?|unlink|"
                     r"unlinkat|rmdir|mkdir|mkdirat|symlink|symlinkat|link|linkat|mknod|mknodat|utime|utimes|"
                     r"utimensat|futimesat)\(")


def writes(world: World, words: tuple[str, ...]) -> list[str]:
    """Each trace of a write by `binfmtctl WORDS...`."""
    places = [str(MOUNT), str(world.store), str(world.conf)]
    before = stamps(places)
    trace = world.work / "trace"
    run(["strace", "-f", "-y", "-s", "256", "-e", CALLS, "-o", trace, world.tools.binary, *words], world.env)
    found = [line for line in trace.read_text(errors="replace").splitlines() if is_write(line, places)]
    if stamps(places) != before:
        found.append("time stamps or content changed")
    return found


def is_write(line: str, places: list[str]) -> bool:
    if not any(place in line for place in places):
        return False
    return bool(WRITING.search(line)) if OPENS.search(line) else bool(CHANGES.search(line))


def stamps(places: list[str]) -> list[tuple[str, int, int, int, int]]:
    """Of every file there."""
    found = []
    for place in filter(os.path.lexists, map(Path, places)):
        for path in sorted([place, *place.rglob("*")] if place.is_dir() else [place]):
            seen = os.lstat(path)
            found.append((str(path), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return found
