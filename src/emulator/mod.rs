//! Getting the right bytes onto the disk: what they are (`manifest`, made by
//! `lock`), where they come from (`source`), how they get there (`decode`,
//! `store`, and `obtain`, which is the whole way), or that they are there
//! already (`directory`), and that containers may execute them (`label`). What
//! comes from outside is handled by a process without rights (`errand`).
//! Nothing here touches the kernel's rules.

pub mod decode;
pub mod directory;
pub mod elf;
pub mod errand;
pub mod label;
pub mod lock;
pub mod manifest;
pub mod obtain;
pub mod source;
pub mod store;
