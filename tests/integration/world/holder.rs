//! The process that holds a world's namespaces. It ends when its input does,
//! and with it the namespaces.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// A process in a user and mount namespace of its own, as root there.
pub fn hold() -> Result<Child, String> {
    start(unshare(&["--map-root-user"], &mut Command::new("unshare")))
}

/// The same in the namespaces that another one holds.
pub fn hold_inside(outer: &Child) -> Result<Child, String> {
    let mut nsenter = Command::new("nsenter");
    nsenter
        .args(["--user", "--mount", "--target"])
        .arg(outer.id().to_string())
        .arg("unshare");
    start(unshare(&["--map-root-user"], &mut nsenter))
}

/// The same with 65536 users in it. That takes root.
pub fn hold_with_users() -> Result<Child, String> {
    let holder = start(unshare(&[], &mut Command::new("unshare")))?;
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", holder.id());
        fs::write(&path, "0 0 65536").map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(holder)
}

fn unshare<'a>(options: &[&str], command: &'a mut Command) -> &'a mut Command {
    command
        .args(["--user", "--mount", "--propagation=private"])
        .args(options)
        .arg("cat")
}

fn start(command: &mut Command) -> Result<Child, String> {
    let mut holder = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    // What is said comes back once the namespaces are there.
    let mut echo = [0; 1];
    let said = holder
        .stdin
        .as_mut()
        .is_some_and(|stdin| stdin.write_all(b".").is_ok());
    let heard = holder
        .stdout
        .as_mut()
        .is_some_and(|stdout| stdout.read_exact(&mut echo).is_ok());
    if said && heard {
        return Ok(holder);
    }
    let output = holder
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
