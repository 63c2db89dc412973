# Exits with 40 + argc when the CPU has x86-64 micro-architecture level LEVEL (2, 3 or 4), else with 1.
#     as --defsym LEVEL=3 amd64_level.s && objcopy -O binary -j .text a.out level3.bin
# The feature bits are those of the x86-64 psABI, table "Micro-Architecture Levels".
.globl _start
_start:
        mov     $0x80000001, %eax
        cpuid
.if LEVEL >= 3
        and     $0x21, %ecx             # LAHF-SAHF, LZCNT
        cmp     $0x21, %ecx
.else
        and     $0x01, %ecx             # LAHF-SAHF
        cmp     $0x01, %ecx
.endif
        jne     no
        mov     $1, %eax
        cpuid
.if LEVEL >= 3
        and     $0x38d83201, %ecx       # v2 and FMA, MOVBE, OSXSAVE, AVX, F16C
        cmp     $0x38d83201, %ecx
.else
        and     $0x00982201, %ecx       # SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT
        cmp     $0x00982201, %ecx
.endif
        jne     no
.if LEVEL >= 3
        mov     $7, %eax
        xor     %ecx, %ecx
        cpuid
.if LEVEL >= 4
        and     $0xd0030128, %ebx       # v3 and AVX512 F, DQ, CD, BW, VL
        cmp     $0xd0030128, %ebx
.else
        and     $0x00000128, %ebx       # BMI1, AVX2, BMI2
        cmp     $0x00000128, %ebx
.endif
        jne     no
        xor     %ecx, %ecx
        xgetbv                          # does the kernel save these registers?
.if LEVEL >= 4
        and     $0xe6, %eax
        cmp     $0xe6, %eax
.else
        and     $0x06, %eax
        cmp     $0x06, %eax
.endif
        jne     no
.endif
        mov     (%rsp), %edi            # argc
        add     $40, %edi
        jmp     out
no:     mov     $1, %edi
out:    mov     $60, %eax
        syscall
