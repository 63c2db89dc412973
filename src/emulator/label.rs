//! Security labels. What is made in a directory inherits its label, with which
//! containers may not execute anything; the host's policy has a better one for
//! programs, which its own restorecon(8) gives them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::store::Store;
use crate::error::{Error, IoContext, Result, Status};

/// There where SELinux is in use, whether it enforces or not.
const SELINUX: &str = "/sys/fs/selinux/enforce";
const TOOLS: [&str; 2] = ["/usr/sbin/restorecon", "/sbin/restorecon"];

/// Gives the store's emulators the labels that the policy has for their places,
/// and nothing else that may lie there. Where nothing labels files, or nothing
/// is there to do it, nothing happens.
pub fn restore(store: &Store) -> Result<()> {
    let tool = TOOLS.into_iter().find(|tool| Path::new(tool).exists());
    let Some(tool) = tool.filter(|_| Path::new(SELINUX).exists()) else {
        return Ok(());
    };
    let emulators = store.list()?;
    if emulators.is_empty() {
        return Ok(());
    }
    let attempt = || {
        let prefix = store.prefix().display();
        format!("cannot label the emulators in {prefix} with {tool}")
    };
    let output = Command::new(tool)
        .arg("-F")
        .args(emulators)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .attempt(attempt)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            let last = told.lines().last().unwrap_or("it doesn't say why");
            Err(Error::new(Status::Failed, attempt()).because(last.to_owned()))
        }
    }
}
