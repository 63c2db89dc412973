//! Whom HTTPS trusts: the host's certificate authorities, and Mozilla's where
//! a host has none (an empty container).
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the host's; when they name
//! nothing usable that is an error, never a fallback to something wider.

use std::env;
use std::ffi::OsStr;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::error::{Error, Result, Status};

/// The authorities to trust.
pub fn roots() -> Result<RootCertStore> {
    if let Some(file) = env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()) {
        let found = load_certs_from_paths(Some(Path::new(&file)), None);
        if found.certs.is_empty() {
            return Err(unusable("SSL_CERT_FILE", &file, found));
        }
    }
    let mut found = load_native_certs();
    let mut roots = RootCertStore::empty();
    // Hosts carry certificates that no TLS library reads any more; the rest counts.
    let (usable, _) = roots.add_parsable_certificates(mem::take(&mut found.certs));
    if usable > 0 {
        return Ok(roots);
    }
    if let Some(dirs) = env::var_os("SSL_CERT_DIR").filter(|dirs| !dirs.is_empty()) {
        return Err(unusable("SSL_CERT_DIR", &dirs, found));
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok(roots)
}

fn unusable(variable: &str, value: &OsStr, found: CertificateResult) -> Error {
    let what = format!(
        "{variable} names {}, where no usable certificate is",
        value.to_string_lossy()
    );
    let error = Error::new(Status::Unreachable, what);
    match found.errors.into_iter().next() {
        Some(cause) => error.because(cause),
        None => error,
    }
}

/// A client's TLS configuration that trusts these authorities.
pub fn config(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new(Status::Unreachable, "cannot set up TLS").because(cause))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
