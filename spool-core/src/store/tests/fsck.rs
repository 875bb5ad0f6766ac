//! The checkup finds what is wrong, and mends what can be mended.

use super::*;

fn look(fs: &SimFs, repair: bool) -> Checkup {
    checkup_on(Arc::new(fs.clone()), Path::new(DIR), repair, &mut || {}).unwrap()
}

fn kinds(checkup: &Checkup) -> Vec<Ailment> {
    checkup.findings.iter().map(|finding| finding.ailment).collect()
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

/// Three adds of four messages, one of them shelved.
fn sample() -> SimFs {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [
        add(&[1, 2], text(1, 3000)),
        add(&[3], text(2, 3000)),
        add(&[4], "x\r\n"),
    ]));
    let shelved = Shelved {
        message: store.load(id(3)).unwrap(),
        at: Timestamp(5),
        reason: None,
    };
    let body = store.body(id(3)).unwrap();
    store
        .shelve(Shelf::Removed, &[(shelved, body)])
        .remove(0)
        .unwrap();
    all_ok(&store.commit(&mut [finish(3)]));
    fs
}

#[test]
fn a_clean_spool_is_clean_and_stays_as_it_is() {
    let fs = sample();
    let before: Vec<_> = fs
        .files()
        .iter()
        .map(|path| (path.clone(), fs.read(path)))
        .collect();
    let mut told = 0;
    let found = checkup_on(Arc::new(fs.clone()), Path::new(DIR), false, &mut || told += 1).unwrap();
    assert_eq!(
        (found.whole, found.shelved, found.findings.as_slice()),
        (3, 1, &[][..])
    );
    assert_eq!(told, 3);
    let after: Vec<_> = fs
        .files()
        .iter()
        .map(|path| (path.clone(), fs.read(path)))
        .collect();
    assert_eq!(before, after);
    let (_store, _) = open(&fs);
    let held = checkup_on(Arc::new(fs.clone()), Path::new(DIR), false, &mut || {});
    assert!(matches!(held, Err(OpenError::Locked { .. })), "{held:?}");
}

#[test]
fn everything_wrong_is_found_and_what_can_be_is_mended() {
    let fs = sample();
    let log = path("journal/0000000001.log");
    let mut bytes = fs.read(&log).unwrap();
    let body = bytes
        .windows(64)
        .position(|window| window == &text(1, 3000)[..64])
        .unwrap();
    bytes[body + 100] ^= 1;
    fs.plant(&log, &bytes);
    fs.plant(&path("journal/notes"), b"?");
    let shelf = |number: u128, kind: &str| path(&format!("removed/{}.{kind}", id(number)));
    fs.plant(&shelf(4, "eml"), b"x\r\n");
    fs.plant(&shelf(4, "json"), b"{}");
    fs.plant(&shelf(8, "eml"), b"x\r\n");
    fs.plant(&shelf(9, "eml"), b"x\r\n");
    fs.plant(&shelf(9, "json"), b"{");
    fs.plant(&shelf(9, "json.draft"), b"{");
    let found = look(&fs, true);
    let damaged = found.findings.iter().filter(|f| f.ailment == Ailment::Damaged);
    assert!(damaged.count() >= 1, "{found:?}");
    for ailment in [Ailment::Orphaned, Ailment::Duplicated, Ailment::Unreadable] {
        assert!(kinds(&found).contains(&ailment), "{ailment:?}: {found:?}");
    }
    let again = look(&fs, false);
    assert!(
        again.findings.iter().all(|finding| !finding.mendable),
        "{again:?}"
    );
    assert!(again.findings.len() < found.findings.len(), "{again:?}");
    assert_eq!(
        fs.read(&path(&format!("corrupt/removed-{}.eml", id(8)))).unwrap(),
        b"x\r\n"
    );
    let (store, _) = open(&fs);
    assert_eq!(store.body(id(4)).unwrap(), "x\r\n", "what is whole is kept");
    assert!(store.shelved(Shelf::Removed, id(3)).is_ok());
}

#[test]
fn what_is_no_spool_does_not_become_one() {
    let fs = SimFs::new();
    fs.plant(Path::new("/spool/mail.txt"), b"x");
    assert!(checkup_on(Arc::new(fs.clone()), Path::new(DIR), true, &mut || {}).is_err());
    assert_eq!(fs.files().len(), 1);
}
