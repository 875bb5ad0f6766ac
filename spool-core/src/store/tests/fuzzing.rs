//! A short run of the fuzz targets: mutations of good inputs from a seed that does not change, and a bound on what any of
//! them may allocate at once.

use crate::store::fuzzing::{frames, pack, recovery};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The system's allocator, which remembers the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn watch(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watch(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// A few changes of the kinds that break decoders: bits, lengths, whole parts.
fn mutate(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = chance.below(bytes.len());
        let end = (at + 1 + chance.below(64)).min(bytes.len());
        match chance.below(8) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            2 => bytes[at..end].fill([0, 0xff, 0x80][chance.below(3)]),
            3 => {
                // A length, at any position.
                let value = [0_u32, 1, 36, 0xffff, 0x7fff_ffff, u32::MAX, u32::MAX - 35][chance.below(7)];
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let part = bytes[at..end].to_vec();
                let to = chance.below(bytes.len());
                bytes.splice(to..to, part);
            }
            6 => bytes.truncate(at),
            _ => {
                let to = chance.below(bytes.len());
                bytes.swap(at, to);
            }
        }
    }
    bytes
}

/// The files of the fixture, which has records of every kind.
fn fixture() -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/format-1");
    let mut files = Vec::new();
    for dir in ["journal", "events", "keys", "removed", "quarantine"] {
        let mut names: Vec<_> = std::fs::read_dir(root.join(dir))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path.strip_prefix(&root).unwrap().to_owned(), bytes));
        }
    }
    files
}

/// Runs `target` on mutations of `seeds` and checks that none asks for much more memory than it is long.
fn run(seeds: &[Vec<u8>], inputs: u64, target: fn(&[u8])) {
    let mut chance = Chance(0x5eed);
    let began = Instant::now();
    for number in 0..inputs {
        let input = match seeds.get(usize::try_from(number).unwrap()) {
            Some(seed) => seed.clone(),
            None => mutate(&seeds[chance.below(seeds.len())], &mut chance),
        };
        LARGEST.set(0);
        target(&input);
        let largest = LARGEST.get();
        // A window or a segment of the smallest size at least; a list announces at most 1 MiB before its first element.
        assert!(
            largest <= (2 << 20) + 4 * input.len(),
            "input {number}: {largest} bytes at once"
        );
    }
    println!("{inputs} inputs in {:?}", began.elapsed());
}

#[test]
fn mutated_segments_are_read_or_refused() {
    let files = fixture();
    let segments = files
        .iter()
        .filter(|(path, bytes)| path.starts_with("journal") && bytes.len() < 20_000);
    let segments: Vec<_> = segments.map(|(_, bytes)| bytes).collect();
    assert!(segments.len() >= 2);
    let mut seeds = Vec::new();
    for how in 0..4 {
        seeds.extend(
            segments
                .iter()
                .map(|segment| [&[how], segment.as_slice()].concat()),
        );
    }
    for line in include_str!("golden.txt").lines() {
        let payload = line.split(' ').next_back().unwrap().as_bytes();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap_or(0);
        let payload: Vec<u8> = payload.chunks(2).map(pair).collect();
        seeds.push([&[4], payload.as_slice()].concat());
    }
    run(&seeds, 3000, frames);
}

#[test]
fn mutated_spools_are_opened_or_refused() {
    let files = fixture();
    let small: Vec<_> = files
        .iter()
        .filter(|(path, _)| !path.starts_with("events"))
        .cloned()
        .collect();
    let journal: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.starts_with("journal"))
        .cloned()
        .collect();
    run(&[pack(&files), pack(&small), pack(&journal)], 200, recovery);
}
