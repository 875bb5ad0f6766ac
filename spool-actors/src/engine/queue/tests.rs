//! Tests of the queue by itself.

use super::flow::Next;
use super::routes::LOOK;
use super::*;
use crate::engine::testing::{AT, NOW, Paper, content, hops, known, queue};
use crate::pace::Signal;
use spool_core::store::Change;
use spool_core::{NoDice, RouteOrigin};
use std::time::Duration;

fn mark(id: MessageId, in_flight: Option<Timestamp>) -> Change {
    Change::Mark {
        id,
        status: Status::SendAt(AT),
        frozen: None,
        in_flight,
        events: Vec::new(),
    }
}

/// A message that is due stands in line.
fn due(queue: &mut Queue<Paper>, id: u128, hop: &str) -> (MessageId, DestinationId) {
    let known = known(queue, id, hop);
    queue.back(known, NOW);
    queue.give_back(known.id, Status::SendAt(AT), NOW);
    (known.id, known.destination)
}

/// A message with its content stands in line.
fn add(queue: &mut Queue<Paper>, id: u128, hop: &str) -> (MessageId, DestinationId) {
    let content = content(id, hop);
    let (id, destination) = (content.message.id, queue.enlist(&content.message.next_hops, NOW));
    queue.added(destination, Status::SendAt(AT), Reservation::None, content, NOW);
    (id, destination)
}

/// A queue with one message that is armed, with the start of its attempt on disk, beside a session that runs.
fn armed() -> (Queue<Paper>, MessageId, DestinationId) {
    let mut queue = queue();
    let (first, destination) = add(&mut queue, 1, "a:25");
    assert_eq!(queue.granted(destination, 7), None);
    arm(&mut queue, destination, first);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Start(7, id)) if id == first));
    let (second, _) = add(&mut queue, 2, "a:25");
    arm(&mut queue, destination, second);
    (queue, second, destination)
}

fn arm(queue: &mut Queue<Paper>, destination: DestinationId, expected: MessageId) {
    assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(id)) if id == expected));
    assert!(queue.arming(expected));
    queue.on_disk(&mark(expected, Some(AT)));
    assert_eq!(queue.armed(expected), None);
}

#[test]
fn a_start_on_disk_is_taken_back_wherever_its_message_has_gone() {
    let (mut queue, id, _) = armed();
    assert_eq!(queue.disarm_all(NOW), [(id, AT)]);
    assert_eq!(queue.disarm_all(NOW), [], "once");

    let (mut queue, id, _) = armed();
    let taken = Claim::Taken(Status::SendAt(AT));
    assert_eq!(queue.claim(id, Verb::Reroute, NOW), taken);
    assert_eq!(queue.disarm_all(NOW), [(id, AT)], "an operation has it");

    let (mut queue, id, _) = armed();
    queue.claim(id, Verb::Freeze, NOW);
    queue.give_back(id, Status::SendAt(AT), NOW);
    assert_eq!(
        queue.disarm_all(NOW),
        [(id, AT)],
        "the operation has changed nothing"
    );

    let (mut queue, id, _) = armed();
    let later = AT.after(Duration::from_secs(5));
    queue.waits(id, Status::SendAt(later), NOW);
    assert_eq!(
        queue.disarm_all(NOW),
        [(id, later)],
        "there was no room to take it back"
    );
}

#[test]
fn a_start_that_was_used_or_taken_back_is_left_alone() {
    let (mut queue, id, _) = armed();
    queue.claim(id, Verb::Freeze, NOW);
    queue.on_disk(&mark(id, None));
    queue.give_back(id, Status::Frozen, NOW);
    assert_eq!(queue.disarm_all(NOW), []);

    let (mut queue, id, destination) = armed();
    assert_eq!(queue.granted(destination, 8), None);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Start(8, started)) if started == id));
    assert_eq!(queue.disarm_all(NOW), []);
}

#[test]
fn attempts_start_on_disk_ahead_of_their_permits_only_beside_a_session_and_no_more_than_allowed() {
    let mut queue = queue();
    let (_, destination) = add(&mut queue, 1, "a:25");
    let reserve = |queue: &mut Queue<Paper>| queue.reserve(destination, NOW);
    assert!(
        matches!(reserve(&mut queue), Reservation::None),
        "others stand in line"
    );
    assert_eq!(queue.granted(destination, 7), None);
    let first = MessageId::from_u128(1);
    arm(&mut queue, destination, first);
    queue.next(destination, NOW);
    for _ in 0..AHEAD {
        assert!(matches!(reserve(&mut queue), Reservation::Ahead));
    }
    assert!(matches!(reserve(&mut queue), Reservation::None), "and no more");
    assert_eq!(queue.granted(destination, 8), None);
    assert!(
        matches!(reserve(&mut queue), Reservation::Permit(8, _)),
        "the permit in hand"
    );
    let (_, other) = add(&mut queue, 2, "b:25");
    queue.claim(MessageId::from_u128(2), Verb::Freeze, NOW);
    assert!(
        matches!(queue.reserve(other, NOW), Reservation::None),
        "no session is there"
    );
}

#[test]
fn a_permit_comes_back_from_wherever_its_message_goes() {
    for verb in [Verb::Freeze, Verb::End] {
        let mut queue = queue();
        let (id, destination) = due(&mut queue, 1, "a:25");
        assert_eq!(queue.granted(destination, 7), None);
        assert!(matches!(queue.next(destination, NOW), Some(Next::Read(..))));
        assert_eq!(queue.claim(id, verb, NOW), Claim::Later, "it is being read");
        queue.put_back(id);
        assert!(matches!(queue.claim(id, verb, NOW), Claim::Taken(_)));
        queue.finished(id);
        assert_eq!(queue.take_idle_permits(destination, true, NOW), [7]);
        assert_eq!((queue.waiting(), queue.len()), (0, 0));
    }
}

#[test]
fn a_route_that_is_noted_while_the_end_of_a_session_is_written_holds_afterwards() {
    let (mut queue, id, destination) = armed();
    assert_eq!(queue.granted(destination, 8), None);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Start(8, started)) if started == id));
    assert!(queue.ended(id).is_some());
    let route = queue.route(hops("b:25"), RouteOrigin::Named, true);
    assert!(queue.note_while_sending(id, Note::Route(Box::new(route))));
    // What becomes of the message is decided by then.
    assert!(!queue.note_while_sending(id, Note::Freeze(true)));
    queue.waits(id, Status::SendAt(AT), NOW);
    assert_eq!(
        queue.route_of(id).map(|route| route.next_hops),
        Some(hops("b:25"))
    );
}

#[test]
fn messages_that_come_and_go_behind_a_stuck_one_leave_nothing_in_the_list_of_kept_contents() {
    let mut queue = queue();
    let (stuck, _) = add(&mut queue, 1, "stuck.example:25");
    for number in 2..=10_000 {
        let (id, _) = add(&mut queue, number, "mx.example:25");
        assert!(matches!(queue.claim(id, Verb::Freeze, NOW), Claim::Taken(_)));
        queue.finished(id);
    }
    assert!(queue.kept.len() <= SWEEP + 2, "{}", queue.kept.len());
    assert!(queue.content(stuck).is_some());
    queue.let_go_of_all();
    assert!(queue.content(stuck).is_none());
}

#[test]
fn a_message_that_moves_to_a_line_without_a_route_keeps_no_content() {
    let mut queue = queue();
    let (id, _) = add(&mut queue, 1, "mx.example:25");
    queue.redirect(id, &Arc::from([]), NOW);
    assert!(queue.content(id).is_none());
}

/// How many messages each step finds.
fn steps(mut next: impl FnMut(Option<MessageId>) -> (Vec<MessageId>, Option<MessageId>)) -> Vec<usize> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (ids, last) = next(after);
        if last.is_none() {
            return found;
        }
        found.push(ids.len());
        after = last;
    }
}

#[test]
fn messages_are_looked_through_in_steps_of_bounded_size() {
    let mut queue = queue();
    let count = u128::try_from(LOOK).unwrap() + 300;
    for number in 1..=count {
        let mut known = known(&mut queue, number, "mx.example.net:25");
        // All but the last ones are of another time, and named.
        let late = number > count - 280;
        if late {
            known.origin = RouteOrigin::Configured;
        } else {
            known.spooled_at = Timestamp(0);
        }
        queue.back(known, NOW);
        queue.give_back(known.id, Status::Frozen, NOW);
        if late {
            queue.make_stale(known.id);
        }
    }
    // So many entries, and then so many messages, are the end of a step.
    assert_eq!(steps(|after| queue.take_stale(after, 256)), [0, 256, 24]);
    let first = MessageId::from_u128(0);
    let together = |after: Option<MessageId>| queue.spooled_at(AT, after.unwrap_or(first), 256);
    assert_eq!(steps(together), [0, 256, 24]);
}

/// A queue with `count` destinations, each with a message in line that was not begun at the host `a:25`.
fn waiting_for_room(count: u128) -> (Queue<Paper>, Vec<DestinationId>) {
    let mut queue = queue();
    let ids = (0..count).map(|n| {
        let (_, id) = due(&mut queue, n + 1, &format!("mx:d{n}.example:25"));
        let slot = queue.slot(id).unwrap();
        let begun = slot.pace.begin(AT, 0);
        let reason = "all connections are in use".to_owned();
        slot.pace.end(&Signal::NotBegun { reason }, begun, AT, 1, &NoDice);
        queue.waits_for_room(id, &hops("a:25")[0]);
        id
    });
    let ids = ids.collect();
    queue.take_dirty();
    (queue, ids)
}

#[test]
fn one_destination_is_woken_for_each_connection_in_the_order_of_their_coming() {
    let (mut queue, ids) = waiting_for_room(3);
    queue.room_at(&hops("b:25")[0], NOW);
    assert!(queue.take_dirty().is_empty());
    for id in &ids {
        assert_eq!(queue.slot(*id).unwrap().pace.free(AT, 0, 0), 0);
        // It is there once.
        queue.waits_for_room(*id, &hops("a:25")[0]);
        queue.room_at(&hops("a:25")[0], NOW);
        assert_eq!(queue.take_dirty(), [*id]);
        assert_eq!(queue.slot(*id).unwrap().pace.free(AT, 0, 0), 1);
    }
    queue.room_at(&hops("a:25")[0], NOW);
    assert!(queue.take_dirty().is_empty() && queue.busy.is_empty());
}

#[test]
fn a_connection_goes_by_those_that_have_nothing_to_send_or_wait_elsewhere() {
    let (mut queue, ids) = waiting_for_room(3);
    queue.claim(MessageId::from_u128(1), Verb::Freeze, NOW);
    queue.take_dirty();
    queue.waits_for_room(ids[1], &hops("b:25")[0]);
    queue.room_at(&hops("a:25")[0], NOW);
    assert_eq!(queue.take_dirty(), [ids[0], ids[2]]);
    queue.room_at(&hops("b:25")[0], NOW);
    assert_eq!(queue.take_dirty(), [ids[1]]);
}

#[test]
fn places_that_mean_nothing_are_swept_out() {
    let (mut queue, ids) = waiting_for_room(1);
    for n in 0..10_000 {
        queue.waits_for_room(ids[0], &hops(&format!("h{}:25", n % 100))[0]);
    }
    assert!(queue.busy.places() <= 2 + SWEEP, "{}", queue.busy.places());
    queue.room_at(&hops("h99:25")[0], NOW);
    assert_eq!(queue.take_dirty(), [ids[0]]);
}
