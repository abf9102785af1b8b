//! A CloudFormation template of EventBridge Scheduler's schedules, to be nested in the function's own or deployed by itself.
//!
//! The function, its role and its queues are not here: they repeat nothing of the configuration.

use std::time::Duration;

use sereno_core::run::Work;
use sereno_core::schedule::{Expression, Schedule};

use super::{Exported, Installed, Scheduled, quoted};

const HEAD: &str = "\
# Written by `sereno schedule export --to eventbridge`; change the configuration and write it anew.
AWSTemplateFormatVersion: \"2010-09-09\"
Description: When sereno's jobs and rounds run.

Parameters:
  FunctionArn:
    Type: String
    Description: The function that runs them.
  RoleArn:
    Type: String
    Description: A role that may invoke the function and write to the queue, and that the Scheduler may take.
  DeadLetterArn:
    Type: String
    Description: A standard queue for invocations that could not be made.
  Group:
    Type: String
    Default: default
    Description: The group of schedules that these belong to.

Resources:
";

const NOTHING: &str = "\
  # A template without resources is refused; this one is free.
  Nothing:
    Type: AWS::CloudFormation::WaitConditionHandle
";

/// Invoking is tried again only where the call itself failed. More tries are pointless within the age.
const INVOKE_RETRIES: u32 = 3;

/// What EventBridge takes as an age, in seconds.
const AGE_SECONDS: (u64, u64) = (60, 86_400);

/// Many schedules are due on the hour; a few minutes apart they do not all start cold at once.
const WINDOW_MAX: Duration = Duration::from_mins(5);

/// The template of all these.
pub(crate) fn template(installed: &Installed<'_>, scheduled: &[Scheduled<'_>]) -> Exported {
    let mut text = HEAD.to_owned();
    if scheduled.is_empty() {
        text.push_str(NOTHING);
    }
    for (work, schedule) in scheduled {
        for (place, expression) in schedule.for_eventbridge().iter().enumerate() {
            text.push_str(&resource(installed, work, schedule, place, expression));
        }
    }
    Exported {
        name: "schedules.yaml",
        text,
    }
}

fn resource(
    installed: &Installed<'_>,
    work: &Work,
    schedule: &Schedule,
    place: usize,
    expression: &Expression,
) -> String {
    // Names of jobs have no dots.
    let (name, id) = match place {
        0 => (work.name().to_owned(), logical_id(work.name())),
        place => (
            format!("{}.{}", work.name(), place + 1),
            format!("{}X{}", logical_id(work.name()), place + 1),
        ),
    };
    let zone = if expression.is_utc {
        "UTC"
    } else {
        installed.config.timezone.name()
    };
    let age = installed.age_max(work, schedule).as_secs();
    format!(
        "  {id}:
    Type: AWS::Scheduler::Schedule
    Properties:
      Name: {}
      GroupName: !Ref Group
      Description: {}
      ScheduleExpression: {}
      ScheduleExpressionTimezone: {}
      FlexibleTimeWindow: {}
      Target:
        Arn: !Ref FunctionArn
        RoleArn: !Ref RoleArn
        Input: '{}'
        RetryPolicy:
          MaximumRetryAttempts: {INVOKE_RETRIES}
          MaximumEventAgeInSeconds: {}
        DeadLetterConfig:
          Arn: !Ref DeadLetterArn
",
        quoted(&name),
        quoted(&format!("{work}: {schedule}")),
        quoted(&expression.text),
        quoted(zone),
        window(schedule),
        input(work),
        age.clamp(AGE_SECONDS.0, AGE_SECONDS.1),
    )
}

/// Our own event; the Scheduler fills in what stands in angle brackets.
fn input(work: &Work) -> String {
    let kind = match work {
        Work::Job(_) => "job",
        Work::Round(_) => "round",
    };
    // Put together here so that it reads in this order; names have nothing to escape.
    format!(
        "{{\"v\":1,\"{kind}\":\"{}\",\"scheduled_at\":\"<aws.scheduler.scheduled-time>\",\
         \"schedule_arn\":\"<aws.scheduler.schedule-arn>\",\"execution_id\":\"<aws.scheduler.execution-id>\",\
         \"attempt\":\"<aws.scheduler.attempt-number>\"}}",
        work.name()
    )
}

/// A tenth of the time to the next run. The run's time stays the schedule's own.
fn window(schedule: &Schedule) -> String {
    let tenth = schedule
        .period_estimate()
        .map_or(WINDOW_MAX, |period| period / 10);
    match tenth.min(WINDOW_MAX).as_secs() / 60 {
        0 => "{ Mode: \"OFF\" }".to_owned(),
        minutes => format!("{{ Mode: FLEXIBLE, MaximumWindowInMinutes: {minutes} }}"),
    }
}

/// Letters and digits only, another one for each name.
fn logical_id(name: &str) -> String {
    let mut id = String::from("Schedule");
    let mut starts = true;
    for letter in name.chars() {
        match letter {
            '-' => starts = true,
            '_' => {
                id.push_str("U0");
                starts = true;
            }
            // A digit has no upper case to tell that something stood before it.
            digit if starts && digit.is_ascii_digit() => {
                id.push_str(&format!("N{digit}"));
                starts = false;
            }
            letter if starts => {
                id.push(letter.to_ascii_uppercase());
                starts = false;
            }
            letter => id.push(letter),
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_id_of_its_own() {
        for (name, id) in [
            ("daily", "ScheduleDaily"),
            ("sent-notifications", "ScheduleSentNotifications"),
            ("a-1", "ScheduleAN1"),
            ("a1", "ScheduleA1"),
            ("a_b", "ScheduleAU0B"),
            ("a-b", "ScheduleAB"),
            ("ab", "ScheduleAb"),
        ] {
            assert_eq!(logical_id(name), id, "{name}");
        }
    }

    #[test]
    fn a_window_is_a_tenth_of_the_time_there_is() {
        let of = |text: &str| window(&Schedule::parse(text).expect(text));
        assert_eq!(of("*/5 * * * *"), "{ Mode: \"OFF\" }");
        assert_eq!(
            of("*/30 * * * *"),
            "{ Mode: FLEXIBLE, MaximumWindowInMinutes: 3 }"
        );
        assert_eq!(of("0 4 * * *"), "{ Mode: FLEXIBLE, MaximumWindowInMinutes: 5 }");
    }
}
