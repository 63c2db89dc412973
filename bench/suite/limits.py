"""What nobody can be faster than here: the parts that the work consists of,
each done alone by the tool that does it well."""
from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from measure import Action, Sample, Stat, cpus, repeat, run, walls
from rows import Bench, true_times
from world import World


@dataclass(frozen=True)
class Limit:
    """One such part."""

    what: str
    how: str
    wall: Stat
    cpu: Stat


def limits(bench: Bench) -> list[Limit]:
    world = bench.world
    arm64 = next(emulator for emulator in world.emulators if emulator.target == "aarch64")
    block = world.work / "block.xz"
    block.write_bytes(single_block(world, arm64.blocks[0]))
    emulator = world.work / "emulator"
    with lzma.open(block) as decoded:
        emulator.write_bytes(decoded.read()[:arm64.size])
    members = sorted({block for target in bench.targets for block in blocks_of(world, target)})
    several = world.work / "several.xz"
    several.write_bytes(b"".join(single_block(world, index) for index in members))
    whole = world.work / "whole.xz"
    whole.write_bytes(b"".join(single_block(world, index) for index in range(len(world.blocks))))
    sizes = {emulator.target: emulator.size for emulator in world.emulators}
    written = sum(sizes[target] for target in bench.targets)
    copy = world.work / "copy"
    bench.installed()

    def limit(what: str, how: str, action: Action, times: int) -> Limit:
        samples = repeat(times, action, world.settle)
        return Limit(what, how, walls(samples), cpus(samples))

    large, starts = bench.plan.large, bench.plan.starts
    return [
        limit("start of binfmtctl", "`--version`", world.ours("--version"), starts),
        limit("10 starts of a program", "/bin/true", true_times(world, 10), starts),
        limit(f"{len(bench.targets)} starts of a foreign program", "an arm64 `true`",
              world.foreign_true(len(bench.targets)), starts),
        limit(f"{len(bench.targets)} starts of an emulator", "an arm64 program that only ends",
              lambda: run([ending(world)], world.env, len(bench.targets)), starts),
        limit(f"decoding the block of arm64, {block.stat().st_size} bytes", "xz -dc",
              lambda: run(["xz", "-dc", block], world.env), large),
        limit("hashing arm64's emulator", "sha256sum", lambda: run(["sha256sum", emulator], world.env), large),
        limit(f"writing arm64's emulator, {arm64.size} bytes", "dd conv=fsync",
              lambda: run(["dd", f"if={emulator}", f"of={copy}", "bs=1M", "conv=fsync"], world.env), large),
        limit(f"decoding the {len(members)} blocks of the engine set, one after the other", "xz -dc",
              lambda: run(["xz", "-dc", several], world.env), large),
        limit(f"writing {written} bytes, as many as the engine set has", "dd conv=fsync, zeros",
              lambda: zeros(world, copy, written), large),
        limit(f"decoding all {len(world.blocks)} blocks, one after the other", "xz -dc",
              lambda: run(["xz", "-dc", whole], world.env), large),
        limit(f"writing {sum(sizes.values())} bytes, as many as all emulators have", "dd conv=fsync, zeros",
              lambda: zeros(world, copy, sum(sizes.values())), large),
    ]


def ending(world: World) -> Path:
    """The smallest arm64 program: mov x8, #93; mov x0, #0; svc #0."""
    program = world.work / "ending"
    if not program.exists():
        code = struct.pack("<III", 0xD2800BA8, 0xD2800000, 0xD4000001)
        base, start = 0x400000, 64 + 56
        size = start + len(code)
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        head = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
        program.write_bytes(ident + head + segment + code)
        program.chmod(0o755)
    return program


def zeros(world: World, to: Path, size: int) -> Sample:
    return run(["dd", "if=/dev/zero", f"of={to}", "bs=1M", "iflag=count_bytes", f"count={size}", "conv=fsync"],
               world.env)


def blocks_of(world: World, target: str) -> tuple[int, ...]:
    return next(emulator.blocks for emulator in world.emulators if emulator.target == target)


def single_block(world: World, index: int) -> bytes:
    """An xz file of one of the package's blocks."""
    block = world.blocks[index]
    with world.tools.package.open("rb") as package:
        package.seek(block["offset"])
        body = package.read(block["length"])
    flags = b"\x00\x04"  # CRC64
    records = b"\x00" + variable(1) + variable(unpadded(body)) + variable(block["decoded"])
    records += b"\x00" * (-len(records) % 4)
    records += struct.pack("<I", zlib.crc32(records))
    footer = struct.pack("<I", len(records) // 4 - 1) + flags
    return (b"\xfd7zXZ\x00" + flags + struct.pack("<I", zlib.crc32(flags)) + body + records
            + struct.pack("<I", zlib.crc32(footer)) + footer + b"YZ")


def unpadded(body: bytes) -> int:
    """The size that the index has for a block: without the padding before its check.

    The block's own header says the compressed size; it comes after two bytes.
    """
    size, _ = read_variable(body, 2)
    if not body[1] & 0x40:
        raise ValueError("the block doesn't say its size")
    return (body[0] + 1) * 4 + size + 8


def variable(number: int) -> bytes:
    """As xz writes numbers."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def read_variable(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return number, at
