//! What the kernel can't do.

use crate::host::Kernel;
use crate::report::Finding;

const ID: &str = "kernel";

/// Whether the kernel knows the flags that containers need.
pub fn check(kernel: &Kernel) -> Vec<Finding> {
    let missing = |what: &str, since: &str| format!("Linux {kernel} {what}: it takes {since}");
    if !kernel.fixes_binaries() {
        let no_f = missing("has no flag F, so containers find no emulator", "4.8");
        return vec![Finding::problem(ID, no_f).seen_in("uname -r")];
    }
    if !kernel.announces_argv0() {
        let no_p = missing(
            "doesn't tell emulators about flag P, so programs lose their argv[0]",
            "5.12",
        );
        return vec![Finding::warning(ID, no_p).seen_in("uname -r")];
    }
    vec![Finding::ok(
        ID,
        format!("Linux {kernel} knows the flags F and P"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;

    #[test]
    fn flags_come_with_their_kernels() {
        let table = [
            ("4.7.10", Level::Problem),
            ("5.11.22", Level::Warning),
            ("6.1.0", Level::Ok),
        ];
        for (release, level) in table {
            assert_eq!(check(&Kernel::parse(release))[0].level, level, "{release}");
        }
    }
}
