//! Time: the only file that reads the system's wall clock.
//!
//! A [`Timestamp`] is wall-clock time, for people and for the disk. It never measures a duration: waits use the
//! monotonic clock of the runtime.

use crate::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds. In text formats it is written as in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time plus `span`, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This time plus `millis`, which may be negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Year, month, day, hour, minute, second in UTC.
    const fn civil(self) -> (i64, i64, i64, i64, i64, i64) {
        let seconds = self.0.div_euclid(1000);
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
    }

    /// As in a mail header: `Tue, 24 Nov 2026 03:39:12 +0000` (RFC 5322 section 3.3).
    #[must_use]
    pub fn rfc5322(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (year, month, day, hour, minute, second) = self.civil();
        let weekday = usize::try_from(self.0.div_euclid(86_400_000).rem_euclid(7)).unwrap_or(0);
        let weekday = DAYS.get(weekday).copied().unwrap_or_default();
        let month = usize::try_from(month - 1).unwrap_or(0);
        let month = MONTHS.get(month).copied().unwrap_or_default();
        format!("{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// `2026-11-24T03:39:12.042Z` (RFC 3339).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        let millis = self.0.rem_euclid(1000);
        if !(0..=9999).contains(&year) {
            return write!(
                f,
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
            );
        }
        // The same, but several times faster: each line of the log and each event has a time.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (places, number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second),
            (20..23, millis),
        ] {
            put_digits(text.get_mut(places).unwrap_or_default(), number);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Fills `places` with the last decimal digits of `number`.
fn put_digits(places: &mut [u8], mut number: i64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// A text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time has the form 2026-11-24T03:39:12.042Z")]
pub struct TimestampError;

/// RFC 3339, in UTC, with or without a fraction of the second; digits below a millisecond are dropped.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let (date, time) = text.split_once('T').ok_or(TimestampError)?;
        let time = time.strip_suffix('Z').ok_or(TimestampError)?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [year, month, day] = numbers(date, '-').ok_or(TimestampError)?;
        let [hour, minute, second] = numbers(time, ':').ok_or(TimestampError)?;
        let real = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second < 60;
        let millis = format!("{fraction:0<3}").get(..3).and_then(digits);
        let (true, Some(millis)) = (real, millis) else {
            return Err(TimestampError);
        };
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month, day) {
            return Err(TimestampError);
        }
        Ok(Self(
            (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis,
        ))
    }
}

/// One to four digits.
fn digits(text: &str) -> Option<i64> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let all: Option<Vec<i64>> = text.split(separator).map(digits).collect();
    all?.try_into().ok()
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_newtype_struct("Timestamp", &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format_args!("{text}: {error}")))
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + (month <= 2) as i64, month, day)
}

/// `span` in milliseconds, at most as many as fit.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The wall clock now.
    fn now(&self) -> Timestamp;

    /// The wall clock, and at the same moment the monotonic time since some origin. If they diverge, the wall clock was
    /// set.
    fn now_and_steady(&self) -> (Timestamp, Duration);

    /// Resolves once the clock shows `at`, or was set; `None` for a clock that runs by itself, whose time the runtime's
    /// timers follow.
    fn alarm(&self, at: Timestamp) -> Option<BoxFuture<()>> {
        let _ = at;
        None
    }
}

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn now_and_steady(&self) -> (Timestamp, Duration) {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        (self.now(), ORIGIN.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_standards_want_them() {
        let t = Timestamp(1_795_491_552_042);
        assert_eq!(t.to_string(), "2026-11-24T03:39:12.042Z");
        assert_eq!(t.rfc5322(), "Tue, 24 Nov 2026 03:39:12 +0000");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
        let last = Timestamp(i64::MAX).to_string();
        assert_eq!(last, "292278994-08-17T07:12:55.807Z");
    }

    #[test]
    fn time_that_runs_backwards_is_zero() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T03:39:12",
            "2026-13-24T03:39:12Z",
            "2026-02-29T03:39:12Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T03:39:+2Z",
            "2026-11-24T03:39:12.xZ",
            "20260-11-24T03:39:12Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
        assert_eq!("2026-11-24T03:39:12Z".parse(), Ok(Timestamp(1_795_491_552_000)));
        assert_eq!(
            "2026-11-24T03:39:12.0429Z".parse(),
            Ok(Timestamp(1_795_491_552_042))
        );
    }

    proptest::proptest! {
        #[test]
        fn every_time_of_four_digit_years_is_read_back(millis in -62_135_596_800_000_i64..253_402_300_800_000) {
            let time = Timestamp(millis);
            proptest::prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
