//! The only place, beside `main`, that prints: data to stdout, words for
//! people to stderr, progress where stderr is a terminal.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use anstream::ColorChoice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain::visible;
use super::{Document, ErrorReport, table};
use crate::emulator::obtain::Event;
use crate::error::{Error, IoContext, Result, Status};

/// How a run talks.
#[derive(Debug)]
pub struct Console {
    /// One JSON document instead of tables and texts.
    pub json: bool,
    /// Nothing but errors.
    pub quiet: bool,
    /// More about each step.
    pub verbose: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Console {
    /// A console with these habits. Colours are set for the whole process.
    pub fn new(json: bool, quiet: bool, verbose: bool, colors: ColorChoice) -> Self {
        colors.write_global();
        Self {
            json,
            quiet,
            verbose,
            bar: Mutex::new(None),
        }
    }

    /// Prints the document, as JSON or as a table.
    pub fn document(&self, document: &Document) -> Result<()> {
        let text = match self.json {
            true => {
                serde_json::to_string_pretty(document)
                    .map_err(|error| {
                        Error::new(Status::Failed, "cannot write the document").because(error)
                    })?
                    .to_owned()
                    + "\n"
            }
            false if self.quiet => return Ok(()),
            false => table::render(document),
        };
        self.data(&text)
    }

    /// Prints data to stdout. A reader that has seen enough is no failure.
    pub fn data(&self, text: &str) -> Result<()> {
        let mut stdout = anstream::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.attempt(|| "cannot write to stdout".to_owned()),
        }
    }

    /// Says something that a person should know.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says something that only a curious person wants to know.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// Says that the run failed: the last line, which stands alone.
    pub fn error(&self, error: &Error) {
        self.say(&format!("binfmtctl: {}", error.line()));
    }

    /// Says something of several lines to people in any case.
    pub fn help(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// Says it in one line, in any case.
    pub fn say(&self, text: &str) {
        let line = || {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(anstream::stderr(), "{}", visible(text));
        };
        match self.bar.lock().ok().as_deref() {
            Some(Some(bar)) => bar.suspend(line),
            _ => line(),
        }
    }

    /// Shows what happens while emulators are fetched.
    pub fn progress(&self, event: Event<'_>) {
        match event {
            Event::Asking { source, bytes } => {
                self.note(&format!("fetching {} from {source}", megabytes(bytes)));
                self.start_bar(bytes);
            }
            Event::Verified { bytes } => {
                if let Ok(Some(bar)) = self.bar.lock().as_deref() {
                    bar.inc(bytes);
                }
            }
            Event::SourceFailed { source, error } => {
                self.stop_bar();
                self.detail(&format!("{source} failed"));
                self.note(&error.reason());
            }
            Event::Stored { path } => {
                self.stop_bar();
                self.detail(&format!("stored {}", path.display()));
            }
        }
    }

    fn start_bar(&self, bytes: u64) {
        if self.quiet || !io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        if let Ok(mut current) = self.bar.lock() {
            *current = Some(bar);
        }
    }

    fn stop_bar(&self) {
        if let Ok(mut current) = self.bar.lock() {
            if let Some(bar) = current.take() {
                bar.finish_and_clear();
            }
        }
    }
}

/// The document of a run that failed before it could see anything.
pub fn failure(error: &Error) -> Document {
    Document {
        error: Some(ErrorReport::from(error)),
        ..Document::new()
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
