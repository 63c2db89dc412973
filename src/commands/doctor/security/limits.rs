//! Limits of address space (RLIMIT_AS), of this process and of container
//! engines: QEMU claims all addresses of a 32-bit guest at once.

use std::fs;

use crate::platform::{CLASS_64, PLATFORMS};
use crate::probe::Failure;
use crate::report::Finding;
use crate::report::survey::Survey;

const ID: &str = "limits";

/// Below this, 32-bit guests may fail ("Unable to find a guest_base"): 4 GiB
/// are the guest's addresses, the rest is QEMU's own, more with each thread.
const ENOUGH: u64 = 8 << 30;

/// Programs that start containers, by their names in /proc/PID/comm.
const ENGINES: [&str; 3] = ["dockerd", "containerd", "buildkitd"];

/// A limit in bytes; `None`: there is none.
type Bytes = Option<u64>;

/// An engine's process.
#[derive(Debug, Clone)]
struct Engine {
    pid: u32,
    name: String,
    limit: Bytes,
}

#[derive(Debug, Clone)]
struct Facts {
    /// This process's limit.
    own: Bytes,
    /// How far it may be raised without rights.
    own_hard: Bytes,
    engines: Vec<Engine>,
    /// Platforms of 32 bits whose emulator failed just now.
    failed: Vec<&'static str>,
}

/// Whether 32-bit programs have room.
pub fn check(survey: &Survey<'_>) -> Vec<Finding> {
    let own = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let (own, own_hard) = address_space(&own).unwrap_or((None, None));
    let failed = PLATFORMS
        .iter()
        .filter(|platform| platform.target().class() != CLASS_64)
        .filter(|platform| {
            let outcome = survey.outcome(platform.target());
            // Without room some guests fail, others have QEMU search for long.
            outcome.is_some_and(|outcome| {
                matches!(
                    outcome.verdict,
                    Err(Failure::EmulatorFailed(_) | Failure::TimedOut)
                )
            })
        })
        .map(|platform| platform.name);
    judge(&Facts {
        own,
        own_hard,
        engines: read_engines(),
        failed: failed.collect(),
    })
}

fn read_engines() -> Vec<Engine> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut engines: Vec<Engine> = processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            let name = ENGINES.into_iter().find(|known| *known == name.trim())?;
            let limits = fs::read_to_string(process.path().join("limits")).ok()?;
            Some(Engine {
                pid,
                name: name.to_owned(),
                limit: address_space(&limits)?.0,
            })
        })
        .collect();
    engines.sort_by_key(|engine| engine.pid);
    engines
}

/// The soft and the hard limit in a text of /proc/PID/limits.
pub(in super::super) fn address_space(limits: &str) -> Option<(Bytes, Bytes)> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    });
    Some((words.next()??, words.next()??))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let small = |limit: Bytes| limit.filter(|bytes| *bytes < ENOUGH);
    let mut findings = Vec::new();
    if let Some(bytes) = small(facts.own) {
        findings.push(own(facts, bytes));
    }
    for engine in &facts.engines {
        let Some(bytes) = small(engine.limit) else {
            continue;
        };
        let Engine { pid, name, .. } = engine;
        findings.push(
            Finding::warning(
                ID,
                format!(
                    "{name} and its containers may use {} of addresses: too few for 32-bit programs, which take more than 4 GiB emulated",
                    shown(bytes)
                ),
            )
            .seen_in(format!("/proc/{pid}/limits: Max address space {bytes}"))
            .mend(format!("prlimit --pid {pid} --as=unlimited")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            ID,
            "address space isn't limited here, so 32-bit programs have room",
        ));
    }
    findings
}

fn own(facts: &Facts, bytes: u64) -> Finding {
    let what = format!(
        "processes started from here may use {} of addresses: too few for 32-bit programs, which take more than 4 GiB emulated",
        shown(bytes)
    );
    let finding = match facts.failed.as_slice() {
        [] => Finding::warning(ID, what),
        failed => Finding::problem(
            ID,
            format!("{what} ({} failed just now)", failed.join(", ")),
        ),
    };
    let remedy = match facts.own_hard {
        None => "ulimit -v unlimited",
        // It takes rights to go beyond the hard limit; $$ is the shell.
        Some(_) => "sudo prlimit --pid $$ --as=unlimited",
    };
    finding
        .seen_in(format!("/proc/self/limits: Max address space {bytes}"))
        .mend(remedy)
}

fn shown(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;
    use proptest::prelude::*;

    const FREE: Facts = Facts {
        own: None,
        own_hard: None,
        engines: Vec::new(),
        failed: Vec::new(),
    };

    #[test]
    fn small_limits_are_told_with_what_lifts_them() {
        let small = Some(2 << 30);
        let dockerd = Engine {
            pid: 7,
            name: "dockerd".to_owned(),
            limit: small,
        };
        let table = [
            (FREE, Level::Ok, None),
            (
                Facts {
                    own: Some(100 << 30),
                    ..FREE
                },
                Level::Ok,
                None,
            ),
            (
                Facts { own: small, ..FREE },
                Level::Warning,
                Some("ulimit -v unlimited"),
            ),
            (
                Facts {
                    own: small,
                    own_hard: small,
                    failed: vec!["linux/arm"],
                    ..FREE
                },
                Level::Problem,
                Some("sudo prlimit --pid $$ --as=unlimited"),
            ),
            (
                Facts {
                    engines: vec![dockerd],
                    ..FREE
                },
                Level::Warning,
                Some("prlimit --pid 7 --as=unlimited"),
            ),
        ];
        for (facts, level, remedy) in table {
            let findings = judge(&facts);
            assert_eq!(findings.len(), 1, "{facts:?}");
            assert_eq!(findings[0].level, level, "{facts:?}");
            assert_eq!(findings[0].remedy.as_deref(), remedy, "{facts:?}");
        }
    }

    #[test]
    fn the_kernels_text_is_read() {
        let text = fs::read_to_string("/proc/self/limits").unwrap();
        assert!(address_space(&text).is_some());
        let line =
            "Max address space         2147483648           unlimited            bytes     \n";
        assert_eq!(address_space(line), Some((Some(2 << 30), None)));
        let free = line.replace("2147483648", "unlimited");
        assert_eq!(address_space(&free), Some((None, None)));
        assert_eq!(address_space(&line.replace("2147483648", "much")), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Max address space)?.*\n?") {
            address_space(&text);
        }
    }
}
