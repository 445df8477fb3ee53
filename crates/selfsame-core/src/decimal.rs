//! Exact decimal numbers, the value of every number in a document.
//!
//! 3000.00, 3000 and 3e3 are one value; 9007199254740993 and 9007199254740992 are two. Exponents are kept as
//! they are and never expanded, so `1e1000000000` costs as little as 1. No number passes through an `f64`
//! unless the store itself holds one.

use std::fmt;

/// An exact decimal number `± digits × 10^exponent`, normalised: no leading and no trailing zero among the
/// digits, and zero has no digits, no sign and exponent 0. Equal values are equal structs.
///
/// The `Ord` is a total order for use in sorted collections, *not* the numeric order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// Why a text is no decimal number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not follow JSON's grammar of numbers.
    #[error("not a decimal number")]
    Syntax,
    /// The exponent does not fit 64 bits.
    #[error("exponent out of range")]
    Exponent,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { negative: false, digits: String::new(), exponent: 0 };

    /// Reads a number in JSON's grammar (`-12.50e3`), in time linear in its length.
    pub fn parse(text: &str) -> Result<Decimal, DecimalError> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(DecimalError::Syntax),
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !all_digits(whole) || !all_digits(fraction) {
            return Err(DecimalError::Syntax);
        }
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        Self::normalised(negative, digits, exponent, fraction.len())
    }

    fn normalised(
        negative: bool,
        digits: String,
        exponent: i64,
        fraction: usize,
    ) -> Result<Decimal, DecimalError> {
        let significant = digits.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if trimmed.is_empty() {
            return Ok(Decimal::ZERO);
        }
        let zeros = significant.len() - trimmed.len();
        let exponent = i128::from(exponent) - fraction as i128 + zeros as i128;
        let exponent = i64::try_from(exponent).map_err(|_| DecimalError::Exponent)?;
        Ok(Decimal { negative, digits: trimmed.to_owned(), exponent })
    }

    /// The value of a finite `f64`, by the shortest decimal that reads back as the same bits, the even one of two
    /// that are equally close: what stores that hand out JSON print. `None` for NaN and the infinities.
    ///
    /// Not by the standard library: it rounds such ties up, and may change.
    pub fn from_f64(value: f64) -> Option<Decimal> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = zmij::Buffer::new();
        Some(Self::parse(buffer.format_finite(value)).expect("finite floats print in JSON's grammar"))
    }

    /// The value as an `i64`, if it is a whole number that fits.
    pub fn to_i64(&self) -> Option<i64> {
        i64::try_from(self.scaled_floor(0)?.exact()?).ok()
    }

    /// The value times `10^scale`, rounded towards negative infinity ("cut" for instants), if it fits an `i64`.
    pub fn scaled_to_i64(&self, scale: u32) -> Option<i64> {
        i64::try_from(self.scaled_floor(scale)?.floor).ok()
    }

    fn scaled_floor(&self, scale: u32) -> Option<Scaled> {
        let shift = self.exponent.checked_add(i64::from(scale))?;
        // More than 38 digits fit no i128, let alone an i64.
        let magnitude_digits = i64::try_from(self.digits.len()).ok()?.checked_add(shift)?;
        if self.digits.is_empty() {
            return Some(Scaled { floor: 0, exact: true });
        }
        if magnitude_digits > 38 {
            return None;
        }
        let (kept, exact) = if shift >= 0 {
            (self.digits.clone() + &"0".repeat(usize::try_from(shift).ok()?), true)
        } else {
            let kept = usize::try_from(magnitude_digits.max(0)).ok()?;
            (self.digits[..kept].to_owned(), false)
        };
        let magnitude: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        let floor = match (self.negative, exact) {
            (false, _) => magnitude,
            (true, true) => -magnitude,
            (true, false) => -magnitude - 1,
        };
        Some(Scaled { floor, exact })
    }

    /// Whether the number is below zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The significant digits in ASCII; empty for zero.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The power of ten by which [`Decimal::digits`] is multiplied.
    pub fn exponent(&self) -> i64 {
        self.exponent
    }

    /// Puts a number together from its stored parts, refusing what is not normalised.
    pub fn from_parts(negative: bool, digits: &str, exponent: i64) -> Result<Decimal, DecimalError> {
        let zero = digits.is_empty() && !negative && exponent == 0;
        let normal =
            !digits.is_empty() && all_digits(digits) && !digits.starts_with('0') && !digits.ends_with('0');
        if !zero && !normal {
            return Err(DecimalError::Syntax);
        }
        Ok(Decimal { negative, digits: digits.to_owned(), exponent })
    }
}

struct Scaled {
    floor: i128,
    exact: bool,
}

impl Scaled {
    fn exact(self) -> Option<i128> {
        self.exact.then_some(self.floor)
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !all_digits(digits) {
        return Err(DecimalError::Syntax);
    }
    text.parse().map_err(|_| DecimalError::Exponent)
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::parse(&value.to_string()).expect("integers print in JSON's grammar")
    }
}

impl fmt::Display for Decimal {
    /// Prints a JSON number of the same value: plain digits up to 40 places, scientific beyond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PLAIN_PLACES_MAX: i64 = 40;
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let places = self.digits.len() as i64;
        if self.exponent >= 0 && self.exponent.saturating_add(places) <= PLAIN_PLACES_MAX {
            write!(f, "{}{}", self.digits, "0".repeat(self.exponent as usize))
        } else if self.exponent < 0 && self.exponent > -PLAIN_PLACES_MAX {
            let point = places + self.exponent;
            if point > 0 {
                let (whole, fraction) = self.digits.split_at(point as usize);
                write!(f, "{whole}.{fraction}")
            } else {
                write!(f, "0.{}{}", "0".repeat((-point) as usize), self.digits)
            }
        } else {
            write!(f, "{}e{}", self.digits, self.exponent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn spellings_of_one_value_are_equal() {
        for group in [
            &["3000", "3000.00", "3e3", "3E+3", "0.3e4", "30000e-1"][..],
            &["0", "-0", "0.000", "0e99", "-0.0E-7"],
            &["-1.5", "-15e-1", "-0.15e1"],
        ] {
            for text in group {
                assert_eq!(decimal(text), decimal(group[0]), "{text}");
            }
        }
        assert_ne!(decimal("9007199254740993"), decimal("9007199254740992"));
        assert_ne!(decimal("0.1"), decimal("0.10000000000000001"));
    }

    #[test]
    fn huge_exponents_cost_nothing() {
        let huge = decimal("1e1000000000");
        assert_eq!(huge.exponent(), 1_000_000_000);
        assert_eq!(huge.to_i64(), None);
        assert_eq!(huge.to_string(), "1e1000000000");
        assert_eq!(decimal("1e-1000000000").scaled_to_i64(6), Some(0));
        assert_eq!(Decimal::parse("1e99999999999999999999"), Err(DecimalError::Exponent));
    }

    #[test]
    fn what_is_no_json_number_is_refused() {
        for text in
            ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x10", "NaN", "1 ", "١", "--1", "1.2.3", "1e5e5"]
        {
            assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text:?}");
        }
    }

    #[test]
    fn scaling_cuts_towards_the_past() {
        assert_eq!(decimal("1.9999999").scaled_to_i64(6), Some(1_999_999));
        assert_eq!(decimal("-1.9999999").scaled_to_i64(6), Some(-2_000_000));
        assert_eq!(decimal("-1.5").scaled_to_i64(6), Some(-1_500_000));
        assert_eq!(decimal("9223372036854775807").to_i64(), Some(i64::MAX));
        assert_eq!(decimal("9223372036854775808").to_i64(), None);
        assert_eq!(decimal("1.5").to_i64(), None);
    }

    proptest! {
        #[test]
        fn integers_keep_their_value(value: i64) {
            prop_assert_eq!(Decimal::from(value).to_i64(), Some(value));
        }

        #[test]
        fn floats_print_and_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            match Decimal::from_f64(value) {
                Some(decimal) => prop_assert_eq!(decimal.to_string().parse::<f64>().unwrap(), value),
                None => prop_assert!(!value.is_finite()),
            }
        }

        #[test]
        fn printing_keeps_the_value(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?") {
            let value = decimal(&text);
            prop_assert_eq!(&decimal(&value.to_string()), &value);
            let again = Decimal::from_parts(value.is_negative(), value.digits(), value.exponent());
            prop_assert_eq!(again, Ok(value));
        }
    }
}
