//! What somebody may have meant who wrote a name that does not exist.

/// The known name that is nearest to `text`, if one is near enough that a person would see the slip.
pub(super) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters: `shard` is near to `shards`, `port` is not near to `path`.
    let wanted = plain(text);
    let distance_max = (wanted.chars().count() / 3).clamp(1, 3);
    let distance = |name: &str| match wanted.len() > 64 {
        // No name is so long; the distance of two long texts would be their product in time.
        true => usize::MAX,
        false => strsim::damerau_levenshtein(&wanted, &plain(name)),
    };
    known
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Without what spellings of one name differ in: `clockSkewMax`, `clock-skew-max`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let known = ["shards", "settle", "clock_skew_max", "repair"];
        let nearest = |text| nearest(text, known.into_iter());
        assert_eq!(nearest("shard"), Some("shards"));
        assert_eq!(nearest("setlte"), Some("settle"));
        assert_eq!(nearest("clockSkewMax"), Some("clock_skew_max"));
        assert_eq!(nearest("replicas"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"x".repeat(10_000)), None);
    }
}
