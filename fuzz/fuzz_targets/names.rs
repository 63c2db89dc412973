#![no_main]
//! The names of platforms that people type.

use binfmtctl::platform::{Request, parse, parse_exact};
use binfmtctl_fuzz::{memory, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = text(bytes);
    let words: Vec<&str> = text.split('\0').collect();
    memory::within(16 * 1024 + 64 * bytes.len(), || {
        match parse(&words) {
            Ok(request) => {
                let platforms = request.platforms();
                assert!(!platforms.is_empty());
                let names: Vec<&str> = platforms.iter().map(|platform| platform.name).collect();
                let again = parse(&names).map(|request| request.platforms());
                assert_eq!(again.as_ref(), Ok(&platforms));
                if let Request::Named(named) = &request {
                    assert_eq!(*named, platforms, "each once, in the table's order");
                }
            }
            Err(unknown) => {
                let lower = text.to_lowercase();
                assert!(lower.contains(&unknown.name));
                let known = unknown.suggestion.is_none_or(|name| parse(&[name]).is_ok());
                assert!(known, "{unknown}");
                return;
            }
        }
        if let Ok(exact) = parse_exact(&words) {
            let names: Vec<&str> = exact.iter().map(|exact| exact.name()).collect();
            assert_eq!(parse_exact(&names), Ok(exact));
        }
    });
});
