//! Two shards of one server, handed from one to the other what a host would hand over.

use std::sync::Mutex;

use super::*;

/// Shard 0 and shard 1, and a client id that is at home in each.
pub(super) struct Pair {
    pub(super) worlds: [World; 2],
    budget: Budget,
}

/// Hooks that say who was asked where.
struct Asked(u16, Arc<Mutex<Vec<String>>>);

impl Hooks for Asked {
    fn interest(&self) -> Interest {
        Interest { accept: true, authenticate: true, ..Interest::default() }
    }

    fn accept(&mut self, _: &str, _: &str, _: HookToken) -> Answer {
        self.1.lock().expect("no panic").push(format!("{} accept", self.0));
        Answer::ALLOW
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, token: HookToken) -> Answer {
        assert_eq!(token.shard(), self.0);
        self.1.lock().expect("no panic").push(format!("{} {}", self.0, client.client_id));
        Answer::ALLOW
    }
}

impl Pair {
    pub(super) fn new(options: &Options) -> Self {
        Self::with_hooks(options, |_| None)
    }

    fn with_hooks(options: &Options, hooks: impl Fn(u16) -> Option<Box<dyn Hooks>>) -> Self {
        let (budget, levels) = (Budget::new(options.memory_limit), Levels::default());
        let router = Arc::new(RwLock::new(Router::new(route::Options::default(), Rng::with_seed(3))));
        let worlds = [0, 1].map(|id| World {
            shard: Shard::new(id, options.clone(), router.clone(), budget.clone(), Rng::with_seed(id.into()), hooks(id)).among(2, &levels),
            now: Instant::START,
            budget: budget.clone(),
            clients: Vec::new(),
        });
        Self { worlds, budget }
    }

    /// A name that begins with `start` and is at home there.
    fn name(&self, home: u16, start: &str) -> String {
        (0..).map(|n| format!("{start}{n}")).find(|name| self.worlds[0].shard.home_of(name) == home).expect("half of all")
    }

    /// A client that is at home there.
    pub(super) fn join(&mut self, home: u16, start: &str) -> Peer {
        let name = self.name(home, start);
        self.worlds[usize::from(home)].join(V5, &name)
    }

    /// The connection that leaves shard 0 arrives in shard 1.
    fn travel(&mut self, peer: Peer) -> Peer {
        let [from, to] = &mut self.worlds;
        let (key, home) = from.shard.next_leaving().expect("one leaves");
        assert_eq!((key, home), (from.clients[peer.0].key, 1));
        let traveller = from.shard.release(key).expect("it is open");
        let key = to.shard.admit(to.now, traveller);
        to.clients.push(Client { key, version: Version::V5, wire: Vec::new(), room: usize::MAX, is_closed: false });
        to.flush();
        Peer(to.clients.len() - 1)
    }

    /// Posts go both ways until there are none.
    pub(super) fn exchange(&mut self) {
        while self.worlds.iter().any(|world| world.shard.has_posts()) {
            for from in 0..2 {
                let mut posts = Vec::new();
                self.worlds[from].shard.hand_over(|to, outbox| {
                    assert_eq!(usize::from(to), 1 - from);
                    posts.append(outbox);
                });
                let to = &mut self.worlds[1 - from];
                posts.into_iter().for_each(|post| to.shard.take_post(to.now, post));
                to.flush();
            }
        }
    }

    pub(super) fn end(mut self) {
        self.worlds.iter_mut().for_each(|world| world.shard.clear(world.now));
        self.exchange();
        assert_eq!(self.budget.used_bytes(), 0, "bytes are still charged");
    }
}

#[test]
fn a_connection_goes_home_after_connect_with_all_that_came_behind_it() {
    for cut in [1, 5, 20, usize::MAX] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = asked.clone();
        let mut pair = Pair::with_hooks(&Options::default(), |id| Some(Box::new(Asked(id, told.clone()))));
        let name = pair.name(1, "traveller");
        let mut bytes = connect(V5, &name, true, 0, &[]);
        let connect_len = bytes.len();
        bytes.extend(subscribe(V5, 4, &["a/#"], 1));
        bytes.extend_from_slice(&[0xC0]);
        let peer = pair.worlds[0].dial().expect("room");
        for piece in bytes.chunks(cut.min(bytes.len())) {
            // What comes later is not read before it is at home.
            let is_read = pair.worlds[0].send(peer, piece);
            assert!(is_read || cut < connect_len, "cut at {cut}");
        }
        // Pieces that were not read stay in the socket, and are read there.
        let pieces = if cut >= bytes.len() { 1 } else { connect_len.div_ceil(cut) };
        let peer = pair.travel(peer);
        for piece in bytes.chunks(cut.min(bytes.len())).skip(pieces) {
            assert!(pair.worlds[1].send(peer, piece));
        }
        pair.worlds[1].send(peer, &[0]);
        assert_eq!(pair.worlds[1].lines(peer), ["CONNACK 00 sp=0", "SUBACK 4 01", "PINGRESP"], "cut at {cut}");
        assert_eq!(*asked.lock().expect("no panic"), ["0 accept".to_owned(), format!("1 {name}")]);
        assert_eq!(pair.worlds.each_ref().map(|world| world.shard.connection_count()), [0, 1]);
        assert_eq!(pair.worlds[0].stats().connections_handed_over, 1);
        pair.end();
    }
}

#[test]
fn a_connection_that_ends_on_its_way_leaves_nothing() {
    let mut pair = Pair::new(&Options { max_connections: 1, ..Options::default() });
    let name = pair.name(1, "gone");
    for _ in 0..3 {
        let peer = pair.worlds[0].dial().expect("there is room again");
        assert!(pair.worlds[1].dial().is_none(), "they are counted together");
        pair.worlds[0].send(peer, &connect(V5, &name, true, 0, &[]));
        pair.worlds[0].cut(peer);
        let (key, _) = pair.worlds[0].shard.next_leaving().expect("it was to leave");
        assert!(pair.worlds[0].shard.release(key).is_none());
    }
    let peer = pair.worlds[0].dial().expect("there is room again");
    pair.worlds[0].send(peer, &connect(V5, &name, true, 0, &[]));
    let (key, _) = pair.worlds[0].shard.next_leaving().expect("it leaves");
    drop(pair.worlds[0].shard.release(key).expect("it is open"));
    assert!(pair.worlds[1].dial().is_some(), "it was dropped on its way");
    pair.end();
}

#[test]
fn an_invented_client_id_is_at_home_where_it_was_invented() {
    let mut pair = Pair::new(&Options::default());
    for index in [0, 1] {
        for _ in 0..8 {
            pair.worlds[index].join(V5, "");
        }
        let clients: Vec<ClientSummary> = pair.worlds[index].shard.clients().collect();
        assert_eq!(clients.len(), 8);
        assert!(clients.iter().all(|client| usize::from(pair.worlds[0].shard.home_of(&client.client_id)) == index));
    }
    let mut sum = pair.worlds[0].stats();
    sum.add(&pair.worlds[1].stats());
    assert_eq!((sum.clients_connected, sum.clients_maximum, sum.connections_accepted), (16, 16, 16));
    pair.end();
}

#[test]
fn one_post_carries_a_message_for_all_its_targets_in_order() {
    let mut pair = Pair::new(&Options::default());
    let publisher = pair.join(0, "p");
    let there: Vec<Peer> = (0..3).map(|n| pair.join(1, &format!("s{n}-"))).collect();
    let here = pair.join(0, "h");
    there.iter().for_each(|peer| pair.worlds[1].subscribe(*peer, "t/#", 1));
    pair.worlds[0].subscribe(here, "t/1", 0);
    for payload in [b"1", b"2"] {
        pair.worlds[0].publish(publisher, "t/1", 0, false, payload);
    }
    assert_eq!(pair.worlds[0].stats().messages_handed_over, 2);
    assert_eq!(pair.worlds[1].lines(there[0]), [""; 0]);
    pair.exchange();
    let expected = ["PUBLISH t/1=1 q0", "PUBLISH t/1=2 q0"];
    there.iter().for_each(|peer| assert_eq!(pair.worlds[1].lines(*peer), expected));
    assert_eq!(pair.worlds[0].lines(here), expected);
    pair.end();
}

#[test]
fn max_inbox_posts_and_max_inbox_bytes_stop_the_reading_of_publishers_until_there_is_room() {
    let tiny = [Options { max_inbox_posts: 2, ..Options::default() }, Options { max_inbox_bytes: 3_000, ..Options::default() }];
    for options in tiny {
        let mut pair = Pair::new(&options);
        let (publisher, receiver) = (pair.join(0, "p"), pair.join(1, "r"));
        pair.worlds[1].subscribe(receiver, "t", 1);
        let payload = vec![b'x'; 1_200];
        let taken = (0..10).take_while(|_| pair.worlds[0].publish(publisher, "t", 1, false, &payload)).count();
        assert!((2..=3).contains(&taken), "{taken}: what waits is counted, then one more is not read");
        assert_eq!(pair.worlds[0].lines(publisher).len(), taken, "what was read is acknowledged");
        assert_eq!(pair.worlds[0].stats().congestion_pauses, 1);
        // The other side takes one: the rest stays, in order.
        let mut posts = Vec::new();
        pair.worlds[0].shard.hand_over(|_, outbox| posts.push(outbox.remove(0)));
        assert_eq!(pair.worlds[0].stats().inbox_full, 1);
        let to = &mut pair.worlds[1];
        posts.into_iter().for_each(|post| to.shard.take_post(to.now, post));
        assert!(pair.worlds[0].publish(publisher, "t", 0, false, b"last"), "there is room again");
        pair.exchange();
        assert_eq!(pair.worlds[1].lines(receiver).len(), taken + 1);
        pair.end();
    }
}

#[test]
fn one_read_makes_no_more_for_another_worker_than_its_inbox_takes() {
    const MESSAGES: usize = 500;
    let mut pair = Pair::new(&Options { max_inbox_posts: 2, ..Options::default() });
    let (publisher, receiver) = (pair.join(0, "p"), pair.join(1, "r"));
    pair.worlds[1].subscribe(receiver, "t", 1);
    let mut burst = Vec::new();
    for n in 0..MESSAGES {
        burst.extend(publish(V5, "t", 1, false, n as u16 + 1, &[], n.to_string().as_bytes()));
    }
    // The last one is not whole yet.
    let end = burst.split_off(burst.len() - 1);
    assert!(pair.worlds[0].send(publisher, &burst));
    assert!(!pair.worlds[0].send(publisher, &end), "it is held");
    assert_eq!(pair.worlds[0].stats().messages_handed_over, 2);
    assert_eq!(pair.worlds[0].stats().congestion_pauses, 1);
    // What is held is charged, and its client may go meanwhile.
    assert!(pair.worlds[0].stats().memory_bytes as usize >= burst.len());
    let mut seen = Vec::new();
    while seen.len() < MESSAGES - 1 {
        let mut posts = Vec::new();
        pair.worlds[0].shard.hand_over(|_, outbox| posts.append(outbox));
        assert!((1..=2).contains(&posts.len()), "{} at once", posts.len());
        let to = &mut pair.worlds[1];
        posts.into_iter().for_each(|post| to.shard.take_post(to.now, post));
        to.flush();
        seen.extend(pair.worlds[1].lines(receiver));
        (1..=u16::MAX).take(seen.len()).for_each(|id| _ = pair.worlds[1].send(receiver, &puback(id)));
        pair.worlds[0].flush();
    }
    assert!(pair.worlds[0].send(publisher, &end), "there is room again");
    pair.exchange();
    seen.extend(pair.worlds[1].lines(receiver));
    let expected: Vec<String> = (0..MESSAGES).map(|n| format!("PUBLISH t={n} q1")).collect();
    assert_eq!(seen, expected);
    assert_eq!(pair.worlds[0].lines(publisher).len(), MESSAGES);
    // One that goes while it is held leaves nothing.
    let burst: Vec<u8> = (0..9).flat_map(|n| publish(V5, "t", 1, false, n + 1, &[], b"x")).collect();
    assert!(pair.worlds[0].send(publisher, &burst));
    pair.worlds[0].cut(publisher);
    assert!(pair.worlds[0].shard.held.is_empty());
    pair.end();
}

#[test]
fn a_shared_message_whose_member_has_gone_meanwhile_is_offered_to_each_other_member_once() {
    let mut pair = Pair::new(&Options::default());
    let publisher = pair.join(0, "p");
    let members = [pair.join(1, "a"), pair.join(1, "b")];
    members.iter().for_each(|member| pair.worlds[1].subscribe(*member, "$share/g/t", 1));
    let here = pair.join(0, "c");
    pair.worlds[0].subscribe(here, "$share/g/t", 1);
    for _ in 0..3 {
        pair.worlds[0].publish(publisher, "t", 1, false, b"x");
    }
    assert_eq!(pair.worlds[0].take_lines(here, 9).len(), 1, "in turn");
    // Both members on the other side go before their messages arrive.
    members.iter().for_each(|member| pair.worlds[1].cut(*member));
    pair.exchange();
    assert_eq!(pair.worlds[0].lines(here).len(), 2, "the one that is left gets both");
    assert_eq!(pair.worlds[1].stats().shared_reoffered, 2);
    // Nobody is left: it was tried, and is counted.
    pair.worlds[0].publish(publisher, "t", 1, false, b"x");
    pair.worlds[0].cut(here);
    pair.exchange();
    pair.end();
}

#[test]
fn a_message_for_a_member_that_is_away_goes_to_one_that_is_there() {
    let mut pair = Pair::new(&Options::default());
    let publisher = pair.join(0, "p");
    let name = pair.name(1, "lasting");
    let lasting = pair.worlds[1].join_for_long(V5, &name, false);
    pair.worlds[1].subscribe(lasting, "$share/g/t", 1);
    pair.worlds[0].publish(publisher, "t", 1, false, b"x");
    pair.worlds[1].cut(lasting);
    let here = pair.join(0, "c");
    pair.worlds[0].subscribe(here, "$share/g/t", 1);
    pair.exchange();
    assert_eq!(pair.worlds[0].lines(here), ["PUBLISH t=x q1"]);
    pair.end();
}

#[test]
fn what_is_on_its_way_to_a_session_that_ends_is_counted() {
    let mut pair = Pair::new(&Options::default());
    let (publisher, receiver) = (pair.join(0, "p"), pair.join(1, "r"));
    pair.worlds[1].subscribe(receiver, "t", 1);
    pair.worlds[0].publish(publisher, "t", 1, false, b"x");
    pair.worlds[1].cut(receiver);
    pair.exchange();
    assert_eq!(pair.worlds[1].stats().dropped_session_ended, 1);
    // A server that has ended on the other worker takes nothing more.
    let again = pair.join(1, "again");
    pair.worlds[1].subscribe(again, "t", 1);
    pair.worlds[0].publish(publisher, "t", 1, false, b"x");
    let mut lost = Vec::new();
    pair.worlds[0].shard.hand_over(|_, outbox| lost.append(outbox));
    pair.worlds[0].shard.lost(&lost);
    assert_eq!(pair.worlds[0].stats().dropped_session_ended, 1);
    drop(lost);
    pair.end();
}

#[test]
fn what_is_published_after_a_subscribe_comes_once_though_it_is_retained() {
    let mut pair = Pair::new(&Options::default());
    let (publisher, receiver) = (pair.join(0, "p"), pair.join(1, "r"));
    pair.worlds[0].publish(publisher, "t/1", 0, true, b"old");
    pair.worlds[0].publish(publisher, "t/2", 0, true, b"old");
    // The subscription is there, and nothing that is retained was sent yet.
    let (name, now) = (pair.name(1, "r"), pair.worlds[1].now);
    pair.worlds[1].shard.subscribe_client(now, &name, "t/#", codec::SubscribeOptions::default());
    pair.worlds[0].publish(publisher, "t/2", 0, true, b"new");
    pair.worlds[0].publish(publisher, "t/3", 0, true, b"new");
    pair.worlds[1].flush();
    pair.exchange();
    let mut lines = pair.worlds[1].lines(receiver);
    lines.sort();
    assert_eq!(lines, ["PUBLISH t/1=old q0 retain", "PUBLISH t/2=new q0", "PUBLISH t/3=new q0"]);
    pair.end();
}
