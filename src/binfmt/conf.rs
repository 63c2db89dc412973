//! The desired state: our rules in systemd's binfmt.d format.
//!
//! The file is this program's alone and its only memory. systemd-binfmt
//! applies it at boot without us. A line that can't be read is an error with
//! its number, never skipped: a lost line would be a lost platform. What others
//! than root could have written there is shown, and never applied or kept.

use std::io::ErrorKind;
use std::path::Path;

use super::rule::{Rule, RuleError};
use crate::crash::{self, Point};
use crate::custody::{self, Fault, Trouble};
use crate::durable;
use crate::error::{Error, IoContext, Result, Status};

const HEAD: &str = "\
# Foreign platforms that this host runs, one kernel rule a line (binfmt.d(5)).
# Written by binfmtctl: change it with `binfmtctl install` and `binfmtctl uninstall`.
";

/// The largest file that can be ours, in bytes: hundreds of the kernel's
/// longest lines.
const MAX_SIZE: u64 = 1 << 20;

/// A line that isn't a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct ConfError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: RuleError,
}

/// Reads the text of a conf file.
pub fn parse(text: &str) -> Result<Vec<Rule>, ConfError> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
        .map(|(line, text)| text.parse().map_err(|error| ConfError { line, error }))
        .collect()
}

/// The text of a conf file with these rules.
pub fn render(rules: &[Rule]) -> Result<String, RuleError> {
    let mut text = HEAD.to_owned();
    for rule in rules {
        text.push_str(&rule.line()?);
        text.push('\n');
    }
    Ok(text)
}

/// The rules in the file at `path`; none where there is no file.
pub fn read(path: &Path) -> Result<Vec<Rule>> {
    read_as(path, path)
}

/// The same for whoever acts upon them: a file that somebody else than root could
/// have written, or could put another in the place of, is refused.
pub fn read_own(path: &Path) -> Result<Vec<Rule>> {
    match custody::find(path)? {
        Some(file) => read_as(path, &custody::handle(&file)),
        None => Ok(Vec::new()),
    }
}

/// Reads the file that `path` is the name of where it can be opened `by`.
fn read_as(path: &Path, by: &Path) -> Result<Vec<Rule>> {
    let invalid = || Error::new(Status::Invalid, format!("cannot use {}", path.display()));
    let attempt = || format!("cannot read {}", path.display());
    let metadata = match std::fs::metadata(by) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        metadata => metadata.attempt(attempt)?,
    };
    // A pipe or a device would be read for ever. A link to /dev/null masks.
    if metadata.len() > MAX_SIZE || !(metadata.is_file() || is_null(by)) {
        return Err(invalid()
            .because(format!("it isn't a file of at most {MAX_SIZE} bytes"))
            .hint("move it away and run `binfmtctl install` again"));
    }
    let bytes = std::fs::read(by).attempt(attempt)?;
    let text = String::from_utf8(bytes).map_err(|error| invalid().because(error))?;
    parse(&text).map_err(|error| {
        invalid()
            .because(error)
            .hint("mend the line, or remove the file and run `binfmtctl install` again")
    })
}

/// Who else than root could say what the file says.
pub fn fault(path: &Path) -> Option<Fault> {
    match custody::find(path) {
        Err(Trouble::Fault(fault)) => Some(fault),
        _ => None,
    }
}

fn is_null(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// Whether [`write()`] would change the file at `path`.
pub fn differs(path: &Path, rules: &[Rule]) -> Result<bool> {
    Ok(std::fs::read_to_string(path).ok() != text(path, rules)?)
}

/// What the file at `path` has to say; `None` where there has to be no file.
fn text(path: &Path, rules: &[Rule]) -> Result<Option<String>> {
    if rules.is_empty() {
        return Ok(None);
    }
    render(rules).map(Some).map_err(|error| {
        Error::new(Status::Invalid, format!("cannot write {}", path.display())).because(error)
    })
}

/// Makes the file at `path` say exactly these rules; no rules, no file.
/// Returns whether anything had to be written. What a killed run left beside
/// it goes too.
pub fn write(path: &Path, rules: &[Rule]) -> Result<bool> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let held = custody::find_way(dir)?;
    let cleared = match &held {
        Some(held) => durable::clear(&custody::handle(held))?,
        None => false,
    };
    crash::at(Point::ConfCleared);
    let changed = match (text(path, rules)?, &held) {
        (None, None) => false,
        (None, Some(held)) => {
            durable::remove(&custody::handle(held).join(path.file_name().unwrap_or_default()))?
        }
        (Some(_), Some(_)) if !differs(path, rules)? => false,
        (Some(text), _) => durable::write_held(path, text.as_bytes(), 0o644).map(|()| true)?,
    };
    crash::at(Point::ConfWritten);
    Ok(changed || cleared)
}

/// Whether a killed run has left something beside the file at `path`.
pub fn has_litter(path: &Path) -> bool {
    path.parent()
        .is_some_and(|dir| !durable::litter(dir).is_empty())
}

/// Removes it. Returns whether there was anything.
pub fn clear(path: &Path) -> Result<bool> {
    match custody::find_way(path.parent().unwrap_or(Path::new("/")))? {
        Some(held) => durable::clear(&custody::handle(&held)),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r":qemu-a:M::\x7f\x45:\xff\xff:/opt/a:POF";

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("binfmt.d/zz.conf");
        let rules = vec![LINE.parse().unwrap()];
        let left_behind = dir.path().join("binfmt.d/.binfmtctl-killed.tmp");
        durable::write(&left_behind, b"", 0o600).unwrap();
        assert!(differs(&path, &rules).unwrap());
        assert!(write(&path, &rules).unwrap());
        assert!(!differs(&path, &rules).unwrap());
        assert!(!left_behind.exists());
        assert_eq!(read(&path).unwrap(), rules);
        assert!(!write(&path, &rules).unwrap(), "the second time is nothing");
        assert!(write(&path, &[]).unwrap());
        assert!(!path.exists());
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn what_is_no_file_of_ours_is_invalid_and_not_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(path("binary"), b"\xff\xfe").unwrap();
        let huge = std::fs::File::create(path("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        for wrong in [
            path("fifo"),
            path("binary"),
            path("huge"),
            path(""),
            "/dev/zero".into(),
        ] {
            let error = read(&wrong).unwrap_err();
            assert_eq!(error.status(), Status::Invalid, "{}", error.line());
        }
        assert_eq!(read(Path::new("/dev/null")).unwrap(), []);
    }

    #[test]
    fn comments_are_passed_over_and_errors_have_their_line() {
        let text = format!("# a\n; b\n\n{LINE}\nnonsense\n");
        assert_eq!(parse(&text).unwrap_err().line, 5);
        assert_eq!(parse(&text.replace("nonsense", "")).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_can_be_read_reads_back_from_its_own_text(
            lines in prop::collection::vec(
                "(:a:M:[0-9]?:(\\\\x[0-9a-f]{2}|x){1,3}::/[^:\\pC]{0,4}:P?F?[ \r]?|,a,M,,x,,/:,F|#\\PC{0,3}|\\PC{0,3})",
                0..4,
            ),
        ) {
            let text = lines.join("\n");
            match parse(&text) {
                Ok(rules) => {
                    let again = render(&rules).unwrap();
                    prop_assert_eq!(parse(&again), Ok(rules));
                }
                Err(error) => prop_assert!((1..=lines.len()).contains(&error.line)),
            }
        }
    }
}
