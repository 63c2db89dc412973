//! Versions of QEMU that are known to fail at real programs although a small
//! one runs.

/// A defect that many people met.
struct Defect {
    /// The first version that has it, and the first that hasn't.
    versions: [[u32; 3]; 2],
    /// QEMU's name of the emulator; all where it is empty.
    emulator: &'static str,
    /// Only in emulators that aren't position-independent.
    not_pie: bool,
    /// What happens, and where that is told.
    what: &'static str,
}

const DEFECTS: [Defect; 4] = [
    Defect {
        versions: [[0, 0, 0], [5, 0, 0]],
        emulator: "aarch64",
        not_pie: false,
        what: "ldconfig and apt crash in containers (fixed in 5.0; Launchpad 1928075)",
    },
    Defect {
        versions: [[5, 2, 0], [6, 0, 0]],
        emulator: "",
        not_pie: false,
        what: "static builds fail to get memory for the program (fixed in 6.0; Debian 988174)",
    },
    Defect {
        versions: [[0, 0, 0], [8, 1, 0]],
        emulator: "",
        not_pie: true,
        what: "programs crash at random on kernels since the end of 2024, as this build isn't position-independent (fixed in 8.1; tonistiigi/binfmt 215)",
    },
    Defect {
        versions: [[8, 2, 0], [9, 2, 2]],
        emulator: "aarch64",
        not_pie: false,
        what: "ldconfig of Ubuntu 22.04 crashes (fixed in 9.2.2; QEMU 1913)",
    },
];

/// What is known to be wrong with this version of this emulator.
pub fn defects<'a>(
    version: &str,
    emulator: &'a str,
    is_pie: bool,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let version = numbers(version);
    DEFECTS
        .iter()
        .filter(move |defect| {
            let [first, fixed] = defect.versions;
            (first..fixed).contains(&version)
                && (defect.emulator.is_empty() || defect.emulator == emulator)
                && !(defect.not_pie && is_pie)
        })
        .map(|defect| defect.what)
}

/// `10.0.13` as numbers; what isn't there is 0.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or(0))
        .chain([0; 3]);
    [0; 3].map(|_| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defects_have_their_versions() {
        let table = [
            ("10.0.13", "aarch64", false, 0),
            ("9.2.1", "aarch64", true, 1),
            ("9.2.2", "aarch64", true, 0),
            ("9.2.0", "riscv64", true, 0),
            ("7.2.22", "s390x", true, 0),
            ("7.2.22", "s390x", false, 1),
            ("5.2.0", "aarch64", false, 2),
            ("4.2", "aarch64", true, 1),
        ];
        for (version, emulator, is_pie, known) in table {
            assert_eq!(
                defects(version, emulator, is_pie).count(),
                known,
                "{version} {emulator}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_version_makes_it_panic(version: String) {
            defects(&version, "arm", false).count();
        }
    }
}
