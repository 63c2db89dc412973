//! SELinux: whether containers may run the emulators in use.
//!
//! A rule with flag F keeps the emulator's inode, whose label counts as it is
//! now; in a container that may not map it programs die of a segmentation
//! fault, while the host's own run. Which labels are good is not guessed: the kernel is asked what the
//! loaded policy lets `container_t` do, as security_compute_av(3) asks it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::commands::doctor::ctl::Ctl;
use crate::commands::doctor::words::{plain, word};
use crate::emulator::store::{DEFAULT_PREFIX, Store};
use crate::platform::PLATFORMS;
use crate::probe::Runner;
use crate::report::Finding;
use crate::report::survey::Survey;

const ID: &str = "selinux";
const FS: &str = "/sys/fs/selinux";

/// What the kernel checks when a container's process maps an emulator.
const PERMISSIONS: [&str; 3] = ["read", "execute", "map"];

/// An emulator in use.
#[derive(Debug, Clone)]
struct Emulator {
    /// The platform that it runs.
    platform: &'static str,
    /// Its path as registered.
    path: PathBuf,
    /// Whether that path is the file that runs.
    at_path: bool,
    /// The label of the file that runs.
    label: String,
    /// What containers may not do with it.
    denied: Vec<&'static str>,
}

#[derive(Debug)]
enum Facts {
    Absent,
    Permissive,
    /// The policy couldn't be asked; why.
    Silent(String),
    /// The policy has no type for containers.
    Unconfined,
    Asked {
        mls: bool,
        emulators: Vec<Emulator>,
    },
}

/// From where it is looked at.
struct Seen<'a> {
    store: &'a Store,
    ctl: &'a Ctl,
    /// Whether paths mean here what they mean on the host.
    sees_files: bool,
}

/// Whether SELinux lets containers run the emulators in use.
pub fn check(survey: &Survey<'_>, store: &Store, ctl: &Ctl, sees_files: bool) -> Vec<Finding> {
    let runners: Vec<(&'static str, &Runner)> = PLATFORMS
        .iter()
        .filter_map(|platform| {
            let runner = survey.outcome(platform.target())?.runner.as_ref()?;
            (!runner.native).then_some((platform.name, runner))
        })
        .collect();
    let seen = Seen {
        store,
        ctl,
        sees_files,
    };
    judge(&read(Path::new(FS), &runners), &seen)
}

fn read(selinux: &Path, runners: &[(&'static str, &Runner)]) -> Facts {
    let flag = |file: &str| fs::read_to_string(selinux.join(file)).map(|text| text.trim() == "1");
    match flag("enforce") {
        Err(_) => return Facts::Absent,
        Ok(false) => return Facts::Permissive,
        Ok(true) => {}
    }
    let mls = flag("mls").unwrap_or(true);
    let domain = domain(mls);
    // Writing a context asks whether the policy knows it.
    match fs::write(selinux.join("context"), &domain) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Facts::Unconfined,
        Err(error) => return Facts::Silent(error.to_string()),
        Ok(()) => {}
    }
    let mut emulators = Vec::new();
    for (platform, runner) in runners {
        let asked =
            label(&runner.exe).and_then(|label| Ok((ask(selinux, &domain, &label)?, label)));
        match asked {
            Ok((denied, label)) => emulators.push(Emulator {
                platform,
                path: runner.interpreter.clone(),
                at_path: runner.is_file(&runner.interpreter),
                label,
                denied,
            }),
            Err(error) => return Facts::Silent(error.to_string()),
        }
    }
    Facts::Asked { mls, emulators }
}

/// An ordinary container's context. Each has a pair of categories of its own.
fn domain(mls: bool) -> String {
    let level = if mls { ":s0:c1,c2" } else { "" };
    format!("system_u:system_r:container_t{level}")
}

fn label(file: &File) -> io::Result<String> {
    let mut label = Vec::with_capacity(4096);
    rustix::fs::fgetxattr(
        file,
        "security.selinux",
        rustix::buffer::spare_capacity(&mut label),
    )?;
    let text = String::from_utf8_lossy(&label);
    Ok(text.trim_end_matches('\0').to_owned())
}

/// What the loaded policy denies `domain` to do with a file labelled `label`.
fn ask(selinux: &Path, domain: &str, label: &str) -> io::Result<Vec<&'static str>> {
    let class = selinux.join("class/file");
    let number = |file: &Path| -> io::Result<u32> {
        let text = fs::read_to_string(file)?;
        text.trim().parse().map_err(io::Error::other)
    };
    let index = number(&class.join("index"))?;
    let mut access = OpenOptions::new()
        .read(true)
        .write(true)
        .open(selinux.join("access"))?;
    access.write_all(format!("{domain} {label} {index}").as_bytes())?;
    let mut answer = [0; 256];
    let length = access.read(&mut answer)?;
    let allowed = allowed(&String::from_utf8_lossy(&answer[..length]))
        .ok_or_else(|| io::Error::other("its answer can't be read"))?;
    let denied = PERMISSIONS.into_iter().filter(|permission| {
        // Policies older than a permission don't have it.
        number(&class.join("perms").join(permission)).is_ok_and(|number| !has(allowed, number))
    });
    Ok(denied.collect())
}

/// The vector in an answer: `allowed decided auditallow auditdeny seqno flags`,
/// all but the last two in hexadecimal. Flag 1: the domain is permissive.
fn allowed(answer: &str) -> Option<u32> {
    let mut words = answer.split_whitespace();
    let allowed = u32::from_str_radix(words.next()?, 16).ok()?;
    let flags = words.nth(4).and_then(|word| word.parse::<u32>().ok());
    match flags {
        Some(flags) if flags & 1 != 0 => Some(u32::MAX),
        _ => Some(allowed),
    }
}

/// Permissions are numbered from 1.
fn has(vector: u32, permission: u32) -> bool {
    (1..=32).contains(&permission) && vector & (1 << (permission - 1)) != 0
}

fn judge(facts: &Facts, from: &Seen<'_>) -> Vec<Finding> {
    let (mls, emulators) = match facts {
        Facts::Absent => return vec![Finding::ok(ID, "there is no SELinux here")],
        Facts::Permissive => {
            return vec![
                Finding::ok(ID, "SELinux is permissive: it refuses nothing")
                    .seen_in(format!("{FS}/enforce")),
            ];
        }
        Facts::Silent(why) => {
            return vec![Finding::ok(
                ID,
                format!("SELinux can't be asked whether containers may run emulators: {why}"),
            )];
        }
        Facts::Unconfined => {
            return vec![
                Finding::ok(
                    ID,
                    "SELinux enforces a policy that has no container_t: it doesn't confine containers",
                )
                .seen_in(format!("{FS}/context")),
            ];
        }
        Facts::Asked { mls, emulators } => (*mls, emulators),
    };
    let mut labels: Vec<(&str, Vec<&Emulator>)> = Vec::new();
    for emulator in emulators.iter().filter(|e| !e.denied.is_empty()) {
        match labels.iter_mut().find(|(l, _)| *l == emulator.label) {
            Some((_, together)) => together.push(emulator),
            None => labels.push((&emulator.label, vec![emulator])),
        }
    }
    if emulators.is_empty() {
        return vec![Finding::ok(
            ID,
            "SELinux enforces, and no emulator is in use",
        )];
    }
    if labels.is_empty() {
        return vec![
            Finding::ok(
                ID,
                "SELinux enforces, and lets containers run the emulators in use",
            )
            .seen_in(format!("{FS}/access")),
        ];
    }
    labels
        .into_iter()
        .map(|(label, together)| refused(label, &together, from, mls))
        .collect()
}

fn refused(label: &str, emulators: &[&Emulator], from: &Seen<'_>, mls: bool) -> Finding {
    let store = from.store;
    let platforms: Vec<&str> = emulators.iter().map(|e| e.platform).collect();
    let denied = emulators.first().map_or(&[][..], |e| &e.denied);
    let finding = Finding::problem(
        ID,
        format!(
            "SELinux doesn't let containers run the emulator of {}, which is labelled {}: their programs crash",
            platforms.join(", "),
            plain(label)
        ),
    )
    .seen_in(format!(
        "{FS}/access: container_t lacks {{ {} }}",
        denied.join(" ")
    ));
    let level = if mls { ":s0" } else { "" };
    let good = format!("system_u:object_r:bin_t{level}");
    let ours = |emulator: &&Emulator| store.owns(&emulator.path);
    if !emulators.iter().all(|emulator| emulator.at_path) {
        // The file that runs has no path here, or another one.
        let names: Vec<&str> = platforms
            .iter()
            .map(|name| name.trim_start_matches("linux/"))
            .collect();
        let replace = || {
            from.ctl
                .change(&format!("install --replace {}", names.join(" ")))
        };
        finding.mend_if(from.sees_files.then(replace).flatten())
    } else if !emulators.iter().all(ours) {
        let paths: Vec<String> = emulators.iter().map(|e| word(&e.path)).collect();
        finding.mend(format!("chcon {good} {}", paths.join(" ")))
    } else if store.prefix() == Path::new(DEFAULT_PREFIX) {
        // Without F the categories would stay.
        finding.mend(format!("restorecon -RFv {DEFAULT_PREFIX}"))
    } else {
        finding.mend(format!(
            "chcon -R {good} {}",
            word(&store.prefix().join("bin"))
        ))
    }
}

#[cfg(test)]
mod tests;
