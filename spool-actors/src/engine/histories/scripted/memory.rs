//! Histories in which work waits for memory.

use super::*;

/// No message has a route any more.
fn lose_routes(life: &mut Life, tally: &mut Tally) {
    life.set_routing(routing_to_nowhere());
    life.turn_out(tally);
    life.run(|_| true, tally);
}

/// The time of every message that has an end is over.
fn expire(life: &mut Life, tally: &mut Tally) {
    life.pass(Duration::from_secs(3600));
    life.set_max(1);
    life.inputs.push_back(Input::Tick);
    life.turn_out(tally);
}

#[test]
fn nothing_is_idle_while_a_message_waits_for_memory_to_be_divided() {
    let (mut life, mut chance, mut tally) = life_by_rules(1);
    life.set_max(0);
    life.spool_by_rules(&[0, 1], None);
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    let all = life.take_all_memory();
    life.set_routing(routing(0));
    life.turn_out(&mut tally);
    life.run(|_| true, &mut tally);
    life.ask_idle();
    life.turn_out(&mut tally);
    assert_eq!(
        (life.disk.ids().len(), life.replies.len()),
        (1, 1),
        "it is not idle"
    );
    drop(all);
    life.finish(&mut tally);
}

#[test]
fn nothing_is_idle_while_the_end_of_a_message_waits_for_memory() {
    let (mut life, mut chance, mut tally) = life_by_rules(3);
    life.set_max(0);
    life.spool_by_rules(&[0], Some(Duration::from_secs(600)));
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    lose_routes(&mut life, &mut tally);
    let all = life.take_all_memory();
    expire(&mut life, &mut tally);
    assert!(!life.waiting.is_empty(), "its end waits for memory");
    life.ask_idle();
    life.turn_out(&mut tally);
    assert_eq!(life.replies.len(), 1, "it is not idle");
    drop(all);
    life.finish(&mut tally);
}

#[test]
fn the_end_of_a_message_does_not_wait_for_one_that_is_to_be_divided() {
    let (mut life, mut chance, mut tally) = life_by_rules(1);
    life.set_max(0);
    life.spool_by_rules(&[0, 1], None);
    life.spool_by_rules(&[0], Some(Duration::from_secs(600)));
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    let all = life.take_all_memory();
    life.set_routing(routing(0));
    life.turn_out(&mut tally);
    life.run(|_| true, &mut tally);
    life.turn_out(&mut tally);
    assert_eq!(life.waiting.len(), 1, "one is to be divided");
    lose_routes(&mut life, &mut tally);
    expire(&mut life, &mut tally);
    assert_eq!(life.waiting.len(), 2, "the other one has expired");
    drop(all);
    life.finish(&mut tally);
}
