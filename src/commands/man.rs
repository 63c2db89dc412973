//! `man`: the manual pages, binfmtctl(1) and binfmtctl-manifest(5).
//!
//! What the first says of verbs, options and variables comes from the command
//! line's one definition; the rest, and the second, is written by hand beside
//! this file. Nothing of the host is looked at, so that a page is the same
//! wherever it is made.

mod page;

use super::{Reply, json};
use crate::cli::{ManArgs, Page};
use crate::error::Result;
use crate::report::console::Console;

/// Prints the page.
pub fn run(console: &Console, args: &ManArgs) -> Result<Reply> {
    let page = match args.page {
        Page::Binfmtctl => page::of_command(),
        Page::Manifest => page::of_manifest(),
    };
    Ok(Reply {
        text: Some(match console.json {
            true => json(&serde_json::json!({ "schema": 1, "man": page }))?,
            false => page,
        }),
        ..Reply::default()
    })
}
