//! Connections that the application makes.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::client_config::nlmqtt_client_config;
use super::{Failure, NLMQTT_IN_PROGRESS, NLMQTT_OK, Outcome, UserData, fence, nlmqtt_free_fn, nlmqtt_status, reference_mut, sized};
use crate::net::{CustomStream, CustomTransport};

/// How connections are made in place of the system's TCP: over a modem's AT commands, through a TLS library of the application's own,
/// to a simulator. Call nlmqtt_transport_init, then set all but what may be NULL. Thread word of all functions: the thread that does the client's
/// work, in DISPATCH mode too; none may block. What they call on a client or server is done after they return;
/// functions that wait answer WOULD_DEADLOCK. `connection` is whatever `open` made.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_transport {
    /// Set by nlmqtt_transport_init.
    pub struct_size: usize,
    /// Handed to `open`; released with `free_fn` after the last connection is closed and the last client and configuration that know
    /// of it are freed.
    pub user_data: *mut c_void,
    /// Releases `user_data`; may be NULL.
    pub free_fn: nlmqtt_free_fn,
    /// Begins a connection to the host and port of the server's URI, or of key `proxy_uri` (borrowed until it returns; names are not looked
    /// up before); unix:// and inproc:// are not asked for, quic://, rudp:// and udp:// are refused beside it. TLS and WebSocket of the URI lie above this
    /// stream: for a TLS library of your own use mqtt://. OK: `connection_out` is
    /// set, and `descriptor_out` to a descriptor that epoll knows (a socket, an eventfd, a pipe), open until `close`, not closed by this
    /// library. Whenever it becomes readable or writable, or an eventfd is written to, what waits is tried again: `opened`, `read`,
    /// `write`. Anything else: NLMQTT_CAUSE_NETWORK, and the next try as after any connection that cannot be made.
    pub open: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            host: *const c_char,
            port: u16,
            connection_out: *mut *mut c_void,
            descriptor_out: *mut c_int,
        ) -> nlmqtt_status,
    >,
    /// OK: the connection is open; IN_PROGRESS: not yet (key connect_timeout_ms goes on); else it failed. NULL: it is open at once.
    pub opened: Option<unsafe extern "C" fn(connection: *mut c_void) -> nlmqtt_status>,
    /// Reads at most `room` bytes; answers how many. 0: the other side sends no more. NLMQTT_IN_PROGRESS: nothing is there now.
    /// Another negative value: the connection is dead.
    pub read: Option<unsafe extern "C" fn(connection: *mut c_void, buffer: *mut c_void, room: usize) -> i64>,
    /// Writes at most `len` bytes; answers how many. NLMQTT_IN_PROGRESS: it takes nothing now. Another negative value: the connection is dead.
    pub write: Option<unsafe extern "C" fn(connection: *mut c_void, bytes: *const c_void, len: usize) -> i64>,
    /// Nothing will be written any more, and reading goes on for a moment. May be NULL.
    pub shutdown: Option<unsafe extern "C" fn(connection: *mut c_void)>,
    /// The last call for this connection.
    pub close: Option<unsafe extern "C" fn(connection: *mut c_void)>,
}

impl nlmqtt_transport {
    const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        user_data: std::ptr::null_mut(),
        free_fn: None,
        open: None,
        opened: None,
        read: None,
        write: None,
        shutdown: None,
        close: None,
    };
}

/// Sets `struct_size`, and everything else to nothing. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_transport_init(transport: *mut nlmqtt_transport) {
    if let Some(transport) = unsafe { transport.as_mut() } {
        *transport = nlmqtt_transport::NONE;
    }
}

/// Clients of this configuration make their connections through `transport` (copied); NULL: through the system again. Keys bind_address,
/// bind_device and socket_mark are of no use then. `user_data` is moved here on every way: with INVALID_ARGUMENT it is released before this returns.
/// INVALID_ARGUMENT: `config` is NULL, or one of `open`, `read`, `write` and `close`; nothing changes then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_transport(config: *mut nlmqtt_client_config, transport: *const nlmqtt_transport) -> nlmqtt_status {
    fence(|| {
        let table = unsafe { sized(transport, nlmqtt_transport::NONE, "transport") }?;
        let user = UserData::new(table.user_data, table.free_fn);
        let config = unsafe { reference_mut(config, "config") }?;
        config.0.dial.transport = match transport.is_null() {
            true => None,
            false => Some(Arc::new(Table::new(&table, user)?)),
        };
        Ok(())
    })
}

/// The table with all that must be there.
struct Table {
    user: Arc<UserData>,
    open: OpenFn,
    stream: StreamFns,
}

type OpenFn = unsafe extern "C" fn(*mut c_void, *const c_char, u16, *mut *mut c_void, *mut c_int) -> nlmqtt_status;

#[derive(Clone, Copy)]
struct StreamFns {
    opened: Option<unsafe extern "C" fn(*mut c_void) -> nlmqtt_status>,
    read: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> i64,
    write: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> i64,
    shutdown: Option<unsafe extern "C" fn(*mut c_void)>,
    close: unsafe extern "C" fn(*mut c_void),
}

impl Table {
    fn new(table: &nlmqtt_transport, user: UserData) -> Outcome<Self> {
        let (Some(open), Some(read), Some(write), Some(close)) = (table.open, table.read, table.write, table.close) else {
            return Err(Failure::invalid("open, read, write or close of a transport is NULL"));
        };
        let stream = StreamFns { opened: table.opened, read, write, shutdown: table.shutdown, close };
        Ok(Self { user: Arc::new(user), open, stream })
    }
}

impl CustomTransport for Table {
    fn open(&self, host: &str, port: u16) -> io::Result<Box<dyn CustomStream>> {
        let host = CString::new(host)?;
        let (mut connection, mut descriptor) = (std::ptr::null_mut(), -1);
        match unsafe { (self.open)(self.user.data, host.as_ptr(), port, &mut connection, &mut descriptor) } {
            NLMQTT_OK => Ok(Box::new(Stream { connection, descriptor, calls: self.stream, _user: self.user.clone() })),
            status => Err(dead(status.into())),
        }
    }
}

/// One connection.
struct Stream {
    connection: *mut c_void,
    descriptor: RawFd,
    calls: StreamFns,
    /// Released after the connection is closed.
    _user: Arc<UserData>,
}

// The header says on which thread it is used: one at a time.
unsafe impl Send for Stream {}

impl CustomStream for Stream {
    fn descriptor(&self) -> RawFd {
        self.descriptor
    }

    fn opened(&mut self) -> Option<io::Result<()>> {
        let Some(opened) = self.calls.opened else { return Some(Ok(())) };
        match unsafe { opened(self.connection) } {
            NLMQTT_OK => Some(Ok(())),
            NLMQTT_IN_PROGRESS => None,
            status => Some(Err(dead(status.into()))),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        count_of(unsafe { (self.calls.read)(self.connection, buffer.as_mut_ptr().cast(), buffer.len()) }, buffer.len())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        count_of(unsafe { (self.calls.write)(self.connection, bytes.as_ptr().cast(), bytes.len()) }, bytes.len())
    }

    fn shutdown(&mut self) {
        if let Some(shutdown) = self.calls.shutdown {
            unsafe { shutdown(self.connection) }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        unsafe { (self.calls.close)(self.connection) }
    }
}

fn count_of(answer: i64, most: usize) -> io::Result<usize> {
    match usize::try_from(answer) {
        Ok(count) if count <= most => Ok(count),
        Ok(_) => Err(io::Error::other("a transport that counts more than there is")),
        Err(_) if answer == i64::from(NLMQTT_IN_PROGRESS) => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Err(dead(answer)),
    }
}

fn dead(status: i64) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("the transport answered {status}"))
}
