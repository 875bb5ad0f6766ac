//! Which path a destination has: it is asked for when the destination has messages, and again now and then.

use super::{Limits, Output};
use crate::engine::{DestinationId, News, Now, PathId};
use crate::throttle::path::Path;
use spool_core::NextHop;
use std::sync::Arc;

/// Paths that are looked up at once.
const MAX_LOOKUPS: usize = 256;

impl Limits {
    /// A path was looked up.
    pub(crate) fn looked_up(
        &mut self,
        destination: DestinationId,
        asked: &Arc<[NextHop]>,
        hops: &Arc<[NextHop]>,
        now: Now,
    ) {
        self.lookups = self.lookups.saturating_sub(1);
        let path = self.path(hops, now);
        let known = self.destinations.get_mut(&destination);
        // It may have gone, and another one have its number.
        let known = known.filter(|known| known.is_looking && known.next_hops == *asked);
        let Some(known) = known else {
            return self.touch(path);
        };
        known.is_looking = std::mem::take(&mut known.is_outdated);
        known.looked_up = now.inside;
        if known.is_looking {
            self.to_look_up.push_back(destination);
        }
        if known.path == Some(path) {
            return self.touch(path);
        }
        self.leave_line(destination);
        let former = self.destinations.get_mut(&destination).and_then(|known| {
            known.recent = 0;
            known.path.replace(path)
        });
        if let Some(former) = former.and_then(|former| self.paths.get_mut(&former)) {
            former.destinations -= 1;
        }
        former.into_iter().for_each(|former| self.touch(former));
        if let Some(path) = self.paths.get_mut(&path) {
            path.destinations += 1;
        }
        self.outputs.push(Output::News(News::Path(destination, path)));
        self.line_up(destination);
        self.touch(path);
    }

    fn path(&mut self, hops: &Arc<[NextHop]>, now: Now) -> PathId {
        if let Some(path) = self.by_hops.get(hops) {
            return *path;
        }
        self.last_path += 1;
        let path = Path {
            hops: Arc::clone(hops),
            pace: self.memory.pace(hops, now),
            ..Path::default()
        };
        self.paths.insert(self.last_path, path);
        self.by_hops.insert(Arc::clone(hops), self.last_path);
        self.last_path
    }

    pub(super) fn start_lookups(&mut self) {
        while self.lookups < MAX_LOOKUPS
            && let Some(destination) = self.to_look_up.pop_front()
        {
            if let Some(known) = self
                .destinations
                .get(&destination)
                .filter(|known| known.is_looking)
            {
                self.lookups += 1;
                let next_hops = Arc::clone(&known.next_hops);
                self.outputs.push(Output::LookUp(destination, next_hops));
            }
        }
    }
}
