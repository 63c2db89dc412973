/* What gcc's -fsanitize-coverage=trace-pc calls from every block of the C
 * decoders. libFuzzer knows only clang's ways of counting, and says so in its own
 * function of that name, which the linker is told to pass over (build.rs); but it
 * takes further counters from this section. Nothing refers to this where C isn't
 * built so. */
#include <stdint.h>

#define BITS 15

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[1 << BITS];

__attribute__((no_sanitize_coverage)) void __wrap___sanitizer_cov_trace_pc(void) {
    /* The same in every run, wherever the program was loaded. */
    uintptr_t here = (uintptr_t)&__wrap___sanitizer_cov_trace_pc;
    uintptr_t place = (uintptr_t)__builtin_return_address(0) - here;
    counters[(uint32_t)place * 2654435761u >> (32 - BITS)]++;
}
