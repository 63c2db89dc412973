//! The kernel's binfmt_misc: rules, entries, instances, the guard, and the
//! file that says what should be registered. Nothing here touches the network.

pub mod boot;
pub mod conf;
pub mod entry;
pub mod guard;
pub mod instance;
pub mod lifetime;
pub mod mount;
pub mod rule;
pub mod switch;

pub use entry::Entry;
pub use guard::Guard;
pub use instance::Instance;
pub use lifetime::Lifetime;
pub use rule::{Flags, Pattern, Rule};
