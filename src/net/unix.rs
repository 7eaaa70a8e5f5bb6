//! The files of Unix sockets: made, owned, and taken away again.
//!
//! A file that is there already is removed only if nobody listens behind it: a server that was killed leaves its own
//! behind. Mode and owner are set before the socket listens, so that nobody gets in by an earlier one. At the end the file is removed
//! if it is still the one that was made: another server may have put its own there.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::SocketOptions;

/// The file of a listening socket; removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file that was made.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Without the right to remove it any more, it stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A socket for `path` and its address.
fn unconnected(path: &Path) -> io::Result<(Socket, SockAddr)> {
    let address = SockAddr::unix(path).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path of a Unix socket has at most 107 bytes"))?;
    Ok((Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?, address))
}

/// A socket that listens there.
pub(super) fn listen(path: &Path, options: &SocketOptions) -> io::Result<(Socket, SocketFile)> {
    let (socket, address) = unconnected(path)?;
    let owner = owner(&options.owner)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    if let Some(mode) = options.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode.into()))?;
    }
    if let Some((user, group)) = owner {
        chown(path, user, group).map_err(|error| io::Error::new(error.kind(), format!("owner {}: {error}", options.owner)))?;
    }
    socket.listen(options.backlog.into())?;
    Ok((socket, file))
}

/// Removes the file of a socket that nobody listens at.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} {why}", path.display())));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("is there, and no socket");
    }
    let (probe, address) = unconnected(path)?;
    match probe.connect(&address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => in_use("is in use"),
    }
}

/// A socket that is being connected, or is already.
pub(super) fn dial(path: &Path) -> io::Result<Socket> {
    let (socket, address) = unconnected(path)?;
    // A full queue of the listener is no connection that comes later, but a failure.
    socket.connect(&address)?;
    Ok(socket)
}

/// Numbers of user and group.
fn owner(text: &str) -> io::Result<Option<(Option<u32>, Option<u32>)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let unknown = |what: &str, name: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("there is no {what} '{name}'"));
    let number = |name: &str, what: &str, find: fn(&str) -> Option<u32>| match name {
        "" => Ok(None),
        _ => name.parse().ok().or_else(|| find(name)).map(Some).ok_or_else(|| unknown(what, name)),
    };
    let user = number(user, "user", |name| nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()))?;
    let group = number(group, "group", |name| nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()))?;
    Ok(Some((user, group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("nlmqtt-unix-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_stale_file_is_replaced_and_one_in_use_is_not() {
        let folder = folder("stale");
        let (path, options) = (folder.join("s"), SocketOptions { mode: Some(0o640), ..SocketOptions::default() });
        // Bound, and gone without removing its file: as after a kill.
        let (socket, address) = unconnected(&path).expect("a socket");
        socket.bind(&address).expect("bound");
        drop(socket);
        let (listening, file) = listen(&path, &options).expect("nobody was there");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o640);
        assert_eq!(listen(&path, &options).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        dial(&path).expect("somebody listens");
        drop((listening, file));
        assert!(!path.exists(), "it goes with its listener");
        fs::write(&path, "text").expect("a file");
        assert_eq!(listen(&path, &options).expect_err("no socket").kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "nobody's file is removed");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_file_of_somebody_else_is_left() {
        let folder = folder("other");
        let path = folder.join("s");
        let (_first, file) = listen(&path, &SocketOptions::default()).expect("free");
        fs::remove_file(&path).expect("taken away");
        let (_second, _other) = listen(&path, &SocketOptions::default()).expect("free again");
        drop(file);
        assert!(path.exists(), "it is the second one's");
        drop(_other);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn owners_are_names_or_numbers() {
        assert_eq!(owner("").expect("nobody"), None);
        assert_eq!(owner("root:0").expect("there"), Some((Some(0), Some(0))));
        assert_eq!(owner(":7").expect("a number"), Some((None, Some(7))));
        assert!(owner("no-such-user-here").is_err() && owner("0:no-such-group-here").is_err());
        let long = PathBuf::from(format!("/{}", "x".repeat(200)));
        assert_eq!(listen(&long, &SocketOptions::default()).expect_err("too long").kind(), io::ErrorKind::InvalidInput);
    }
}
