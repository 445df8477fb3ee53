//! Texts with units: durations, sizes, shares, intervals. Strict: what could mean two things is refused, not
//! guessed.

use std::fmt;
use std::time::Duration;

use humantime_serde::re::humantime;

use super::problems::quoted;

/// Why a text is no value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is wrong with it.
    pub(super) message: String,
    /// What to write instead; may be empty.
    pub(super) hint: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; hint: {}", self.message, self.hint)
    }
}

impl Refusal {
    /// A refusal of `text`, which is no `what`.
    fn of(text: &str, what: &str, hint: &str) -> Refusal {
        Refusal { message: format!("{} is not {what}", quoted(text)), hint: hint.to_owned() }
    }
}

/// Humantime knows months (`1M`) and years too. They are no fixed times, and `M` is too near to `m`.
pub(super) const DURATION_UNITS: [&str; 6] = ["ms", "s", "m", "h", "d", "w"];

const DURATION_HINT: &str = "a number with a unit: ms, s, m, h, d or w, such as `500ms`, `2s` or `24h`";

/// Units of sizes, those of 1000 and those of 1024.
pub(super) const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const SIZE_HINT: &str =
    "a whole number of bytes, or one with a unit: kB, MB, GB, KiB, MiB or GiB, such as `8MiB`";

/// `2s`, `24h`, `1h 30m`. A number alone has no unit, and is refused.
pub(crate) fn duration(text: &str) -> Result<Duration, Refusal> {
    let refused = || Refusal::of(text, "a duration", DURATION_HINT);
    let units = text.split(|c: char| c.is_ascii_digit() || c == ' ').filter(|unit| !unit.is_empty());
    if !units.clone().all(|unit| DURATION_UNITS.contains(&unit)) || units.count() == 0 {
        return Err(refused());
    }
    humantime::parse_duration(text).map_err(|_| refused())
}

/// `every 6h`, or `off` for a collection that is only compared when somebody asks.
pub(super) fn exchange(text: &str) -> Result<Option<Duration>, Refusal> {
    if text == "off" { Ok(None) } else { every(text).map(Some) }
}

/// `every 6h`. Cron has its own answer, since it is a known form that is not built.
pub(super) fn every(text: &str) -> Result<Duration, Refusal> {
    const HINT: &str = "write `every` and a duration, such as `every 6h`, or `off`";
    if let Some(interval) = text.strip_prefix("every ") {
        return duration(interval.trim());
    }
    if text.starts_with('@') || text.split_whitespace().count() >= 5 {
        let message = format!("{}: cron is not built yet in this version", quoted(text));
        return Err(Refusal { message, hint: HINT.to_owned() });
    }
    Err(Refusal::of(text, "an interval", HINT))
}

/// `32MiB`, `1GB`, or a plain number of bytes.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" => Some(1),
        unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
    };
    let bytes =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| Refusal::of(text, "a size", SIZE_HINT))
}

/// `5%` or `0.05`: from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Refusal> {
    let refused = |hint: &str| Refusal::of(text, "a share", hint);
    let (number, divisor) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    match number.parse::<f64>() {
        Ok(number) if plain && number <= divisor => Ok(number / divisor),
        Ok(number) if plain && divisor == 1.0 && number <= 100.0 => {
            Err(refused(&format!("from 0 to 1, or percent: `{text}%`")))
        }
        _ => Err(refused("from `0%` to `100%`, or from 0 to 1")),
    }
}

/// A whole number, of digits alone.
pub(super) fn whole(text: &str) -> Result<u64, Refusal> {
    match text.parse::<u64>() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(Refusal::of(text, "a whole number", "digits alone, such as `1000`")),
    }
}

/// `true` or `false`, and none of YAML's other spellings.
pub(super) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::of(text, "true or false", "write `true` or `false`")),
    }
}

/// A name of a field or of a table. Those that begin with `_selfsame` are the agents' own.
pub(super) fn field(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal { message: "a name must not be empty".to_owned(), hint: String::new() });
    }
    if text.starts_with("_selfsame") {
        let hint = "names that begin with `_selfsame` belong to the agents".to_owned();
        return Err(Refusal { message: format!("{} is reserved", quoted(text)), hint });
    }
    Ok(text.to_owned())
}

/// A path of a file or a directory.
pub(super) fn path(text: &str) -> Result<std::path::PathBuf, Refusal> {
    match text.is_empty() || text.contains('\0') {
        true => Err(Refusal::of(text, "a path", "")),
        false => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_that_mean_one_thing() {
        for (text, millis) in
            [("2s", 2_000), ("500ms", 500), ("24h", 86_400_000), ("10d", 864_000_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "2",
            "s",
            "-2s",
            "1.5s",
            "2 x",
            "1M",
            "1y",
            "1month",
            "2S",
            "0",
            "99999999999999999999d",
            "½h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_are_every_and_a_duration() {
        assert_eq!(every("every 6h"), Ok(Duration::from_secs(21_600)));
        for text in ["6h", "every", "every day", "30 4 * * 0", "@daily"] {
            assert!(every(text).is_err(), "{text}");
        }
        assert!(every("30 4 * * 0").unwrap_err().message.ends_with("cron is not built yet in this version"));
    }

    #[test]
    fn sizes_have_units_of_1000_and_of_1024() {
        for (text, bytes) in
            [("32MiB", 33_554_432), ("8 KiB", 8_192), ("1GB", 1_000_000_000), ("17", 17), ("0", 0), ("5B", 5)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "8M", "8mib", "1.5GiB", "-1", "99999999TiB", "8MiBx", "٣"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percent_or_parts_of_one() {
        for (text, value) in
            [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0), ("0", 0.0), ("1", 1.0), ("2.5%", 0.025)]
        {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "inf", "nan", "1e-2", ".", "5 %"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(share("5").unwrap_err().hint, "from 0 to 1, or percent: `5%`");
    }

    #[test]
    fn numbers_and_truth_have_one_spelling() {
        assert_eq!(whole("1000"), Ok(1000));
        for text in ["", "+1", "1_000", "1.0", "-1", "99999999999999999999"] {
            assert!(whole(text).is_err(), "{text}");
        }
        assert_eq!((boolean("true"), boolean("false")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
    }

    #[test]
    fn reserved_names_are_refused() {
        assert!(field("_selfsame_origin").is_err());
        assert_eq!(field("updated at").unwrap(), "updated at");
    }
}
