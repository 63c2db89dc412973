//! Named instants at which a run may end for good: `kill -9`, or the power.
//!
//! A step that changes something says where it is, and the tests end the run
//! there, at each point in turn. Only a program that was built for tests listens,
//! to two variables: BINFMTCTL_CRASH_AT=POINT:N:kill (or stop) at the N-th time
//! that the point is reached, or several such with commas between, and
//! BINFMTCTL_CRASH_LOG=FILE, which gets a line for each. In what is shipped there
//! is nothing of it.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident,)*) => {
        /// Where a run is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),*];
        }
    };
}

points! {
    /// It knows what it is going to do, and holds no lock yet.
    Planned,
    /// It has the store's lock.
    StoreLocked,
    /// A directory is there, with the mode that the umask left it.
    DirectoryMade,
    /// A file without a name is there, and empty.
    Staged,
    /// All its bytes are written.
    Written,
    /// They would outlast a power cut.
    Synced,
    /// It has its name.
    Named,
    /// A file is gone, but may come back.
    Removed,
    /// A link is there.
    Linked,
    /// All emulators are there.
    Fetched,
    /// They have their labels.
    Labelled,
    /// The instance is there.
    Mounted,
    /// It has the right to change rules.
    RulesLocked,
    /// An emulator has run a program by hand.
    TriedOut,
    /// The new rule is there under another name, beside the old one.
    RegisteredBeside,
    /// And has run a program.
    ProvedBeside,
    /// An old rule is gone.
    OldRemoved,
    /// The rule is there under its own name.
    Registered,
    /// And has run a program.
    Proved,
    /// The rule under the other name is gone.
    Switched,
    /// What killed runs left beside the conf file is gone.
    ConfCleared,
    /// The conf file says what is wanted.
    ConfWritten,
    /// The links that start the service are there.
    ServiceLinked,
    /// The service is there.
    ServiceWritten,
    /// The service is gone, its links aren't.
    ServiceRemoved,
    /// A rule of ours is gone.
    RuleRemoved,
    /// Other runs may change rules again.
    RulesUnlocked,
    /// Emulators that nothing names any more are gone.
    EmulatorsSwept,
    /// And their directories.
    DirectoriesSwept,
    /// The lock of a store that is empty is gone.
    LockRemoved,
    /// All is done.
    Done,
}

/// Says that this run is at a point.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn at(_: Point) {}

#[cfg(debug_assertions)]
pub use listening::at;

#[cfg(debug_assertions)]
mod listening {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;

    use super::Point;

    /// What becomes of a run at the n-th time that it reaches a point.
    #[derive(Debug, PartialEq, Eq)]
    struct End {
        point: String,
        time: usize,
        signal: Signal,
    }

    impl End {
        fn parse(text: &str) -> Option<Self> {
            let mut words = text.split(':');
            let (point, time) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
            let signal = match words.next()? {
                "kill" => Signal::SIGKILL,
                "stop" => Signal::SIGSTOP,
                _ => return None,
            };
            Some(Self {
                point,
                time,
                signal,
            })
        }
    }

    /// Says that this run is at a point.
    pub fn at(point: Point) {
        static ENDS: OnceLock<Vec<End>> = OnceLock::new();
        static TIMES: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
        let ends = ENDS.get_or_init(|| {
            let text = std::env::var("BINFMTCTL_CRASH_AT").unwrap_or_default();
            text.split(',').filter_map(End::parse).collect()
        });
        let name = format!("{point:?}");
        // Held until the end: what other threads reach meanwhile comes later.
        let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        if let Some(log) = std::env::var_os("BINFMTCTL_CRASH_LOG") {
            let file = File::options().create(true).append(true).open(log);
            // A log that can't be written is missed by who reads it.
            let _ = file.and_then(|mut file| writeln!(file, "{name}:{time}"));
        }
        let mut ends = ends.iter();
        if let Some(end) = ends.find(|end| (&end.point, end.time) == (&name, *time)) {
            // Nobody can refuse this process that.
            let _ = kill(getpid(), end.signal);
        }
    }

    #[test]
    fn an_end_has_a_point_a_time_and_a_signal() {
        let end = End::parse("Named:2:kill");
        let (point, signal) = ("Named".to_owned(), Signal::SIGKILL);
        let time = 2;
        assert_eq!(
            end,
            Some(End {
                point,
                time,
                signal
            })
        );
        for wrong in ["", "Named", "Named:kill", "Named:x:kill", "Named:1:sleep"] {
            assert_eq!(End::parse(wrong), None, "{wrong}");
        }
    }
}
