//! A line of `doctor`'s checklist, as data.

use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// It works, but not as people expect, or not for long.
    Warning,
    /// It doesn't work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a word for scripts, always the same.
    pub id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What is the case, with the object's name.
    pub what: String,
    /// Where that can be seen.
    pub evidence: Option<String>,
    /// The one command that mends it.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Level::Ok, what)
    }

    /// It works, but not as people expect, or not for long.
    pub fn warning(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Level::Warning, what)
    }

    /// It doesn't work.
    pub fn problem(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Level::Problem, what)
    }

    /// A finding of this level, without evidence or remedy.
    pub fn new(id: &'static str, level: Level, what: impl Into<String>) -> Self {
        Self {
            id,
            level,
            what: what.into(),
            evidence: None,
            remedy: None,
        }
    }

    /// Adds where it can be seen.
    pub fn seen_in(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }

    /// Adds the one command that mends it.
    pub fn mend(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }

    /// Adds the one command that mends it, where there is one.
    pub fn mend_if(mut self, command: Option<impl Into<String>>) -> Self {
        self.remedy = command.map(Into::into);
        self
    }

    /// What is as it should be needs neither proof nor mending.
    pub fn settled(self) -> Self {
        match self.level {
            Level::Ok => Self::ok(self.id, self.what),
            Level::Warning | Level::Problem => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_should_be_needs_neither_proof_nor_mending() {
        let finding = |level| Finding::new("x", level, "y").seen_in("z").mend("true");
        let settled = finding(Level::Ok).settled();
        assert_eq!((settled.evidence, settled.remedy), (None, None));
        for level in [Level::Warning, Level::Problem] {
            assert_eq!(finding(level).settled(), finding(level));
        }
    }
}
