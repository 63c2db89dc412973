//! The manifest's text, read strictly.
//!
//! A manifest may come from anybody's hand, and what it says ends up in read
//! offsets, paths and command lines. So nothing passes that isn't as expected:
//! unknown keys, names with slashes, blocks that overlap or leave the artifact,
//! emulators that leave the stream. Every refusal names the line.

use std::ops::Range;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::words::{
    is_file_name, is_package, is_qemu_version, is_relative_path, is_suite, is_url, is_version,
};
use super::{
    Block, Emulator, Encoding, MAX_LENGTH, Manifest, ManifestError, Problem, Release, SCHEMA,
};
use crate::digest::Digest;
use crate::platform::{PLATFORMS, Platform};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestText {
    schema: Spanned<u64>,
    default: Spanned<String>,
    release: Vec<Spanned<ReleaseText>>,
}

/// Read alone when the whole doesn't fit: a newer schema may well have other keys.
#[derive(Deserialize)]
struct SchemaText {
    schema: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseText {
    qemu: Spanned<String>,
    host: Spanned<String>,
    package: Spanned<String>,
    version: Spanned<String>,
    suite: Option<Spanned<String>>,
    file: Spanned<String>,
    path: Option<Spanned<String>>,
    size: u64,
    #[serde(deserialize_with = "digest")]
    sha256: Digest,
    urls: Vec<Spanned<String>>,
    encoding: Spanned<String>,
    check: Option<Spanned<String>>,
    blocks: Vec<Spanned<BlockText>>,
    emulators: Vec<Spanned<EmulatorText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockText {
    offset: u64,
    length: u64,
    decoded: u64,
    #[serde(deserialize_with = "digest")]
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmulatorText {
    target: String,
    offset: u64,
    size: u64,
    #[serde(deserialize_with = "digest")]
    sha256: Digest,
    blocks: Vec<usize>,
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// A problem and the bytes of the text that it is about.
type Found<T> = Result<T, (Range<usize>, Problem)>;

impl Manifest {
    /// Parses and checks a manifest's text.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        check(text).map_err(|(span, problem)| {
            let before = text.as_bytes().iter().take(span.start);
            ManifestError {
                line: 1 + before.filter(|byte| **byte == b'\n').count(),
                problem,
            }
        })
    }
}

fn check(text: &str) -> Found<Manifest> {
    let manifest: ManifestText = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            if let Ok(SchemaText { schema }) = toml::from_str(text) {
                check_schema(&schema)?;
            }
            let span = error.span().unwrap_or(0..0);
            return Err((span, Problem::Syntax(error.message().to_owned())));
        }
    };
    check_schema(&manifest.schema)?;
    let mut releases: Vec<Release> = Vec::new();
    for release in manifest.release {
        let span = release.span();
        let release = check_release(release.into_inner(), &span)?;
        let twin = |other: &Release| other.qemu == release.qemu && other.host == release.host;
        if releases.iter().any(twin) {
            let Release { qemu, host, .. } = release;
            return Err((span, Problem::DuplicateRelease { qemu, host }));
        }
        releases.push(release);
    }
    let default = manifest.default;
    let named = |release: &Release| release.qemu == *default.get_ref();
    if !releases.iter().any(named) {
        let span = default.span();
        return Err((span, Problem::Default(default.into_inner())));
    }
    Ok(Manifest {
        default: default.into_inner(),
        releases,
    })
}

fn check_schema(schema: &Spanned<u64>) -> Found<()> {
    match *schema.get_ref() {
        SCHEMA => Ok(()),
        other => Err((schema.span(), Problem::Schema(other))),
    }
}

fn check_release(text: ReleaseText, span: &Range<usize>) -> Found<Release> {
    let blocks = check_blocks(text.blocks, text.size)?;
    let empty = |what| (span.clone(), Problem::Empty(what));
    if blocks.is_empty() {
        return Err(empty("blocks"));
    }
    let is_host = |host: &str| PLATFORMS.iter().any(|known| known.debian == Some(host));
    let mut release = Release {
        qemu: accept("qemu", text.qemu, is_qemu_version)?,
        host: accept("host", text.host, is_host)?,
        package: accept("package", text.package, is_package)?,
        version: accept("version", text.version, is_version)?,
        suite: accept_some("suite", text.suite, is_suite)?,
        file: accept("file", text.file, is_file_name)?,
        path: accept_some("path", text.path, is_relative_path)?,
        size: text.size,
        sha256: text.sha256,
        urls: text
            .urls
            .into_iter()
            .map(|url| accept("a url", url, is_url))
            .collect::<Found<_>>()?,
        encoding: check_encoding(&text.encoding, text.check.as_ref())?,
        blocks,
        emulators: Vec::new(),
    };
    check_emulators(&mut release, text.emulators)?;
    match release.emulators.is_empty() {
        true => Err(empty("emulators")),
        false => Ok(release),
    }
}

fn check_encoding(encoding: &Spanned<String>, check: Option<&Spanned<String>>) -> Found<Encoding> {
    match (encoding.get_ref().as_str(), check) {
        ("xz", None) => Err((encoding.span(), Problem::NoCheck)),
        ("xz", Some(check)) => match Encoding::check_id(check.get_ref()) {
            Some(check) => Ok(Encoding::Xz { check }),
            None => Err(refuse("check", check)),
        },
        ("zstd", None) => Ok(Encoding::Zstd),
        ("zstd", Some(check)) => Err((check.span(), Problem::CheckWithoutXz)),
        _ => Err(refuse("encoding", encoding)),
    }
}

fn check_blocks(blocks: Vec<Spanned<BlockText>>, size: u64) -> Found<Vec<Block>> {
    let mut end = 0;
    let mut checked = Vec::with_capacity(blocks.len());
    for block in blocks {
        let span = block.span();
        let block = block.into_inner();
        let problem = |problem| Err((span.clone(), problem));
        for (key, value) in [("length", block.length), ("decoded", block.decoded)] {
            if !(1..=MAX_LENGTH).contains(&value) {
                return problem(Problem::Length { key, value });
            }
        }
        if block.offset < end {
            return problem(Problem::BlockOrder);
        }
        end = match block.offset.checked_add(block.length) {
            Some(end) if end <= size => end,
            _ => return problem(Problem::BlockBeyond { size }),
        };
        checked.push(Block {
            offset: block.offset,
            length: block.length,
            decoded: block.decoded,
            sha256: block.sha256,
        });
    }
    Ok(checked)
}

/// Moves the emulators into the release whose blocks they are checked against.
fn check_emulators(release: &mut Release, emulators: Vec<Spanned<EmulatorText>>) -> Found<()> {
    let stream = release.block_start(release.blocks.len());
    let mut end = 0;
    for emulator in emulators {
        let span = emulator.span();
        let text = emulator.into_inner();
        let problem = |problem| Err((span.clone(), problem));
        if Platform::by_emulator(&text.target).is_none() {
            return problem(Problem::Target(text.target));
        }
        if release.emulator(&text.target).is_some() {
            return problem(Problem::DuplicateTarget(text.target));
        }
        if !(1..=MAX_LENGTH).contains(&text.size) {
            let (key, value) = ("size", text.size);
            return problem(Problem::Length { key, value });
        }
        if text.offset < end {
            return problem(Problem::EmulatorOrder);
        }
        end = match text.offset.checked_add(text.size) {
            Some(end) if end <= stream => end,
            _ => return problem(Problem::EmulatorBeyond { size: stream }),
        };
        let emulator = Emulator {
            target: text.target,
            offset: text.offset,
            size: text.size,
            sha256: text.sha256,
        };
        let expected: Vec<usize> = release.blocks_of(&emulator).collect();
        if text.blocks != expected {
            let found = text.blocks;
            return problem(Problem::Blocks { expected, found });
        }
        release.emulators.push(emulator);
    }
    Ok(())
}

fn accept(key: &'static str, value: Spanned<String>, fits: fn(&str) -> bool) -> Found<String> {
    match fits(value.get_ref()) {
        true => Ok(value.into_inner()),
        false => Err(refuse(key, &value)),
    }
}

fn accept_some(
    key: &'static str,
    value: Option<Spanned<String>>,
    fits: fn(&str) -> bool,
) -> Found<Option<String>> {
    value.map(|value| accept(key, value, fits)).transpose()
}

fn refuse(key: &'static str, value: &Spanned<String>) -> (Range<usize>, Problem) {
    let text = value.get_ref().clone();
    (value.span(), Problem::Value { key, value: text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::manifest;
    use super::*;

    /// The line and the words of the refusal after a change in the text.
    fn refused(from: &str, to: &str) -> (String, String) {
        let text = manifest().to_toml();
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        let error = Manifest::parse(&changed).unwrap_err();
        let line = changed.lines().nth(error.line - 1).unwrap();
        (line.trim().to_owned(), error.problem.to_string())
    }

    #[test]
    fn every_refusal_names_the_line_and_the_reason() {
        let digest = Digest::of(&[1]).to_string();
        let block = "{ offset = 132, length = 40, decoded = 100";
        let arm = "{ target = \"arm\", offset = 100, size = 10";
        let table: [(&str, &str, &str, &str); 34] = [
            ("schema = 1", "schema = 2", "schema = 2", "reads schema 1"),
            (
                "schema = 1",
                "schema = 2\nnew = 1",
                "schema = 2",
                "reads schema 1",
            ),
            (
                "default = \"10",
                "default = \"9",
                "default = ",
                "no release has",
            ),
            ("host = ", "hosts = ", "hosts = ", "unknown field"),
            ("host = \"amd64\"", "host = \"vax\"", "host = ", "vax"),
            (
                "host = \"armhf\"",
                "host = \"amd64\"",
                "[[release]]",
                "a second release",
            ),
            ("package = \"", "package = \"-o", "package = ", "can't be"),
            ("version = \"1:", "version = \"1 ", "version = ", "can't be"),
            ("suite = \"", "suite = \"../", "suite = ", "can't be"),
            ("file = \"", "file = \"a/", "file = ", "can't be"),
            ("qemu = \"10.0.13\"", "qemu = \"..\"", "qemu = ", "can't be"),
            ("path = \"pool", "path = \"/pool", "path = ", "can't be"),
            ("path = \"pool", "path = \"pool/..", "path = ", "can't be"),
            ("\"https://", "\"ftp://", "\"ftp://", "can't be"),
            ("\"https://", "\"https:///", "\"https:///", "can't be"),
            ("\"https://", "\"https:// ", "\"https:// ", "can't be"),
            ("size = 1000", "size = -1", "size = ", "invalid value"),
            (
                "size = 1000",
                "size = 180",
                "{ offset = 172",
                "which has 180 bytes",
            ),
            (&digest, &digest[1..], block, "not a sha256 digest"),
            (&digest, "", block, "not a sha256 digest"),
            (
                "decoded = 100, sha256",
                "decoded = 100, sha512",
                block,
                "unknown field",
            ),
            (
                "encoding = \"xz\"",
                "encoding = \"gzip\"",
                "encoding",
                "can't be",
            ),
            ("check = \"crc64\"", "check = \"md5\"", "check", "can't be"),
            ("check = \"crc64\"\n", "", "encoding", "needs its check"),
            (
                "encoding = \"xz\"",
                "encoding = \"zstd\"",
                "check",
                "only xz",
            ),
            (
                "{ offset = 172",
                "{ offset = 171",
                "{ offset = 171",
                "the one above",
            ),
            ("length = 20", "length = 0", "{ offset = 172", "length is 0"),
            (
                "decoded = 50",
                "decoded = 2000000000",
                "{ offset = 172",
                "1 GiB",
            ),
            (
                "offset = 172",
                "offset = 9223372036854775807",
                "{ offset = 9",
                "leaves",
            ),
            (
                "target = \"arm\"",
                "target = \"vax\"",
                "{ target = \"vax\"",
                "isn't a target",
            ),
            (
                "target = \"arm\"",
                "target = \"aarch64\"",
                "{ target = \"aarch64\"",
                "second",
            ),
            (
                "offset = 112",
                "offset = 113",
                "{ target = \"s390x\"",
                "has 150 bytes",
            ),
            (
                arm,
                "{ target = \"arm\", offset = 99, size = 10",
                "{ target = \"arm\"",
                "above",
            ),
            (
                "size = 10, ",
                "size = 1, x = 2, ",
                "{ target = \"arm\"",
                "unknown field",
            ),
        ];
        for (from, to, line, reason) in table {
            let (found_line, found_reason) = refused(from, to);
            assert!(
                found_line.starts_with(line),
                "{to}: {found_line}: {found_reason}"
            );
            assert!(found_reason.contains(reason), "{to}: {found_reason}");
        }
    }

    #[test]
    fn an_emulator_names_exactly_its_blocks() {
        for to in ["[]", "[0, 1]", "[0, 0]"] {
            let (line, reason) = refused("blocks = [0]", &format!("blocks = {to}"));
            assert!(line.starts_with("{ target = \"aarch64\""), "{line}");
            assert_eq!(reason, format!("the emulator lies in blocks [0], not {to}"));
        }
    }

    #[test]
    fn a_missing_key_is_named_with_a_line_of_its_table() {
        let digest = format!(", sha256 = \"{}\"", Digest::of(&[1]));
        let (line, reason) = refused(&digest, "");
        assert!(line.starts_with("{ offset = 132"), "{line}");
        assert!(reason.contains("missing field `sha256`"), "{reason}");
        let (line, reason) = refused("package = \"qemu-user\"\n", "");
        assert_eq!(line, "[[release]]");
        assert!(reason.contains("missing field `package`"), "{reason}");
    }

    #[test]
    fn a_release_has_blocks_and_emulators() {
        let none = "schema = 1\ndefault = \"1\"\nrelease = []\n";
        assert_eq!(Manifest::parse(none).unwrap_err().line, 2);
        let mut manifest = manifest();
        manifest.releases[1].emulators.clear();
        let error = Manifest::parse(&manifest.to_toml()).unwrap_err();
        assert_eq!(error.problem, Problem::Empty("emulators"));
        manifest.releases[1].blocks.clear();
        let error = Manifest::parse(&manifest.to_toml()).unwrap_err();
        assert_eq!(error.problem, Problem::Empty("blocks"));
    }

    #[test]
    fn what_is_nested_without_end_is_refused_and_not_followed() {
        const DEPTH: usize = 50_000;
        for (open, close) in [
            ("schema = [", ""),
            ("schema = ", "[{a="),
            ("[", ""),
            ("", "["),
            ("schema = {a=", ""),
            ("", "a."),
            ("schema.", ""),
            ("[a.", ""),
        ] {
            for text in [open.repeat(DEPTH), format!("{open}{}", close.repeat(DEPTH))] {
                assert!(Manifest::parse(&text).is_err(), "{open} {close}");
            }
        }
        let closed = format!("schema = {}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert!(Manifest::parse(&closed).is_err());
        let dotted = format!("{}a = 1\n", "a.".repeat(DEPTH));
        assert!(Manifest::parse(&dotted).is_err());
        let table = format!("[{}a]\n", "a.".repeat(DEPTH));
        assert!(Manifest::parse(&table).is_err());
    }

    proptest! {
        #[test]
        fn whatever_parses_reads_back_as_itself(
            at in any::<prop::sample::Index>(),
            insert in "[0-9a-z\"\\[\\]{}=,.\n/~-]{0,3}",
            remove in 0..3_usize,
        ) {
            let mut text = manifest().to_toml();
            let at = at.index(text.len() - remove);
            text.replace_range(at..at + remove, &insert);
            match Manifest::parse(&text) {
                Ok(manifest) => {
                    prop_assert_eq!(Manifest::parse(&manifest.to_toml()), Ok(manifest))
                }
                Err(error) => prop_assert!(error.line <= text.lines().count() + 1),
            }
        }
    }
}
