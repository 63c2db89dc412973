//! Where the host's apt gets Debian from: `sources.list` and `*.sources`,
//! parsed purely, and the entry that is Debian's own archive among them.
//!
//! A wrong pick does no harm: apt then finds no release there that Debian's
//! keys signed, and says so.

/// One entry, of either format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// Path of a keyring, or the text of a key.
    pub signed_by: Option<String>,
}

impl Entry {
    /// How sure it is that this is Debian's main archive (0 is surest), or
    /// `None` where it can't be.
    fn rank(&self) -> Option<u8> {
        let main = self.components.iter().any(|component| component == "main");
        let security = |suite: &String| suite.contains("security") || suite.contains("/updates");
        let uri = self.uris.first()?;
        if !main || self.suites.iter().all(security) || uri.starts_with("cdrom:") {
            return None;
        }
        match &self.signed_by {
            Some(keys) if keys.contains("debian-archive") => return Some(0),
            // Somebody else's keyring: somebody else's packages.
            Some(keys) if keys.starts_with('/') => return None,
            _ => {}
        }
        let path = uri.trim_end_matches('/');
        Some(match uri.split('/').nth(2) {
            Some(host) if host == "debian.org" || host.ends_with(".debian.org") => 1,
            _ if path.ends_with("/debian") || path.ends_with("/debian.list") => 2,
            _ => 3,
        })
    }
}

/// The base URI of Debian's main archive.
pub(super) fn archive(entries: &[Entry]) -> Option<&str> {
    let (_, entry) = entries
        .iter()
        .filter_map(|entry| Some((entry.rank()?, entry)))
        .min_by_key(|(rank, _)| *rank)?;
    entry.uris.first().map(String::as_str)
}

/// The entries of a `sources.list`; lines that aren't one are passed over.
pub(super) fn one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?;
    let mut rest = line.trim().strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by,
    })
}

/// The enabled `deb` entries of a deb822 file, `*.sources`.
pub(super) fn deb822(text: &str) -> Vec<Entry> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter_map(stanza)
        .collect()
}

fn stanza(lines: &[&str]) -> Option<Entry> {
    let field = |name: &str| -> Option<String> {
        let own = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        let start = lines.iter().position(own)?;
        let mut value = lines[start].split_once(':')?.1.to_owned();
        for more in &lines[start + 1..] {
            if !more.starts_with([' ', '\t']) {
                break;
            }
            value.push('\n');
            value.push_str(more);
        }
        Some(value.trim().to_owned())
    };
    let words = |name: &str| -> Vec<String> {
        let value = field(name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let off = ["no", "false", "0", "off", "without", "disable"];
    let enabled = field("Enabled").is_none_or(|value| !off.contains(&value.as_str()));
    (enabled && words("Types").contains(&"deb".to_owned())).then(|| Entry {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: field("Signed-By"),
    })
}

/// A field of `os-release`, without its quotes.
pub(super) fn os_release<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_archive_is_found_in_a_deb822_file() {
        let text = "\
# comment
Types: deb deb-src
# http://snapshot.example/debian
URIs: http://mirror.example/debian
  http://second.example/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";
        let entries = deb822(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(entries[0].uris.len(), 2);
        assert_eq!(archive(&entries), Some("http://mirror.example/debian"));
        assert_eq!(archive(&entries[1..]), None);
    }

    #[test]
    fn disabled_and_source_entries_dont_count() {
        for text in [
            "Types: deb\nEnabled: no\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n",
            "types: deb-src\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n",
        ] {
            assert_eq!(deb822(text), [], "{text}");
        }
    }

    #[test]
    fn debians_archive_is_found_in_a_sources_list() {
        let text = "\
# deb http://old.example/debian stretch main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian bookworm stable
deb [signed-by=/usr/share/keyrings/vpn-archive-keyring.gpg] https://pkgs.vpn.example/stable/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb\thttp://security.mirror.example/debian-security bookworm-security main
deb http://ftp.de.debian.org/debian/ bookworm main contrib # near
";
        let entries = one_line(text);
        assert_eq!(entries.len(), 5);
        assert_eq!(archive(&entries), Some("http://ftp.de.debian.org/debian/"));
    }

    #[test]
    fn a_sites_own_mirror_counts_where_nothing_better_is_there() {
        let site = "deb https://mirror.site/repository/bookworm bookworm main\n";
        assert_eq!(
            archive(&one_line(site)),
            Some("https://mirror.site/repository/bookworm")
        );
        let both = format!("{site}deb http://x.example/debian bookworm main\n");
        assert_eq!(archive(&one_line(&both)), Some("http://x.example/debian"));
    }

    #[test]
    fn a_cloud_images_mirror_list_counts() {
        let text = "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n";
        assert_eq!(
            archive(&deb822(text)),
            Some("mirror+file:///etc/apt/mirrors/debian.list")
        );
    }

    #[test]
    fn an_os_release_field_loses_its_quotes() {
        let text = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os_release(text, "ID"), Some("debian"));
        assert_eq!(os_release(text, "NAME"), Some("Debian GNU/Linux"));
        assert_eq!(os_release(text, "CODENAME"), None);
    }
}
