//! Who is at the other end of a socket inside this host.

/// The process that connected over a Unix socket, as the kernel says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProcess {
    /// Its number; 0 if it is of another name space.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}
