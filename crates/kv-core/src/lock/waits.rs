//! The one queue of all who wait for a lock, and the wait-for graph that it is.
//!
//! The graph is not stored. Its nodes are sessions; the edges of a waiting session are read off
//! when somebody asks: the holders that stand against its request, and the requests ahead of it.
//! That is exact, because whoever waits stands still (see the invariants in [`super`]).
//!
//! Everything happens under one mutex. Only who must wait comes here, and a release that found a
//! mark; nobody else does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::table::{Holder, Wake};
use super::wait::{LockWait, Outcome, WaitCell};
use super::{Mode, Owner};
use crate::critical::Critical;
use crate::key::Key;
use crate::store::shards::Shards;
use crate::types::{Interval, SessionId, ShardIndex, TreeId};

/// What a lock is asked for on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Key { key: Key, hash: u64, shard: ShardIndex },
    Range(Interval),
}

/// A request that the shard's table did not grant.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) owner: Owner,
    /// The session whose client waits: the owner's, or one that runs a command in a tree that is a
    /// session of its own. It stands still too, and whoever waits for it waits for this.
    pub(crate) client: SessionId,
    pub(crate) target: Target,
    pub(crate) mode: Mode,
    /// Whether either session holds any lock. If not, nobody waits for it, and no cycle can form.
    pub(crate) session_holds_locks: bool,
    /// How long it may wait. None: for ever.
    pub(crate) wait_max: Option<Duration>,
    pub(crate) now: Instant,
}

/// Why a request is neither granted nor queued.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another transaction of the same session stands in the way.
    Busy(Owner),
    /// It may not wait, and this one stands in the way.
    WouldWait(Owner),
    /// It would close a cycle: it would wait for the first, who waits for the target.
    Deadlock(Owner, Option<Target>),
}

/// A place in the queue: upgrades come before all others, and among themselves, as the others, in
/// the order they came.
type Place = (u8, u64);
const UPGRADES: u8 = 0;
const OTHERS: u8 = 1;

#[derive(Debug)]
struct Request {
    owner: Owner,
    client: SessionId,
    target: Target,
    mode: Mode,
    since: Instant,
    cell: Arc<WaitCell>,
    /// Requests ahead of it that do not hold it up, because they wait for its session.
    passes: HashSet<Place>,
    /// What stood in its way when it was last looked at. As long as this does, it need not be
    /// looked at again.
    obstacle: Obstacle,
}

/// One thing that stands in a request's way.
#[derive(Debug, Clone)]
enum Obstacle {
    /// A tree holds a lock on a key.
    Key { tree: TreeId, key: Key, hash: u64, shard: ShardIndex },
    /// Somebody holds a lock on a range.
    Range,
    /// A request ahead of it.
    Ahead(Place),
}

#[derive(Debug, Default)]
struct Queue {
    requests: BTreeMap<Place, Request>,
    /// By owner's session and by client.
    of_session: HashMap<SessionId, Place>,
    on_keys: BTreeMap<Key, BTreeSet<Place>>,
    on_ranges: BTreeSet<Place>,
    numbered: u64,
}

/// The queue, behind its mutex.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    queue: Mutex<Queue>,
}

impl Waits {
    /// Grants the lock after all, queues the request, or refuses it.
    pub(crate) fn acquire(&self, shards: &Shards, ask: Ask) -> Result<Option<LockWait>, Refusal> {
        let (mut queue, _whole) = self.change();
        mark(shards, &ask.target);
        match queue.judge(shards, &ask) {
            Ok(None) => {
                let holder = Holder { owner: ask.owner, mode: ask.mode, since: ask.now };
                grant(shards, &ask.target, holder);
                unmark(shards, &ask.target);
                Ok(None)
            }
            Ok(Some(queued)) => {
                if queued.place.0 == UPGRADES {
                    queue.let_pass(shards, &ask, &queued);
                }
                let Queued { place, passes, obstacle, .. } = queued;
                let deadline = ask.wait_max.and_then(|wait| ask.now.checked_add(wait));
                let cell = Arc::new(WaitCell::new(deadline));
                queue.push(
                    place,
                    Request {
                        owner: ask.owner,
                        client: ask.client,
                        target: ask.target,
                        mode: ask.mode,
                        since: ask.now,
                        cell: Arc::clone(&cell),
                        passes,
                        obstacle,
                    },
                );
                Ok(Some(LockWait { cell }))
            }
            Err(refusal) => {
                unmark(shards, &ask.target);
                Err(refusal)
            }
        }
    }

    /// Grants what can be granted after a release.
    pub(crate) fn wake(&self, shards: &Shards, wake: &Wake) {
        if wake.is_needed() {
            let (mut queue, _whole) = self.change();
            queue.grant_ready(shards, wake);
        }
    }

    /// Takes the session's request out of the queue, if it is still there, and settles it.
    pub(crate) fn expire(&self, shards: &Shards, session: SessionId) {
        let (mut queue, _whole) = self.change();
        let Some(&place) = queue.of_session.get(&session) else { return };
        let blocker = queue
            .requests
            .get(&place)
            .and_then(|request| queue.edges(shards, place, request).first().copied());
        let Some(request) = queue.remove(place) else { return };
        unmark(shards, &request.target);
        request.cell.settle(Outcome::TimedOut(blocker));
        let wake = match request.target {
            Target::Key { key, .. } => Wake { keys: vec![key], ranges: true, all: false },
            Target::Range(_) => Wake { all: true, ..Wake::default() },
        };
        queue.grant_ready(shards, &wake);
    }

    /// The queue, and what keeps others from seeing it half changed.
    fn change(&self) -> (MutexGuard<'_, Queue>, Critical) {
        (self.queue.lock(), Critical::enter())
    }

    /// Calls `each` with every waiting request.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Owner, &Target, Mode, Instant)) {
        let queue = self.queue.lock();
        for request in queue.requests.values() {
            each(&request.owner, &request.target, request.mode, request.since);
        }
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().requests.len()
    }
}

/// A request that has to queue.
struct Queued {
    place: Place,
    passes: HashSet<Place>,
    obstacle: Obstacle,
    /// The sessions that it waits for.
    blockers: Vec<SessionId>,
}

impl Queue {
    /// What is to become of a request whose marks are set: nothing in the way (None), or a place
    /// in the queue.
    fn judge(&mut self, shards: &Shards, ask: &Ask) -> Result<Option<Queued>, Refusal> {
        self.numbered += 1;
        let Ask { target, mode, owner, client, .. } = ask;
        let class = if is_upgrade(shards, ask) { UPGRADES } else { OTHERS };
        let place = (class, self.numbered);
        let mut blockers = holders_against(shards, target, owner.tree, *mode);
        let ahead = self.waiters_against(place, target, owner.tree, *mode, None);
        // Nobody waits for a session that holds nothing.
        let waiting_for_it = if ask.session_holds_locks {
            let ahead = ahead.iter().map(|place| self.requests[place].owner.session);
            self.who_waits_for(
                shards,
                [owner.session, *client],
                blockers.iter().map(|o| o.0.session).chain(ahead),
            )
        } else {
            HashSet::new()
        };
        let mut passes = HashSet::new();
        for place in ahead {
            let waiter = self.requests[&place].owner;
            if waiting_for_it.contains(&waiter.session) {
                passes.insert(place);
            } else {
                blockers.push((waiter, Obstacle::Ahead(place)));
            }
        }
        let Some((first, obstacle)) = blockers.first().cloned() else { return Ok(None) };
        let mut owners = blockers.iter().map(|(owner, _)| *owner);
        let is_own = |other: &Owner| [owner.session, *client].contains(&other.session);
        if let Some(own) = owners.clone().find(is_own) {
            return Err(Refusal::Busy(own));
        }
        if ask.wait_max == Some(Duration::ZERO) {
            return Err(Refusal::WouldWait(first));
        }
        if let Some(closing) = owners.find(|other| waiting_for_it.contains(&other.session)) {
            let its_wait = self.of_session.get(&closing.session);
            let target = its_wait.map(|place| self.requests[place].target.clone());
            return Err(Refusal::Deadlock(closing, target));
        }
        let blockers = blockers.iter().map(|(owner, _)| owner.session).collect();
        Ok(Some(Queued { place, passes, obstacle, blockers }))
    }

    /// Those sessions among `from`, and those that they wait for, that wait, directly or through
    /// others, for one of the sessions `goals`. Looks at each session once.
    fn who_waits_for(
        &self,
        shards: &Shards,
        goals: [SessionId; 2],
        from: impl Iterator<Item = SessionId>,
    ) -> HashSet<SessionId> {
        let mut to_visit: Vec<SessionId> = from.collect();
        let mut seen: HashSet<SessionId> = to_visit.iter().copied().collect();
        let mut waiters_of: HashMap<SessionId, Vec<SessionId>> = HashMap::new();
        while let Some(session) = to_visit.pop() {
            let Some(&place) = self.of_session.get(&session) else { continue };
            for blocker in self.edges(shards, place, &self.requests[&place]) {
                waiters_of.entry(blocker.session).or_default().push(session);
                if seen.insert(blocker.session) {
                    to_visit.push(blocker.session);
                }
            }
        }
        let mut waiting = HashSet::new();
        let mut reached = goals.to_vec();
        while let Some(session) = reached.pop() {
            for &waiter in waiters_of.get(&session).into_iter().flatten() {
                if waiting.insert(waiter) {
                    reached.push(waiter);
                }
            }
        }
        waiting
    }

    /// Whom a queued request waits for: every holder, and of the requests ahead enough that all
    /// the others are reached through them.
    fn edges(&self, shards: &Shards, place: Place, request: &Request) -> Vec<Owner> {
        let Request { owner, target, mode, passes, .. } = request;
        let holders = holders_against(shards, target, owner.tree, *mode);
        let ahead = self.waiters_against(place, target, owner.tree, *mode, Some(passes));
        let ahead = ahead.iter().map(|ahead| self.requests[ahead].owner);
        holders.into_iter().map(|(holder, _)| holder).chain(ahead).collect()
    }

    /// Something that stands in a queued request's way, if anything does.
    fn obstacle(&self, shards: &Shards, place: Place, request: &Request) -> Option<Obstacle> {
        let Request { owner, target, mode, passes, .. } = request;
        let ahead = self.waiters_against(place, target, owner.tree, *mode, Some(passes));
        if let Some(&ahead) = ahead.first() {
            return Some(Obstacle::Ahead(ahead));
        }
        let holder = holders_against(shards, target, owner.tree, *mode).into_iter().next();
        holder.map(|(_, obstacle)| obstacle)
    }

    /// Whether what stood in a request's way still does.
    fn is_still_there(&self, shards: &Shards, request: &Request) -> bool {
        match &request.obstacle {
            Obstacle::Ahead(place) => self.requests.contains_key(place),
            Obstacle::Key { tree, key, hash, shard } => shards
                .read(*shard)
                .locks
                .against_key(*hash, key, request.owner.tree, request.mode)
                .any(|holder| holder.tree == *tree),
            // Seldom, and ranges are few: looked at in full.
            Obstacle::Range => false,
        }
    }

    /// The requests ahead of `place` that stand against it: all of them, or, given those that it
    /// passes, the others as far as they cannot be reached through each other.
    fn waiters_against(
        &self,
        place: Place,
        target: &Target,
        tree: TreeId,
        mode: Mode,
        passes: Option<&HashSet<Place>>,
    ) -> Vec<Place> {
        let stands_against = |ahead: &&Place| {
            let other = &self.requests[*ahead];
            other.owner.tree != tree
                && !other.mode.is_compatible_with(mode)
                && passes.is_none_or(|passes| !passes.contains(ahead))
                && other.target.meets(target)
        };
        let mut found = Vec::new();
        let mut look_at_key = |places: &BTreeSet<Place>| {
            for ahead in places.range(..place).rev().filter(stands_against) {
                found.push(*ahead);
                // An exclusive request that passes nobody waits for all that are before it.
                let other = &self.requests[ahead];
                let waits_for_all = other.mode == Mode::Exclusive && other.passes.is_empty();
                if passes.is_some() && waits_for_all {
                    break;
                }
            }
        };
        match target {
            Target::Key { key, .. } => self.on_keys.get(key).into_iter().for_each(look_at_key),
            Target::Range(interval) => {
                let from = (Bound::Included(&*interval.from), Bound::Unbounded);
                let keys = self.on_keys.range::<[u8], _>(from);
                let keys = keys.take_while(|(key, _)| interval.contains(key));
                keys.for_each(|(_, places)| look_at_key(places));
            }
        }
        found.extend(self.on_ranges.range(..place).filter(stands_against));
        found
    }

    /// Lets ranges that are queued pass an upgrade that goes ahead of them, if it would wait for
    /// them: nobody is held up by who waits for him.
    fn let_pass(&mut self, shards: &Shards, ask: &Ask, queued: &Queued) {
        let behind: Vec<Place> = self.on_ranges.range(queued.place..).copied().collect();
        for place in behind {
            let Request { owner, client, target, mode, .. } = &self.requests[&place];
            let stands_against = !mode.is_compatible_with(ask.mode) && target.meets(&ask.target);
            if owner.tree == ask.owner.tree || !stands_against {
                continue;
            }
            let sessions = [owner.session, *client];
            let waiting = self.who_waits_for(shards, sessions, queued.blockers.iter().copied());
            let is_waited_for = queued
                .blockers
                .iter()
                .any(|blocker| sessions.contains(blocker) || waiting.contains(blocker));
            if is_waited_for && let Some(request) = self.requests.get_mut(&place) {
                request.passes.insert(queued.place);
            }
        }
    }

    /// Grants, in their order, the requests that a release may have freed.
    fn grant_ready(&mut self, shards: &Shards, wake: &Wake) {
        let mut candidates = BTreeSet::new();
        if wake.all {
            candidates.extend(self.requests.keys());
        } else {
            let on_keys = wake.keys.iter().filter_map(|key| self.on_keys.get(key)).flatten();
            candidates.extend(on_keys);
            if wake.ranges {
                candidates.extend(&self.on_ranges);
            }
        }
        for place in candidates {
            let request = &self.requests[&place];
            if self.is_still_there(shards, request) {
                continue;
            }
            match self.obstacle(shards, place, request) {
                Some(obstacle) => {
                    if let Some(request) = self.requests.get_mut(&place) {
                        request.obstacle = obstacle;
                    }
                }
                None => self.grant(shards, place),
            }
        }
    }

    fn grant(&mut self, shards: &Shards, place: Place) {
        let Some(request) = self.remove(place) else { return };
        let Request { owner, mode, since, .. } = request;
        // Its age counts from when it was asked for.
        grant(shards, &request.target, Holder { owner, mode, since });
        unmark(shards, &request.target);
        request.cell.settle(Outcome::Granted);
    }

    fn push(&mut self, place: Place, request: Request) {
        for session in [request.owner.session, request.client] {
            let earlier = self.of_session.insert(session, place);
            debug_assert!(earlier.is_none_or(|earlier| earlier == place), "a session waits once");
        }
        match &request.target {
            Target::Key { key, .. } => {
                self.on_keys.entry(key.clone()).or_default().insert(place);
            }
            Target::Range(_) => {
                self.on_ranges.insert(place);
            }
        }
        self.requests.insert(place, request);
    }

    fn remove(&mut self, place: Place) -> Option<Request> {
        let request = self.requests.remove(&place)?;
        self.of_session.remove(&request.owner.session);
        self.of_session.remove(&request.client);
        match &request.target {
            Target::Key { key, .. } => {
                if let Some(places) = self.on_keys.get_mut(key) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.on_keys.remove(key);
                    }
                }
            }
            Target::Range(_) => {
                self.on_ranges.remove(&place);
            }
        }
        Some(request)
    }
}

impl Target {
    /// Whether some key lies in both.
    fn meets(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Key { key: one, .. }, Target::Key { key: other, .. }) => one == other,
            (Target::Key { key, .. }, Target::Range(range))
            | (Target::Range(range), Target::Key { key, .. }) => range.contains(key),
            (Target::Range(one), Target::Range(other)) => one.overlaps(other),
        }
    }
}

fn is_upgrade(shards: &Shards, ask: &Ask) -> bool {
    match &ask.target {
        Target::Key { key, hash, shard } => {
            shards.read(*shard).locks.is_upgrade(*hash, key, ask.owner.tree, ask.mode)
        }
        Target::Range(_) => false,
    }
}

fn holders_against(
    shards: &Shards,
    target: &Target,
    tree: TreeId,
    mode: Mode,
) -> Vec<(Owner, Obstacle)> {
    let mut holders = Vec::new();
    match target {
        Target::Key { key, hash, shard } => {
            let state = shards.read(*shard);
            holders.extend(state.locks.against_key(*hash, key, tree, mode).map(|owner| {
                let (tree, key) = (owner.tree, key.clone());
                (owner, Obstacle::Key { tree, key, hash: *hash, shard: *shard })
            }));
        }
        Target::Range(interval) => {
            for shard in shards.indices() {
                let state = shards.read(shard);
                let against = state.locks.against_range(interval, tree, mode);
                holders.extend(against.map(|(owner, on_key)| {
                    let tree = owner.tree;
                    let obstacle = match on_key {
                        Some((key, hash)) => Obstacle::Key { tree, key: key.clone(), hash, shard },
                        None => Obstacle::Range,
                    };
                    (owner, obstacle)
                }));
            }
        }
    }
    holders
}

fn grant(shards: &Shards, target: &Target, holder: Holder) {
    match target {
        Target::Key { key, hash, shard } => shards.write(*shard).locks.grant(*hash, key, holder),
        Target::Range(interval) => shards
            .indices()
            .for_each(|shard| shards.write(shard).locks.grant_range(interval, holder)),
    }
}

fn mark(shards: &Shards, target: &Target) {
    match target {
        Target::Key { key, hash, shard } => shards.write(*shard).locks.mark_key(*hash, key),
        Target::Range(_) => {
            shards.indices().for_each(|shard| shards.write(shard).locks.mark_range());
        }
    }
}

fn unmark(shards: &Shards, target: &Target) {
    match target {
        Target::Key { key, hash, shard } => shards.write(*shard).locks.unmark_key(*hash, key),
        Target::Range(_) => {
            shards.indices().for_each(|shard| shards.write(shard).locks.unmark_range());
        }
    }
}
