//! `[policy]`: what the operator demands of runs that nobody watches, and of commands from outside.

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use crate::job::Policy;

pub(super) static POLICY: Shape = Shape {
    keys: &[
        Key {
            name: "plan_first",
            kind: Kind::Boolean,
            presence: Presence::Default("true"),
            doc: "A schedule or an event applies a destructive job only after `sereno plan --all` has approved it; until then it \
                  plans, ends `refused(plan-needed)` and alerts. Runs by hand never ask.",
        },
        Key {
            name: "remote_commands",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "Whoever may invoke a deployed runner directly may also send it commands: `apply`, `plan-all`, `cancel`, \
                  `pause`, `resume`, `runs`.",
        },
    ],
};

pub(super) fn read(root: &Node) -> Policy {
    let policy = root.get("policy");
    let is_given = |key: &str| policy.is_some_and(|policy| policy.get(key).is_some());
    let is_true = |key: &str| policy.is_some_and(|policy| policy.is_true(key));
    Policy {
        plan_first: !is_given("plan_first") || is_true("plan_first"),
        remote_commands: is_true("remote_commands"),
    }
}
