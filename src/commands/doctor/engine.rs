//! Docker: whether its engine answers, whether it can keep images of several
//! platforms, and whether its builder's list of platforms is what runs.
//!
//! The client is asked, whose words are somebody else's; why an engine can't
//! be reached is told by connect(2) on its socket. Podman needs nothing: it
//! uses the kernel's rules as they are.

mod ask;
mod builder;
mod info;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use self::ask::{Said, Silence, ask};
use self::builder::Builder;
use self::info::Info;
use super::ctl::Ctl;
use super::words::plain;
use crate::host::{Host, Init};
use crate::report::Finding;
use crate::report::survey::Survey;

const ENGINE: &str = "docker";
const STORE: &str = "image-store";
const BUILDER: &str = "builder";

/// How long an engine may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a builder may take, which may have to try platforms first.
const BUILDER_LIMIT: Duration = Duration::from_secs(30);

/// What was heard of Docker.
#[derive(Debug)]
enum Heard {
    /// There is no client.
    NoClient,
    /// The client said nothing that could be read; why.
    Nothing(String),
    /// The client didn't reach an engine.
    NoEngine {
        endpoint: String,
        /// What connecting to its socket said, where it is one.
        cause: Option<io::Error>,
        /// What the client said.
        said: String,
    },
    /// An engine answered; its builder, or why there is nothing of one.
    Engine(Info, Result<Builder, String>),
}

#[derive(Debug)]
struct Facts {
    heard: Heard,
    /// What starts this host's services calls the engine, before the verb and after it.
    service: Option<(&'static str, &'static str)>,
    /// What asks again as root, for whoever isn't.
    as_root: Option<String>,
    /// `uname -r` here.
    kernel: String,
}

/// Looks at Docker, where it is.
pub fn check(host: &Host, survey: &Survey<'_>, ctl: &Ctl) -> Vec<Finding> {
    let said = ask(&mut docker(&["info", "--format", "{{json .}}"]), LIMIT);
    let endpoint = match said {
        Err(Silence::Missing) => None,
        _ => endpoint(),
    };
    let facts = Facts {
        heard: understand(said, endpoint.as_deref()),
        service: service(host, endpoint.as_deref()),
        kernel: host.kernel.release.clone(),
        as_root: ctl.as_root(),
    };
    judge(&facts, &survey.document(None).supported.unwrap_or_default())
}

fn docker(args: &[&str]) -> Command {
    let mut docker = Command::new("docker");
    docker.args(args).env("DOCKER_CLI_HINTS", "false");
    docker
}

/// Where the client looks for its engine.
fn endpoint() -> Option<String> {
    let args = [
        "context",
        "inspect",
        "--format",
        "{{.Endpoints.docker.Host}}",
    ];
    let said = ask(&mut docker(&args), LIMIT).ok()?;
    let endpoint = said.stdout.lines().next()?.trim();
    (said.success && !endpoint.is_empty()).then(|| endpoint.to_owned())
}

/// Makes sense of the answer to `docker info`, asking on where it takes that.
fn understand(said: Result<Said, Silence>, endpoint: Option<&str>) -> Heard {
    let said = match said {
        Err(Silence::Missing) => return Heard::NoClient,
        Err(silence) => return Heard::Nothing(silence.to_string()),
        Ok(said) => said,
    };
    let info = Info::parse(&said.stdout).unwrap_or_default();
    if info.version.is_some() || info.podman {
        let builder = inspect(&info);
        return Heard::Engine(info, builder);
    }
    let words = info.errors.first().unwrap_or(&said.stderr);
    let Some(endpoint) = endpoint else {
        return Heard::Nothing(words.clone());
    };
    let socket = endpoint.strip_prefix("unix://");
    Heard::NoEngine {
        endpoint: endpoint.to_owned(),
        cause: socket.and_then(|path| UnixStream::connect(path).err()),
        said: words.clone(),
    }
}

fn inspect(info: &Info) -> Result<Builder, String> {
    if !info.buildx {
        return Err("Docker has no buildx here".to_owned());
    }
    let mut command = docker(&["buildx", "inspect"]);
    // buildx makes its directory when it is asked the first time; then the
    // builder is the default one, and that can be asked from anywhere.
    let scratch = match buildx_directory() {
        Some(dir) if !dir.exists() => tempfile::tempdir().ok(),
        _ => None,
    };
    if let Some(scratch) = &scratch {
        command.env("BUILDX_CONFIG", scratch.path());
    }
    match ask(&mut command, BUILDER_LIMIT) {
        Err(silence) => Err(format!("docker buildx inspect: {silence}")),
        Ok(said) => Builder::parse(&said.stdout)
            .filter(|_| said.success)
            .ok_or_else(|| format!("docker buildx inspect: {}", plain(&said.stderr))),
    }
}

fn buildx_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(own) = variable("BUILDX_CONFIG") {
        return Some(own.into());
    }
    let config = match variable("DOCKER_CONFIG") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&variable("HOME")?).join(".docker"),
    };
    Some(config.join("buildx"))
}

/// Who starts and stops the engine at that endpoint, if it is this host's own.
fn service(host: &Host, endpoint: Option<&str>) -> Option<(&'static str, &'static str)> {
    let socket = endpoint?.strip_prefix("unix://")?;
    let has_unit = |dirs: &[&str]| {
        let mut units = dirs.iter().map(|dir| Path::new(dir).join("docker.service"));
        units.any(|unit| unit.exists())
    };
    let script = Path::new("/etc/init.d/docker").exists();
    let system = ["/var/run/docker.sock", "/run/docker.sock"].contains(&socket);
    match &host.init {
        Init::Systemd if system => has_unit(&[
            "/etc/systemd/system",
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
        ])
        .then_some(("systemctl", "docker")),
        Init::Systemd if socket.starts_with("/run/user/") => Some(("systemctl --user", "docker")),
        Init::OpenRc if system && script => Some(("rc-service docker", "")),
        Init::Other(_) if system && script => Some(("service docker", "")),
        _ => None,
    }
}

impl Facts {
    /// The command that does this with the engine.
    fn service(&self, verb: &str) -> Option<String> {
        let (before, after) = self.service?;
        Some(format!("{before} {verb} {after}").trim_end().to_owned())
    }

    fn unreached(
        &self,
        endpoint: &str,
        cause: Option<&io::Error>,
        said: &str,
        mended: impl Fn(Finding, &str) -> Finding,
    ) -> Finding {
        let endpoint = plain(endpoint);
        match cause {
            Some(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::warning(
                ENGINE,
                format!("this user may not ask Docker's engine, so it isn't looked at: {endpoint}"),
            )
            .seen_in(format!("connect: {error}"))
            .mend_if(self.as_root.clone()),
            Some(error) => {
                let what = format!("Docker is installed, and its engine doesn't run: {endpoint}");
                let finding = Finding::warning(ENGINE, what).seen_in(format!("connect: {error}"));
                mended(finding, "start")
            }
            None => {
                let what = format!("Docker's engine isn't reached: {endpoint}");
                Finding::warning(ENGINE, what).seen_in(format!("docker info: {}", plain(said)))
            }
        }
    }
}

fn judge(facts: &Facts, running: &[String]) -> Vec<Finding> {
    let mended = |finding: Finding, verb: &str| finding.mend_if(facts.service(verb));
    let (info, builder) = match &facts.heard {
        Heard::NoClient => return vec![Finding::ok(ENGINE, "there is no Docker here")],
        Heard::Nothing(why) => {
            let what = format!("nothing can be heard of Docker: {}", plain(why));
            let finding = Finding::warning(ENGINE, what).seen_in("docker info");
            return vec![mended(finding, "restart")];
        }
        Heard::NoEngine {
            endpoint,
            cause,
            said,
        } => return vec![facts.unreached(endpoint, cause.as_ref(), said, mended)],
        Heard::Engine(info, _) if info.podman => {
            let what = "docker is Podman here, which uses the kernel's rules as they are";
            return vec![Finding::ok(ENGINE, what).seen_in("docker info")];
        }
        Heard::Engine(info, builder) => (info, builder),
    };
    let version = plain(info.version.as_deref().unwrap_or_default());
    let kernel = info.kernel.as_deref().unwrap_or(&facts.kernel);
    if kernel != facts.kernel {
        let what = format!(
            "Docker Engine {version} runs on another kernel, {}: what runs here doesn't matter to it",
            plain(kernel)
        );
        return vec![Finding::ok(ENGINE, what).seen_in("docker info")];
    }
    let answers = format!("Docker Engine {version} answers");
    let mut findings = vec![
        Finding::ok(ENGINE, answers).seen_in("docker info"),
        image_store(info, builder.as_ref().ok()),
    ];
    match builder {
        Ok(builder) => findings.extend(builder::judge(
            builder,
            running,
            facts.service("restart").as_deref(),
        )),
        Err(why) if info.buildx => {
            let what = format!(
                "the builder can't be asked for its platforms: {}",
                plain(why)
            );
            findings.push(Finding::warning(BUILDER, what).seen_in("docker buildx inspect"));
        }
        Err(why) => {
            let what = format!("{why}, so no builder's list can be wrong");
            findings.push(Finding::ok(BUILDER, what).seen_in("docker info"));
        }
    }
    findings
}

fn image_store(info: &Info, builder: Option<&Builder>) -> Finding {
    let driver = plain(info.driver.as_deref().unwrap_or("its driver"));
    if info.containerd_store {
        let what = "Docker keeps images of several platforms (containerd's image store)";
        return Finding::ok(STORE, what).seen_in("docker info");
    }
    let classic = format!("Docker's classic image store ({driver}) keeps one platform an image");
    match builder {
        Some(builder) if builder.has_own_store() => {
            let name = plain(&builder.name);
            let what = format!("{classic}; builder {name} makes and pushes those of several");
            Finding::ok(STORE, what).seen_in("docker info")
        }
        Some(_) => {
            let what = format!(
                "{classic}, so `docker build --platform` takes one at a time; a builder of its own makes and pushes several at once"
            );
            let finding = Finding::warning(STORE, what);
            finding
                .seen_in("docker info: DriverStatus has no io.containerd.snapshotter.v1")
                .mend("docker buildx create --use")
        }
        None => {
            let what = format!("{classic}, so `docker build --platform` takes one at a time");
            let finding = Finding::warning(STORE, what);
            finding.seen_in("docker info: DriverStatus has no io.containerd.snapshotter.v1")
        }
    }
}

#[cfg(test)]
mod tests;
