//! The scenarios: one behaviour a file, through the program, real sockets and real files.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod admin;
mod admin_attacks;
mod bounces;
mod check;
mod clients;
mod corpus;
mod dane;
mod dead_hop;
mod descriptors;
mod disk;
mod divided;
mod drop_directory;
mod embedding;
mod ending;
mod events;
mod examples;
mod exchangers;
mod failing_disk;
mod first_run;
mod fsck;
mod hostile;
mod instructions;
mod intruders;
mod kill;
mod limits;
mod listening;
mod load;
mod lock;
mod logins;
mod logs;
mod machine_users;
mod memory;
mod network;
mod next_hops;
mod open_relay;
mod passwd;
mod peers;
mod queue_commands;
mod reloads;
mod routes;
mod sendmail;
mod servers;
mod service_manager;
mod shared_host;
mod signing;
mod signing_corpus;
mod sink;
mod tls;
