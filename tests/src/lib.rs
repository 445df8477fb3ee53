//! Whole fleets as processes, for the tests beside this library.
