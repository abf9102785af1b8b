//! A crontab: a line for each expression.

use sereno_core::schedule::Zone;

use super::{Exported, Installed, Scheduled};
use crate::render::next::shell_quoted;

const HEAD: &str = "\
# Written by `sereno schedule export --to crontab`; change the configuration and write it anew.
# Every line takes its schedule's own latest time (--tick): one that comes too often runs nothing twice.
# CRON_TZ is heeded by cronie; where cron ignores it (Debian, BusyBox), the machine's zone must be the same.
PATH=/usr/local/bin:/usr/bin:/bin
";

/// The table of all these.
pub(crate) fn table(installed: &Installed<'_>, scheduled: &[Scheduled<'_>]) -> Exported {
    let zone = &installed.config.timezone;
    let mut in_utc = Vec::new();
    let mut in_zone = Vec::new();
    for (work, schedule) in scheduled {
        let words: Vec<String> = installed
            .words(work)
            .iter()
            .map(|word| shell_quoted(word))
            .collect();
        // To cron a percent sign is the end of the command.
        let command = format!("sereno {} >/dev/null", words.join(" ")).replace('%', "\\%");
        for expression in schedule.for_plain_cron() {
            let more = if expression.is_exact {
                ""
            } else {
                "; the line comes more often"
            };
            let line = format!("# {work}: {schedule}{more}\n{} {command}\n", expression.text);
            if expression.is_utc {
                in_utc.push(line);
            } else {
                in_zone.push(line);
            }
        }
    }
    let part = |zone: &Zone, lines: &[String]| match lines {
        [] => String::new(),
        lines => format!("\nCRON_TZ={zone}\n{}", lines.concat()),
    };
    Exported {
        name: "crontab",
        text: format!("{HEAD}{}{}", part(zone, &in_zone), part(&Zone::utc(), &in_utc)),
    }
}
