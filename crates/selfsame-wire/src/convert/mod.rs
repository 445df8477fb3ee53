//! Between the plain messages and their generated counterparts. Into the generated form is `From`, out of it
//! `TryFrom`: names are parsed, lengths and limits checked, and enums known, so that what comes out cannot be
//! wrong. No input makes a conversion panic, or allocate more than a small multiple of its own size.

mod claims;
mod documents;
mod index;
mod ledger;
mod types;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;

pub use types::unknown_reason;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use selfsame_core::{NameError, WallMicros};

use crate::limits::cut;

/// A message that breaks a rule of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field}: {why}")]
pub struct Malformed {
    /// The field, dotted where it is in a message within the message.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Malformed {
    /// A field and what is wrong with it; both are cut where they are too long to be sent back.
    pub fn new(field: impl Into<String>, why: impl Display) -> Malformed {
        Malformed { field: cut(field.into()), why: cut(why.to_string()) }
    }
}

fn name<T: FromStr<Err = NameError>>(field: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|error| Malformed::new(field, error))
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::new(field, "is missing"))
}

fn at_most(field: &'static str, count: usize, max: usize) -> Result<(), Malformed> {
    if count > max {
        return Err(Malformed::new(field, format!("has {count}, at most {max} are allowed")));
    }
    Ok(())
}

/// A column must have a row for each of `count`.
fn exactly(field: &'static str, rows: usize, count: usize) -> Result<(), Malformed> {
    if rows != count {
        return Err(Malformed::new(field, format!("has {rows} where {count} belong")));
    }
    Ok(())
}

fn array<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed::new(field, format!("has {} bytes instead of {N}", bytes.len())))
}

/// Things of `N` bytes each, one after another.
fn arrays<'a, const N: usize>(field: &'static str, bytes: &'a [u8]) -> Result<&'a [[u8; N]], Malformed> {
    let (whole, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Malformed::new(field, format!("has {} bytes, no multiple of {N}", bytes.len())));
    }
    Ok(whole)
}

/// Who is named twice in an answer would be counted twice.
fn distinct<T: Ord + Display>(field: &'static str, list: impl Iterator<Item = T>) -> Result<(), Malformed> {
    let mut seen = BTreeSet::new();
    for each in list {
        if let Some(twice) = seen.replace(each) {
            return Err(Malformed::new(field, format!("{twice} is there twice")));
        }
    }
    Ok(())
}

/// Converts every element of a list.
fn all<G, P: TryFrom<G, Error = Malformed>>(list: Vec<G>) -> Result<Vec<P>, Malformed> {
    list.into_iter().map(P::try_from).collect()
}

/// Differences from the number before, starting at 0. They wrap, so that any numbers have differences.
fn deltas(numbers: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut before = 0_i64;
    numbers.map(|number| number.wrapping_sub(std::mem::replace(&mut before, number))).collect()
}

/// Undoes [`deltas`].
fn sums(deltas: &[i64]) -> impl Iterator<Item = i64> {
    deltas.iter().scan(0_i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum)
    })
}

/// Instants that may be missing: nothing if all are; else as [`deltas`], and a missing one as 0.
fn from_instants(instants: impl Iterator<Item = Option<WallMicros>> + Clone) -> Vec<i64> {
    if instants.clone().all(|instant| instant.is_none()) {
        return Vec::new();
    }
    deltas(instants.map(|instant| instant.map_or(0, |at| at.0)))
}

/// Undoes [`from_instants`] of so many.
fn instants(field: &'static str, deltas: &[i64], count: usize) -> Result<Vec<Option<WallMicros>>, Malformed> {
    if deltas.is_empty() {
        return Ok(vec![None; count]);
    }
    exactly(field, deltas.len(), count)?;
    Ok(sums(deltas).map(|at| (at != 0).then_some(WallMicros(at))).collect())
}
