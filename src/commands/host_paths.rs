//! The paths of a command line, which `--host` makes the host's: what they
//! would be relative to is a directory of the container, so they are refused.

use std::path::Path;

use crate::cli::{Cli, Command, Fetch, Global, ManifestCommand};
use crate::emulator::source::Choice;
use crate::error::{Error, Result, Status};

/// A path, and what it was given as.
type Named<'a> = (&'static str, &'a Path);

/// Refuses a relative path where paths are the host's. `--emulators` isn't one
/// of them: that directory is the container's.
pub fn require_absolute(cli: &Cli) -> Result<()> {
    let relative = match cli.global.host {
        true => all(cli).into_iter().find(|(_, path)| !path.is_absolute()),
        false => None,
    };
    match relative {
        None => Ok(()),
        Some((name, path)) => Err(Error::new(
            Status::Usage,
            format!("{name} {} is a relative path", path.display()),
        )
        .because("with --host, paths are the host's")
        .hint("give it as it is on the host, from / on")),
    }
}

fn all(cli: &Cli) -> Vec<Named<'_>> {
    let Global {
        mount,
        prefix,
        conf,
        ..
    } = &cli.global;
    let mut paths: Vec<Named<'_>> =
        vec![("--mount", mount), ("--prefix", prefix), ("--conf", conf)];
    match &cli.command {
        Command::Install(args) => paths.extend(of_fetch(&args.fetch)),
        Command::Status(args) => paths.extend(given("--manifest", &args.manifest.manifest)),
        Command::Doctor(args) => paths.extend(given("--manifest", &args.manifest.manifest)),
        Command::Manifest(command) => match command {
            ManifestCommand::Show { manifest } => {
                paths.extend(given("--manifest", &manifest.manifest));
            }
            ManifestCommand::Verify { packages, manifest } => {
                paths.extend(given("PACKAGE", packages));
                paths.extend(given("--manifest", &manifest.manifest));
            }
            ManifestCommand::Extract(args) => {
                paths.push(("--to", &args.to));
                paths.extend(of_fetch(&args.fetch));
            }
            ManifestCommand::Lock { packages, .. } => paths.extend(given("PACKAGE", packages)),
        },
        Command::Uninstall(_)
        | Command::Apply
        | Command::Check(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Rehearse
        | Command::Errand
        | Command::ClearUp { .. } => {}
    }
    paths
}

fn of_fetch(fetch: &Fetch) -> Vec<Named<'_>> {
    let mut paths: Vec<Named<'_>> = given("--manifest", &fetch.manifest.manifest).collect();
    let source = &fetch.source;
    // A word that means nothing here may be a file there. URLs are refused
    // where the source is used.
    let is_path = matches!(source.parse(), Ok(Choice::Path(_)) | Err(_));
    if is_path && !source.contains("://") {
        paths.push(("--source", Path::new(source)));
    }
    paths
}

fn given<'a, P: AsRef<Path> + 'a>(
    name: &'static str,
    paths: impl IntoIterator<Item = &'a P>,
) -> impl Iterator<Item = Named<'a>> {
    paths.into_iter().map(move |path| (name, path.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn refusal(line: &str) -> Option<String> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let error = require_absolute(&cli).err()?;
        assert_eq!(error.status(), Status::Usage);
        Some(error.line().to_string())
    }

    #[test]
    fn every_path_that_is_the_hosts_has_to_be_absolute() {
        for (line, name) in [
            ("install --conf here.conf", "--conf here.conf"),
            ("status --prefix here", "--prefix here"),
            ("check arm64 --mount ./here", "--mount ./here"),
            ("install --manifest here.toml", "--manifest here.toml"),
            ("status --manifest here.toml", "--manifest here.toml"),
            ("doctor --manifest here.toml", "--manifest here.toml"),
            ("install --source ../here", "--source ../here"),
            ("install --source here.deb", "--source here.deb"),
            ("manifest show --manifest here", "--manifest here"),
            ("manifest extract --to here", "--to here"),
            ("manifest extract --to /x --source here", "--source here"),
            ("manifest verify here.deb", "PACKAGE here.deb"),
            ("manifest lock /x.deb here.deb", "PACKAGE here.deb"),
        ] {
            let line = format!("binfmtctl {line}");
            assert_eq!(refusal(&line), None, "{line}");
            let said = refusal(&format!("{line} --host")).unwrap_or_default();
            assert!(
                said.contains(name) && said.contains("--host"),
                "{line}: {said}"
            );
        }
    }

    #[test]
    fn words_arent_paths_and_the_containers_emulators_arent_the_hosts() {
        for line in [
            "install arm64 --source apt --emulators here",
            "install --source /x.deb --manifest /x.toml",
            "manifest extract --to /x",
            "uninstall",
        ] {
            assert_eq!(refusal(&format!("binfmtctl {line} --host")), None, "{line}");
        }
    }
}
