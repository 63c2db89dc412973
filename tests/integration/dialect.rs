//! The other command lines: each row of these tables is a host as somebody
//! left it, a line that people type, and everything that has to come of it.

mod containers;
mod multiarch;
mod old_installers;
mod scene;
mod tonistiigi;
mod uninstall;
