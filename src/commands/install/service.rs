//! What `install` sets up so that the next boot calls this program, where its
//! init system has a use for that.

use std::path::Path;

use super::Run;
use crate::binfmt::boot::Boot;
use crate::binfmt::boot::service::{Service, can_name};
use crate::commands::Context;
use crate::durable;
use crate::error::Result;
use crate::host::program;

/// A service that doesn't call this program yet.
pub(super) struct Pending {
    service: Service,
    program: String,
}

impl Pending {
    /// Writes it.
    pub fn set_up(&self) -> Result<()> {
        self.service.set_up(&self.program).map(drop)
    }

    /// What would be written.
    pub fn describe(&self) -> String {
        format!("would write {}", self.service.file().display())
    }

    /// What was written.
    pub fn told(&self, conf: &Path) -> String {
        let file = self.service.file();
        match self.service.starts() {
            true => format!(
                "wrote {}, which applies {} at boot",
                file.display(),
                conf.display()
            ),
            false => format!("wrote {}, which nothing starts", file.display()),
        }
    }

    /// Refuses a place that can't be written to.
    pub fn require_writable(&self) -> Result<()> {
        durable::require_writable(self.service.file().parent().unwrap_or(Path::new("/")))
    }

    /// What came of writing it: a failure only where nothing else applies the
    /// file at boot.
    pub fn judge(&self, context: &Context, done: Result<()>) -> Result<bool> {
        let Err(error) = done else {
            return Ok(true);
        };
        if !Boot::read(Path::new("/"), &context.host.init, &context.conf).applies_files() {
            return Err(error);
        }
        let conf = context.conf.display();
        context.console.note(&format!(
            "warning: {}; systemd-binfmt alone applies {conf} at boot",
            error.reason()
        ));
        Ok(false)
    }
}

impl Run<'_> {
    /// The service that is still to be set up.
    pub(super) fn pending_service(&self) -> Option<Pending> {
        let service = self.persists().then(|| service(self.context)).flatten()?;
        let program = program::lasting().ok()?;
        let program = program.to_str().filter(|path| can_name(path))?.to_owned();
        (!service.calls(&program)).then_some(Pending { service, program })
    }
}

/// The host's service; none for rules that a boot wouldn't apply by it.
pub(in crate::commands) fn service(context: &Context) -> Option<Service> {
    let is_hosts = context.host.initial_user_ns && !context.userns && context.host.sees_boot();
    let is_usual = is_hosts && context.has_usual_places();
    is_usual
        .then(|| Service::find(Path::new("/"), &context.host.init))
        .flatten()
}
