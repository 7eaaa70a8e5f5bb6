//! TLS of a client's configuration: whom it trusts, who it is. The rest has keys only: tls_server_name, tls_alpn, tls_min,
//! crl_file, tls_clock_floor (seconds since 1970, before which the clock is not believed to be: for boards that boot without knowing the time; how a
//! client without one finds in is said at NLMQTT_TLS_NOT_YET_VALID). INVALID_ARGUMENT: `config` is NULL. UNSUPPORTED: this build has no TLS.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::client_config::nlmqtt_client_config;
use super::{Failure, NLMQTT_UNSUPPORTED, Outcome, UserData, bytes, fence, nlmqtt_free_fn, nlmqtt_status, reference_mut, string};
use crate::config::ClientConfig;
use crate::stack::Sign;

/// The most bytes a signature may have.
pub const NLMQTT_SIGNATURE_BYTES_MAX: usize = 1024;

/// Asked to sign `message` (not its hash) with the private key of a certificate, by a signature scheme of TLS (RFC 8446 section
/// 4.2.3, such as 0x0403 for ECDSA on P-256 with SHA-256, 0x0804 for RSA-PSS with SHA-256). Writes at most NLMQTT_SIGNATURE_BYTES_MAX
/// bytes into `signature`, says how many in `*signature_len`, and returns true; ECDSA signatures are in DER. False: it cannot, and the
/// connection fails with TLS. `message` is borrowed until it returns. Called on the library's thread of the client during each full handshake,
/// of several clients at the same time if they share a configuration: what it waits for delays that thread's connections.
pub type nlmqtt_sign_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, scheme: u16, message: *const u8, message_len: usize, signature: *mut u8, signature_len: *mut usize) -> bool,
>;

fn change(config: *mut nlmqtt_client_config, act: impl FnOnce(&mut ClientConfig) -> Outcome<()>) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if !cfg!(feature = "tls") {
            return Err(Failure::new(NLMQTT_UNSUPPORTED, "this build has no TLS"));
        }
        let mut next = config.0.clone();
        act(&mut next)?;
        config.0 = next;
        Ok(())
    })
}

/// Key ca_file: a file of authorities (PEM) that may sign the server's certificate. Without one, and without ca_pem, those of the
/// system are trusted. Read by nlmqtt_client_new. The path is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_ca_file(config: *mut nlmqtt_client_config, path: *const c_char) -> nlmqtt_status {
    change(config, |config| Ok(config.set("ca_file", unsafe { string(path, "path") }?)?))
}

/// Key ca_pem: authorities as text (PEM); with ca_file both are trusted. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_ca_pem(config: *mut nlmqtt_client_config, pem: *const c_char) -> nlmqtt_status {
    change(config, |config| Ok(config.set("ca_pem", unsafe { string(pem, "pem") }?)?))
}

/// Keys cert_file and key_file: the client's certificate, those behind it, and its private key, not encrypted (PEM). Read by
/// nlmqtt_client_new. The paths are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_certificate_files(
    config: *mut nlmqtt_client_config,
    cert_file: *const c_char,
    key_file: *const c_char,
) -> nlmqtt_status {
    change(config, |config| {
        config.set("cert_file", unsafe { string(cert_file, "cert_file") }?)?;
        Ok(config.set("key_file", unsafe { string(key_file, "key_file") }?)?)
    })
}

/// Keys cert_pem and key_pem: as nlmqtt_client_config_set_certificate_files, with the texts themselves. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_certificate_pem(
    config: *mut nlmqtt_client_config,
    cert_pem: *const c_char,
    key_pem: *const c_char,
) -> nlmqtt_status {
    change(config, |config| {
        config.set("cert_pem", unsafe { string(cert_pem, "cert_pem") }?)?;
        Ok(config.set("key_pem", unsafe { string(key_pem, "key_pem") }?)?)
    })
}

/// The client's certificate and those behind it as text (PEM, copied), with a private key that lies elsewhere, such as in a TPM or a secure
/// element: `sign` signs for it. Keys of RSA, ECDSA on P-256 and P-384, and Ed25519. `user_data` is moved here and released with `free_fn`
/// (may be NULL) after the last call, also when this one fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_signer(
    config: *mut nlmqtt_client_config,
    cert_pem: *const c_char,
    sign: nlmqtt_sign_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    change(config, move |config| {
        config.set("cert_pem", unsafe { string(cert_pem, "cert_pem") }?)?;
        let call = sign.ok_or_else(|| Failure::invalid("sign is NULL"))?;
        config.tls.sign = Some(Arc::new(move |scheme, message: &[u8]| {
            let user = &user;
            let (mut signature, mut len) = (vec![0; NLMQTT_SIGNATURE_BYTES_MAX], 0);
            let done = unsafe { call(user.data, scheme, message.as_ptr(), message.len(), signature.as_mut_ptr(), &raw mut len) };
            signature.truncate(len);
            (done && len > 0 && len <= NLMQTT_SIGNATURE_BYTES_MAX).then_some(signature)
        }) as Sign);
        Ok(())
    })
}

/// One more public key of the key tls_pins: the server's own certificate has to have one of them, besides everything else. `hash` is SHA-256 of the
/// SubjectPublicKeyInfo (RFC 7469 section 2.4), 32 bytes, copied. INVALID_ARGUMENT: another length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_add_pin(config: *mut nlmqtt_client_config, hash: *const c_void, len: usize) -> nlmqtt_status {
    change(config, |config| {
        let hash = unsafe { bytes(hash, len, "hash") }?;
        let hash = hash.try_into().map_err(|_| Failure::invalid(format!("a SHA-256 has 32 bytes, not {len}")))?;
        config.tls.pins.push(hash);
        Ok(())
    })
}

/// Key danger_accept_any_certificate: the server's certificate is not checked, so that anybody on the way can read and change
/// everything; keys pinned by nlmqtt_client_config_add_pin are still asked for. For tests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_danger_accept_any_certificate(config: *mut nlmqtt_client_config) -> nlmqtt_status {
    change(config, |config| Ok(config.set("danger_accept_any_certificate", "true")?))
}
