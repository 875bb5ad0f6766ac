//! A limit that is found by trying: additive increase, multiplicative decrease, with slow start (RFC 5681).

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aimd {
    pub(super) value: f64,
    /// What it was last cut to; infinite: never.
    pub(super) cut_to: f64,
}

impl Aimd {
    pub(super) const fn new(value: f64) -> Self {
        let cut_to = f64::INFINITY;
        Self { value, cut_to }
    }

    /// One that was cut to `value`.
    pub(super) const fn cut(value: f64) -> Self {
        let cut_to = value;
        Self { value, cut_to }
    }

    /// A message was taken while the limit was in use: it grows `fast` below what it was last cut to, and slowly beyond.
    pub(super) fn grow(&mut self, fast: f64, slow: f64) {
        if self.value < self.cut_to {
            self.value = (self.value + fast).min(self.cut_to);
        } else {
            self.value += slow;
        }
    }

    /// In slow start from `value` on, up to where it was.
    pub(super) const fn restart(mut self, value: f64) -> Self {
        self.value = value;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_fast_to_the_last_cut_and_slowly_beyond() {
        let mut limit = Aimd::cut(2.0).restart(0.5);
        let grown: Vec<f64> = std::iter::repeat_with(|| {
            limit.grow(1.0, 0.25);
            limit.value
        })
        .take(4)
        .collect();
        assert_eq!(grown, [1.5, 2.0, 2.25, 2.5]);
    }

    #[test]
    fn one_that_was_never_cut_is_in_slow_start() {
        let mut limit = Aimd::new(4.0);
        (0..100).for_each(|_| limit.grow(1.0, 0.25));
        assert!((limit.value - 104.0).abs() < f64::EPSILON);
    }
}
