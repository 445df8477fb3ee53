//! Instants for people. Tools get them exactly.

use selfsame_core::WallMicros;

const SECOND: i64 = 1_000_000;

/// An instant to the second: `2026-11-20T13:45:45Z`.
pub(crate) fn to_the_second(at: WallMicros) -> String {
    WallMicros(at.0.div_euclid(SECOND).saturating_mul(SECOND)).to_string()
}

/// How long ago an instant was: `3 min ago`. What lies in the future, by another machine's clock, is just now.
pub(crate) fn ago(at: WallMicros, now: WallMicros) -> String {
    match now.0.saturating_sub(at.0) {
        ..SECOND => "just now".to_owned(),
        micros => format!("{} ago", span(micros)),
    }
}

/// How soon an instant will be: `in 3 min`.
pub(crate) fn until(at: WallMicros, now: WallMicros) -> String {
    match at.0.saturating_sub(now.0) {
        ..SECOND => "now".to_owned(),
        micros => format!("in {}", span(micros)),
    }
}

/// An instant to the second, and how long ago it was.
pub(crate) fn with_age(at: WallMicros, now: WallMicros) -> String {
    format!("{} ({})", to_the_second(at), ago(at, now))
}

/// A duration: `153 ms`, `2.2 s`, `3 min`.
pub(crate) fn lasted(millis: u64) -> String {
    match millis {
        ..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => span(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000)),
    }
}

/// In the largest unit of which there are two, or the smallest; cut, not rounded.
fn span(micros: i64) -> String {
    let seconds = micros / SECOND;
    let (count, unit) = match seconds {
        ..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_to_the_second() {
        assert_eq!(to_the_second(WallMicros(1_795_176_324_007_001)), "2026-11-20T12:05:24Z");
        assert_eq!(to_the_second(WallMicros(-1)), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn ages_have_one_unit_that_is_large_enough() {
        let now = WallMicros(1_795_176_324_000_000);
        for (seconds, text) in [
            (-5, "just now"),
            (0, "just now"),
            (1, "1 s ago"),
            (119, "119 s ago"),
            (180, "3 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (3 * 86_400 + 5, "3 d ago"),
        ] {
            assert_eq!(ago(now.plus(-seconds * SECOND), now), text);
        }
        assert_eq!(until(now.plus(200 * SECOND), now), "in 3 min");
        assert_eq!(until(now.plus(-200 * SECOND), now), "now");
        // No instant is too far away.
        assert!(ago(WallMicros(i64::MIN), now).ends_with(" d ago"));
    }

    #[test]
    fn durations_are_short() {
        let texts = [153, 2_181, 59_999, 83_759, 200_000].map(lasted);
        assert_eq!(texts, ["153 ms", "2.1 s", "59.9 s", "83 s", "3 min"]);
    }
}
