//! Everything that is known of one platform, for a person who asked for it.

use std::fmt::Write;

use super::plain::visible;
use super::{BytesReport, Compared, PlatformReport, Runs};

/// One block a platform.
pub fn render(platforms: &[PlatformReport]) -> String {
    let mut text = String::new();
    for platform in platforms {
        // Writing to a String can't fail.
        let _ = writeln!(text, "\n{}", platform.platform);
        for (name, value) in lines(platform) {
            let _ = writeln!(text, "  {name:12} {}", visible(&value));
        }
    }
    text
}

fn lines(platform: &PlatformReport) -> Vec<(&'static str, String)> {
    let runs = match platform.runs {
        Runs::Native => "natively".to_owned(),
        Runs::Emulated => "emulated".to_owned(),
        Runs::No => format!("no: {}", platform.detail.as_deref().unwrap_or("unknown")),
    };
    let rule = platform.handler.as_ref().map(|handler| {
        let flags = match platform.flags.as_deref() {
            None | Some("") => "no flags".to_owned(),
            Some(flags) => format!("flags {flags}"),
        };
        let owner = platform.owner.map_or("unknown", super::table::owner);
        format!("{handler}, {flags}, owner {owner}")
    });
    let variants = (!platform.variants.is_empty()).then(|| platform.variants.join(" "));
    let in_front = (!platform.in_front.is_empty()).then(|| platform.in_front.join(" "));
    let behind = (!platform.shadowed.is_empty()).then(|| platform.shadowed.join(" "));
    let after_boot = (platform.runs != Runs::Native && platform.handler.is_some()).then(|| {
        match &platform.boot {
            Some(boot) => format!("registered again by {}, from {}", boot.unit, boot.file),
            None if platform.persistent.is_none() => {
                "unknown: not to be seen from a container".to_owned()
            }
            None => {
                "not this rule: nothing registers it, or a newer one takes its place".to_owned()
            }
        }
    });
    [
        ("runs", Some(runs)),
        ("variants", variants),
        ("rule", rule),
        ("interpreter", platform.interpreter.clone()),
        ("QEMU", platform.qemu.clone()),
        ("sha256", platform.sha256.clone()),
        ("bytes", platform.bytes.as_ref().map(bytes)),
        ("in front", in_front),
        ("behind it", behind),
        ("after boot", after_boot),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// What the running bytes are the same as, and what not.
fn bytes(bytes: &BytesReport) -> String {
    let file = match bytes.file {
        Compared::Same => "those of the file",
        Compared::Other => "not those of the file that is there now",
        Compared::Missing => "of a file that is gone",
        Compared::Unknown => "the file can't be read",
    };
    let store = match bytes.store {
        None => "",
        Some(Compared::Same) => ", those of the store",
        Some(_) => ", NOT those that its path in the store stands for",
    };
    let manifest = match &bytes.manifest {
        None => ", not in the manifest".to_owned(),
        Some(qemu) => format!(", pinned in the manifest as QEMU {qemu}"),
    };
    format!("{file}{store}{manifest}")
}
