//! Where a server listens: opened, passed in, closed while it runs; and connections that are there already.

use std::ffi::c_char;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use super::client_config::{copy_text, nlmqtt_client_config};
use super::server::ServerInner;
use super::{
    Failure, NLMQTT_IO, NLMQTT_LIMIT, NLMQTT_LOG_INFO, NLMQTT_NOT_FOUND, Outcome, check_out, fence, fence_on, nlmqtt_listener_config, nlmqtt_server,
    nlmqtt_status, optional_string, reference, reference_mut, string,
};
use crate::config::{ListenerConfig, ServerConfig};
use crate::net::{Endpoint, ListenerOptions};

/// Opens a listener in a running server, at once and also before nlmqtt_server_start: a URI as for nlmqtt_server_config_add_listener. It
/// ends with a stop, and a reload leaves it alone. `port_out` (may be NULL) is the port in use. Waits. ADDRESS_IN_USE, IO: it cannot be
/// opened; CONFIG, UNSUPPORTED: not such a URI. INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
/// WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_add_listener(server: *mut nlmqtt_server, uri: *const c_char, port_out: *mut u16) -> nlmqtt_status {
    unsafe { fence_on(server, "server", |inner| open_listener(inner, &ListenerConfig::of_uri(string(uri, "uri")?)?, port_out)) }
}

/// As nlmqtt_server_add_listener, with a copy of `listener`, which stays the caller's. `port_out` may be NULL. Waits. CONFIG: its options do not go
/// together, the last error says which. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_add_listener_config(
    server: *mut nlmqtt_server,
    listener: *const nlmqtt_listener_config,
    port_out: *mut u16,
) -> nlmqtt_status {
    unsafe { fence_on(server, "server", |inner| open_listener(inner, &reference(listener, "listener")?.0, port_out)) }
}

/// # Safety
/// `port_out` is NULL or can be written.
unsafe fn open_listener(inner: &ServerInner, listener: &ListenerConfig, port_out: *mut u16) -> Outcome {
    let mut wanted = ServerConfig::default();
    wanted.add_listener(listener)?;
    let _changing = inner.changing()?;
    let running = inner.running()?;
    let mut open = Vec::new();
    for options in &wanted.listeners {
        let in_force = inner.state().config.listener_in_force(options);
        match running.add_listener(in_force) {
            Ok(address) => open.push((options.clone(), address)),
            Err(error) => {
                for (_, address) in open {
                    // It was opened a moment ago by us.
                    let _ = running.remove_listener(address);
                }
                let failure = Failure::from(error);
                return Err(Failure::new(failure.status, format!("cannot listen on {}: {}", options.endpoint, failure.text)));
            }
        }
    }
    if let (Some(port), Some((_, address))) = (unsafe { port_out.as_mut() }, open.first()) {
        *port = address.port();
    }
    opened(inner, open);
    Ok(())
}

fn opened(inner: &ServerInner, listeners: Vec<(ListenerOptions, Endpoint)>) {
    for (_, address) in &listeners {
        inner.parts.log(NLMQTT_LOG_INFO, || format!("listening on {address}"));
    }
    inner.state().listeners.extend(listeners);
}

/// A descriptor of ours for the same socket: the caller's stays as it is until all went well.
fn duplicate(descriptor: i32) -> Outcome<OwnedFd> {
    if descriptor < 0 {
        return Err(Failure::invalid(format!("{descriptor} is no descriptor")));
    }
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().map_err(|error| Failure::new(NLMQTT_IO, format!("descriptor {descriptor}: {error}")))
}

/// Listens with a TCP or Unix socket that listens already, such as one systemd passes (sd_listen_fds(3)); the file of a Unix socket stays when
/// the listener goes. `options` is the query of a listener's URI, such as "allow_anonymous=false&max_connections=10", or NULL; with `cert` and
/// `key` in it, it is TLS. Or a whole URI, whose address does not count: "ws://127.0.0.1/mqtt". On success the descriptor is the library's, which
/// closes it; on failure it stays the caller's. It ends with a stop. `port_out` may be NULL; 0 for a Unix socket. Waits. IO: not such a
/// socket. CONFIG: such an option is not known. INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
/// WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_add_listener_fd(
    server: *mut nlmqtt_server,
    descriptor: i32,
    options: *const c_char,
    port_out: *mut u16,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let query = optional_string(options, "options")?.unwrap_or_default();
            let socket = duplicate(descriptor)?;
            // Whether anonymous clients are let in may depend on where it really listens.
            let listener = ServerConfig::listener_of_socket(local_endpoint(&socket)?, query)?;
            let _changing = inner.changing()?;
            let running = inner.running()?;
            let in_force = inner.state().config.listener_in_force(&listener);
            let address = running.add_listener_socket(socket, in_force)?;
            drop(OwnedFd::from_raw_fd(descriptor));
            if let Some(port) = port_out.as_mut() {
                *port = address.port();
            }
            opened(inner, vec![(listener, address)]);
            Ok(())
        })
    }
}

fn local_endpoint(socket: &OwnedFd) -> Outcome<Endpoint> {
    let found = crate::net::local_endpoint(&socket2::SockRef::from(socket));
    found.map_err(|error| Failure::new(NLMQTT_IO, error.to_string()))
}

/// Closes the listener at `address`, as nlmqtt_server_listener_address says it, and removes the file of a Unix socket; its connections
/// stay, and the listeners behind it move one index forward. Waits. NOT_FOUND: it does not listen there. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_remove_listener(server: *mut nlmqtt_server, address: *const c_char) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let text = string(address, "address")?;
            let address = Endpoint::parse(text).ok_or_else(|| Failure::invalid(format!("'{text}' is no address with a port")))?;
            let _changing = inner.changing()?;
            let closed = inner.running()?.remove_listener(address.clone())?;
            let mut state = inner.state();
            let Some(index) = state.listeners.iter().position(|(_, open)| *open == address).filter(|_| closed) else {
                return Err(Failure::new(NLMQTT_NOT_FOUND, format!("no listener at {address}")));
            };
            let (options, _) = state.listeners.remove(index);
            // A reload that has it opens it again.
            state.config.listeners.retain(|wanted| *wanted != options);
            Ok(())
        })
    }
}

/// Serves a client on a stream socket that is connected already: accepted by the application, or one end of a pair. On success the descriptor is the
/// library's, which closes it; on failure it stays the caller's. Hooks and limits as for any other connection. Waits. IO: not a connected stream; LIMIT: a
/// limit, a ban or the accept hook did not let it in. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_adopt(server: *mut nlmqtt_server, descriptor: i32) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let socket = duplicate(descriptor)?;
            if !inner.running()?.adopt(socket, None)? {
                return Err(Failure::new(NLMQTT_LIMIT, "the connection was not let in"));
            }
            drop(OwnedFd::from_raw_fd(descriptor));
            Ok(())
        })
    }
}

/// Where a client made with `config` looks for the NAME of inproc://NAME: among the listeners of this server, and of others of its runtime,
/// instead of those of the client's own runtime. So client and server may live in different runtimes, of whatever modes: between their
/// threads messages are handed over as between two workers, and a large payload is not copied. `server` NULL: the client's own runtime again.
/// `server` is borrowed for the call; it may be stopped, and be freed before configuration and client are. Who is not listening is not
/// there: connections end when the server stops or is freed, as over TCP (NLMQTT_CAUSE_CLOSED, or what its DISCONNECT says), then the client
/// tries again as its keys say (NLMQTT_CAUSE_NETWORK), and finds what listens there by that name then: after nlmqtt_server_start, after a
/// reload that opens the listener again, or another server of that runtime. A reload that closes the listener leaves its connections. Never
/// waits. Any thread that may use `config`. FORKED: a server of the parent process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_inproc_server(config: *mut nlmqtt_client_config, server: *const nlmqtt_server) -> nlmqtt_status {
    if server.is_null() {
        return fence(|| {
            unsafe { reference_mut(config, "config") }?.0.dial.names = None;
            Ok(())
        });
    }
    unsafe {
        fence_on(server, "server", |inner| {
            reference_mut(config, "config")?.0.dial.names = Some(inner.parts.runtime.names().clone());
            Ok(())
        })
    }
}

/// As nlmqtt_server_adopt, as if the client had come in through the listener at `index` (in the order of the configuration): TLS,
/// WebSocket, the header of a proxy, its options and limits are this connection's. `rate_connections` counts it, and makes nobody wait.
/// Waits. NOT_FOUND: there are not so many listeners, or that one has just been closed; else as nlmqtt_server_adopt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_adopt_at(server: *mut nlmqtt_server, descriptor: i32, index: usize) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let socket = duplicate(descriptor)?;
            let address = listener_at(inner, index)?;
            match inner.running()?.adopt_at(socket, &address)? {
                Some(true) => drop(OwnedFd::from_raw_fd(descriptor)),
                Some(false) => return Err(Failure::new(NLMQTT_LIMIT, "the connection was not let in")),
                None => return Err(Failure::new(NLMQTT_NOT_FOUND, format!("nothing listens at {address}"))),
            }
            Ok(())
        })
    }
}

fn listener_at(inner: &ServerInner, index: usize) -> Outcome<Endpoint> {
    let address = inner.state().listeners.get(index).map(|(_, address)| address.clone());
    address.ok_or_else(|| Failure::new(NLMQTT_NOT_FOUND, format!("no listener at index {index}")))
}

/// The port in use by the listener at `index`, in the order of the configuration: what port 0 became; 0 for a Unix socket. Never waits.
/// NOT_FOUND: there are not so many, or the server is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_listener_port(server: *const nlmqtt_server, index: usize, port_out: *mut u16) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            check_out(port_out, "port_out")?;
            *port_out = listener_at(inner, index)?.port();
            Ok(())
        })
    }
}

/// The address in use by the listener at `index` as text, such as "127.0.0.1:1883", "rudp://[::1]:14567" or "unix:///run/mqtt.sock", copied into
/// `buf` and cut to `cap` bytes with the NUL; 64 are enough for TCP and UDP, 128 for a Unix socket. Never waits. NOT_FOUND as for
/// nlmqtt_server_listener_port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_listener_address(server: *const nlmqtt_server, index: usize, buf: *mut c_char, cap: usize) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            check_out(buf, "buf")?;
            copy_text(&listener_at(inner, index)?.to_string(), buf, cap);
            Ok(())
        })
    }
}
