//! The ways in for `fuzz/`, to which these parsers are no interface otherwise:
//! a command line up to where it would be carried out.

use std::ffi::OsString;

use super::{Dialect, Variables, go_flags, multiarch, tonistiigi, words};
use crate::commands::install::in_place::Order;
use crate::error::{Error, Result, Status};

/// What a command line orders; `None` where it only asks for help.
pub fn order(dialect: Dialect, args: &[OsString]) -> Result<Option<Order>> {
    let words = words(args)?;
    let variables = Variables::default();
    match dialect {
        Dialect::Tonistiigi => match go_flags::parse(&tonistiigi::FLAGS, &words) {
            Ok(parsed) => tonistiigi::order(&variables, &parsed).map(Some),
            Err(go_flags::Stop::Help) => Ok(None),
            Err(stop) => Err(Error::new(Status::Usage, stop.to_string())),
        },
        Dialect::Multiarch => match multiarch::read(&words)? {
            options if options.help => Ok(None),
            options => multiarch::order(&variables, &options).map(Some),
        },
    }
}
