//! One vectored write per turn.

use std::io::{self, IoSlice};

use super::{LinkId, Net};
use crate::base::OutBuffer;
use crate::stack::Stack;

/// Slices handed to one vectored write.
const SLICES_MAX: usize = 64;

/// One vectored write of what waits: how much went out, and whether the stream took less than it
/// was offered.
pub(super) fn write_once<N: Net>(net: &mut N, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let (mut filled, mut offered) = (0, 0);
    for (slot, slice) in slices.iter_mut().zip(out.slices()) {
        *slot = IoSlice::new(slice);
        filled += 1;
        offered += slice.len();
    }
    if filled == 0 {
        return Ok((0, false));
    }
    match net.write(link, &slices[..filled]) {
        Ok(count) => Ok((count, count < offered)),
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
