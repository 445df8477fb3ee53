//! Walks the file against the table of settings: unknown names, settings that are not built, values of the
//! wrong kind or out of bounds. What passes can be read without looking back; what is missing, or contradicts
//! something elsewhere, is not seen here.

use selfsame_core::AgentName;

use super::address::Address;
use super::problems::{Place, Problem, Problems, quoted};
use super::raw::{Member, Node, Value};
use super::schema::{self, Choice, Kind, Need, Setting};
use super::schema_table::SETTINGS;
use super::suggest;
use super::units::{self, Refusal};

/// More known names than this are no hint but a page.
const LISTED_NAMES_MAX: usize = 8;

/// Adds the problems of a whole file.
pub(super) fn check(root: &Node, problems: &mut Problems) {
    match &root.value {
        Value::Map(members) => members.iter().for_each(|member| check_member(member, "", problems)),
        Value::Empty | Value::Null => problems.add(
            Problem::new(root.place, "the file is empty")
                .hint("begin with `fleet: NAME`, `agents:` and `nodes:`"),
        ),
        Value::Text(_) | Value::List(_) => {
            problems
                .add(Problem::new(root.place, "the file must be a mapping").hint("begin with `fleet: NAME`"));
        }
    }
}

fn check_member(member: &Member, parent: &str, problems: &mut Problems) {
    let Some(setting) = schema::setting(parent, &member.name) else {
        problems.add(unknown(member, parent));
        return;
    };
    match (&member.node.value, &setting.need) {
        (_, Need::NotBuilt) => problems.add(not_built(member.place, setting.shown())),
        (Value::Empty, _) => problems.add(empty(member, setting)),
        (Value::Null, Need::Optional) => {}
        (Value::Null, _) => problems.add(null(member, setting)),
        _ => check_value(&member.node, setting, problems),
    }
}

/// A known setting that a later version has.
fn not_built(place: Place, shown: &str) -> Problem {
    Problem::new(place, format!("`{shown}` is not built yet in this version")).hint("remove it")
}

fn empty(member: &Member, setting: &Setting) -> Problem {
    let problem = Problem::new(member.place, format!("`{}` has no value", setting.shown()));
    match setting.need {
        Need::Optional => problem.hint("remove the line, or write `null` to take an inherited value away"),
        Need::Default(default) => problem.hint(format!("remove the line to have the default, `{default}`")),
        _ => problem.hint(format!("write a value: {}", setting.describe())),
    }
}

fn null(member: &Member, setting: &Setting) -> Problem {
    let problem = Problem::new(member.node.place, format!("`{}` cannot be null", setting.shown()));
    match setting.need {
        Need::Default(default) => problem.hint(format!("remove the line to have the default, `{default}`")),
        Need::Group => problem.hint("remove the line to have the defaults"),
        _ => problem,
    }
}

fn unknown(member: &Member, parent: &str) -> Problem {
    let prefix = match schema::shown(parent) {
        "" | schema::DEFAULTS => String::new(),
        list if list.ends_with("[]") => String::new(),
        section => format!("{section}."),
    };
    let problem = Problem::new(
        member.place,
        format!("unknown setting {}", quoted(&format!("{prefix}{}", member.name))),
    );
    let names = || schema::settings_of(parent).map(Setting::name);
    if parent == schema::DEFAULTS && member.name == "name" {
        return problem.hint("each collection has a name of its own");
    }
    // Of several homes the outermost is the likeliest.
    let elsewhere = SETTINGS
        .iter()
        .filter(|setting| setting.name() == member.name && setting.need != Need::NotBuilt)
        .min_by_key(|setting| setting.path.matches('.').count());
    match (elsewhere, suggest::nearest(&member.name, names())) {
        (Some(setting), _) => problem.hint(format!("it belongs {}", home(setting))),
        (None, Some(name)) => problem.hint(format!("did you mean `{name}`?")),
        (None, None) if names().count() <= LISTED_NAMES_MAX => {
            let known: Vec<_> = names().map(|name| format!("`{name}`")).collect();
            problem.hint(format!("known here: {}", known.join(", ")))
        }
        (None, None) => problem,
    }
}

/// Where a setting belongs, in words.
fn home(setting: &Setting) -> String {
    match setting.parent() {
        "" => "at the top of the file".to_owned(),
        schema::COLLECTION => "to a collection, or under `defaults`".to_owned(),
        parent => match parent.strip_suffix("[]") {
            Some(list) => format!("to an item of `{}`", schema::shown(list)),
            None => format!("under `{}`", schema::shown(parent)),
        },
    }
}

fn check_value(node: &Node, setting: &'static Setting, problems: &mut Problems) {
    match (&setting.kind, &node.value) {
        (Kind::Section, Value::Map(members)) => {
            members.iter().for_each(|member| check_member(member, setting.path, problems));
        }
        (Kind::ChoiceOrSection(_), Value::Map(members)) => {
            members.iter().for_each(|member| check_member(member, setting.path, problems));
        }
        (Kind::Sections, Value::List(items)) => check_sections(node, items, setting, problems),
        (Kind::Sections, Value::Map(members)) if announces_later(members, setting) => {
            // `agents: { dns: … }` is a known form: the members tell that it is not built.
            members.iter().for_each(|member| check_member(member, setting.path, problems));
        }
        (Kind::Replicas, Value::List(items)) => check_replicas(items, setting, problems),
        (Kind::Names | Kind::Fields, Value::List(items)) => check_texts(node, items, setting, problems),
        (Kind::Names | Kind::Fields | Kind::Sections | Kind::Replicas | Kind::Section, _) => {
            problems.add(wrong_kind(node, setting));
        }
        (_, Value::Text(text)) => {
            if let Err(refusal) = check_text(text, setting) {
                problems.add(refused(node.place, setting, refusal));
            }
        }
        _ => problems.add(wrong_kind(node, setting)),
    }
}

/// Whether a mapping stands where a later version takes one.
fn announces_later(members: &[Member], setting: &Setting) -> bool {
    members.iter().any(|member| {
        schema::setting(setting.path, &member.name).is_some_and(|known| known.need == Need::NotBuilt)
    })
}

fn check_sections(node: &Node, items: &[Node], setting: &Setting, problems: &mut Problems) {
    if items.is_empty() {
        problems.add(empty_list(node, setting));
    }
    let item_path = format!("{}[]", setting.path);
    for item in items {
        let Value::Map(members) = &item.value else {
            let message = format!("an item of `{}` must be a mapping", setting.shown());
            problems.add(Problem::new(item.place, message).hint("such as `- { name: … }`"));
            continue;
        };
        for member in members {
            // The other settings of a store that is not built would only repeat that it is not.
            let moot =
                item_path == "nodes[]" && is_later_store(item) && !matches!(&*member.name, "name" | "store");
            if !moot {
                check_member(member, &item_path, problems);
            }
        }
    }
}

/// Whether an item of `nodes` is of a kind that a later version has.
pub(super) fn is_later_store(node: &Node) -> bool {
    let Some(Setting { kind: Kind::Choice(choice), .. }) = schema::setting("nodes[]", "store") else {
        return false;
    };
    matches!(node.member("store"), Some(Node { value: Value::Text(store), .. }) if choice.not_built.contains(&&**store))
}

fn check_replicas(items: &[Node], setting: &'static Setting, problems: &mut Problems) {
    for item in items {
        match &item.value {
            Value::Map(members) => {
                members.iter().for_each(|member| check_member(member, schema::REPLICA, problems));
            }
            Value::Text(name) => {
                if let Err(refusal) = check_name(name) {
                    problems.add(refused(item.place, setting, refusal));
                }
            }
            _ => problems.add(
                Problem::new(item.place, "a replica must be the name of a node, or a mapping")
                    .hint("such as `- node-a`, or `- { node: node-a, source: { table: … } }`"),
            ),
        }
    }
}

fn check_texts(node: &Node, items: &[Node], setting: &Setting, problems: &mut Problems) {
    if items.is_empty() && setting.need == Need::Required {
        problems.add(empty_list(node, setting));
    }
    for item in items {
        match &item.value {
            Value::Text(text) => {
                if let Err(refusal) = check_text(text, setting) {
                    problems.add(refused(item.place, setting, refusal));
                }
            }
            _ => {
                let message = format!("an item of `{}` must be a name", setting.shown());
                problems.add(Problem::new(item.place, message));
            }
        }
    }
}

fn empty_list(node: &Node, setting: &Setting) -> Problem {
    Problem::new(node.place, format!("`{}` needs at least one item", setting.shown()))
}

fn wrong_kind(node: &Node, setting: &Setting) -> Problem {
    let found = match &node.value {
        Value::Map(_) => "a mapping",
        Value::List(_) => "a list",
        Value::Text(_) => "a single value",
        Value::Empty | Value::Null => "nothing",
    };
    Problem::new(node.place, format!("`{}` cannot be {found}", setting.shown()))
        .hint(format!("expected: {}", setting.describe()))
}

fn refused(place: Place, setting: &Setting, refusal: Refusal) -> Problem {
    let problem = Problem::new(place, format!("`{}`: {}", setting.shown(), refusal.message));
    match refusal.hint.is_empty() {
        true => problem,
        false => problem.hint(refusal.hint),
    }
}

/// Checks one scalar, or one item of a list of scalars.
fn check_text(text: &str, setting: &Setting) -> Result<(), Refusal> {
    let within = |inside: bool| match inside {
        true => Ok(()),
        false => {
            Err(Refusal { message: format!("{} is out of range", quoted(text)), hint: setting.describe() })
        }
    };
    // The table's own bounds parse, as its test shows; were one wrong, nothing would be within it.
    match &setting.kind {
        Kind::Name | Kind::Names => check_name(text),
        Kind::Field | Kind::Fields => units::field(text).map(drop),
        Kind::Path => units::path(text).map(drop),
        Kind::Address => Address::parse(text).map(drop),
        Kind::Boolean => units::boolean(text).map(drop),
        Kind::Share => units::share(text).map(drop),
        Kind::Whole { min, max } => within((*min..=*max).contains(&units::whole(text)?)),
        Kind::Size { min, max } => {
            within((units::size(min)?..=units::size(max)?).contains(&units::size(text)?))
        }
        Kind::Duration { min, max } => {
            within((units::duration(min)?..=units::duration(max)?).contains(&units::duration(text)?))
        }
        Kind::Every { min, max } => match units::exchange(text)? {
            None => Ok(()),
            Some(every) => within((units::duration(min)?..=units::duration(max)?).contains(&every)),
        },
        Kind::Choice(choice) | Kind::ChoiceOrSection(choice) => check_choice(text, choice, setting),
        Kind::Section | Kind::Sections | Kind::Replicas => Ok(()),
    }
}

fn check_name(text: &str) -> Result<(), Refusal> {
    // Names of agents, nodes, collections and fleets follow one rule.
    let form = "1 to 63 letters, digits, `-`, `_` or `.`; the first a letter or a digit";
    match text.parse::<AgentName>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal { message: format!("{} is not a name", quoted(text)), hint: form.to_owned() }),
    }
}

fn check_choice(text: &str, choice: &Choice, setting: &Setting) -> Result<(), Refusal> {
    if choice.built.contains(&text) {
        return Ok(());
    }
    if choice.not_built.contains(&text) {
        let message = format!("{} is not built yet in this version", quoted(text));
        return Err(Refusal { message, hint: setting.describe() });
    }
    let words = choice.built.iter().chain(choice.not_built).copied();
    let hint = match suggest::nearest(text, words) {
        Some(word) => format!("did you mean `{word}`?"),
        None => setting.describe(),
    };
    Err(Refusal { message: format!("{} is not known", quoted(text)), hint })
}
