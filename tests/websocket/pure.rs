//! The cases against the machine, as server and as client.

use nlmqtt::base::Rng;
use nlmqtt::stack::ws::{Role, WebSocket};

use crate::frames;
use crate::table::{Case, cases, stream};

/// Bytes the machine gets at once, as from a socket, if the case does not say.
const READ_BYTES: usize = 65_536;

/// Errors of one case.
fn judge(case: &Case, role: Role) -> Result<(), String> {
    let (mut machine, is_server) = (WebSocket::new(role, Rng::with_seed(1)), role == Role::Server);
    let wire: Vec<u8> = case.frames.iter().flat_map(|frame| frame.bytes(is_server)).collect();
    let (mut data, mut out, mut closed) = (Vec::new(), Vec::new(), None);
    for piece in wire.chunks(case.pieces.unwrap_or(READ_BYTES)) {
        let end = machine.open(piece, &mut data, &mut out);
        if closed.is_some() && end.is_some() {
            return Err("it ended twice".to_owned());
        }
        closed = closed.or(end);
    }
    if data != stream(0, case.data_bytes) {
        return Err(format!("{} bytes of data instead of {}, or others", data.len(), case.data_bytes));
    }
    for (opcode, payload) in &case.answers {
        let Some((seen, mut body)) = frames::take(&mut out, !is_server) else { return Err("an answer is missing".to_owned()) };
        if seen == frames::CLOSE {
            body.truncate(2);
        }
        if (seen, &body) != (*opcode, payload) {
            return Err(format!("{seen} {body:?} instead of {opcode} {payload:?}"));
        }
    }
    if !out.is_empty() || closed.is_none() != case.is_left_open {
        return Err(format!("{} bytes too many, end {closed:?}", out.len()));
    }
    Ok(())
}

fn run(role: Role) {
    let faults: Vec<String> = cases().filter_map(|case| judge(&case, role).err().map(|why| format!("{}: {why}", case.name))).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_server_stands_every_case() {
    run(Role::Server);
}

#[test]
fn a_client_stands_every_case() {
    run(Role::Client);
}

/// A machine that delivers one byte too many, or answers nothing, must not pass.
#[test]
fn the_judge_finds_what_it_looks_for() {
    let case = |name: &str| cases().find(|case| case.name.starts_with(name)).expect(name);
    let wrong = Case { data_bytes: 126, ..case("1.2.2 ") };
    assert!(judge(&wrong, Role::Server).is_err());
    let wrong = Case { answers: Vec::new(), ..case("2.1 ") };
    assert!(judge(&wrong, Role::Server).is_err());
    let wrong = Case { is_left_open: true, ..case("7.3.3 ") };
    assert!(judge(&wrong, Role::Server).is_err());
}
