//! `selfsame notice`: tells the agents what the application deleted, so that nobody has to guess.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::{CollectionName, TimeField};
use selfsame_wire::convert::unknown_reason;
use selfsame_wire::v1;
use serde::Serialize;

use super::{Usage, chosen, load};
use crate::client::{ask, names, tell_silent};
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, talk};

/// `selfsame notice …`
#[derive(Debug, Args)]
pub(crate) struct NoticeArgs {
    /// The collection
    collection: CollectionName,
    /// The key: JSON (7, "7", ["eu",7]), or else text
    key: String,
    /// The version that was deleted, or when: as the application writes versions. Not for a collection without versions
    #[arg(long, value_name = "VERSION")]
    deleted_version: Option<String>,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Notice {
    version: u32,
    replicas: Vec<NoticedRow>,
    /// Agents of whose replicas nothing is known.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NoticedRow {
    node: String,
    /// `remembered`, `present`, `newer`, `unreadable` or `unknown`.
    outcome: &'static str,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Runs the command. Exit code 0 if a replica remembers it now, which is enough: the others learn of it. Otherwise 2 if
/// one was silent, else 1.
pub(crate) async fn run(args: &NoticeArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collections = chosen(&config, Some(&args.collection))?;
    let field = collections.iter().flat_map(|collection| &collection.replicas).next();
    let version =
        version(field.and_then(|replica| replica.mapping.version.as_ref()), args.deleted_version.as_deref())?;
    let request = &v1::NoticeRequest {
        collection: args.collection.to_string(),
        deletions: vec![v1::Deletion { key: args.key.clone(), version }],
    };
    let reply: v1::NoticeReply =
        ask(&config, |mut client| async move { client.notice(request.clone()).await }).await?;
    let rows: Vec<NoticedRow> = reply.replicas.iter().map(row).collect();
    let (remembered, unknown) = (has(&rows, "remembered"), has(&rows, "unknown") || !reply.silent.is_empty());
    match args.output {
        Output::Json => {
            let silent = names(&reply.silent);
            print_json(&Notice { version: OUTPUT_VERSION, replicas: rows, silent })?;
        }
        Output::Text => {
            for row in &rows {
                print_line(&format!("{}: {}", row.node, told(row)))?;
            }
        }
    }
    tell_silent(&reply.silent);
    if !remembered {
        talk("no replica remembers the deletion; hint: delete it in the stores first, then say so again");
    }
    Ok(ExitCode::from(match (remembered, unknown) {
        (true, _) => 0,
        (false, true) => 2,
        (false, false) => 1,
    }))
}

fn has(rows: &[NoticedRow], outcome: &str) -> bool {
    rows.iter().any(|row| row.outcome == outcome)
}

/// The version that somebody typed, in the unit of the collection.
fn version(field: Option<&TimeField>, typed: Option<&str>) -> Result<i64, Usage> {
    match (field, typed) {
        (None, None) => Ok(0),
        (None, Some(_)) => {
            Err(Usage("the collection has no `version`; hint: leave `--deleted-version` out".to_owned()))
        }
        (Some(field), None) => Err(Usage(format!(
            "which version was deleted? hint: say `--deleted-version`, as `{}` had it",
            field.field
        ))),
        (Some(field), Some(typed)) => field.unit.typed(typed).ok_or_else(|| {
            Usage(format!("`{typed}` is no version: `{}` is {}", field.field, field.unit.describe()))
        }),
    }
}

fn row(told: &v1::NoticedReplica) -> NoticedRow {
    let unknown = told.unknown.map(|reason| {
        unknown_reason("unknown", reason).map_or("the agent is of another version", |reason| reason.as_str())
    });
    let outcome = match told.outcomes.first().map(|outcome| v1::NoticeOutcome::try_from(*outcome)) {
        Some(Ok(v1::NoticeOutcome::Remembered)) => "remembered",
        Some(Ok(v1::NoticeOutcome::Present)) => "present",
        Some(Ok(v1::NoticeOutcome::Newer)) => "newer",
        Some(Ok(v1::NoticeOutcome::Unreadable)) => "unreadable",
        Some(Ok(v1::NoticeOutcome::Unspecified) | Err(_)) | None => "unknown",
    };
    NoticedRow { node: told.node.clone(), outcome, reason: unknown }
}

fn told(row: &NoticedRow) -> String {
    match row.outcome {
        "remembered" => "gone, and remembered for certain".to_owned(),
        "present" => {
            "still there; the next pass deletes it if another replica remembers the deletion".to_owned()
        }
        "newer" => "gone, but a later version was there".to_owned(),
        "unreadable" => "its row has no single meaning; hint: mend it".to_owned(),
        _ => format!("unknown ({})", row.reason.unwrap_or("no answer")),
    }
}
