//! The program as people use it: the real binary, the real kernel, the real
//! QEMU, each test in a small world of its own (`world`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod world;

mod again;
mod apply;
mod arguments;
mod boot;
mod catalogue;
mod check;
mod container;
mod crash;
mod custody;
mod dialect;
mod doctor;
mod doctor_host;
mod extract;
mod foreign;
mod guard;
mod leftovers;
mod lifetime;
mod platforms;
mod rehearsal;
mod rights;
mod selection;
mod truth;
mod wrong_artifacts;
mod wrong_hosts;
mod wrong_servers;
