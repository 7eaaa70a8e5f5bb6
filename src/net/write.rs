//! One vectored write per turn.

use std::io::{self, IoSlice};

use super::{LinkId, Net};
use crate::base::OutBuffer;
use crate::stack::Stack;

/// Slices handed to one vectored write.
const SLICES_MAX: usize = 64;

/// What waits, as slices for one write by `write`: how much went out, and whether that is less than was offered.
///
/// # Errors
/// Those of `write`.
pub fn write_slices(out: &OutBuffer, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<(usize, bool)> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let (mut filled, mut offered) = (0, 0);
    for (slot, slice) in slices.iter_mut().zip(out.slices()) {
        *slot = IoSlice::new(slice);
        filled += 1;
        offered += slice.len();
    }
    let count = write(&slices[..filled])?;
    Ok((count, count < offered))
}

/// One write of what waits: how much went out, and whether the stream took less than it was offered.
pub(super) fn write_once<N: Net>(net: &mut N, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)> {
    if out.is_empty() {
        return Ok((0, false));
    }
    match net.write(link, out) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, true)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok((0, false)),
        Err(error) => Err(error),
    }
}

/// One write of what layers have sealed: whether the stream took less than it was offered. Never inlined: Valgrind is told by this
/// name that what ring's assembly has encrypted is not uninitialised.
#[inline(never)]
pub(super) fn write_wire<N: Net>(net: &mut N, link: LinkId, stack: &mut Stack) -> io::Result<bool> {
    let (written, blocked) = write_once(net, link, stack.wire())?;
    stack.wrote(written);
    Ok(blocked)
}

/// As [`write_once`], through the layers of a connection: how many plain bytes were sealed, and whether the stream took less
/// than it was offered. Of what is the last of a connection, the layers say good-bye behind it.
pub(super) fn write_sealed<N: Net>(net: &mut N, link: LinkId, stack: &mut Stack, out: &OutBuffer, is_last: bool) -> io::Result<(usize, bool)> {
    let sealed = stack.seal(out);
    if is_last && sealed == out.len() {
        stack.close();
    }
    Ok((sealed, write_wire(net, link, stack)?))
}
