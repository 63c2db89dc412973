//! Running apt's programs: their configuration, their output, their excuses.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::digest::Digest;
use crate::error::{Error, Result, Status};

/// apt's configuration for lists of its own, from the host's repositories. It
/// is read after the host's, so that it can take away its hooks.
pub(super) fn own_lists(root: &Path, credentials: &Path) -> String {
    let credentials = match credentials.exists() {
        true => format!("Dir::Etc::netrc \"{}\";\n", credentials.display()),
        false => String::new(),
    };
    let root = root.display();
    format!(
        r#"Dir::State::Lists "{root}/lists";
Dir::Cache "{root}/cache";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Acquire::Retries "3";
{credentials}"#
    )
}

/// The same for a root of its own, which also takes away what else would reach
/// outside of the root: pins, a default release, and indices that nobody asked
/// for.
pub(super) fn configuration(root: &Path, arch: &str, credentials: &Path) -> String {
    let lists = own_lists(root, credentials);
    let root = root.display();
    format!(
        r#"{lists}Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::status "/dev/null";
#clear APT::Architectures;
#clear APT::Default-Release;
#clear Acquire::IndexTargets::deb::Translations;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
"#
    )
}

/// The version and digest in the first record that apt-cache shows, if it is
/// one from an index: what is merely installed has no digest.
pub(super) fn index_record(text: &str) -> Option<(String, Digest)> {
    let record = text.split("\n\n").next()?;
    let field = |name: &str| {
        record
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some((field("Version")?.to_owned(), field("SHA256")?.parse().ok()?))
}

pub(super) fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
}

/// Runs an apt command to its end.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = quiet(command)
        .output()
        .map_err(|cause| cannot_run(Path::new(command.get_program()), cause))?;
    if output.status.success() {
        return Ok(());
    }
    let words = command
        .get_args()
        .filter(|word| !word.as_encoded_bytes().starts_with(b"/"));
    let words: Vec<_> = words
        .map(OsStr::to_string_lossy)
        .filter(|word| word != "-c")
        .take_while(|word| word != "-o")
        .collect();
    let what = format!("apt-get {} failed", words.join(" "));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let cause = last_words(&stderr).map_or_else(|| output.status.to_string(), str::to_owned);
    Err(Error::new(Status::Unreachable, what).because(cause))
}

pub(super) fn cannot_run(program: &Path, cause: io::Error) -> Error {
    let name = program.display();
    match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Status::Unreachable, format!("this host has no {name}"))
        }
        _ => Error::new(Status::Unreachable, format!("cannot run {name}")).because(cause),
    }
}

/// The line of apt's stderr that says most: its last error, or else its last
/// warning. The error that only sums up the others comes last of all.
fn last_words(stderr: &str) -> Option<&str> {
    let last = |prefix: &str| {
        stderr
            .lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .rfind(|line| !line.starts_with("Some index files failed"))
    };
    last("E: ")
        .or_else(|| last("W: "))
        .or_else(|| stderr.lines().rfind(|line| !line.trim().is_empty()))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_sums_up_isnt_the_reason() {
        let stderr = "W: Failed to fetch x  Could not resolve 'host'\n\
                      E: Failed to fetch y  404  Not Found\n\
                      E: Some index files failed to download. They have been ignored.\n";
        assert_eq!(
            last_words(stderr),
            Some("Failed to fetch y  404  Not Found")
        );
        let stderr = "W: GPG error: NO_PUBKEY\nE: Some index files failed to download.\n";
        assert_eq!(last_words(stderr), Some("GPG error: NO_PUBKEY"));
        assert_eq!(last_words("terminated\n\n"), Some("terminated"));
        assert_eq!(last_words(""), None);
    }

    #[test]
    fn the_first_record_counts_and_only_with_a_digest() {
        let digest = Digest::of(b"x");
        let text =
            format!("Package: a\nVersion: 1:2-3\nSHA256: {digest}\n\nPackage: a\nVersion: 1\n");
        assert_eq!(index_record(&text), Some(("1:2-3".into(), digest)));
        assert_eq!(
            index_record("Package: a\nStatus: installed\nVersion: 1\n"),
            None
        );
        assert_eq!(index_record(""), None);
    }
}
