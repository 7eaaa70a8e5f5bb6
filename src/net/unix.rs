//! The files of Unix sockets: made, owned, and taken away again.
//!
//! ```text
//!   lock the folder ──> bind .NAME.new ──> mode, owner, listen ──> nobody listens at NAME? ──> rename over it ──> unlock
//! ```
//! Under its name a socket appears ready: it listens, and has its mode and owner. So whoever finds the name and is refused has
//! found what a server left that was killed, and replaces it; a name somebody listens at, or that is no socket, is in use. Of those
//! who start at the same time one is first, because each locks the folder (flock). Mode and owner are given to the file that was
//! opened, not to a name, and no link is followed: who can write to the folder cannot have them given to something else.
//!
//! At the end the file is removed if it is still the one that was made: another server may have put its own there.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::SocketOptions;

/// So often a folder that somebody else has locked is tried again, and how long in between: a start takes less than one of these.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of a listening socket; removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file that was made.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody may put his own there between the look and the removal. Without the lock it is removed all the same.
        let _lock = lock_folder(&self.path);
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

fn in_use(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, format!("{} {why}", path.display()))
}

/// The folder of `path`, locked until this is dropped.
fn lock_folder(path: &Path) -> io::Result<OwnedFd> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let told = |error: rustix::io::Errno| io::Error::new(error.kind(), format!("{}: cannot be locked: {error}", folder.display()));
    let opened = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(told)?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(opened),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(told(error)),
        }
    }
    Err(in_use(folder, "is locked by somebody else"))
}

/// A socket for `path` and its address.
fn unconnected(path: &Path) -> io::Result<(Socket, SockAddr)> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the path of a Unix socket has at most 107 bytes, of one that is made 102");
    let address = SockAddr::unix(path).map_err(too_long)?;
    Ok((Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?, address))
}

/// A socket that listens there.
pub(super) fn listen(path: &Path, options: &SocketOptions) -> io::Result<(Socket, SocketFile)> {
    let owner = owner(&options.owner)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let new = path.with_file_name(name);
    let (socket, address) = unconnected(&new)?;
    let _lock = lock_folder(path)?;
    check_free(path)?;
    // Whoever has left one behind did so in the middle of this, and had the lock.
    if fs::symlink_metadata(&new).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(&new)?;
    }
    if let Some(mode) = options.mode {
        // The file is made with what the socket has, so that it is open to nobody for a moment; the process's mask takes its part off that.
        let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode.into()));
    }
    socket.bind(&address)?;
    let published = furnish(&new, options, owner).and_then(|identity| {
        socket.listen(options.backlog.into())?;
        fs::rename(&new, path)?;
        Ok(identity)
    });
    let identity = published.inspect_err(|_| drop(fs::remove_file(&new)))?;
    Ok((socket, SocketFile { path: path.to_owned(), identity }))
}

/// Gives the new file its mode and its owner, if they are said; which file that is.
fn furnish(new: &Path, options: &SocketOptions, owner: Option<(Option<u32>, Option<u32>)>) -> io::Result<(u64, u64)> {
    let file = rustix::fs::openat(CWD, new, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let file = fs::File::from(file);
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() || metadata.nlink() != 1 {
        return Err(in_use(new, "was put in place of ours"));
    }
    if let Some(mode) = options.mode.map(u32::from).filter(|mode| *mode != metadata.mode() & 0o7777) {
        // The only name by which the kernel changes the mode of an opened file of this kind.
        let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(by_descriptor, fs::Permissions::from_mode(mode))
            .map_err(|error| io::Error::new(error.kind(), format!("mode {mode:o}: {error}")))?;
    }
    if let Some((user, group)) = owner {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        let changed = rustix::fs::chownat(&file, "", user, group, AtFlags::EMPTY_PATH);
        changed.map_err(|error| io::Error::new(error.kind(), format!("owner {}: {error}", options.owner)))?;
    }
    Ok((metadata.dev(), metadata.ino()))
}

/// Nobody listens at this name, and nothing is there but a socket.
fn check_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(in_use(path, "is there, and no socket")),
        found => drop(found?),
    }
    let (probe, address) = unconnected(path)?;
    match probe.connect(&address) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        _ => Err(in_use(path, "is in use")),
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
    fn of_many_that_start_at_one_path_one_listens_and_the_others_are_told() {
        let folder = folder("race");
        let path = folder.join("s");
        for round in 0..20 {
            if round % 2 == 0 {
                let (socket, address) = unconnected(&path).expect("a socket");
                socket.bind(&address).expect("what a killed one leaves");
            }
            let begin = std::sync::Barrier::new(4);
            let start = || {
                begin.wait();
                listen(&path, &SocketOptions::default())
            };
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                (0..4).map(|_| scope.spawn(start)).collect::<Vec<_>>().into_iter().map(|one| one.join().expect("no panic")).collect()
            });
            let (mut listening, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            assert!(refused.iter().all(|outcome| outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)), "{refused:?}");
            assert_eq!(listening.len(), 1);
            let (socket, file) = listening.remove(0).expect("ok");
            dial(&path).expect("it is reached");
            socket.accept().expect("by this one");
            drop((socket, file));
            assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "nothing is left");
        }
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn no_link_is_followed_and_no_file_of_somebody_else_gets_a_mode() {
        let folder = folder("links");
        let (path, aim, new) = (folder.join("s"), folder.join("aim"), folder.join(".s.new"));
        fs::write(&aim, "text").expect("a file");
        let options = SocketOptions { mode: Some(0o777), ..SocketOptions::default() };
        let before = fs::metadata(&aim).expect("a file").permissions();
        for planted in [&path, &new] {
            std::os::unix::fs::symlink(&aim, planted).expect("a link");
            assert_eq!(listen(&path, &options).expect_err("something is there").kind(), io::ErrorKind::AddrInUse);
            assert!(fs::symlink_metadata(planted).expect("still there").is_symlink());
            fs::remove_file(planted).expect("removed");
        }
        // Put there after the socket was bound.
        std::os::unix::fs::symlink(&aim, &new).expect("a link");
        assert_eq!(furnish(&new, &options, None).expect_err("no socket").kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&new).expect("removed");
        let (socket, address) = unconnected(&new).expect("a socket");
        socket.bind(&address).expect("bound");
        fs::hard_link(&new, folder.join("other")).expect("a second name");
        assert_eq!(furnish(&new, &options, None).expect_err("it has two names").kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(folder.join("other")).expect("removed");
        // One that was left in the middle of a start does no harm; the mask takes nothing off the mode.
        let (listening, file) = listen(&path, &options).expect("free");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o777);
        assert_eq!(fs::metadata(&aim).expect("a file").permissions(), before);
        drop((listening, file));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_folder_that_stays_locked_is_told_of() {
        let folder = folder("locked");
        let path = folder.join("s");
        let lock = lock_folder(&path).expect("free");
        let error = listen(&path, &SocketOptions::default()).expect_err("locked");
        assert!(error.kind() == io::ErrorKind::AddrInUse && error.to_string().contains("locked"), "{error}");
        drop(lock);
        drop(listen(&path, &SocketOptions::default()).expect("free again"));
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
