//! `selfsame setup`: the SQL that `setup: auto` would run, for those who run it themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use selfsame_core::NodeName;
use selfsame_store_sqlite::setup_sql;

use super::{Usage, load};
use crate::output::print_line;
use crate::stores;

/// `selfsame setup …`
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The kind of store
    #[arg(value_enum)]
    store: StoreKind,
    /// Print the SQL; nothing is ever run from here
    #[arg(long, required = true)]
    print_sql: bool,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One node; all of that kind without it
    #[arg(long)]
    node: Option<NodeName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoreKind {
    /// SQLite files
    Sqlite,
}

/// Runs the command.
pub(crate) async fn run(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let StoreKind::Sqlite = args.store;
    let mut printed = false;
    for collection in &config.fleet.collections {
        for replica in &collection.replicas {
            if args.node.as_ref().is_some_and(|node| *node != replica.node) {
                continue;
            }
            let options = stores::sqlite(&config, collection, replica, stores::Use::Look)?;
            let path = options.path.display().to_string();
            // What is wrong with the table is the caller's to mend.
            let sql =
                setup_sql(&options).await.map_err(|error| Usage(format!("{}: {error}", replica.node)))?;
            print_line(&format!("-- {} on {}: sqlite3 {path}", collection.name, replica.node))?;
            print_line(sql.trim_end())?;
            printed = true;
        }
    }
    if !printed {
        let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
        anyhow::bail!(Usage(format!("no replica on that node; hint: there is {}", names.join(", "))));
    }
    Ok(ExitCode::SUCCESS)
}
