//! Whether anybody but root could exchange what the kernel is going to run, or
//! say which rules there are.

use std::path::Path;

use crate::binfmt::conf;
use crate::custody::Fault;
use crate::emulator::store::Store;
use crate::report::Finding;

const ID: &str = "owners";

/// Looks at the store, our file, and everything on the way to them.
pub fn check(store: &Store, conf: &Path) -> Vec<Finding> {
    let mut faults = match store.faults() {
        Ok(faults) => faults,
        Err(error) => return vec![Finding::warning(ID, error.reason())],
    };
    let of_conf = conf::fault(conf).filter(|fault| !faults.contains(fault));
    faults.extend(of_conf);
    judge(faults, store.prefix(), conf)
}

fn judge(faults: Vec<Fault>, prefix: &Path, conf: &Path) -> Vec<Finding> {
    if faults.is_empty() {
        let what = format!(
            "root alone can change {}, {} and what leads there",
            prefix.display(),
            conf.display()
        );
        return vec![Finding::ok(ID, what)];
    }
    let told = |fault: Fault| {
        let what = format!(
            "{} isn't in root's hands alone: whoever else can change it decides what runs as an emulator, so nothing is registered from there",
            fault.path.display()
        );
        Finding::problem(ID, what)
            .seen_in(fault.why)
            .mend_if(fault.remedy)
    };
    faults.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;

    #[test]
    fn each_object_has_its_owner_and_the_command_that_takes_it_back() {
        let fault = Fault {
            path: "/opt".into(),
            why: "everybody may write to it (mode 0777)".to_owned(),
            remedy: Some("chmod go-w /opt".to_owned()),
        };
        let (prefix, conf) = (Path::new("/opt/binfmtctl"), Path::new("/etc/x"));
        let findings = judge(vec![fault], prefix, conf);
        assert_eq!(findings[0].level, Level::Problem);
        assert_eq!(findings[0].remedy.as_deref(), Some("chmod go-w /opt"));
        assert_eq!(judge(Vec::new(), prefix, conf)[0].level, Level::Ok);
    }
}
