//! Joins what the journal says with what was injected, key by key. Neither side is derived from the other: the
//! items come from the fleet, the injections from the writer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::fleet::PassItem;
use super::injections::Injection;
use super::kinds::{ByKind, Kind, NodeIndex};
use super::tail::RepairCounts;

/// A pass's items and when it ended, by the writer's clock.
#[derive(Clone, Debug)]
pub(super) struct PassItems {
    pub(super) items: Vec<PassItem>,
    pub(super) ended: i64,
}

/// What the writer knows that explains a repair which nobody injected.
pub(super) struct Explanations<'a> {
    /// The last expiry of each document that ever had one.
    pub(super) expiries: &'a HashMap<Arc<str>, i64>,
    /// Keys of which a write was under way for as long as a confirm takes.
    pub(super) slow: &'a HashSet<Arc<str>>,
}

/// The result of the join.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    pub(super) injected: ByKind,
    pub(super) overtaken: ByKind,
    /// Of those not overtaken: an item names key and node.
    pub(super) detected: ByKind,
    /// Of those: written, by the fleet's own word.
    pub(super) repaired: ByKind,
    /// What the fleet took for the cause, for each damaged row that was repaired.
    pub(super) causes: BTreeMap<Kind, BTreeMap<String, u64>>,
    /// Rows that were written, of all passes.
    pub(super) written: RepairCounts,
    /// Written without reason: `key on node`.
    pub(super) false_repairs: Vec<String>,
    /// Held without reason: `key on node`.
    pub(super) false_holds: Vec<String>,
    /// Keys of repairs that have another reason than an injection.
    pub(super) explained: BTreeSet<String>,
    /// Deletes of documents that had expired by themselves.
    pub(super) expired: u64,
    /// Repairs of writes that were under way for as long as a confirm takes.
    pub(super) under_way: u64,
    /// Not overtaken, and no item names them.
    pub(super) undetected: Vec<String>,
    /// Not overtaken, and detected, and not repaired.
    pub(super) unrepaired: Vec<String>,
}

impl Judgement {
    fn explain(&mut self, explanation: Explanation, key: &str) {
        self.explained.insert(key.to_owned());
        match explanation {
            Explanation::Expired => self.expired += 1,
            Explanation::UnderWay => self.under_way += 1,
        }
    }
}

type Place = (NodeIndex, String);

/// Joins all passes with all injections.
pub(super) fn judge(passes: &[PassItems], injections: &[Injection], known: &Explanations<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let mut items_of: BTreeMap<Place, Vec<&PassItem>> = BTreeMap::new();
    // Each injection accounts for one repair of its key on each of its nodes, and no more.
    let mut open: HashSet<Place> = injections.iter().flat_map(places_of).collect();
    let injected = open.clone();
    for (item, ended) in passes.iter().flat_map(|pass| pass.items.iter().map(move |item| (item, pass.ended)))
    {
        let Some(node) = NodeIndex::of(&item.node) else {
            judgement.false_repairs.push(format!("{} on the unknown node {}", item.key, item.node));
            continue;
        };
        let place = (node, item.id());
        let text = format!("{} on {}", place.1, item.node);
        if item.is_written() {
            *judgement.written.entry(place.clone()).or_insert(0) += 1;
            if !open.remove(&place) {
                match known.explain(item, &place.1, ended) {
                    Some(explanation) => judgement.explain(explanation, &place.1),
                    None => judgement.false_repairs.push(text),
                }
            }
        } else if item.is_held() && !injected.contains(&place) && !known.slow.contains(place.1.as_str()) {
            judgement.false_holds.push(text);
        } else if known.explain(item, &place.1, ended).is_some() {
            // It differed for a reason, and healed before anybody wrote: the application's own sweep came first, say.
            judgement.explained.insert(place.1.clone());
        }
        items_of.entry(place).or_default().push(item);
    }
    let mut outcomes = Outcomes::default();
    for injection in injections {
        outcomes.add(injection, &items_of, &mut judgement);
    }
    judgement.injected = ByKind::count(injections.iter().map(|injection| injection.kind));
    judgement.overtaken = ByKind::count(outcomes.overtaken);
    judgement.detected = ByKind::count(outcomes.detected);
    judgement.repaired = ByKind::count(outcomes.repaired);
    judgement
}

#[derive(Default)]
struct Outcomes {
    overtaken: Vec<Kind>,
    detected: Vec<Kind>,
    repaired: Vec<Kind>,
}

impl Outcomes {
    /// An injection is found, and repaired, only if it is so on each of its nodes.
    fn add(
        &mut self,
        injection: &Injection,
        items_of: &BTreeMap<Place, Vec<&PassItem>>,
        judgement: &mut Judgement,
    ) {
        if injection.overtaken {
            self.overtaken.push(injection.kind);
            return;
        }
        let (mut is_detected, mut is_repaired) = (true, true);
        for place in places_of(injection) {
            let items = items_of.get(&place).map_or(&[][..], Vec::as_slice);
            let name = || format!("{} on {} ({})", place.1, place.0.name(), injection.kind.title());
            let repaired = items.iter().find(|item| item.is_repaired());
            if repaired.is_none() {
                is_repaired = false;
                judgement.unrepaired.push(name());
                if !items.iter().any(|item| item.is_held()) {
                    is_detected = false;
                    judgement.undetected.push(name());
                }
            }
            if let Some(item) = repaired {
                let causes = judgement.causes.entry(injection.kind).or_default();
                *causes.entry(item.cause.clone()).or_insert(0) += 1;
            }
        }
        self.detected.extend(is_detected.then_some(injection.kind));
        self.repaired.extend(is_repaired.then_some(injection.kind));
    }
}

enum Explanation {
    Expired,
    UnderWay,
}

impl Explanations<'_> {
    fn explain(&self, item: &PassItem, key: &str, ended: i64) -> Option<Explanation> {
        if item.action == "delete" && self.expiries.get(key).is_some_and(|expiry| *expiry <= ended) {
            return Some(Explanation::Expired);
        }
        self.slow.contains(key).then_some(Explanation::UnderWay)
    }
}

fn places_of(injection: &Injection) -> impl Iterator<Item = Place> {
    injection.nodes.iter().map(|node| (*node, injection.key.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injection(key: &str, overtaken: bool) -> Injection {
        let (kind, nodes) = (Kind::LostWrite, vec![NodeIndex(1)]);
        Injection { kind, nodes, key: key.into(), round: 0, damaged: None, overtaken }
    }

    fn item(key: &str, node: &str, action: &str, outcome: &str) -> PassItem {
        let text = |text: &str| text.to_owned();
        PassItem {
            key: format!("\"{key}\""),
            node: text(node),
            action: text(action),
            cause: text("missed_update"),
            outcome: text(outcome),
        }
    }

    fn judged(items: Vec<PassItem>, injections: &[Injection]) -> Judgement {
        let expiries = HashMap::from([("ttl".into(), 10)]);
        let slow = HashSet::from(["slow".into()]);
        let known = Explanations { expiries: &expiries, slow: &slow };
        judge(&[PassItems { items, ended: 10 }], injections, &known)
    }

    #[test]
    fn what_healed_by_itself_for_a_reason_is_explained_and_not_counted() {
        let items = vec![item("ttl", "node-a", "delete", "changed"), item("k", "node-a", "copy", "changed")];
        let judgement = judged(items, &[]);
        assert_eq!(judgement.explained, BTreeSet::from(["ttl".to_owned()]));
        assert!(judgement.written.is_empty() && judgement.false_repairs.is_empty());
    }

    #[test]
    fn only_the_injected_key_on_the_injected_node_counts() {
        let judgement = judged(vec![item("k", "node-a", "copy", "repaired")], &[injection("k", false)]);
        assert_eq!((judgement.detected.total(), judgement.undetected.len()), (0, 1));
        assert_eq!(judgement.false_repairs, ["k on node-a"]);
    }

    #[test]
    fn damage_on_two_nodes_is_repaired_when_both_are() {
        let both = [Injection { nodes: vec![NodeIndex(1), NodeIndex(2)], ..injection("k", false) }];
        let one = judged(vec![item("k", "node-b", "delete", "repaired")], &both);
        assert_eq!((one.detected.total(), one.repaired.total(), one.false_repairs.len()), (0, 0, 0));
        assert_eq!(one.undetected, ["k on node-c (lost write)"]);
        let held = vec![item("k", "node-b", "delete", "repaired"), item("k", "node-c", "none", "held")];
        assert_eq!(
            (judged(held.clone(), &both).detected.total(), judged(held, &both).repaired.total()),
            (1, 0)
        );
        let twice =
            vec![item("k", "node-b", "delete", "repaired"), item("k", "node-c", "delete", "repaired")];
        let judgement = judged(twice, &both);
        assert_eq!((judgement.detected.total(), judgement.repaired.total()), (1, 1));
        assert_eq!(judgement.causes[&Kind::LostWrite], BTreeMap::from([("missed_update".to_owned(), 2)]));
    }

    #[test]
    fn one_injection_accounts_for_one_repair() {
        let twice = vec![item("k", "node-b", "copy", "repaired"), item("k", "node-b", "copy", "repaired")];
        let judgement = judged(twice, &[injection("k", false)]);
        assert_eq!((judgement.repaired.total(), judgement.false_repairs.len()), (1, 1));
    }

    #[test]
    fn a_held_key_is_detected_and_not_repaired() {
        let judgement = judged(vec![item("k", "node-b", "none", "held")], &[injection("k", false)]);
        assert_eq!((judgement.detected.total(), judgement.repaired.total()), (1, 0));
        assert_eq!((judgement.unrepaired.len(), judgement.false_holds.len()), (1, 0));
        assert_eq!(judged(vec![item("x", "node-b", "none", "held")], &[]).false_holds, ["x on node-b"]);
    }

    #[test]
    fn what_traffic_healed_is_neither_detected_nor_missed() {
        let judgement = judged(vec![item("k", "node-b", "copy", "changed")], &[injection("k", true)]);
        assert_eq!((judgement.overtaken.total(), judgement.detected.total()), (1, 0));
        assert!(judgement.undetected.is_empty() && judgement.false_repairs.is_empty());
    }

    #[test]
    fn only_deletes_of_expired_documents_and_writes_under_way_are_explained() {
        let items = vec![
            item("ttl", "node-a", "delete", "repaired"),
            item("ttl", "node-a", "copy", "repaired"),
            item("k", "node-a", "delete", "repaired"),
            item("slow", "node-c", "copy", "repaired"),
        ];
        let judgement = judged(items, &[]);
        assert_eq!((judgement.expired, judgement.under_way), (1, 1));
        assert_eq!(judgement.false_repairs, ["ttl on node-a", "k on node-a"]);
    }
}
