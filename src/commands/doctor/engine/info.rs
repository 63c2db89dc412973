//! What `docker info` says of an engine, as far as it matters here.

use serde_json::Value;

/// What an engine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The engine's version; `None`: it wasn't reached.
    pub version: Option<String>,
    /// Why it wasn't reached, in the client's words.
    pub errors: Vec<String>,
    /// `uname -r` of the engine's kernel.
    pub kernel: Option<String>,
    /// Whether images are kept by containerd, several platforms under a name.
    pub containerd_store: bool,
    /// The name of the storage driver.
    pub driver: Option<String>,
    /// Whether the client has the plugin `buildx`.
    pub buildx: bool,
    /// Whether this is Podman under Docker's name.
    pub podman: bool,
}

impl Info {
    /// Reads the output of `docker info --format '{{json .}}'`.
    pub fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text.trim()).ok()?;
        json.as_object()?;
        let string = |key: &str| {
            let text = json.get(key)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let is_containerd = |pair: &Value| {
            pair.get(0).is_some_and(|key| key == "driver-type")
                && pair
                    .get(1)
                    .and_then(Value::as_str)
                    .is_some_and(|kind| kind.starts_with("io.containerd.snapshotter"))
        };
        let is_buildx = |plugin: &Value| {
            plugin["Name"] == "buildx" && plugin.get("Err").is_none_or(Value::is_null)
        };
        Some(Self {
            version: string("ServerVersion"),
            errors: items(&json["ServerErrors"])
                .iter()
                .filter_map(|error| error.as_str().map(str::to_owned))
                .collect(),
            kernel: string("KernelVersion"),
            containerd_store: items(&json["DriverStatus"]).iter().any(is_containerd),
            driver: string("Driver"),
            buildx: items(&json["ClientInfo"]["Plugins"]).iter().any(is_buildx),
            podman: json["host"].is_object() && json["version"].is_object(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_engines_say_is_read() {
        let classic = r#"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]],"ServerVersion":"20.10.24","KernelVersion":"6.1.0","ClientInfo":{"Plugins":[{"Name":"buildx","Version":"0.13"}]}}"#;
        let info = Info::parse(classic).unwrap();
        assert_eq!(info.version.as_deref(), Some("20.10.24"));
        assert_eq!(info.kernel.as_deref(), Some("6.1.0"));
        assert!(info.buildx && !info.containerd_store && !info.podman);
        let containerd = classic.replace(
            r#"["Backing Filesystem","extfs"]"#,
            r#"["driver-type","io.containerd.snapshotter.v1"]"#,
        );
        assert!(Info::parse(&containerd).unwrap().containerd_store);
        let broken = classic.replace(r#""Version":"0.13""#, r#""Err":"bad""#);
        assert!(!Info::parse(&broken).unwrap().buildx);
    }

    #[test]
    fn an_engine_that_isnt_reached_has_no_version() {
        let text = r#"{"ServerErrors":["Cannot connect"],"ClientInfo":{"Plugins":null}}"#;
        let info = Info::parse(text).unwrap();
        assert_eq!(
            (info.version, info.errors),
            (None, vec!["Cannot connect".to_owned()])
        );
    }

    #[test]
    fn podman_is_known() {
        assert!(
            Info::parse(r#"{"host":{},"store":{},"version":{}}"#)
                .unwrap()
                .podman
        );
    }

    #[test]
    fn what_isnt_an_object_is_nothing() {
        for text in ["", "[]", "null", "Server: x", "{"] {
            assert_eq!(Info::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text: String,
            value in "(\\[\\]|\\{\\}|null|1|\"x\"|\\[\\[1\\],2,\\{\\}\\])",
        ) {
            Info::parse(&text);
            for key in ["ServerVersion", "DriverStatus", "ServerErrors", "ClientInfo", "host"] {
                let text = format!("{{\"{key}\":{value},\"ClientInfo\":{{\"Plugins\":{value}}}}}");
                prop_assert!(Info::parse(&text).is_some());
            }
        }
    }
}
