//! What a command left behind, and what tests say about it.

use std::process::Command;

use serde_json::Value;

/// A finished command.
#[derive(Debug)]
pub struct Output {
    /// Its exit status; 128 and more where a signal ended it.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Runs a command to its end. Whatever it is asked, it may not panic.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Self {
            status: match output.status.code() {
                Some(code) => code,
                None => 128 + output.status.signal().unwrap_or(0),
            },
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: format!("{:?}", command.get_args().collect::<Vec<_>>()),
        };
        assert!(!output.stderr.contains("panicked"), "{output}");
        output
    }

    /// It ended with this status.
    #[track_caller]
    pub fn assert_exit(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The last line of stderr, which stands alone.
    pub fn last_line(&self) -> &str {
        self.stderr.trim_end().lines().last().unwrap_or_default()
    }

    /// The last line of stderr has all of these words.
    #[track_caller]
    pub fn assert_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.last_line().contains(word),
                "no {word:?} in the last line: {self}"
            );
        }
        self
    }

    /// stdout, which has to be exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(document) => document,
            Err(error) => panic!("not one JSON document: {error}: {self}"),
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
            command,
        } = self;
        write!(
            f,
            "{command}\nexit status {status}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        )
    }
}
