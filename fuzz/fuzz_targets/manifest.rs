#![no_main]
//! A manifest.

use binfmtctl::emulator::manifest::Manifest;
use binfmtctl_fuzz::{memory, text};
use libfuzzer_sys::fuzz_target;

const DIGEST: &str = "\"ca6ede739327a20ae5a3498230c8a3a9a072c586e131bc6bcc1201eb1725e336\"";

fuzz_target!(|bytes: &[u8]| {
    // Nothing is learnt from the digits of digests.
    let text = text(bytes).replace('@', DIGEST);
    let parse = || Manifest::parse(&text);
    let manifest = match memory::within(64 * 1024 + 1024 * text.len(), parse) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!((1..=1 + text.matches('\n').count()).contains(&error.line));
            return;
        }
    };
    for release in &manifest.releases {
        let mut end = 0;
        for block in &release.blocks {
            assert!(block.offset >= end);
            end = block.offset + block.length;
        }
        assert!(end <= release.size);
        let stream = release.block_start(release.blocks.len());
        let mut end = 0;
        for emulator in &release.emulators {
            assert!(emulator.offset >= end);
            end = emulator.offset + emulator.size;
            let blocks = release.blocks_of(emulator);
            assert!(release.block_start(blocks.start) <= emulator.offset);
            assert!(release.block_start(blocks.end) >= end);
            assert!(emulator.platform().is_some());
        }
        assert!(end <= stream);
        assert!(!release.file.contains('/') && !release.qemu.contains('/'));
        let path = release.path.as_deref().unwrap_or_default();
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
    }
    assert!(
        manifest
            .releases
            .iter()
            .any(|release| release.qemu == manifest.default)
    );
    assert_eq!(Manifest::parse(&manifest.to_toml()), Ok(manifest));
});
