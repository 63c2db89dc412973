//! What a builder of Docker's lists as its platforms, against what runs.
//!
//! Engines try platforms themselves, but never take one off their list.

use std::collections::BTreeSet;

use crate::commands::doctor::words::plain;
use crate::platform::PLATFORMS;
use crate::report::Finding;

const ID: &str = "builder";

/// What every BuildKit since 0.8 lists where it runs: it doesn't know all
/// names, and lists none that it takes another for.
const ALWAYS_LISTED: [&str; 5] = [
    "linux/amd64",
    "linux/arm64",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
];

/// What `docker buildx inspect` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// What runs it: `docker`, `docker-container`, ...
    pub driver: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// A node of a builder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Where its engine is: a context's name, or a URL.
    pub endpoint: String,
    /// `running`, `inactive`, ...
    pub status: String,
    /// What it says it builds for.
    pub platforms: Vec<String>,
}

impl Builder {
    /// Reads the output of `docker buildx inspect`.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, nodes) = text.split_once("\nNodes:")?;
        let head: Vec<(&str, &str)> = fields(head).collect();
        let value = |key: &str| head.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let mut builder = Self {
            name: value("Name").filter(|name| !name.is_empty())?.to_owned(),
            driver: value("Driver")?.to_owned(),
            nodes: Vec::new(),
        };
        for (key, value) in fields(nodes) {
            if key == "Name" {
                builder.nodes.push(Node::default());
            }
            let Some(node) = builder.nodes.last_mut() else {
                continue;
            };
            match key {
                "Endpoint" => node.endpoint = value.to_owned(),
                "Status" => node.status = value.to_owned(),
                "Platforms" => node.platforms = platforms(value),
                _ => {}
            }
        }
        Some(builder)
    }

    /// Whether it keeps images of several platforms, on its own.
    pub fn has_own_store(&self) -> bool {
        self.driver != "docker"
    }

    /// Whether its nodes use this host's kernel.
    fn is_here(&self) -> bool {
        let is_far = |node: &Node| {
            ["ssh://", "tcp://", "http"]
                .iter()
                .any(|far| node.endpoint.starts_with(far))
        };
        ["docker", "docker-container"].contains(&self.driver.as_str())
            && !self.nodes.iter().any(is_far)
    }
}

/// Lines of the form `Key: value`; what is indented are details of the line above.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
}

/// The names in a list; a star marks those that the user has set.
fn platforms(list: &str) -> Vec<String> {
    list.split(',')
        .map(|name| name.trim().trim_end_matches('*').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Holds a builder's list against what runs. `restart` is the command that
/// makes the engine look anew.
pub fn judge(builder: &Builder, running: &[String], restart: Option<&str>) -> Vec<Finding> {
    let name = plain(&builder.name);
    if !builder.is_here() {
        let driver = plain(&builder.driver);
        return vec![Finding::ok(
            ID,
            format!(
                "builder {name} ({driver}) works elsewhere; what runs here doesn't matter to it"
            ),
        )];
    }
    let listed: BTreeSet<&str> = builder
        .nodes
        .iter()
        .flat_map(|node| node.platforms.iter().map(String::as_str))
        .collect();
    if listed.is_empty() {
        let status = builder.nodes.first().map_or("empty", |node| &node.status);
        return vec![Finding::ok(
            ID,
            format!(
                "builder {name} is {}: it lists no platforms yet, and will look for them when it starts",
                plain(status)
            ),
        )];
    }
    let runs = |platform: &str| running.iter().any(|name| name == platform);
    let dead: Vec<&str> = known_names()
        .filter(|platform| listed.contains(platform) && !runs(platform))
        .collect();
    let unlisted: Vec<&str> = ALWAYS_LISTED
        .into_iter()
        .filter(|platform| runs(platform) && !listed.contains(platform))
        .collect();
    let own_restart = format!("docker buildx stop {}", builder.name);
    let (restart, until) = match builder.driver.as_str() {
        "docker" => (restart, "until Docker restarts (which stops containers)"),
        _ if is_word(&builder.name) => (Some(own_restart.as_str()), "until it is stopped"),
        _ => (None, "until it is stopped"),
    };
    let seen = "docker buildx inspect";
    let mended = |finding: Finding| finding.seen_in(seen).mend_if(restart);
    let mut findings = Vec::new();
    if !dead.is_empty() {
        findings.push(mended(Finding::warning(
            ID,
            format!(
                "builder {name} still lists {}, which don't run: builds for them end in \"exec format error\", and it forgets nothing {until}",
                dead.join(", ")
            ),
        )));
    }
    if !unlisted.is_empty() {
        findings.push(mended(Finding::warning(
            ID,
            format!(
                "builder {name} doesn't list {}, which run: the list was set by hand, or it can't try them",
                unlisted.join(", ")
            ),
        )));
    }
    if findings.is_empty() {
        findings.push(
            Finding::ok(
                ID,
                format!("builder {name} lists what runs, and nothing else"),
            )
            .seen_in(seen),
        );
    }
    findings
}

/// Engines' platforms, and arm's versions. The levels of amd64 are measured
/// by engines in ways of their own.
fn known_names() -> impl Iterator<Item = &'static str> {
    let platforms = PLATFORMS.iter().filter(|platform| platform.engine);
    platforms.flat_map(|platform| {
        let variants = platform
            .variants
            .iter()
            .filter(|_| platform.emulator == "arm");
        std::iter::once(platform.name).chain(variants.map(|variant| variant.name))
    })
}

fn is_word(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;
    use proptest::prelude::*;

    const TEXT: &str = "Name:   default\nDriver: docker\n\nNodes:\nName:      default\nEndpoint:  default\nStatus:    running\nBuildkit:  v0.11.7\nPlatforms: linux/amd64, linux/amd64/v2, linux/386, linux/arm64*\nLabels:\n org.mobyproject.buildkit.worker.moby.host-gateway-ip: 172.17.0.1\nGC Policy rule#0:\n Filters:       type==source.local\n";

    fn judged(text: &str, running: &[&str]) -> Vec<(Level, Option<String>)> {
        let running: Vec<String> = running.iter().map(|name| (*name).to_owned()).collect();
        let builder = Builder::parse(text).unwrap();
        judge(&builder, &running, Some("restart it"))
            .into_iter()
            .map(|finding| (finding.level, finding.remedy))
            .collect()
    }

    #[test]
    fn what_inspect_shows_is_read() {
        let builder = Builder::parse(TEXT).unwrap();
        assert_eq!(
            (builder.name.as_str(), builder.driver.as_str()),
            ("default", "docker")
        );
        assert_eq!(builder.nodes.len(), 1);
        assert_eq!(builder.nodes[0].status, "running");
        assert_eq!(
            builder.nodes[0].platforms,
            ["linux/amd64", "linux/amd64/v2", "linux/386", "linux/arm64"]
        );
        assert_eq!(Builder::parse("ERROR: no builder \"x\" found\n"), None);
    }

    const ALL: [&str; 4] = ["linux/amd64", "linux/386", "linux/arm64", "linux/arm/v7"];

    #[test]
    fn a_list_of_what_runs_is_fine() {
        let all = TEXT.replace("arm64*", "arm64, linux/arm/v7, linux/arm/v6, wasi/wasm");
        let running = [&ALL[..], &["linux/arm/v6", "linux/loong64", "alpha"]].concat();
        assert_eq!(judged(&all, &running), [(Level::Ok, None)]);
    }

    #[test]
    fn what_it_lists_and_doesnt_run_takes_a_restart() {
        let restart = Some("restart it".to_owned());
        assert_eq!(judged(TEXT, &ALL[..2]), [(Level::Warning, restart)]);
        let container = TEXT.replace("Driver: docker", "Driver: docker-container");
        let stop = Some("docker buildx stop default".to_owned());
        assert_eq!(judged(&container, &ALL[..2]), [(Level::Warning, stop)]);
        let hostile = container.replace("Name:   default", "Name: a; rm");
        assert_eq!(judged(&hostile, &ALL[..2]), [(Level::Warning, None)]);
    }

    #[test]
    fn what_runs_and_isnt_listed_is_told() {
        let running = [&ALL[..], &["linux/s390x"]].concat();
        let text = TEXT.replace("arm64*", "arm64, linux/arm/v7");
        let findings = judged(&text, &running);
        assert_eq!(findings, [(Level::Warning, Some("restart it".to_owned()))]);
    }

    #[test]
    fn builders_that_arent_here_or_dont_run_are_let_be() {
        let far = TEXT.replace("Endpoint:  default", "Endpoint:  ssh://me@far");
        let cloud = TEXT.replace("Driver: docker", "Driver: kubernetes");
        let asleep = "Name: b\nDriver: docker-container\n\nNodes:\nName: b0\nStatus: inactive\n";
        for text in [&far, &cloud, asleep] {
            assert_eq!(judged(text, &[]), [(Level::Ok, None)], "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "((Name|Driver|Nodes|Endpoint|Status|Platforms| x): ?.*\n|.*\n){0,9}",
            running: Vec<String>,
        ) {
            if let Some(builder) = Builder::parse(&text) {
                for finding in judge(&builder, &running, None) {
                    prop_assert!(!finding.what.contains(char::is_control));
                    prop_assert!(finding.remedy.is_none_or(|r| !r.contains([';', '\n', '$', '`'])));
                }
            }
        }

        #[test]
        fn a_list_is_read_back(names in proptest::collection::vec("linux/[a-z0-9/]{1,9}", 0..9)) {
            prop_assert_eq!(platforms(&names.join("*, ")), names);
        }
    }
}
