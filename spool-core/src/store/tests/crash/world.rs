//! What was answered: the messages with the place of each, the events, the names; and what was under way when it ended.

use super::super::*;
use std::collections::BTreeMap;

/// Where a message is, and as what.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Journal(Message, Bytes),
    Archive(Archive, Archived, Bytes),
}

pub(super) type World = BTreeMap<u128, Place>;

/// Something that is done as a whole or not at all.
#[derive(Debug, Clone)]
pub(super) enum Move {
    Change(Change),
    /// To an archive.
    Lay(Place),
    Purge(u128),
}

/// Lines that no two messages share, `length` bytes and the rest of a line.
pub(super) fn mail(number: u128, length: usize) -> Bytes {
    let mut text = String::new();
    for line in 0.. {
        text += &format!("{number}: line {line} of a mail that is like no other one\r\n");
        if text.len() >= length {
            break;
        }
    }
    text.into()
}

/// A frozen message without a reason has the one that is to be assumed.
fn settle(state: &mut MessageState) {
    if state.status == Status::Frozen && state.frozen.is_none() {
        state.frozen = Some(Box::new(Frozen::unrecorded(state)));
    }
}

/// Compaction may give the related ids in another order.
fn sorted(mut message: Message) -> Message {
    let mut related = message.related.to_vec();
    related.sort_unstable();
    message.related = related.into();
    message
}

impl Place {
    pub(super) fn archive(archive: Archive, archived: Archived, body: Bytes) -> Self {
        let mut message = sorted(archived.message);
        // What lies in an archive waits for a person.
        (message.state.status, message.state.in_flight) = (Status::Frozen, None);
        Self::Archive(archive, Archived { message, ..archived }, body)
    }

    fn id(&self) -> u128 {
        match self {
            Self::Journal(message, _) | Self::Archive(_, Archived { message, .. }, _) => message.id.as_u128(),
        }
    }
}

/// All that a store shows.
pub(super) fn look(store: &Store, recovery: &Recovery, context: &str) -> World {
    let mut world = World::new();
    for message in &recovery.messages {
        let loaded = store.load(message.id).unwrap();
        assert_eq!(
            (message.status, message.in_flight),
            (loaded.state.status, loaded.state.in_flight)
        );
        let body = store.body(message.id).unwrap();
        assert_eq!(message.body_size, body.len() as u64);
        world.insert(message.id.as_u128(), Place::Journal(sorted(loaded), body));
    }
    assert_eq!(store.stats().messages, world.len() as u64);
    for archive in Archive::ALL {
        for (id, listed) in store.list_archive(archive, None, 1000).unwrap() {
            let listed = listed.unwrap_or_else(|reason| panic!("{context}: {reason}"));
            let (archived, body) = store.archived(archive, id).unwrap();
            assert_eq!(listed, archived);
            let twice = world.insert(id.as_u128(), Place::archive(archive, archived, body));
            assert_eq!(twice, None, "{context}: in two places");
        }
    }
    world
}

/// Every event that the log holds. Missing events are reported as a gap.
pub(super) fn events(store: &Store, context: &str) -> BTreeMap<u64, Told> {
    let (mut cursor, mut events, mut last) = (EventCursor::new(0), BTreeMap::new(), 0);
    loop {
        let page = store.events_after(&mut cursor, 7).unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            let step = if let EventKind::Gap(missing) = event.kind {
                missing
            } else {
                1
            };
            assert_eq!(event.seq, last + step, "{context}: {event:?}");
            last = event.seq;
            if event.id.is_some() {
                events.insert(event.seq, (event.id, event.kind));
            }
        }
    }
    assert_eq!(store.last_event(), last, "{context}");
    events
}

pub(super) type Told = (Option<MessageId>, EventKind);

/// See the module.
#[derive(Debug, Default, Clone)]
pub(super) struct Tracker {
    pub(super) world: World,
    pub(super) pending: Vec<Move>,
    pub(super) reported: BTreeMap<u64, Told>,
    /// The names of adds, with their ids.
    pub(super) names: BTreeMap<String, Vec<MessageId>>,
    /// The log may have given up old events.
    pub(super) forgets: bool,
    /// Messages that compaction copied forward.
    pub(super) moved: u64,
}

impl Tracker {
    /// `change` was answered.
    pub(super) fn answered(&mut self, change: &Change) {
        let told = change.events().iter();
        self.reported
            .extend(told.map(|event| (event.seq, (event.id, event.kind.clone()))));
        if let Change::Add(addition) = change
            && let Some(name) = &addition.key
        {
            let ids = addition.messages.iter().map(|message| message.id).collect();
            self.names.insert(name.key.clone(), ids);
        }
        apply(&mut self.world, &Move::Change(change.clone()));
    }

    /// All that was under way is done.
    pub(super) fn done(&mut self) {
        for step in std::mem::take(&mut self.pending) {
            apply(&mut self.world, &step);
        }
    }

    /// Fails unless the world is what was answered, with some of what was under way, each of it whole.
    pub(super) fn check_world(&self, found: &World, context: &str) {
        let pending = &self.pending;
        let possible = (0..1_u32 << pending.len()).any(|subset| {
            let mut expected = self.world.clone();
            let taken = pending
                .iter()
                .enumerate()
                .filter(|(bit, _)| subset & (1 << bit) != 0);
            taken.for_each(|(_, step)| apply(&mut expected, step));
            expected == *found
        });
        assert!(possible, "{context}: {}", self.difference(found));
    }

    fn difference(&self, found: &World) -> String {
        let mut lines = vec![format!("under way: {:?}", self.pending.len())];
        let ids = self.world.keys().chain(found.keys());
        for id in ids.collect::<std::collections::BTreeSet<_>>() {
            let (answered, found) = (self.world.get(id), found.get(id));
            if answered != found {
                let short = |place: Option<&Place>| match place {
                    Some(Place::Journal(message, body)) => {
                        format!("journal {:?} {} bytes", message.state, body.len())
                    }
                    Some(Place::Archive(archive, archived, body)) => {
                        format!("{archive:?} {:?} {} bytes", archived.message.state, body.len())
                    }
                    None => "nowhere".to_owned(),
                };
                lines.push(format!(
                    "{id}: answered {}, found {}",
                    short(answered),
                    short(found)
                ));
            }
        }
        lines.join("\n")
    }

    /// Fails unless every event is there once, with the number it was answered with, and every name is remembered. Where a
    /// batch that was not answered is torn in its middle, there is a gap.
    pub(super) fn check_logs(&self, store: &Store, recovery: &Recovery, context: &str) {
        let found = events(store, context);
        for (seq, told) in &self.reported {
            match found.get(seq) {
                None => assert!(self.forgets, "{context}: event {seq} is gone"),
                Some(event) => assert_eq!(event, told, "{context}: event {seq}"),
            }
        }
        for (name, ids) in &self.names {
            let known: Vec<_> = recovery.keys.iter().filter(|known| known.key == *name).collect();
            assert_eq!(known.len(), 1, "{context}: {name}");
            assert_eq!(known[0].ids, *ids, "{context}: {name}");
        }
    }

    /// A start has shown what has become of what was under way. From now on that is the answer.
    pub(super) fn settle(&mut self, store: &Store, recovery: &Recovery, context: &str) {
        let world = look(store, recovery, context);
        self.check_world(&world, context);
        self.check_logs(store, recovery, context);
        self.pending.clear();
        self.world = world;
        self.reported.extend(events(store, context));
        let names = recovery.keys.iter();
        self.names
            .extend(names.map(|known| (known.key.clone(), known.ids.clone())));
    }
}

fn apply(world: &mut World, step: &Move) {
    match step {
        Move::Lay(place) => drop(world.insert(place.id(), place.clone())),
        Move::Purge(id) => drop(world.remove(id)),
        Move::Change(change) => apply_change(world, change),
    }
}

fn apply_change(world: &mut World, change: &Change) {
    match change {
        Change::Add(addition) => {
            for new in &addition.messages {
                let message = added(addition, new);
                world.insert(new.id.as_u128(), Place::Journal(message, addition.body.clone()));
            }
            match &addition.conclusion {
                Some(Conclusion {
                    id,
                    outcome: Outcome::State(state),
                }) => {
                    if let Some(Place::Journal(message, _)) = world.get_mut(&id.as_u128()) {
                        message.state = (**state).clone();
                    }
                }
                Some(Conclusion { id, .. }) => drop(world.remove(&id.as_u128())),
                None => {}
            }
        }
        Change::Mark {
            id,
            status,
            in_flight,
            ..
        } => {
            if let Some(Place::Journal(message, _)) = world.get_mut(&id.as_u128()) {
                message.state.set_status(*status, None);
                message.state.in_flight = *in_flight;
                settle(&mut message.state);
            }
        }
        Change::State { id, state, .. } => {
            if let Some(Place::Journal(message, _)) = world.get_mut(&id.as_u128()) {
                message.state = (**state).clone();
                settle(&mut message.state);
            }
        }
        Change::Route {
            id,
            next_hops,
            origin,
            ..
        } => {
            if let Some(Place::Journal(message, _)) = world.get_mut(&id.as_u128()) {
                (message.next_hops, message.origin) = (Arc::clone(next_hops), *origin);
            }
        }
        Change::Finish { id, .. } => drop(world.remove(&id.as_u128())),
        Change::Note { .. } | Change::Move(_) => {}
    }
}

/// The message that an add makes.
fn added(addition: &Addition, new: &NewMessage) -> Message {
    let others = addition.messages.iter().map(|message| message.id);
    let others = others.filter(|other| *other != new.id);
    let state = MessageState::new(&new.section, new.status, addition.spooled_at);
    let mut state = new.state.as_deref().cloned().unwrap_or(state);
    settle(&mut state);
    sorted(Message {
        id: new.id,
        parent: addition.parent,
        related: addition
            .related
            .iter()
            .copied()
            .chain(others)
            .collect::<Vec<_>>()
            .into(),
        flows: addition.flows.clone(),
        spooled_at: addition.spooled_at,
        next_hops: Arc::clone(&new.section.next_hops),
        origin: new.section.origin,
        envelope: Arc::new(new.section.envelope.clone()),
        body_size: addition.body.len() as u64,
        state,
    })
}
