//! Every command that a document shows is typed here, in the order of the document, and must go well.
//!
//! A page's commands are the lines of its `console` and `sh` blocks. `sereno` and `mkdir` are typed in a fresh folder; of
//! `./just` only the recipe is looked up, because building everything is what CI does anyway. A page that shows jobs of
//! its own finds what they name (`tests/documents`). What commands print is the matter of `cli.rs`; the reference is
//! made by the program and compared with it by `./just docs-check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sereno_tests::house::{plugins_folder, program};
use sereno_tests::tmpfs::Tmpfs;

use super::cli::{database, run_id, words};

/// Languages of blocks that hold no commands.
const SILENT: [&str; 2] = ["toml", "text"];
const COMMANDS: [&str; 2] = ["console", "sh"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A fenced block: its language, and its lines.
struct Block {
    language: String,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in document.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push(Block {
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            None if open => blocks.last_mut().unwrap().text.extend([line, "\n"]),
            None => {}
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// The commands of a block as words; a comment ends a line.
fn commands(block: &Block) -> Result<Vec<Vec<String>>, String> {
    if SILENT.contains(&block.language.as_str()) {
        let hidden = |line: &&str| line.starts_with("$ ") || line.starts_with("./just");
        return match block.text.lines().find(hidden) {
            Some(line) => Err(format!("`{line}` is in a block of {}", block.language)),
            None => Ok(Vec::new()),
        };
    }
    if !COMMANDS.contains(&block.language.as_str()) {
        return Err(format!("nobody knows what a block of `{}` is", block.language));
    }
    let mut commands = Vec::new();
    for line in block.text.lines().filter(|line| !line.is_empty()) {
        let command = match (block.language.as_str(), line.strip_prefix("$ ")) {
            ("console", None) => {
                return Err(format!("`{line}` is no command: show output in a block of text"));
            }
            (_, command) => command.unwrap_or(line),
        };
        commands.push(words(command)?);
    }
    if commands.is_empty() {
        return Err("a block of commands has none".to_owned());
    }
    Ok(commands)
}

/// Every document that people read, but those that are kept elsewhere.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let place = path.strip_prefix(root()).unwrap();
            let looked_into = ["docs", "plugins"].iter().any(|folder| place.starts_with(folder));
            if path.is_dir() && looked_into {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/reference/cli.md",
        "plugins/temp-files/README.md",
    ] {
        assert!(found.contains(&root().join(name)), "{name} is looked at");
    }
    found
}

#[tokio::test]
async fn every_command_of_the_documents_is_played() {
    let mut wrong = Vec::new();
    let mut played = Vec::new();
    for document in documents() {
        let name = document.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&document).unwrap();
        match play(&text).await {
            Ok(commands) if commands > 0 => played.push(name),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "plugins/backup/README.md",
        "plugins/backup-check/README.md",
        "plugins/capacity-check/README.md",
        "plugins/dependency-audit/README.md",
        "plugins/emergency-database/README.md",
        "plugins/emergency-space/README.md",
        "plugins/idle-connections/README.md",
        "plugins/index-upkeep/README.md",
        "plugins/row-retention/README.md",
        "plugins/slow-queries/README.md",
        "plugins/table-upkeep/README.md",
        "plugins/usage-report/README.md",
        "plugins/temp-files/README.md",
    ] {
        assert!(
            played.iter().any(|played| played == page),
            "{page} shows no command"
        );
    }
}

/// Types every command of a document in a folder made for it; answers how many there were.
async fn play(document: &str) -> Result<usize, String> {
    let blocks = blocks(document);
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), home.join("plugins")).unwrap();
    let jobs: String = blocks
        .iter()
        .filter(|block| block.language == "toml" && block.text.contains("[job."))
        .map(|block| block.text.as_str())
        .collect();
    let _disks = if jobs.is_empty() {
        Vec::new()
    } else {
        stage(home, &jobs).await
    };
    let mut run = None;
    let mut count = 0;
    for block in &blocks {
        for words in commands(block)? {
            type_in(home, &words, &mut run)?;
            count += 1;
        }
    }
    Ok(count)
}

/// What a page of a plugin takes for granted, and the jobs that it shows. Its directories are on file systems of their own:
/// how full the machine's is changes no document.
async fn stage(home: &Path, jobs: &str) -> Vec<Tmpfs> {
    let documents = root().join("tests/documents");
    let configuration = fs::read_to_string(documents.join("sereno.toml")).unwrap() + jobs;
    fs::write(home.join("sereno.toml"), configuration).unwrap();
    fs::create_dir(home.join("backups")).unwrap();
    let mut disks = Vec::new();
    for folder in ["temp", "logs"] {
        fs::create_dir(home.join(folder)).unwrap();
        disks.push(Tmpfs::over(&home.join(folder), 4));
    }
    fs::write(home.join("temp/file"), "x").unwrap();
    fs::write(home.join("scratch.db"), "").unwrap();
    database(home, &fs::read_to_string(documents.join("app.sql")).unwrap()).await;
    disks
}

/// Types one command. The id of the last run stands for the word RUN.
fn type_in(home: &Path, words: &[String], run: &mut Option<String>) -> Result<(), String> {
    let shown = words.join(" ");
    let (name, arguments) = words.split_first().ok_or("an empty command")?;
    match name.as_str() {
        "./just" => {
            let recipe = arguments.first().ok_or("./just without a recipe")?;
            if !is_recipe(recipe) {
                return Err(format!("`{shown}`: the justfile has no recipe {recipe}"));
            }
        }
        "mkdir" => {
            let folder = arguments.last().ok_or("mkdir without a folder")?;
            if arguments.len() != 2
                || arguments[0] != "-p"
                || folder.contains("..")
                || folder.starts_with('/')
            {
                return Err(format!(
                    "`{shown}`: a document makes folders below its own, with -p"
                ));
            }
            fs::create_dir_all(home.join(folder)).map_err(|error| format!("`{shown}`: {error}"))?;
        }
        "sereno" => {
            let arguments: Vec<&str> = arguments
                .iter()
                .map(|word| {
                    if word == "RUN" {
                        run.as_deref().unwrap_or("RUN")
                    } else {
                        word
                    }
                })
                .collect();
            let output = Command::new(program().unwrap())
                .args(arguments)
                .current_dir(home)
                .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
                .env("HOME", home)
                .env("NO_COLOR", "1")
                .env_remove("SERENO_CONFIG")
                .env_remove("SERENO_LEDGER")
                .output()
                .map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if !output.status.success() {
                return Err(format!("`{shown}` ended with {}:\n{text}", output.status));
            }
            *run = run_id(&text).or(run.take());
        }
        _ => return Err(format!("`{shown}`: nobody plays {name}")),
    }
    Ok(())
}

/// A line of the justfile that starts with the name, and then its parameters and dependencies.
fn is_recipe(name: &str) -> bool {
    let justfile = fs::read_to_string(root().join("justfile")).unwrap();
    justfile.lines().any(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', ':']) && rest.contains(':') && !rest.contains(":="))
    })
}

/// Words that stand in running text: `./just NAME` is a recipe there too.
#[test]
fn every_recipe_that_a_document_names_is_there() {
    let mut named = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for rest in text.split("`./just ").skip(1) {
            let recipe: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            assert!(is_recipe(&recipe), "{}: ./just {recipe}", document.display());
            named += 1;
        }
    }
    assert!(named > 0, "CONTRIBUTING.md names some");
}

#[test]
fn the_readme_leads_to_the_page_of_every_plugin() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("plugin.toml").is_file() {
            let page = format!("(plugins/{}/README.md)", folder.file_name().unwrap().display());
            assert!(readme.contains(&page), "the readme has no link to {page}");
        }
    }
}

/// What the readme shows of the demo's end is what the demo prints.
#[test]
fn the_demo_ends_as_the_readme_says() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, after) = readme.split_once("The demo ends with").unwrap();
    let shown = blocks(after).swap_remove(0);
    assert_eq!(shown.language, "text");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program().unwrap())
        .args(["demo", "--dir"])
        .arg(folder.path().join("demo"))
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for line in shown.text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(
            !words.is_empty() && printed.contains(&words),
            "the demo does not print {line:?}:\n{text}"
        );
    }
}

#[tokio::test]
async fn a_document_that_does_not_go_as_it_says_is_refused() {
    for (document, told) in [
        ("```\nsereno init\n```", "a block of ``"),
        ("```bash\nsereno init\n```", "a block of `bash`"),
        ("```console\n$ sereno no-such-command\n```", "no-such-command"),
        ("```console\n$ sereno validate\n```", "ended with"),
        ("```console\n$ rm -rf /\n```", "nobody plays rm"),
        ("```console\n$ ./just no-such-recipe\n```", "no recipe"),
        ("```sh\n./just target\n```", "no recipe"),
        ("```console\nsereno init\n```", "is no command"),
        ("```console\n$ sereno init | cat\n```", "needs a shell"),
        ("```console\n```", "has none"),
        ("```text\n$ sereno init\n```", "is in a block of text"),
        (
            "```toml\n[job.a]\nplugin = \"no-such\"\n```\n```sh\nsereno validate\n```",
            "ended with",
        ),
    ] {
        let error = play(document).await.unwrap_err();
        assert!(error.contains(told), "{document}: {error}");
    }
    let right =
        "```console\n$ sereno init   # 'x'\n$ mkdir -p temp\n$ sereno validate --online\n$ ./just test\n```";
    assert_eq!(play(right).await, Ok(4));
    assert_eq!(words("a --b='c d' 'e#f' # g").unwrap(), ["a", "--b=c d", "e#f"]);
}
