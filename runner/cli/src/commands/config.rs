//! `config show`: every setting as it counts, defaults included. References to secrets stay references.

use serde_json::{Value as Json, json};
use sereno_core::config::{Origin, origins};

use super::source;
use crate::args::{Config, Global};
use crate::config_source::Source;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn config(global: &Global, args: &Config, output: &Output) -> Result<u8, Failure> {
    let Config::Show { origin } = args;
    let source = source(global)?;
    let settings = origins(&source.text, &source.folder)
        .map_err(|mistakes| source.failure(&mistakes, "nothing was opened", output))?;
    if output.is_text() {
        output.data(&text(&settings, &source, *origin, output))?;
    } else {
        output.documents(
            "settings",
            settings
                .iter()
                .map(|setting| document(setting, &source))
                .collect(),
        )?;
    }
    Ok(0)
}

/// `key = value`, with `# file:line` or `# default` where that was asked for.
fn text(settings: &[Origin], source: &Source, with_origin: bool, output: &Output) -> String {
    let mut text = String::new();
    for setting in settings {
        text.push_str(&format!("{} = {}", setting.key, setting.value));
        if with_origin {
            let origin = match setting.line {
                Some(line) => format!("# {}:{line}", source.file.display()),
                None => "# default".to_owned(),
            };
            text.push_str(&format!("  {}", output.paint.faint(origin)));
        }
        text.push('\n');
    }
    text
}

fn document(setting: &Origin, source: &Source) -> Json {
    json!({
        "key": setting.key,
        "value": setting.value,
        "file": setting.line.map(|_| source.file.display().to_string()),
        "line": setting.line,
        "default": setting.line.is_none(),
    })
}
