//! The shapes of the names that a manifest may hold.
//!
//! They end up in paths, command lines and apt's lists, wherever they came from.

/// Letters, digits and `others`, of which none is the first; so it is neither
/// an option nor a hidden file, wherever it is used.
fn is_word(text: &str, others: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(plain) && text.chars().all(|c| plain(c) || others.contains(c))
}

/// `10.0.13`, `11.1.0~rc2`: it names a directory.
pub(in crate::emulator) fn is_qemu_version(text: &str) -> bool {
    is_word(text, ".~-") && text.starts_with(|c: char| c.is_ascii_digit())
}

/// A Debian package's name.
pub(in crate::emulator) fn is_package(text: &str) -> bool {
    is_word(text, "+-.")
}

/// A Debian package's version, `1:10.0.13+ds-0+deb13u1`.
pub(in crate::emulator) fn is_version(text: &str) -> bool {
    is_word(text, ".+-:~")
}

/// A suite, `trixie-backports` or `stable/updates`.
pub(in crate::emulator) fn is_suite(text: &str) -> bool {
    is_word(text, ".-_/") && is_relative_path(text)
}

/// A file name without directories.
pub(in crate::emulator) fn is_file_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(|c: char| c == '/' || c.is_control())
}

/// A path below some base, which it can't leave.
pub(in crate::emulator) fn is_relative_path(text: &str) -> bool {
    text.split('/').all(is_file_name)
}

/// An address on the web. Plain http will do, for the digests decide.
pub(in crate::emulator) fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let graphic = text.chars().all(|c| c.is_ascii_graphic());
    graphic && rest.is_some_and(|rest| !matches!(rest.as_bytes().first(), None | Some(b'/')))
}
