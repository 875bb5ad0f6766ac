//! Tests of the queue by itself.

use super::flow::Next;
use super::routes::LOOK;
use super::*;
use crate::engine::Outlook;
use crate::engine::Work;
use crate::engine::testing::{AT, NOW, Paper, content, hops, known, queue};
use spool_core::RouteOrigin;
use std::time::Duration;

/// A message that is due stands in line.
fn due(queue: &mut Queue<Paper>, id: u128, hop: &str) -> (MessageId, DestinationId) {
    let known = known(queue, id, hop);
    queue.add_claimed(known, Status::SendAt(AT), NOW);
    queue.give_back(known.id, None, NOW);
    (known.id, known.destination)
}

/// A message with its content stands in line.
fn add(queue: &mut Queue<Paper>, id: u128, hop: &str) -> (MessageId, DestinationId) {
    let content = content(id, hop);
    let (id, destination) = (content.message.id, queue.enlist(&content.message.next_hops));
    let generation = queue.generation;
    queue.added((destination, generation), Status::SendAt(AT), false, content, NOW);
    (id, destination)
}

/// A path that takes one message after the other.
const GOES_ON: Outlook = Outlook {
    limit: 10,
    goes_on: true,
    until: None,
    is_shut: false,
};

fn set_outlook(queue: &mut Queue<Paper>, destination: DestinationId, outlook: Outlook) {
    let path = destination + 1;
    queue.set_path(destination, path);
    queue.set_outlook(path, outlook);
}

/// The next message is prepared, and then started with this permit; whether its start is on disk.
fn start(queue: &mut Queue<Paper>, destination: DestinationId, expected: MessageId, with: u64) -> bool {
    match queue.next(destination, NOW) {
        Some(Next::Start { id, permit, recorded }) => {
            assert_eq!((id, permit.permit), (expected, with));
            recorded
        }
        other => panic!("{other:?}"),
    }
}

/// A queue with one message that is armed, with the start of its attempt on disk, beside a session that runs.
fn armed() -> (Queue<Paper>, MessageId, DestinationId) {
    let mut queue = queue();
    let (first, destination) = add(&mut queue, 1, "a:25");
    set_outlook(&mut queue, destination, GOES_ON);
    assert_eq!(queue.granted(destination, 7), None);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(id)) if id == first));
    assert!(!queue.prepared(first), "it has a permit");
    assert!(
        !start(&mut queue, destination, first, 7),
        "its start is asked for later"
    );
    let (second, _) = add(&mut queue, 2, "a:25");
    arm(&mut queue, destination, second);
    (queue, second, destination)
}

fn arm(queue: &mut Queue<Paper>, destination: DestinationId, expected: MessageId) {
    assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(id)) if id == expected));
    assert!(queue.prepared(expected));
    queue.on_disk(expected, true);
    assert_eq!(queue.armed(expected), None);
}

#[test]
fn a_start_on_disk_is_taken_back_wherever_its_message_has_gone() {
    let (mut queue, id, _) = armed();
    assert_eq!(queue.disarm_all(NOW), [(id, AT)]);
    assert_eq!(queue.disarm_all(NOW), [], "once");

    let (mut queue, id, _) = armed();
    assert_eq!(queue.claim(id, &Work::Divide, NOW), Ok(Claim::Claimed));
    assert_eq!(queue.before(id), Some(Status::SendAt(AT)));
    assert_eq!(queue.disarm_all(NOW), [(id, AT)], "an operation has it");

    let (mut queue, id, _) = armed();
    queue.claim(id, &Work::Freeze, NOW).unwrap();
    queue.give_back(id, None, NOW);
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
fn a_start_that_was_used_or_taken_back_is_not_changed() {
    let (mut queue, id, _) = armed();
    queue.claim(id, &Work::Freeze, NOW).unwrap();
    queue.on_disk(id, false);
    queue.give_back(id, Some(Status::Frozen), NOW);
    assert_eq!(queue.disarm_all(NOW), []);

    let (mut queue, id, destination) = armed();
    assert_eq!(queue.granted(destination, 8), None);
    assert!(start(&mut queue, destination, id, 8));
    assert_eq!(queue.disarm_all(NOW), []);
}

#[test]
fn attempts_start_on_disk_ahead_of_their_permits_only_beside_a_session_and_no_more_than_allowed() {
    let (mut queue, _, destination) = armed();
    let reserve = |queue: &mut Queue<Paper>| queue.reserve(destination);
    // One is ahead, and one runs.
    for _ in 1..AHEAD {
        assert!(reserve(&mut queue));
    }
    assert!(!reserve(&mut queue), "and no more");
    let (_, other) = add(&mut queue, 3, "b:25");
    set_outlook(&mut queue, other, GOES_ON);
    queue.claim(MessageId::from_u128(3), &Work::Freeze, NOW).unwrap();
    assert!(!queue.reserve(other), "no session is there");
    // Of attempts that have ended.
    queue.keep_permit(other, kept(other, 9));
    assert!(queue.reserve(other), "the permit in hand");
    assert!(queue.take_idle_permits(other, true).is_empty(), "is for it");
}

/// One of the path that the tests give this destination.
fn kept(destination: DestinationId, permit: u64) -> Permitted<Paper> {
    let is_kept = true;
    let path = Some(destination + 1);
    Permitted {
        permit,
        is_kept,
        path,
    }
}

#[test]
fn a_kept_permit_starts_nothing_where_the_path_must_not_go_on() {
    let mut queue = queue();
    let (id, destination) = add(&mut queue, 1, "a:25");
    let held = Outlook {
        goes_on: false,
        ..GOES_ON
    };
    set_outlook(&mut queue, destination, held);
    queue.keep_permit(destination, kept(destination, 7));
    assert!(queue.next(destination, NOW).is_none());
    assert!(!queue.reserve(destination));
    assert_eq!(queue.take_idle_permits(destination, false), [7]);
    // One that was granted may: it is counted already.
    assert_eq!(queue.granted(destination, 8), None);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(_))));
    assert!(!queue.prepared(id));
    assert!(!start(&mut queue, destination, id, 8));
}

#[test]
fn of_messages_that_are_ready_together_those_without_a_permit_are_recorded_ahead() {
    let mut queue = queue();
    let (first, destination) = add(&mut queue, 1, "a:25");
    let (second, _) = add(&mut queue, 2, "a:25");
    set_outlook(&mut queue, destination, GOES_ON);
    queue.keep_permit(destination, kept(destination, 7));
    for expected in [first, second] {
        assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(id)) if id == expected));
    }
    assert!(!queue.prepared(first), "the permit is for this one");
    assert!(queue.prepared(second), "and there is no other");
}

#[test]
fn what_is_armed_at_a_path_that_does_not_answer_is_taken_back() {
    let (mut queue, id, destination) = armed();
    let shut = Outlook {
        goes_on: false,
        is_shut: true,
        ..GOES_ON
    };
    assert_eq!(queue.recall(destination), []);
    queue.take_dirty();
    set_outlook(&mut queue, destination, shut);
    assert_eq!(queue.take_dirty(), [destination]);
    assert_eq!(queue.recall(destination), [(id, AT)]);
    queue.recalled(id, NOW);
    assert_eq!(queue.slot(destination).unwrap().line, [id]);
}

#[test]
fn a_permit_comes_back_from_wherever_its_message_goes() {
    for work in [Work::Freeze, Work::Expire] {
        let mut queue = queue();
        let (id, destination) = due(&mut queue, 1, "a:25");
        assert_eq!(queue.granted(destination, 7), None);
        assert!(matches!(queue.next(destination, NOW), Some(Next::Read(..))));
        assert_eq!(queue.claim(id, &work, NOW), Ok(Claim::Later), "it is being read");
        queue.put_back(id);
        assert_eq!(queue.claim(id, &work, NOW), Ok(Claim::Claimed));
        queue.finished(id);
        assert_eq!(queue.take_idle_permits(destination, true), [7]);
        assert_eq!((queue.counts.waiting(), queue.len()), (0, 0));
    }
}

#[test]
fn a_route_that_is_noted_while_the_end_of_a_session_is_written_holds_afterwards() {
    let (mut queue, id, destination) = armed();
    assert_eq!(queue.granted(destination, 8), None);
    assert!(start(&mut queue, destination, id, 8));
    assert!(queue.ended(id).is_some());
    let route = queue.route(hops("b:25"), RouteOrigin::Named, true);
    assert!(queue.note_while_sending(id, Note::Route(Box::new(route))));
    // What becomes of the message is decided by then.
    assert!(!queue.note_while_sending(id, Note::Freeze(None)));
    queue.waits(id, Status::SendAt(AT), NOW);
    assert_eq!(
        queue.route_of(id).map(|route| route.next_hops),
        Some(hops("b:25"))
    );
}

#[test]
fn a_message_asks_for_a_permit_in_place_of_one_that_its_path_must_not_go_on_with() {
    let mut queue = queue();
    let (first, destination) = add(&mut queue, 1, "a:25");
    set_outlook(&mut queue, destination, GOES_ON);
    assert!(matches!(queue.take_wanted(destination), Some((_, 1))));
    assert_eq!(queue.granted(destination, 7), None);
    assert!(matches!(queue.next(destination, NOW), Some(Next::Prepare(_))));
    assert!(!queue.prepared(first));
    start(&mut queue, destination, first, 7);
    queue.passes_on(first, 7);
    queue.ended(first);
    queue.finished(first);
    let goes_on = false;
    set_outlook(&mut queue, destination, Outlook { goes_on, ..GOES_ON });
    add(&mut queue, 2, "a:25");
    queue.take_dirty();
    assert!(queue.next(destination, NOW).is_none());
    assert!(queue.take_wanted(destination).is_none(), "it has one");
    assert_eq!(queue.take_idle_permits(destination, false), [7]);
    assert_eq!(queue.take_dirty(), [destination], "it is looked at again");
    assert!(matches!(queue.take_wanted(destination), Some((_, 1))));
}

#[test]
fn a_permit_of_a_former_path_starts_no_other_attempt() {
    let (mut queue, second, destination) = armed();
    let first = MessageId::from_u128(1);
    queue.set_path(destination, 77);
    queue.set_outlook(77, GOES_ON);
    assert!(!queue.goes_on(first, &7), "its attempt is made on the other path");
    queue.hold_back(first);
    assert!(queue.outlook(destination).unwrap().goes_on, "that is held back");
    queue.passes_on(first, 7);
    assert!(queue.next(destination, NOW).is_none());
    assert_eq!(queue.take_idle_permits(destination, false), [7]);
    assert_eq!(queue.granted(destination, 8), None);
    assert!(start(&mut queue, destination, second, 8));
    assert!(queue.goes_on(second, &8));
}

#[test]
fn a_permit_on_its_way_to_a_destination_that_has_gone_is_of_no_other_one() {
    let mut queue = queue();
    let (id, gone) = add(&mut queue, 1, "a:25");
    queue.set_path(gone, 1);
    assert!(matches!(queue.take_wanted(gone), Some((_, 1))));
    queue.claim(id, &Work::Freeze, NOW).unwrap();
    queue.finished(id);
    assert_eq!(queue.take_gone(), [gone]);
    let (_, other) = add(&mut queue, 2, "b:25");
    assert_ne!(other, gone);
    assert_eq!(queue.granted(gone, 7), Some(7));
    queue.set_path(gone, 1);
    assert!(queue.on_path(1).is_empty(), "nor is its path");
}

#[test]
fn messages_that_come_and_go_behind_a_stuck_one_leave_nothing_in_the_list_of_kept_contents() {
    let mut queue = queue();
    let (stuck, _) = add(&mut queue, 1, "stuck.example:25");
    for number in 2..=10_000 {
        let (id, _) = add(&mut queue, number, "mx.example:25");
        assert_eq!(queue.claim(id, &Work::Freeze, NOW), Ok(Claim::Claimed));
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
        queue.add_claimed(known, Status::Frozen, NOW);
        queue.give_back(known.id, None, NOW);
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
