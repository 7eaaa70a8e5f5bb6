//! One run: faults, then healing and liveness, then everything is closed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use nlmqtt::base::{Duration, Instant, Rng};
use nlmqtt::broker::{Options, Stats};

use crate::broker::{self, BROKER_NAME, Broker, SharedModel, lock};
use crate::device::Device;
use crate::faults::Faults;
use crate::model::{Model, Publication};
use crate::trace::{Trace, trace};
use crate::world::{Happening, INWARD, OUTWARD, World};

const NAMES: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];
/// How long things go wrong.
const FAULTY_TIME: Duration = Duration::from_secs(60);
/// In which everything must come to an end once nothing goes wrong any more.
const LIVENESS_TIME: Duration = Duration::from_secs(900);
/// Workers of the broker at most.
const WORKERS_MAX: u64 = 4;
/// Of a thousand turns a lazy worker could have, so many it does not get.
const LAZINESS: u32 = 950;
/// Turns of one worker in one simulated second: more is a loop that spins.
const TURNS_PER_SECOND_MAX: u32 = 60_000;

/// A world with a broker, devices and a judge.
pub struct Run {
    world: Rc<RefCell<World>>,
    trace: Trace,
    rng: Rng,
    model: SharedModel,
    options: Options,
    broker: Option<Broker>,
    broker_host: usize,
    broker_workers: usize,
    /// One of them gets few turns.
    lazy_worker: Option<usize>,
    broker_restart_at: Option<Instant>,
    devices: Vec<Device>,
    turns: Vec<(u64, u32)>,
    dropped_before: u64,
    next_act: Instant,
    next_mishap: Instant,
}

impl Run {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5EED);
        let faults = if rng.chance(150) { Faults::none(&mut rng) } else { Faults::draw(&mut rng) };
        trace!(trace, "{faults:?}");
        let world = Rc::new(RefCell::new(World::new(seed, faults.clone(), trace.clone())));
        let broker_host = world.borrow_mut().add_host(BROKER_NAME);
        let options = broker::draw_options(&mut rng, &faults);
        let broker_workers = 1 + rng.below(WORKERS_MAX) as usize;
        let lazy_worker = rng.chance(300).then(|| rng.below(broker_workers as u64) as usize);
        trace!(trace, "{broker_workers} workers, lazy {lazy_worker:?}");
        let mut model = Model::new(trace.clone(), options.persistent_client_expiration_s);
        model.ledger.is_reliable = faults.is_reliable() && options.max_output_bytes > 200_000;
        let model: SharedModel = Arc::new(Mutex::new(model));
        let broker = Broker::start(&world, broker_host, broker_workers, &options, &model);
        let count = 2 + rng.below(NAMES.len() as u64 - 1) as usize;
        let sessions_last = !faults.broker_crash && options.persistent_client_expiration_s == u32::MAX;
        let devices: Vec<Device> = NAMES[..count].iter().map(|name| Device::new(&world, name, &model, sessions_last)).collect();
        Self {
            turns: vec![(0, 0); count + 1],
            world,
            trace,
            rng,
            model,
            options,
            broker: Some(broker),
            broker_host,
            broker_workers,
            lazy_worker,
            broker_restart_at: None,
            devices,
            dropped_before: 0,
            next_act: Instant::START,
            next_mishap: Instant::START + Duration::from_secs(1),
        }
    }

    /// Runs it; what the broker counted since its last start, and how many payloads were handed on by reference.
    pub fn run(mut self) -> (Stats, u64) {
        while self.now() < Instant::START + FAULTY_TIME {
            self.step(Some(self.next_act.min(self.next_mishap)));
            self.applications_act();
            self.mishap();
        }
        self.heal();
        self.demand_liveness();
        self.judge();
        let stats = self.broker.as_mut().map(Broker::stats).unwrap_or_default();
        self.close_everything();
        let payloads = self.world.borrow().payloads;
        (stats, payloads)
    }

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    fn set_model_time(&self) {
        lock(&self.model).advance(self.now());
    }

    /// Host and number of every worker.
    fn units(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..=self.devices.len()).flat_map(|host| {
            let count = if host == self.broker_host { self.broker_workers } else { 1 };
            (0..count).map(move |worker| (host, worker))
        })
    }

    /// One turn of one worker that has something to do, or else time goes on to the next thing.
    fn step(&mut self, at_latest: Option<Instant>) {
        let now = self.now();
        let mut ready: Vec<(usize, usize)> = self.units().filter(|unit| self.is_ready(*unit, now)).collect();
        let lazy = self.lazy_worker.map(|worker| (self.broker_host, worker));
        if lazy.is_some_and(|lazy| ready.contains(&lazy)) && self.rng.chance(LAZINESS) {
            ready.retain(|unit| Some(*unit) != lazy);
        }
        if ready.is_empty() {
            let deadlines = self.units().filter_map(|unit| self.deadline(unit));
            let thaw = self.world.borrow().hosts[self.broker_host].frozen_until;
            let answers = self.broker.as_ref().and_then(Broker::next_answer).map(|due| due.max(thaw));
            let restarts = self.devices.iter().filter_map(|device| device.restart_at).chain(self.broker_restart_at);
            let world_next = self.world.borrow().next();
            let next = deadlines.chain(answers).chain(restarts).chain(world_next).chain(at_latest).min();
            let tick = now + Duration::from_secs(1);
            self.world.borrow_mut().advance(next.unwrap_or(tick).min(tick).max(now + Duration::from_micros(1)));
        } else {
            let unit = ready[self.rng.below(ready.len() as u64) as usize];
            self.turn(unit);
            // A turn takes time.
            let cost = Duration::from_micros(1 + self.rng.below(60));
            self.world.borrow_mut().advance(now + cost);
        }
        self.set_model_time();
        self.restarts();
        let (now, model) = (self.now(), self.model.clone());
        let stands_still = self.world.borrow().hosts[self.broker_host].frozen_until > now;
        if let Some(broker) = self.broker.as_mut().filter(|_| !stands_still) {
            for worker in broker.answer(now, &model) {
                self.wake(self.broker_host, worker);
            }
        }
    }

    fn is_ready(&self, (host, worker): (usize, usize), now: Instant) -> bool {
        let world = self.world.borrow();
        let machine = &world.hosts[host];
        if !machine.is_up || machine.frozen_until > now {
            return false;
        }
        let has_news = machine.has_news(worker);
        drop(world);
        has_news || self.worker_deadline(host, worker).is_some_and(|deadline| deadline <= now)
    }

    fn worker_deadline(&self, host: usize, worker: usize) -> Option<Instant> {
        if host == self.broker_host {
            self.broker.as_ref().and_then(|broker| broker.workers[worker].next_deadline())
        } else {
            self.devices[host - 1].life.as_ref().and_then(|life| life.worker.next_deadline())
        }
    }

    /// When a worker gets its next turn without news.
    fn deadline(&self, (host, worker): (usize, usize)) -> Option<Instant> {
        let world = self.world.borrow();
        let machine = &world.hosts[host];
        if !machine.is_up {
            return None;
        }
        let thaw = machine.frozen_until;
        let has_news = machine.has_news(worker);
        drop(world);
        let deadline = if has_news { Some(thaw) } else { self.worker_deadline(host, worker) };
        deadline.map(|deadline| deadline.max(thaw))
    }

    fn turn(&mut self, (host, worker): (usize, usize)) {
        let second = self.now().as_micros() / 1_000_000;
        let count = &mut self.turns[host];
        *count = if count.0 == second { (second, count.1 + 1) } else { (second, 1) };
        assert!(count.1 < TURNS_PER_SECOND_MAX * WORKERS_MAX as u32, "host {host} spins");
        let turning = if host == self.broker_host {
            self.broker.as_mut().map(|broker| &mut broker.workers[worker])
        } else {
            self.devices[host - 1].life.as_mut().map(|life| &mut life.worker)
        };
        let Some(turning) = turning else { return };
        turning.turn(Some(Duration::ZERO)).expect("the simulated poll never fails");
        // It would sleep now.
        if !turning.inbox().may_sleep() || turning.net().has_events() {
            self.wake(host, worker);
        }
    }

    fn applications_act(&mut self) {
        if self.now() < self.next_act {
            return;
        }
        let index = self.rng.below(self.devices.len() as u64) as usize;
        self.devices[index].act();
        let pause = [1_000, 100_000, 500_000][self.rng.below(3) as usize];
        self.next_act = self.now() + Duration::from_micros(self.rng.below(pause));
        self.wake(index + 1, 0);
    }

    /// An application's call is followed by a turn.
    fn wake(&self, host: usize, worker: usize) {
        self.world.borrow().hosts[host].woken[worker].store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn restarts(&mut self) {
        let now = self.now();
        if self.broker_restart_at.is_some_and(|when| when <= now) {
            self.broker_restart_at = None;
            self.world.borrow_mut().restart(self.broker_host);
            self.broker = Some(Broker::start(&self.world, self.broker_host, self.broker_workers, &self.options, &self.model));
        }
        for device in &mut self.devices {
            if device.restart_at.is_some_and(|when| when <= now) {
                self.world.borrow_mut().restart(device.host);
                device.switch_on(&self.world, &self.model);
            }
        }
    }

    /// Something goes wrong, if this world is of that kind.
    fn mishap(&mut self) {
        if self.now() < self.next_mishap {
            return;
        }
        let now = self.now();
        self.next_mishap = now + Duration::from_millis(200 + self.rng.below(4_000));
        let faults = self.world.borrow().faults.clone();
        let device = self.rng.below(self.devices.len() as u64) as usize;
        let until = now + Duration::from_millis(self.rng.below(7_000));
        let politely = self.rng.chance(500);
        match self.rng.below(6) {
            0 if faults.freeze => {
                let host = self.rng.below(self.devices.len() as u64 + 1) as usize;
                trace!(self.trace, "host {host} stands still until {until:?}");
                self.world.borrow_mut().hosts[host].frozen_until = until;
            }
            1 if faults.cuts => {
                let ways: &[usize] = [&[INWARD][..], &[OUTWARD], &[INWARD, OUTWARD]][self.rng.below(3) as usize];
                trace!(self.trace, "device {device} is cut off {ways:?} until {until:?}");
                for way in ways {
                    self.world.borrow_mut().hosts[device + 1].cut[*way] = until;
                }
            }
            2 if faults.device_crash && self.devices[device].life.is_some() => {
                self.world.borrow_mut().crash(device + 1, politely);
                self.devices[device].switch_off(until);
            }
            3 if faults.broker_crash && self.broker.is_some() && self.rng.chance(300) => self.broker_dies(politely, until),
            4 if faults.clock_steps => {
                let step = self.rng.below(40_000_000_000);
                self.world.borrow_mut().wall_offset_ms = step;
            }
            _ => {}
        }
    }

    fn broker_dies(&mut self, politely: bool, until: Instant) {
        let Some(mut broker) = self.broker.take() else { return };
        self.dropped_before += broker.dropped();
        let budget = broker.budget.clone();
        self.world.borrow_mut().crash(self.broker_host, politely);
        drop(broker);
        assert_eq!(budget.used_bytes(), 0, "a dead broker's memory");
        lock(&self.model).broker_died();
        self.broker_restart_at = Some(until);
    }

    fn heal(&mut self) {
        trace!(self.trace, "nothing goes wrong any more");
        self.world.borrow_mut().heal();
        lock(&self.model).is_healed = true;
        let now = self.now();
        self.broker_restart_at = self.broker_restart_at.map(|_| now);
        for device in &mut self.devices {
            device.restart_at = device.restart_at.map(|_| now);
        }
        self.restarts();
        for index in 0..self.devices.len() {
            self.devices[index].ensure_started();
            self.wake(index + 1, 0);
        }
    }

    fn demand_liveness(&mut self) {
        let until = self.now() + LIVENESS_TIME;
        let mut next_look = self.now();
        loop {
            self.step(Some(next_look));
            if self.now() < next_look {
                continue;
            }
            next_look = self.now() + Duration::from_secs(1);
            for device in &mut self.devices {
                device.ensure_started();
            }
            let unfinished: Vec<String> = self.devices.iter_mut().filter_map(Device::unfinished).collect();
            let broker_is_idle = self.broker.as_mut().is_none_or(Broker::is_idle);
            let wills = lock(&self.model).wills.len();
            let differing = self.differing();
            if unfinished.is_empty() && broker_is_idle && wills == 0 && differing.is_empty() {
                return;
            }
            assert!(self.now() < until, "no end in sight: {unfinished:?}, broker idle: {broker_is_idle}, {wills} wills, {differing:?}");
        }
    }

    /// Devices whose session has other filters than they want.
    fn differing(&self) -> Vec<String> {
        let model = lock(&self.model);
        let compare = |device: &Device| {
            let (wanted, session) = (device.wanted(), model.sessions.get(device.name));
            let known = session.map(|session| session.filters.keys().cloned().collect()).unwrap_or_default();
            (wanted != known).then(|| format!("{} wants {wanted:?}, the broker has {known:?}", device.name))
        };
        self.devices.iter().filter_map(compare).collect()
    }

    fn judge(&mut self) {
        let dropped = self.dropped_before + self.broker.as_mut().map_or(0, Broker::dropped);
        let model = lock(&self.model);
        let missing = model.ledger.missing();
        let limits = self.world.borrow().faults.tiny_limits;
        // With limits that are reached, what is missing was counted.
        let allowed = if limits { dropped } else { 0 };
        assert!(missing.len() as u64 <= allowed, "{} dropped, missing:\n{}", dropped, missing.join("\n"));
        if limits {
            return;
        }
        // Those that expire may be there or not.
        let (lasting, passing): (Vec<_>, Vec<_>) = model.retained.values().cloned().partition(|kept| !kept.expires);
        drop(model);
        let pairs = |list: &[Publication]| list.iter().map(|kept| (kept.topic.clone(), kept.id.clone())).collect::<Vec<_>>();
        let (wanted, passing) = (pairs(&lasting), pairs(&passing));
        let mut found = self.retained();
        found.retain(|kept| !passing.contains(kept));
        assert_eq!(found, wanted, "retained messages");
    }

    fn retained(&mut self) -> Vec<(String, String)> {
        let Some(broker) = &mut self.broker else { return Vec::new() };
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let sink = seen.clone();
        let Some((shard, now)) = broker.shard(0) else { return Vec::new() };
        let collect = Box::new(move |message: &Arc<nlmqtt::codec::Message>| {
            sink.lock().expect("no panic while locked").push((message.topic().to_owned(), broker::id_of(message.payload())));
        });
        let key = shard.subscribe_local(now, "#", collect).expect("a filter");
        shard.unsubscribe_local(now, key);
        let mut all = core::mem::take(&mut *seen.lock().expect("no panic while locked"));
        all.sort();
        all
    }

    /// After the last client and the broker are gone nothing is left: no byte, no stream, no timer.
    fn close_everything(&mut self) {
        for index in 0..self.devices.len() {
            self.devices[index].remove();
            self.wake(index + 1, 0);
        }
        self.go_on(Duration::from_secs(5));
        for device in &self.devices {
            let life = device.life.as_ref().expect("healed");
            assert_eq!(life.budget.used_bytes(), 0, "{}: memory", device.name);
            assert_eq!(life.worker.next_deadline(), None, "{}: timers", device.name);
            assert_eq!(device.open_requests(), 0, "{}: requests", device.name);
        }
        let Some(broker) = &mut self.broker else { return };
        broker.stop();
        (0..self.broker_workers).for_each(|worker| self.wake(self.broker_host, worker));
        self.go_on(Duration::from_secs(10));
        let broker = self.broker.as_ref().expect("just stopped");
        assert_eq!(broker.budget.used_bytes(), 0, "the broker's memory");
        assert!(broker.workers.iter().all(|worker| worker.next_deadline().is_none()), "the broker's timers");
        let open = self.world.borrow().open_streams();
        assert_eq!(open, 0, "streams are left");
        assert_eq!(self.world.borrow().names_budget.used_bytes(), 0, "streams inside the process are left");
    }

    fn go_on(&mut self, time: Duration) {
        let until = self.now() + time;
        self.world.borrow_mut().at(until, Happening::Tick);
        while self.now() < until {
            self.step(Some(until));
        }
    }
}
