//! What agents say to each other, checked at the border: the plain messages of the protocol, the form in which
//! they travel, the conversions between the two, and the one place where channels are opened.
//!
//! Nothing here decides anything, and nothing that came over the wire leaves here unchecked.

pub mod channel;
pub mod convert;
mod failure;
pub mod limits;
pub mod message;
pub mod v1;

pub use convert::Malformed;
pub use failure::Failure;
