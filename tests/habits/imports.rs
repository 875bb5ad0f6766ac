//! What each crate and each room may use, as `docs/architecture.md` states it.

use crate::source::{Source, root, sources};

/// A rule for the files under a path.
struct Rule {
    /// Where it holds.
    under: &'static str,
    /// Words that must not occur in code there.
    never: &'static [&'static str],
    /// Files and directories where it does not hold.
    but: &'static [&'static str],
}

/// The engine gets events and the time as arguments: it uses no clock, no thread, no actor, no file and no store.
const ENGINE_NEVER: &[&str] = &[
    "actix",
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "Instant",
    "SystemTime",
    "dyn Clock",
    "Store,",
    "Arc<Store>",
];

/// The parts of spool-actors that the engine may use.
const ENGINE_USES: [&str; 5] = ["engine", "pace", "errors", "outcome", "supervision::Ending"];

const RULES: [Rule; 15] = [
    // spool-core: no async, no sockets, no environment; files behind store/fs only.
    Rule {
        under: "spool-core/src/",
        never: &[
            "tokio",
            "actix",
            "std::net::Tcp",
            "std::net::Udp",
            "std::env",
            "async_trait",
        ],
        but: &[],
    },
    Rule {
        under: "spool-core/src/",
        never: &["std::fs", "fs::File"],
        but: &["spool-core/src/store/fs/"],
    },
    Rule {
        under: "spool-core/src/",
        never: &["SystemTime"],
        but: &["spool-core/src/clock.rs"],
    },
    // The rooms of the store: no room knows the open store, and the journal, the logs and the archives do not know each other.
    Rule {
        under: "spool-core/src/store/fs/",
        never: &[
            "store::journal",
            "store::logs",
            "store::archive",
            "store::care",
            "store::layout",
            "store::handle",
        ],
        but: &[],
    },
    Rule {
        under: "spool-core/src/store/journal/",
        never: &["store::logs", "store::archive", "store::care", "store::handle"],
        but: &[],
    },
    Rule {
        under: "spool-core/src/store/logs/",
        never: &["store::journal", "store::archive", "store::care", "store::handle"],
        but: &[],
    },
    Rule {
        under: "spool-core/src/store/archive/",
        never: &["store::journal", "store::logs", "store::care", "store::handle"],
        but: &[],
    },
    Rule {
        under: "spool-core/src/store/care/",
        never: &["store::handle"],
        but: &[],
    },
    // spool-smtp: never touches the store, knows no actor.
    Rule {
        under: "spool-smtp/src/",
        never: &["spool_core::store", "spool_actors", "actix"],
        but: &[],
    },
    // spool-actors: no sockets, no files; the SMTP client is only re-exported.
    Rule {
        under: "spool-actors/src/",
        never: &["std::fs", "tokio::fs", "std::net::Tcp", "tokio::net", "std::env"],
        but: &[],
    },
    Rule {
        under: "spool-actors/src/",
        never: &["spool_smtp"],
        but: &["spool-actors/src/lib.rs", "spool-actors/src/prelude.rs"],
    },
    Rule {
        under: "spool-actors/src/engine/",
        never: ENGINE_NEVER,
        but: &[],
    },
    Rule {
        under: "spool-actors/src/pace/",
        never: ENGINE_NEVER,
        but: &[],
    },
    Rule {
        under: "spool-actors/src/throttle/limits/",
        never: ENGINE_NEVER,
        but: &[],
    },
    // The sans-I/O machines of the ingress.
    Rule {
        under: "spool-smtp/src/server/machine",
        never: &["tokio", "std::net::Tcp", "Instant::now", "SystemTime"],
        but: &[],
    },
];

/// What a crate must not depend on, whatever its features.
const MANIFESTS: [(&str, &[&str]); 3] = [
    (
        "spool-core",
        &["tokio", "actix", "hyper", "rustls", "spool-smtp", "spool-actors"],
    ),
    ("spool-smtp", &["actix", "spool-actors"]),
    ("spool-actors", &["rustls", "hyper", "socket2", "spool-bin"]),
];

#[test]
fn no_room_uses_what_it_must_not() {
    let files = sources();
    let mut wrong = Vec::new();
    for rule in &RULES {
        let inside = |file: &&Source| file.path.starts_with(rule.under) && !file.is_test();
        let files: Vec<&Source> = files.iter().filter(inside).collect();
        assert!(!files.is_empty(), "{}: the rule is about nothing", rule.under);
        let bound = files
            .iter()
            .filter(|file| !rule.but.iter().any(|but| file.path.starts_with(but)));
        for file in bound {
            let code = file.code();
            let used = rule.never.iter().filter(|word| code.contains(**word));
            wrong.extend(used.map(|word| format!("{} uses {word}", file.path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_uses_no_other_part_of_its_crate() {
    for file in sources() {
        let engine = ["engine", "pace"].map(|part| format!("spool-actors/src/{part}/"));
        if file.is_test() || !engine.iter().any(|dir| file.path.starts_with(dir)) {
            continue;
        }
        for path in file.code().split("crate::").skip(1) {
            assert!(
                ENGINE_USES.iter().any(|known| path.starts_with(known)),
                "{} has crate::{path:.40}",
                file.path
            );
        }
    }
}

#[test]
fn only_the_wiring_opens_the_spool() {
    let opens = |file: &&Source| {
        file.path.starts_with("spool-bin/src/") && !file.is_test() && file.code().contains("Spool::start")
    };
    let files = sources();
    let found: Vec<&str> = files
        .iter()
        .filter(opens)
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(found, ["spool-bin/src/service.rs"]);
}

#[test]
fn no_crate_depends_on_what_it_must_not() {
    for (name, never) in MANIFESTS {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for kind in ["dependencies", "build-dependencies"] {
            let dependencies = manifest.get(kind).and_then(toml::Value::as_table);
            for (dependency, _) in dependencies.into_iter().flatten() {
                assert!(
                    !never.contains(&dependency.as_str()),
                    "{name} depends on {dependency}"
                );
            }
        }
    }
}
