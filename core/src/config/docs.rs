//! The tables of `docs/configuration.md` come from the table of settings; this test keeps them so.
//! `RINGWAY_BLESS=1` writes them.

use std::fmt::Write as _;
use std::path::Path;

use super::settings::{Change, Scope, Setting};

/// The part of the document between its markers, for a scope.
fn table(scope: Scope) -> String {
    let mut out = String::new();
    out.push_str("| key | type | default | flag, variable | takes effect | meaning |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for setting in Setting::of_scope(scope) {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let flag = match setting.flag {
            "" => "no flag".to_owned(),
            flag => format!("`--{flag}`"),
        };
        let change = match setting.change {
            Change::Reload => "reload",
            Change::Restart => "restart",
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | `{default}` | {flag}<br>`{}` | {change} | {} |",
            setting.key,
            kind(setting),
            setting.env(),
            setting.help,
        );
    }
    out
}

fn kind(setting: &Setting) -> String {
    let words = setting.words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let range = setting.kind.range().map(|(min, max)| format!(" {min} to {max}")).unwrap_or_default();
    let zero = setting.kind.zero().map(|meaning| format!(", 0: {meaning}")).unwrap_or_default();
    match (setting.kind.name(), words.as_str()) {
        ("choice", words) => words.to_owned(),
        (name, "") => format!("{name}{range}{zero}"),
        (name, words) => format!("{name}{range}{zero}; or {words}"),
    }
}

#[test]
fn the_document_has_the_table_of_settings() {
    // Words that only a feature adds are not part of the document.
    if cfg!(any(feature = "monoio", feature = "glommio")) {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let mut text = std::fs::read_to_string(&path).expect("docs/configuration.md");
    let scopes = [
        ("process", Scope::Process),
        ("listeners", Scope::Listener),
        ("clusters", Scope::Cluster),
        ("routes", Scope::Route),
    ];
    for (name, scope) in scopes {
        let (begin, end) = (format!("<!-- settings of {name} -->\n"), format!("<!-- end of {name} -->"));
        let start = text.find(&begin).unwrap_or_else(|| panic!("no marker {begin}")) + begin.len();
        let stop = text.find(&end).unwrap_or_else(|| panic!("no marker {end}"));
        let expected = table(scope);
        if std::env::var_os("RINGWAY_BLESS").is_some() {
            text.replace_range(start..stop, &expected);
            continue;
        }
        assert_eq!(&text[start..stop], expected, "the table of {name} (RINGWAY_BLESS=1 writes it)");
    }
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs/configuration.md");
    }
}
