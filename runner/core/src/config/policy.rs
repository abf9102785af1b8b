//! `[policy]`: what the operator demands of every run.
//!
//! Both keys speak of schedules and events, which this version carries out by hand: they are checked, and bind from
//! the first trigger on.

use super::shape::{Key, Kind, Presence, Shape};

pub(super) static POLICY: Shape = Shape {
    keys: &[
        Key {
            name: "plan_first",
            kind: Kind::Boolean,
            presence: Presence::Default("true"),
            doc: "A schedule applies a destructive job only after its plan was approved. Binds when \
                  schedules start runs by themselves; this version runs only by hand.",
        },
        Key {
            name: "remote_commands",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "Events may carry commands such as `apply` and `cancel`. Binds when events are accepted; this \
                  version takes none.",
        },
    ],
};
