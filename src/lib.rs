//! binfmtctl makes a Linux host run every platform's programs: it gets static
//! QEMU user emulators that it can prove are the right bytes, puts them into
//! the kernel's binfmt_misc so that they work in every container, proves it by
//! running something, and keeps it so over reboots.
//!
//! The way of the data is the order of the steps in [`commands::install`]:
//!
//! ```text
//! request -> plan -> fetch -> verify -> decode -> verify -> store
//!         -> mount -> guard -> register -> prove -> persist -> report
//! ```
//!
//! A module knows only those before it in this list: [`error`], [`concurrent`],
//! [`crash`], [`digest`], [`ending`], [`custody`], [`durable`], [`rights`] and
//! [`scratch`] are for all; [`platform`] is the table; [`host`] is what this
//! machine is; [`emulator`] gets the bytes and never touches the kernel;
//! [`binfmt`] and [`probe`] stand side by side and never touch the network;
//! [`rehearsal`] tries rules where they do no harm; [`report`] says what was
//! seen; [`commands`] are the verbs; [`cli`] is the command line, and
//! [`dialect`] those of two other programs.

pub mod error;

pub mod concurrent;
pub mod crash;
pub mod custody;
pub mod digest;
pub mod durable;
pub mod ending;
pub mod rights;
pub mod scratch;

pub mod platform;

pub mod host;

pub mod emulator;

pub mod binfmt;
pub mod probe;

pub mod rehearsal;

pub mod report;

pub mod commands;

pub mod cli;
pub mod dialect;
