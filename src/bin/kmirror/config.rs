//! `kmirror config`: the table of properties, from the same rows that the configuration is checked with.
//! It lists what this version accepts, not what some mirror was given.

use console::{Term, style};
use kmirror::config::properties::{self, Availability, Property, Scope};

use crate::args::ConfigOptions;
use crate::exit::ExitCode;
use crate::output;
use crate::text::wrapped;

/// Lines longer than this are hard to read, however wide the terminal is.
const WIDEST: usize = 110;
const NARROWEST: usize = 40;
const INDENT: &str = "    ";

pub(crate) fn command(options: &ConfigOptions) -> ExitCode {
    let table: Vec<&Property> = properties::table().collect();
    if options.json {
        output::print_json(&table);
    } else {
        // Through a pager standard output is no terminal, and what is behind it is as wide as standard error.
        let size = Term::stdout().size_checked().or_else(|| Term::stderr().size_checked());
        let width = size.map_or(100, |(_, columns)| usize::from(columns));
        output::print(&text(&table, width.clamp(NARROWEST, WIDEST)));
    }
    ExitCode::SUCCESS
}

fn text(table: &[&Property], width: usize) -> String {
    let sections = [
        (Scope::Mirror, "Of the mirror"),
        (
            Scope::Both,
            "Of the clients of either cluster: source.KEY and target.KEY, no prefix in the files of MirrorMaker 1",
        ),
        (Scope::Source, "Of the clients of the source: source.KEY"),
        (Scope::Target, "Of the clients of the target: target.KEY"),
    ];
    let mut text = String::new();
    for (scope, title) in sections {
        for line in wrapped(title, width) {
            text.push_str(&format!("{}\n", style(line).bold().underlined()));
        }
        text.push('\n');
        for property in table.iter().filter(|property| property.scope == scope) {
            push_property(&mut text, property, width);
        }
    }
    text
}

fn push_property(text: &mut String, property: &Property, width: usize) {
    let default = match property.default {
        None => "no default".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => default.to_owned(),
    };
    text.push_str(&format!("{}  {default}\n", style(property.key).bold()));
    let mut paragraphs = vec![property.meaning.to_owned(), format!("Takes {}.", property.kind.describe(property.unit))];
    match property.availability {
        Availability::Only(value) => paragraphs.push(format!("Only '{value}' is accepted in this version.")),
        Availability::NotYet(why) => paragraphs.push(format!("No effect yet: {why}.")),
        _ => {}
    }
    if !property.aliases.is_empty() {
        paragraphs.push(format!("Also written {}.", property.aliases.join(", ")));
    }
    for line in wrapped(&paragraphs.join(" "), width - INDENT.len()) {
        text.push_str(&format!("{INDENT}{line}\n"));
    }
    text.push('\n');
}
