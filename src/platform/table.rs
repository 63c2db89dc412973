//! The tables: what QEMU's user-mode emulators run, and what engines call it.
//!
//! Magic and mask stay literal, so that they can be read side by side with
//! QEMU's `scripts/qemu-binfmt-conf.sh`. Where a row differs from that script
//! a comment says why. Every row is executed by the tests.

use super::{Platform, Target, Variant};

/// Every ELF identity that an emulator runs. The comment above each program is
/// its source; argc lies where the stack pointer points at a process's start,
/// above the register window on SPARC, and in a register on PA-RISC.
pub static TARGETS: [Target; 36] = [
    Target {
        name: "i386",
        emulator: "i386",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x03\x00",
        mask: b"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // mov (%esp), %ebx; add $40, %ebx; mov $1, %eax; int $0x80
        exit_argc: b"\x8b\x1c\x24\x83\xc3\x28\xb8\x01\x00\x00\x00\xcd\x80",
    },
    // EM_486, which qemu-i386 runs too.
    Target {
        name: "i486",
        emulator: "i386",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x06\x00",
        mask: b"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // mov (%esp), %ebx; add $40, %ebx; mov $1, %eax; int $0x80
        exit_argc: b"\x8b\x1c\x24\x83\xc3\x28\xb8\x01\x00\x00\x00\xcd\x80",
    },
    Target {
        name: "x86_64",
        emulator: "x86_64",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
        mask: b"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // mov (%rsp), %edi; add $40, %edi; mov $60, %eax; syscall
        exit_argc: b"\x8b\x3c\x24\x83\xc7\x28\xb8\x3c\x00\x00\x00\x0f\x05",
    },
    Target {
        name: "alpha",
        emulator: "alpha",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x26\x90",
        mask: b"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // ldq $16, 0($30); addq $16, 40, $16; lda $0, 1($31); callsys
        exit_argc: b"\x00\x00\x1e\xa6\x10\x14\x05\x42\x01\x00\x1f\x20\x83\x00\x00\x00",
    },
    Target {
        name: "arm",
        emulator: "arm",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0x5000000,
        // ldr r0, [sp]; add r0, r0, #40; mov r7, #1; svc 0
        exit_argc: b"\x00\x00\x9d\xe5\x28\x00\x80\xe2\x01\x70\xa0\xe3\x00\x00\x00\xef",
    },
    Target {
        name: "armeb",
        emulator: "armeb",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0x5000000,
        // ldr r0, [sp]; add r0, r0, #40; mov r7, #1; svc 0
        exit_argc: b"\xe5\x9d\x00\x00\xe2\x80\x00\x28\xe3\xa0\x70\x01\xef\x00\x00\x00",
    },
    Target {
        name: "sparc",
        emulator: "sparc",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // ld [%sp + 64], %o0; add %o0, 40, %o0; mov 1, %g1; ta 0x10
        exit_argc: b"\xd0\x03\xa0\x40\x90\x02\x20\x28\x82\x10\x20\x01\x91\xd0\x20\x10",
    },
    Target {
        name: "sparc32plus",
        emulator: "sparc32plus",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x12",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // ld [%sp + 64], %o0; add %o0, 40, %o0; mov 1, %g1; ta 0x10
        exit_argc: b"\xd0\x03\xa0\x40\x90\x02\x20\x28\x82\x10\x20\x01\x91\xd0\x20\x10",
    },
    Target {
        name: "sparc64",
        emulator: "sparc64",
        magic: b"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x2b",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // ldx [%sp + 2047 + 128], %o0; add %o0, 40, %o0; mov 1, %g1; ta 0x6d
        exit_argc: b"\xd0\x5b\xa8\x7f\x90\x02\x20\x28\x82\x10\x20\x01\x91\xd0\x20\x6d",
    },
    Target {
        name: "ppc",
        emulator: "ppc",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x14",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // lwz r3, 0(r1); addi r3, r3, 40; li r0, 1; sc
        exit_argc: b"\x80\x61\x00\x00\x38\x63\x00\x28\x38\x00\x00\x01\x44\x00\x00\x02",
    },
    Target {
        name: "ppc64",
        emulator: "ppc64",
        magic: b"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0x2,
        // ld r3, 0(r1); addi r3, r3, 40; li r0, 1; sc
        exit_argc: b"\xe8\x61\x00\x00\x38\x63\x00\x28\x38\x00\x00\x01\x44\x00\x00\x02",
    },
    // The mask's last byte is QEMU's own quirk: the high byte of e_machine is
    // not looked at. No other identity is 64-bit little-endian with low byte 21.
    Target {
        name: "ppc64le",
        emulator: "ppc64le",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00",
        e_flags: 0x2,
        // ld r3, 0(r1); addi r3, r3, 40; li r0, 1; sc
        exit_argc: b"\x00\x00\x61\xe8\x28\x00\x63\x38\x01\x00\x00\x38\x02\x00\x00\x44",
    },
    Target {
        name: "m68k",
        emulator: "m68k",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x04",
        mask: b"\xff\xff\xff\xff\xff\xff\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // moveq #40, %d1; add.l (%sp), %d1; moveq #1, %d0; trap #0
        exit_argc: b"\x72\x28\xd2\x97\x70\x01\x4e\x40",
    },
    // o32 and n32 share class, data and e_machine; bit 0x20 of e_flags tells
    // them apart, hence 40 bytes.
    Target {
        name: "mips",
        emulator: "mips",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20",
        e_flags: 0x1000,
        // lw $a0, 0($sp); li $v0, 4001; addiu $a0, $a0, 40; syscall
        exit_argc: b"\x8f\xa4\x00\x00\x24\x02\x0f\xa1\x24\x84\x00\x28\x00\x00\x00\x0c",
    },
    Target {
        name: "mipsel",
        emulator: "mipsel",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00",
        e_flags: 0x1000,
        // lw $a0, 0($sp); li $v0, 4001; addiu $a0, $a0, 40; syscall
        exit_argc: b"\x00\x00\xa4\x8f\xa1\x0f\x02\x24\x28\x00\x84\x24\x0c\x00\x00\x00",
    },
    Target {
        name: "mipsn32",
        emulator: "mipsn32",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20",
        e_flags: 0x20,
        // lw $a0, 0($sp); li $v0, 6058; addiu $a0, $a0, 40; syscall
        exit_argc: b"\x8f\xa4\x00\x00\x24\x02\x17\xaa\x24\x84\x00\x28\x00\x00\x00\x0c",
    },
    Target {
        name: "mipsn32el",
        emulator: "mipsn32el",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00",
        e_flags: 0x20,
        // lw $a0, 0($sp); li $v0, 6058; addiu $a0, $a0, 40; syscall
        exit_argc: b"\x00\x00\xa4\x8f\xaa\x17\x02\x24\x28\x00\x84\x24\x0c\x00\x00\x00",
    },
    Target {
        name: "mips64",
        emulator: "mips64",
        magic: b"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // ld $a0, 0($sp); li $v0, 5058; addiu $a0, $a0, 40; syscall
        exit_argc: b"\xdf\xa4\x00\x00\x24\x02\x13\xc2\x24\x84\x00\x28\x00\x00\x00\x0c",
    },
    Target {
        name: "mips64el",
        emulator: "mips64el",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // ld $a0, 0($sp); li $v0, 5058; addiu $a0, $a0, 40; syscall
        exit_argc: b"\x00\x00\xa4\xdf\xc2\x13\x02\x24\x28\x00\x84\x24\x0c\x00\x00\x00",
    },
    Target {
        name: "sh4",
        emulator: "sh4",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x2a\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // mov.l @r15, r4; add #40, r4; mov #1, r3; trapa #0x11
        exit_argc: b"\xf2\x64\x28\x74\x01\xe3\x11\xc3",
    },
    Target {
        name: "sh4eb",
        emulator: "sh4eb",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x2a",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // mov.l @r15, r4; add #40, r4; mov #1, r3; trapa #0x11
        exit_argc: b"\x64\xf2\x74\x28\xe3\x01\xc3\x11",
    },
    Target {
        name: "s390x",
        emulator: "s390x",
        magic: b"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // lg %r2, 0(%r15); aghi %r2, 40; svc 1
        exit_argc: b"\xe3\x20\xf0\x00\x00\x04\xa7\x2b\x00\x28\x0a\x01",
    },
    Target {
        name: "aarch64",
        emulator: "aarch64",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // ldr x0, [sp]; add x0, x0, #40; mov x8, #93; svc 0
        exit_argc: b"\xe0\x03\x40\xf9\x00\xa0\x00\x91\xa8\x0b\x80\xd2\x01\x00\x00\xd4",
    },
    Target {
        name: "aarch64_be",
        emulator: "aarch64_be",
        magic: b"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // ldr x0, [sp]; add x0, x0, #40; mov x8, #93; svc 0
        exit_argc: b"\xe0\x03\x40\xf9\x00\xa0\x00\x91\xa8\x0b\x80\xd2\x01\x00\x00\xd4",
    },
    Target {
        name: "hppa",
        emulator: "hppa",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x0f",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0x210,
        // ldi 1, %r20; ldo 40(%r25), %r26; ble 0x100(%sr2, %r0); nop
        exit_argc: b"\x34\x14\x00\x02\x37\x3a\x00\x50\xe4\x00\x82\x00\x08\x00\x02\x40",
    },
    Target {
        name: "riscv32",
        emulator: "riscv32",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // lw a0, 0(sp); addi a0, a0, 40; li a7, 93; ecall
        exit_argc: b"\x03\x25\x01\x00\x13\x05\x85\x02\x93\x08\xd0\x05\x73\x00\x00\x00",
    },
    Target {
        name: "riscv64",
        emulator: "riscv64",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // ld a0, 0(sp); addi a0, a0, 40; li a7, 93; ecall
        exit_argc: b"\x03\x35\x01\x00\x13\x05\x85\x02\x93\x08\xd0\x05\x73\x00\x00\x00",
    },
    Target {
        name: "xtensa",
        emulator: "xtensa",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x5e\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // l32i a6, a1, 0; addi a6, a6, 40; movi a2, 118; syscall
        exit_argc: b"\x62\x21\x00\x62\xc6\x28\x22\xa0\x76\x00\x50\x00",
    },
    Target {
        name: "xtensaeb",
        emulator: "xtensaeb",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x5e",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // l32i a6, a1, 0; addi a6, a6, 40; movi a2, 118; syscall
        exit_argc: b"\x26\x12\x00\x26\x6c\x28\x22\x0a\x76\x00\x05\x00",
    },
    // QEMU's script has e_type and e_machine of this row in the wrong byte
    // order (\x02\x00\xba\xab), so that it never matches anything.
    Target {
        name: "microblaze",
        emulator: "microblaze",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xba\xab",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // lwi r5, r1, 0; addik r5, r5, 40; addik r12, r0, 1; brki r14, 8
        exit_argc: b"\xe8\xa1\x00\x00\x30\xa5\x00\x28\x31\x80\x00\x01\xb9\xcc\x00\x08",
    },
    Target {
        name: "microblazeel",
        emulator: "microblazeel",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xab\xba",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // lwi r5, r1, 0; addik r5, r5, 40; addik r12, r0, 1; brki r14, 8
        exit_argc: b"\x00\x00\xa1\xe8\x28\x00\xa5\x30\x01\x00\x80\x31\x08\x00\xcc\xb9",
    },
    Target {
        name: "or1k",
        emulator: "or1k",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x5c",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // l.lwz r3, 0(r1); l.addi r3, r3, 40; l.addi r11, r0, 93; l.sys 1; l.nop
        exit_argc: b"\x84\x61\x00\x00\x9c\x63\x00\x28\x9d\x60\x00\x5d\x20\x00\x00\x01\x15\x00\x00\x00",
    },
    Target {
        name: "hexagon",
        emulator: "hexagon",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xa4\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0x66,
        // { r6 = #94 } { r0 = memw(r29 + #0) } { r0 = add(r0, #40) } { trap0(#1) }
        exit_argc: b"\xc6\xcb\x00\x78\x00\xc0\x9d\x91\x00\xc5\x00\xb0\x04\xc0\x00\x54",
    },
    // EI_ABIVERSION is not looked at.
    Target {
        name: "loongarch64",
        emulator: "loongarch64",
        magic: b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\xfc\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0x43,
        // ld.d $a0, $sp, 0; addi.w $a0, $a0, 40; addi.w $a7, $zero, 93; syscall 0
        exit_argc: b"\x64\x00\xc0\x28\x84\xa0\x80\x02\x0b\x74\x81\x02\x00\x00\x2b\x00",
    },
    // EM_MICROBLAZE as the ELF registry has it since 2009; QEMU accepts it,
    // its script doesn't register it.
    Target {
        name: "microblaze-189",
        emulator: "microblaze",
        magic: b"\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xbd",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff",
        e_flags: 0,
        // lwi r5, r1, 0; addik r5, r5, 40; addik r12, r0, 1; brki r14, 8
        exit_argc: b"\xe8\xa1\x00\x00\x30\xa5\x00\x28\x31\x80\x00\x01\xb9\xcc\x00\x08",
    },
    Target {
        name: "microblazeel-189",
        emulator: "microblazeel",
        magic: b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xbd\x00",
        mask: b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        e_flags: 0,
        // lwi r5, r1, 0; addik r5, r5, 40; addik r12, r0, 1; brki r14, 8
        exit_argc: b"\x00\x00\xa1\xe8\x28\x00\xa5\x30\x01\x00\x80\x31\x08\x00\xcc\xb9",
    },
];

/// One row per emulator, engines' platforms first and in the order in which
/// container tools list them.
pub static PLATFORMS: [Platform; 33] = [
    Platform {
        name: "linux/amd64",
        emulator: "x86_64",
        debian: Some("amd64"),
        engine: true,
        aliases: &["x86-64", "x64"],
        variants: AMD64_LEVELS,
    },
    Platform {
        name: "linux/arm64",
        emulator: "aarch64",
        debian: Some("arm64"),
        engine: true,
        aliases: &["arm64v8", "armv8"],
        variants: &[],
    },
    Platform {
        name: "linux/riscv64",
        emulator: "riscv64",
        debian: Some("riscv64"),
        engine: true,
        aliases: &["rv64", "riscv64gc"],
        variants: &[],
    },
    Platform {
        name: "linux/ppc64",
        emulator: "ppc64",
        debian: None,
        engine: true,
        aliases: &["powerpc64"],
        variants: &[],
    },
    Platform {
        name: "linux/ppc64le",
        emulator: "ppc64le",
        debian: Some("ppc64el"),
        engine: true,
        aliases: &["ppc64el", "powerpc64le"],
        variants: &[],
    },
    Platform {
        name: "linux/s390x",
        emulator: "s390x",
        debian: Some("s390x"),
        engine: true,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/386",
        emulator: "i386",
        debian: Some("i386"),
        engine: true,
        aliases: &["i486", "i586", "i686", "x86", "ia32"],
        variants: &[],
    },
    Platform {
        name: "linux/mips64le",
        emulator: "mips64el",
        debian: None,
        engine: true,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/mips64",
        emulator: "mips64",
        debian: None,
        engine: true,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/loong64",
        emulator: "loongarch64",
        debian: None,
        engine: true,
        aliases: &["la64"],
        variants: &[],
    },
    Platform {
        name: "linux/arm",
        emulator: "arm",
        debian: Some("armhf"),
        engine: true,
        aliases: &[
            "armhf", "armel", "armv7", "armv7l", "armv7a", "armv6", "armv6l", "armv5", "armv5l",
            "armv5tel", "armv5te", "armv8l", "arm32v7", "arm32v6", "arm32v5",
        ],
        variants: ARM_VERSIONS,
    },
    Platform {
        name: "linux/arm64be",
        emulator: "aarch64_be",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/alpha",
        emulator: "alpha",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/armbe",
        emulator: "armeb",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/hexagon",
        emulator: "hexagon",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/hppa",
        emulator: "hppa",
        debian: None,
        engine: false,
        aliases: &["parisc"],
        variants: &[],
    },
    Platform {
        name: "linux/m68k",
        emulator: "m68k",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/microblaze",
        emulator: "microblaze",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/microblazeel",
        emulator: "microblazeel",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/mips",
        emulator: "mips",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/mipsle",
        emulator: "mipsel",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/mips64p32",
        emulator: "mipsn32",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/mips64p32le",
        emulator: "mipsn32el",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/or1k",
        emulator: "or1k",
        debian: None,
        engine: false,
        aliases: &["openrisc"],
        variants: &[],
    },
    Platform {
        name: "linux/ppc",
        emulator: "ppc",
        debian: None,
        engine: false,
        aliases: &["powerpc"],
        variants: &[],
    },
    Platform {
        name: "linux/riscv",
        emulator: "riscv32",
        debian: None,
        engine: false,
        aliases: &["rv32"],
        variants: &[],
    },
    Platform {
        name: "linux/sh4",
        emulator: "sh4",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/sh4eb",
        emulator: "sh4eb",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/sparc",
        emulator: "sparc",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/sparc32plus",
        emulator: "sparc32plus",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/sparc64",
        emulator: "sparc64",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/xtensa",
        emulator: "xtensa",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
    Platform {
        name: "linux/xtensaeb",
        emulator: "xtensaeb",
        debian: None,
        engine: false,
        aliases: &[],
        variants: &[],
    },
];

/// Machine code by `amd64_level.s`, one per level.
static AMD64_LEVELS: &[Variant] = &[
    Variant {
        name: "linux/amd64/v2",
        exit_argc: b"\xb8\x01\x00\x00\x80\x0f\xa2\x83\xe1\x01\x83\xf9\x01\x75\x1d\xb8\x01\x00\x00\
        \x00\x0f\xa2\x81\xe1\x01\x22\x98\x00\x81\xf9\x01\x22\x98\x00\x75\x08\x8b\x3c\
        \x24\x83\xc7\x28\xeb\x05\xbf\x01\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05",
    },
    Variant {
        name: "linux/amd64/v3",
        exit_argc: b"\xb8\x01\x00\x00\x80\x0f\xa2\x83\xe1\x21\x83\xf9\x21\x75\x41\xb8\x01\x00\x00\
        \x00\x0f\xa2\x81\xe1\x01\x32\xd8\x38\x81\xf9\x01\x32\xd8\x38\x75\x2c\xb8\x07\
        \x00\x00\x00\x31\xc9\x0f\xa2\x81\xe3\x28\x01\x00\x00\x81\xfb\x28\x01\x00\x00\
        \x75\x15\x31\xc9\x0f\x01\xd0\x83\xe0\x06\x83\xf8\x06\x75\x08\x8b\x3c\x24\x83\
        \xc7\x28\xeb\x05\xbf\x01\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05",
    },
    Variant {
        name: "linux/amd64/v4",
        exit_argc: b"\xb8\x01\x00\x00\x80\x0f\xa2\x83\xe1\x21\x83\xf9\x21\x75\x45\xb8\x01\x00\x00\
        \x00\x0f\xa2\x81\xe1\x01\x32\xd8\x38\x81\xf9\x01\x32\xd8\x38\x75\x30\xb8\x07\
        \x00\x00\x00\x31\xc9\x0f\xa2\x81\xe3\x28\x01\x03\xd0\x81\xfb\x28\x01\x03\xd0\
        \x75\x19\x31\xc9\x0f\x01\xd0\x25\xe6\x00\x00\x00\x3d\xe6\x00\x00\x00\x75\x08\
        \x8b\x3c\x24\x83\xc7\x28\xeb\x05\xbf\x01\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\
        \x05",
    },
];

/// Each uses one instruction that the version before it lacks.
static ARM_VERSIONS: &[Variant] = &[
    // movw r1, #40; ldr r0, [sp]; add r0, r0, r1; mov r7, #1; svc 0
    Variant {
        name: "linux/arm/v7",
        exit_argc:
            b"\x28\x10\x00\xe3\x00\x00\x9d\xe5\x01\x00\x80\xe0\x01\x70\xa0\xe3\x00\x00\x00\xef",
    },
    // ldr r0, [sp]; add r0, r0, #40; uxtb r0, r0; mov r7, #1; svc 0
    Variant {
        name: "linux/arm/v6",
        exit_argc:
            b"\x00\x00\x9d\xe5\x28\x00\x80\xe2\x70\x00\xef\xe6\x01\x70\xa0\xe3\x00\x00\x00\xef",
    },
    // ldr r0, [sp]; add r0, r0, #40; clz r1, r0; mov r7, #1; svc 0
    Variant {
        name: "linux/arm/v5",
        exit_argc:
            b"\x00\x00\x9d\xe5\x28\x00\x80\xe2\x10\x1f\x6f\xe1\x01\x70\xa0\xe3\x00\x00\x00\xef",
    },
];
