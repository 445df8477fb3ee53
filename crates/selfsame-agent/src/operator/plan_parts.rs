//! The plans of all agents as one list. Each agent tells its own shard by shard; where two recorded a plan for one
//! shard, that of the higher epoch holds and the other counts for nothing.

use std::collections::BTreeMap;

use selfsame_journal::{NodeLoad, PlanRow};
use selfsame_wire::v1;

/// One shard's plan as a list of one.
pub(super) fn alone(row: &PlanRow, loads: Vec<NodeLoad>) -> v1::Plan {
    let plan = &row.plan;
    v1::Plan {
        run: plan.id.run.to_string(),
        collection: plan.id.collection.to_string(),
        parts: vec![v1::PlanShard {
            shard: plan.id.shard.0,
            epoch: Some(plan.epoch.clone().into()),
            reason: plan.reason.clone(),
            keys: row.counts.pending,
            loads: loads.into_iter().map(load).collect(),
            created_at: plan.created.0,
            expires_at: plan.expires.0,
        }],
        ..v1::Plan::default()
    }
}

fn load(load: NodeLoad) -> v1::NodeLoad {
    v1::NodeLoad {
        node: load.node.to_string(),
        writes: load.writes,
        write_bytes: load.write_bytes,
        deletes: load.deletes,
        delete_bytes: load.delete_bytes,
    }
}

/// The plans that hold, one for each run, summed up from their parts; the newest first.
pub(super) fn joined(plans: impl IntoIterator<Item = v1::Plan>) -> Vec<v1::Plan> {
    let mut holding: BTreeMap<(String, u32), (String, v1::PlanShard)> = BTreeMap::new();
    for plan in plans {
        for part in plan.parts {
            let place = (plan.collection.clone(), part.shard);
            let known = holding.get(&place);
            if known.is_none_or(|(_, known)| rank(known) < rank(&part)) {
                holding.insert(place, (plan.run.clone(), part));
            }
        }
    }
    let mut runs: BTreeMap<String, v1::Plan> = BTreeMap::new();
    for ((collection, _), (run, part)) in holding {
        let plan = runs.entry(run.clone()).or_insert_with(|| v1::Plan {
            run,
            collection,
            created_at: part.created_at,
            expires_at: part.expires_at,
            ..v1::Plan::default()
        });
        add(plan, part);
    }
    let mut plans: Vec<v1::Plan> = runs.into_values().collect();
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.created_at));
    plans
}

/// The repairs of plans that several agents recorded, each shard counted once.
pub(super) fn repairs(parts: Vec<v1::PlanShard>) -> u64 {
    joined([v1::Plan { parts, ..v1::Plan::default() }]).iter().map(|plan| plan.keys).sum()
}

/// The deletes of a plan.
pub(super) fn deletes(plan: &v1::Plan) -> u64 {
    plan.loads.iter().map(|load| load.deletes).sum()
}

/// The repairs of a plan that an agent recorded, and has to carry out.
pub(super) fn repairs_of(plan: &v1::Plan, agent: &str) -> u64 {
    let is_its = |part: &&v1::PlanShard| part.epoch.as_ref().is_some_and(|epoch| epoch.agent == agent);
    plan.parts.iter().filter(is_its).map(|part| part.keys).sum()
}

/// Names the parts of a plan.
pub(super) fn named(plan: &v1::Plan) -> Vec<v1::PlanPart> {
    let named = |part: &v1::PlanShard| v1::PlanPart {
        shard: part.shard,
        epoch: part.epoch.clone(),
        collection: plan.collection.clone(),
    };
    plan.parts.iter().map(named).collect()
}

/// Whether a plan is among the parts that are named; with none named, every one is.
pub(super) fn is_named(parts: &[v1::PlanPart], row: &PlanRow) -> bool {
    let own = own_rank(row);
    parts.is_empty() || of_shard(parts, row).any(|part| part.epoch.as_ref().map(epoch_rank) == Some(own))
}

/// Whether one of the parts that are named took a plan's place.
pub(super) fn is_superseded(parts: &[v1::PlanPart], row: &PlanRow) -> bool {
    let own = own_rank(row);
    of_shard(parts, row).any(|part| part.epoch.as_ref().map(epoch_rank) > Some(own))
}

fn of_shard<'a>(parts: &'a [v1::PlanPart], row: &'a PlanRow) -> impl Iterator<Item = &'a v1::PlanPart> {
    let id = &row.plan.id;
    parts.iter().filter(|part| part.shard == id.shard.0 && part.collection == id.collection.as_str())
}

fn own_rank(row: &PlanRow) -> (u64, &str) {
    (row.plan.epoch.counter, row.plan.epoch.agent.as_str())
}

fn rank(part: &v1::PlanShard) -> Option<(u64, &str)> {
    part.epoch.as_ref().map(epoch_rank)
}

fn epoch_rank(epoch: &v1::Epoch) -> (u64, &str) {
    (epoch.counter, epoch.agent.as_str())
}

fn add(plan: &mut v1::Plan, part: v1::PlanShard) {
    plan.shards.push(part.shard);
    *plan.reasons.entry(part.reason.clone()).or_insert(0) += 1;
    plan.keys += part.keys;
    plan.created_at = plan.created_at.min(part.created_at);
    plan.expires_at = plan.expires_at.min(part.expires_at);
    for load in &part.loads {
        match plan.loads.iter_mut().find(|known| known.node == load.node) {
            None => plan.loads.push(load.clone()),
            Some(known) => {
                known.writes += load.writes;
                known.write_bytes += load.write_bytes;
                known.deletes += load.deletes;
                known.delete_bytes += load.delete_bytes;
            }
        }
    }
    plan.loads.sort_by(|left, right| left.node.cmp(&right.node));
    plan.parts.push(part);
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Epoch, RunId, ShardId, WallMicros};
    use selfsame_journal::{Plan, PlanCounts, PlanId};

    use super::*;

    fn plan(run: &str, shard: u32, counter: u64, agent: &str, keys: u64) -> v1::Plan {
        let load = v1::NodeLoad {
            node: "node-c".to_owned(),
            writes: keys - 1,
            write_bytes: 10 * keys,
            deletes: 1,
            delete_bytes: 5,
        };
        let part = v1::PlanShard {
            shard,
            epoch: Some(v1::Epoch { counter, agent: agent.to_owned() }),
            reason: "first_pass".to_owned(),
            keys,
            loads: vec![load],
            created_at: i64::try_from(counter).unwrap(),
            expires_at: 100,
        };
        let (run, collection) = (run.to_owned(), "products".to_owned());
        v1::Plan { run, collection, parts: vec![part], ..v1::Plan::default() }
    }

    #[test]
    fn the_parts_of_a_run_add_up() {
        let joined = joined([plan("r", 3, 1, "a", 2), plan("r", 0, 1, "b", 3)]);
        assert_eq!(joined.len(), 1);
        let sum = &joined[0];
        assert_eq!((sum.keys, &sum.shards, sum.reasons["first_pass"]), (5, &vec![0, 3], 2));
        assert_eq!((sum.loads.len(), sum.loads[0].writes, sum.loads[0].write_bytes), (1, 3, 50));
        assert_eq!(deletes(sum), 2);
    }

    #[test]
    fn a_shard_that_two_owners_planned_in_one_run_counts_once_and_the_higher_epoch_holds() {
        let both = [plan("r", 3, 5, "a", 2), plan("r", 3, 6, "b", 7)];
        for plans in [both.clone(), [both[1].clone(), both[0].clone()]] {
            let joined = joined(plans);
            assert_eq!((joined.len(), joined[0].keys, &joined[0].shards), (1, 7, &vec![3]));
            assert_eq!(named(&joined[0])[0].epoch.as_ref().unwrap().agent, "b");
        }
        // Of equal counters the agent's name decides, as everywhere.
        assert_eq!(joined([plan("r", 3, 5, "a", 2), plan("r", 3, 5, "b", 7)])[0].keys, 7);
        let parts = both.into_iter().flat_map(|plan| plan.parts).collect();
        assert_eq!(repairs(parts), 7);
    }

    #[test]
    fn what_is_named_is_carried_out_and_what_it_took_the_place_of_is_not() {
        let row = |counter, agent: &str| PlanRow {
            plan: Plan {
                id: PlanId {
                    collection: "products".parse().unwrap(),
                    shard: ShardId(3),
                    run: RunId::from_bytes([1; 16]),
                },
                epoch: Epoch { counter, agent: agent.parse().unwrap() },
                reason: String::new(),
                created: WallMicros(0),
                expires: WallMicros(0),
                digest: [0; 16],
            },
            counts: PlanCounts::default(),
        };
        let parts = named(&joined([plan("r", 3, 5, "b", 2)])[0]);
        let judged = |row: &PlanRow| (is_named(&parts, row), is_superseded(&parts, row));
        assert_eq!(judged(&row(5, "b")), (true, false));
        assert_eq!(judged(&row(5, "a")), (false, true));
        assert_eq!(judged(&row(4, "c")), (false, true));
        assert_eq!(judged(&row(6, "a")), (false, false), "newer than what was listed");
        let elsewhere = named(&joined([plan("r", 4, 9, "b", 2)])[0]);
        assert!(!is_named(&elsewhere, &row(5, "b")) && !is_superseded(&elsewhere, &row(5, "b")));
        assert!(is_named(&[], &row(5, "b")) && !is_superseded(&[], &row(5, "b")));
    }

    #[test]
    fn a_newer_plan_of_a_shard_takes_the_place_of_an_older_at_another_agent() {
        let joined =
            joined([plan("old", 3, 5, "a", 2), plan("old", 4, 5, "a", 2), plan("new", 3, 6, "b", 7)]);
        let told: Vec<(&str, &[u32])> =
            joined.iter().map(|plan| (plan.run.as_str(), plan.shards.as_slice())).collect();
        assert_eq!(told, [("new", &[3][..]), ("old", &[4][..])]);
    }
}
