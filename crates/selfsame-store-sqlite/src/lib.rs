//! One table of one SQLite file as a replica, beside an application that writes to the same file from
//! processes of its own.
//!
//! It never creates or replaces a file, never takes an old, deleted file for the live one, makes nothing but
//! tables and triggers named `_selfsame_*`, and never lets a repair touch another row than the one it names.
//!
//! # What it makes in the file
//!
//! | name | what |
//! | --- | --- |
//! | `_selfsame_meta` | names and values: `store_id` (made once), `format`, `change_retention_rows`; within a repair's transaction also `writing`, the marker of the repair, which no other connection ever sees |
//! | `_selfsame_origin` | one row for each applied repair (`repair`, `marker`, `at` in µs), written in the repair's own transaction; repairs are recognised by it when they are delivered again |
//! | `_selfsame_changes` | one row for each change of a watched table, with the typed key, the old value of the version column, and the marker if a repair made it |
//! | `_selfsame_insert_T`, `_selfsame_update_T`, `_selfsame_delete_T` | the three AFTER triggers of table `T` that fill it |
//!
//! `_selfsame_changes` keeps the newest [`SqliteOptions::change_retention_rows`] rows of all tables of the file
//! together (whoever opened the file last decides how many). `_selfsame_origin` keeps the newest 100 000 rows and
//! those of the last 7 days, whichever is more: repairs are delivered again within seconds, or after a restart.
//!
//! # What an operator should know
//!
//! * **The feed and REPLACE.** SQLite runs no delete trigger for a row that `INSERT OR REPLACE` or
//!   `UPDATE OR REPLACE` evicts, unless the application's connection sets `recursive_triggers`. Where only the
//!   key itself is unique, the evicted row has the key of the written one: the feed then shows an insert of a
//!   key that existed. Where the table has another unique constraint (or a key column whose collation is not
//!   BINARY), rows of other keys may vanish unseen: `changes` then says `gap` in every answer. In no case does
//!   `gap: false` speak of writers that bypass triggers.
//! * **The application's triggers run** on a repair's write, in the repair's transaction, and what they write to
//!   watched tables carries the repair's marker. A repair whose row does not read back as the winner's content
//!   (because a trigger or a column's affinity changed it) is refused and rolled back.
//! * **Foreign keys** are enforced on repairs. A delete or update of a row that other rows refer to is refused;
//!   a repair never cascades.
//! * **Durability.** Repairs commit with `synchronous = EXTRA`; the journal mode stays the application's.
//! * **Opening and closing the file elsewhere in the same process** (not through SQLite) drops SQLite's locks on
//!   it, as POSIX has it. This crate only ever looks at the file's metadata.
//! * A file opened for reading only may still get SQLite's own `-shm` and `-wal` beside it, if it is in WAL mode.

mod apply;
mod cell;
mod cursor;
mod fault;
mod feed;
mod file;
mod key_index;
mod options;
mod references;
mod repair;
mod rows;
mod scan;
mod schema;
mod session;
mod setup;
mod sql;
mod store;
mod worker;

pub use options::{Access, Setup, SqliteOptions};
pub use store::{SqliteStore, setup_sql};
