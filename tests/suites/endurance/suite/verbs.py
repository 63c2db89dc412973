"""The verbs that are ended halfway, each from the state that it needs."""
from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from disk import tree
from world import PLATFORMS, Tools, World, Wrong, rules_of

OLD, NEW = "10.0.13", "11.1.3"
BOTH = ("riscv64", "s390x")


@dataclass(frozen=True)
class Verb:
    """A verb, and what has to hold however it ends."""

    name: str
    line: str
    # The commands that made the files before it, and what was done to the rules.
    before: tuple[str, ...] = ()
    kernel: str = "as-written"
    # What ran before and isn't to be removed: it runs at every instant.
    worked: tuple[str, ...] = ()
    # What has to run once the next run has ended.
    wanted: tuple[str, ...] = ()
    # What an administrator might do instead of running it again.
    instead: str = "uninstall"
    # What the file system has besides.
    foreign: tuple[str, ...] = field(default=())


VERBS = [
    Verb("install", f"install {' '.join(BOTH)}", wanted=BOTH),
    Verb("install one more", "install s390x", before=("install riscv64",),
         worked=("riscv64",), wanted=BOTH, instead="uninstall s390x"),
    Verb("uninstall", "uninstall", before=(f"install {' '.join(BOTH)}",),
         instead=f"install {' '.join(BOTH)}"),
    Verb("uninstall one", "uninstall s390x", before=(f"install {' '.join(BOTH)}",),
         worked=("riscv64",), wanted=("riscv64",), instead=f"install {' '.join(BOTH)}"),
    Verb("apply, after a boot", "apply", before=(f"install {' '.join(BOTH)}",),
         kernel="none", wanted=BOTH),
    Verb("apply, over other flags", "apply", before=(f"install {' '.join(BOTH)}",),
         kernel="other-flags", worked=BOTH, wanted=BOTH, instead=f"install {' '.join(BOTH)}"),
    Verb("upgrade", f"install {' '.join(BOTH)} --qemu {NEW}", before=(f"install {' '.join(BOTH)}",),
         worked=BOTH, wanted=BOTH, instead=f"install {' '.join(BOTH)} --qemu {OLD}"),
    Verb("take over", "install riscv64 --replace", kernel="foreign", worked=("riscv64",),
         wanted=("riscv64",), foreign=("riscv64",)),
]


class Stage:
    """The states before the verbs and after them, made once."""

    def __init__(self, tools: Tools, root: Path, keep: Path) -> None:
        self.tools, self.root, self.keep = tools, root, keep

    def prepare(self, verb: Verb) -> Path:
        """The files before a verb: a directory to copy from."""
        kept = self.keep / verb.name
        if kept.exists():
            return kept
        clear(self.root)
        with World(self.tools, self.root) as world:
            for line in verb.before:
                world.ctl(line)
            for platform in verb.foreign:
                self.carry_in(world, platform)
        (self.root / "tmp").mkdir(exist_ok=True)
        copy(self.root, kept)
        return kept

    def carry_in(self, world: World, platform: str) -> None:
        """An emulator that isn't ours."""
        world.ctl(f"manifest extract --to {self.root}/foreign {platform}")

    def rules_before(self, verb: Verb) -> list[str]:
        """What the kernel has before it."""
        text = (self.keep / verb.name / "etc/binfmt.d/zz-binfmtctl.conf")
        lines = rules_of(text.read_text()) if text.exists() else []
        match verb.kernel:
            case "as-written":
                return lines
            case "other-flags":
                return [line.removesuffix(":POF") + ":OF" for line in lines]
            case "foreign":
                return [self.foreign_rule(platform) for platform in verb.foreign]
            case _:
                return []

    def foreign_rule(self, platform: str) -> str:
        """A rule that takes a platform's programs, as somebody else registers it."""
        target, order, machine, _, _ = PLATFORMS[platform]
        head = bytes.fromhex("7f454c4602") + (b"\1" if order == "<" else b"\2") + b"\1" + bytes(9)
        code = machine.to_bytes(2, "little" if order == "<" else "big")
        kind = b"\2\0" if order == "<" else b"\0\2"
        mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + (b"\xfe\xff" if order == "<" else b"\xff\xfe")
        both = (head + kind + code, mask + b"\xff\xff")
        magic, mask = ("".join(f"\\x{byte:02x}" for byte in part) for part in both)
        return f":theirs-{target}:M::{magic}:{mask}:{self.root}/foreign/qemu-{target}:POF"


def clear(root: Path) -> None:
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


@dataclass(frozen=True)
class State:
    """What is there: rules by name, the conf file, every path."""

    rules: dict[str, str]
    conf: str | None
    paths: frozenset[str]

    @classmethod
    def of(cls, world: World) -> State:
        conf = world.conf.read_text() if world.conf.exists() else None
        return cls(world.rules(), conf, frozenset(tree(world.root)))

    def require(self, wanted: State, what: str) -> None:
        for name in ("rules", "conf", "paths"):
            got, want = getattr(self, name), getattr(wanted, name)
            if got != want:
                if name == "paths":
                    got, want = sorted(got - want), sorted(want - got)
                raise Wrong(f"{what}: {name} are otherwise: {got}\ninstead of {want}")
