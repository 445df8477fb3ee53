//! What a plan would do: rows and bytes to write and to delete, by node.

use indicatif::HumanBytes;
use selfsame_wire::v1;
use serde::Serialize;

/// What of a run waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Load {
    /// Repairs, one for each key and replica.
    pub(crate) repairs: u64,
    /// Rows to be written.
    pub(crate) writes: u64,
    /// Rows to be deleted.
    pub(crate) deletes: u64,
    pub(crate) nodes: Vec<NodeRow>,
}

/// What would be done to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NodeRow {
    node: String,
    writes: u64,
    write_bytes: u64,
    deletes: u64,
    delete_bytes: u64,
}

impl Load {
    /// As an agent told it.
    pub(crate) fn told(plan: &v1::Plan) -> Load {
        let node = |load: &v1::NodeLoad| NodeRow {
            node: load.node.clone(),
            writes: load.writes,
            write_bytes: load.write_bytes,
            deletes: load.deletes,
            delete_bytes: load.delete_bytes,
        };
        let nodes: Vec<NodeRow> = plan.loads.iter().map(node).collect();
        Load {
            repairs: plan.keys,
            writes: nodes.iter().map(|node| node.writes).sum(),
            deletes: nodes.iter().map(|node| node.deletes).sum(),
            nodes,
        }
    }

    /// How many there are of both.
    fn counts(&self) -> String {
        let counted = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        format!("{} and {}", counted(self.deletes, "delete"), counted(self.writes, "write"))
    }

    /// A line with the counts, then one for each node.
    pub(crate) fn lines(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| format!("  {}", node.line()));
        std::iter::once(self.counts()).chain(nodes).collect()
    }
}

impl NodeRow {
    fn line(&self) -> String {
        let rows = |count: u64, bytes: u64| {
            format!("{count} {} ({})", if count == 1 { "row" } else { "rows" }, HumanBytes(bytes))
        };
        let parts = [
            (self.writes > 0).then(|| format!("{} written", rows(self.writes, self.write_bytes))),
            (self.deletes > 0).then(|| format!("{} deleted", rows(self.deletes, self.delete_bytes))),
        ];
        format!("{}: {}", self.node, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_told_with_what_it_gets_and_loses() {
        let load = |node: &str, writes, write_bytes, deletes, delete_bytes| v1::NodeLoad {
            node: node.to_owned(),
            writes,
            write_bytes,
            deletes,
            delete_bytes,
        };
        let loads = vec![load("node-b", 2, 3_000, 0, 0), load("node-c", 1, 10, 3, 90)];
        let plan = v1::Plan { keys: 6, loads, ..v1::Plan::default() };
        let told = Load::told(&plan);
        assert_eq!((told.repairs, told.writes, told.deletes), (6, 3, 3));
        assert_eq!(told.counts(), "3 deletes and 3 writes");
        assert_eq!(Load { writes: 1, deletes: 0, ..told.clone() }.counts(), "0 deletes and 1 write");
        let lines = told.lines();
        assert_eq!(lines[0], "3 deletes and 3 writes");
        assert_eq!(lines[1], "  node-b: 2 rows (2.93 KiB) written");
        assert_eq!(lines[2], "  node-c: 1 row (10 B) written, 3 rows (90 B) deleted");
    }
}
