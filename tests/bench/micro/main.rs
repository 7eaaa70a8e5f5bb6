//! The hot path without sockets, counted in instructions: `micro CASE ITERATIONS` runs one case so
//! often and ends. `tests/bench/micro.py` runs each twice under callgrind; the difference of the
//! two, divided by the difference of the iterations, is what one iteration costs. Nothing here
//! measures time, and nothing depends on it: two runs execute the same instructions.

mod client;
mod codec;
mod route;
mod shard;
mod world;

/// A case: prepares, then runs the given number of iterations.
type Case = (&'static str, fn(u64));

const CASES: &[Case] = &[
    ("decode_v311", codec::decode_v311),
    ("decode_v5", codec::decode_v5),
    ("encode", codec::encode),
    ("match_exact", route::match_exact),
    ("match_wildcards", route::match_wildcards),
    ("pair_qos0", shard::pair_qos0),
    ("pair_qos1", shard::pair_qos1),
    ("pair_qos2", shard::pair_qos2),
    ("fan_out_qos0", shard::fan_out_qos0),
    ("fan_out_qos1", shard::fan_out_qos1),
    ("large", shard::large),
    ("client_publish_qos0", client::publish_qos0),
    ("client_publish_qos1", client::publish_qos1),
    ("client_receive_qos0", client::receive_qos0),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, iterations] = &words[..] else {
        // `cargo bench` names no case.
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let case = CASES.iter().find(|(known, _)| known == name);
    let (Some((_, run)), Ok(iterations)) = (case, iterations.parse()) else {
        eprintln!("usage: micro CASE ITERATIONS");
        std::process::exit(2);
    };
    run(iterations);
}
