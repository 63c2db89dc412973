//! The matrix of lies: every situation that a host can get into and that can
//! be made here, what status has to say of it, and what really happens.
//!
//! Each row is a sentence, how it comes about, and the truth. The test asks
//! status and check, and then runs real programs as a container runs them. All
//! rows are tried; what is wrong with them is told together.
//!
//! `BINFMTCTL_ROWS=words` tries the rows whose sentence has these words.

mod emulators;
mod instance;
mod neighbours;
mod patterns;
mod reality;
mod rules;
mod scene;
mod surroundings;
mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use crate::world::{World, host};
use reality::Reality;
use scene::Scene;

/// One situation.
struct Row {
    /// It, in a sentence.
    what: &'static str,
    /// What is asked for.
    platform: &'static str,
    /// How a host gets there, from an empty instance.
    arrange: fn(&mut Scene),
    /// What is the case then.
    truth: Truth,
    /// The only host on which it can be arranged.
    only_on: Option<&'static str>,
}

fn row(what: &'static str, platform: &'static str, arrange: fn(&mut Scene), truth: Truth) -> Row {
    Row {
        what,
        platform,
        arrange,
        truth,
        only_on: None,
    }
}

impl Row {
    fn on(mut self, host: &'static str) -> Self {
        self.only_on = Some(host);
        self
    }
}

/// What status has to say: keys of its document and their values.
struct Truth {
    keys: Vec<(&'static str, Value)>,
    /// A finding of doctor's and its level.
    finding: Option<(&'static str, &'static str)>,
    /// What can't be found out by whoever asks; only status is held to it.
    unknowable: bool,
}

fn native() -> Truth {
    runs("native").with("cause", Value::Null)
}

fn emulated() -> Truth {
    runs("emulated").with("cause", Value::Null)
}

fn no(cause: &str) -> Truth {
    runs("no").with("cause", cause)
}

fn unknowable() -> Truth {
    Truth {
        unknowable: true,
        ..no("not-permitted")
    }
}

fn runs(how: &str) -> Truth {
    let truth = Truth {
        keys: Vec::new(),
        finding: None,
        unknowable: false,
    };
    truth.with("runs", how)
}

impl Truth {
    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.keys.push((key, value.into()));
        self
    }

    fn by(self, handler: &str) -> Self {
        self.with("handler", handler)
    }

    fn owner(self, owner: &str) -> Self {
        self.with("owner", owner)
    }

    fn pinned(self, pinned: &str) -> Self {
        self.with("pinned", pinned)
    }

    fn finding(mut self, id: &'static str, level: &'static str) -> Self {
        self.finding = Some((id, level));
        self
    }

    fn says_it_runs(&self) -> bool {
        self.keys[0].1 != "no"
    }
}

/// What was seen of one row.
struct Seen {
    status: Value,
    check: i32,
    findings: Value,
    reality: Reality,
}

/// Arranges a row, and looks at it; nothing where there are no worlds.
fn look(row: &Row) -> Option<Seen> {
    let mut scene = Scene::new(World::new()?.alone());
    (row.arrange)(&mut scene);
    let findings = match row.truth.finding {
        Some(_) => scene.ask(&["doctor", "--json"]).json()["findings"].clone(),
        None => Value::Null,
    };
    Some(Seen {
        status: scene.ask(&["status", row.platform, "--json"]).json()["platforms"][0].clone(),
        check: scene.ask(&["check", row.platform]).status,
        findings,
        reality: Reality::of(&scene, row.platform),
    })
}

/// What is wrong with what was seen.
fn faults(row: &Row, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, wanted) in &row.truth.keys {
        if seen.status[key] != *wanted {
            faults.push(format!("{key} is {}, not {wanted}", seen.status[key]));
        }
    }
    let says = seen.status["runs"] != "no";
    let check = match (says, seen.status["cause"] == "not-permitted") {
        (true, _) => 0,
        (false, true) => 4,
        (false, false) => 3,
    };
    if seen.check != check {
        faults.push(format!("check ends with {}, not {check}", seen.check));
    }
    if let Some((id, level)) = row.truth.finding {
        let all = seen.findings.as_array().cloned().unwrap_or_default();
        if !all.iter().any(|f| f["id"] == id && f["level"] == level) {
            faults.push(format!("doctor has no {level} {id}: {:#}", seen.findings));
        }
    }
    if !row.truth.unknowable {
        if seen.reality.works() != says {
            faults.push("STATUS LIES".to_owned());
        }
        if seen.reality.works() != row.truth.says_it_runs() {
            faults.push("the row lies".to_owned());
        }
    }
    faults
}

/// Tries a row; why it failed, if it did.
fn failure(row: &Row) -> Option<String> {
    let Row { what, platform, .. } = row;
    let started = std::time::Instant::now();
    let seen = match catch_unwind(AssertUnwindSafe(|| look(row))) {
        Ok(seen) => seen?,
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.unwrap_or_else(|| "it can't be arranged".to_owned());
            return Some(format!("{platform}: {what}\n  {why}"));
        }
    };
    let took = started.elapsed().as_millis();
    let [runs, cause, handler, owner] =
        ["runs", "cause", "handler", "owner"].map(|key| seen.status[key].to_string());
    let reality = &seen.reality;
    eprintln!("{took} ms {platform} | {what} | {runs} {cause} {handler} {owner} | {reality}");
    let faults = faults(row, &seen);
    (!faults.is_empty()).then(|| {
        format!(
            "{platform}: {what}\n  {}\nstatus: {:#}\nreally: {reality}",
            faults.join("\n  "),
            seen.status,
        )
    })
}

#[test]
fn status_says_what_really_happens() {
    if World::new().is_none() {
        return;
    }
    let words = std::env::var("BINFMTCTL_ROWS").unwrap_or_default();
    let rows = [
        // Some of these take long: they come first.
        emulators::rows(),
        surroundings::rows(),
        instance::rows(),
        rules::rows(),
        patterns::rows(),
        neighbours::rows(),
        // Without root, which has said so already, there are no users.
        World::with_users().map_or_else(Vec::new, |_| users::rows()),
    ];
    let is_here = |row: &Row| row.only_on.is_none_or(|name| name == host().name);
    let rows: Vec<Row> = rows
        .into_iter()
        .flatten()
        .filter(|row| is_here(row) && row.what.contains(&words))
        .collect();
    let queue = Mutex::new(rows.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) + 1 {
            scope.spawn(|| {
                while let Some(row) = { queue.lock().unwrap().next() } {
                    let failure = failure(row);
                    failures.lock().unwrap().extend(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n\n")
    );
}
