//! Configuration: every wrong file of the corpus gives exactly the messages beside it, a good one exactly the
//! configuration that it describes. `RINGWAY_BLESS=1` writes what comes out as what is expected: read the diff.

mod cli;
mod corpus;
mod diff;
mod dump;
mod examples;
mod explain;
mod include;
mod precedence;
mod reload;
mod secrets;

use std::path::{Path, PathBuf};

use ringway_core::config::ConfigSource;

/// A directory of this test's data.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A source on a machine of four CPUs and 4 GiB, whatever this one is.
fn source() -> ConfigSource {
    ConfigSource { root: data("host"), ..ConfigSource::default() }
}

fn file_source(path: impl Into<PathBuf>) -> ConfigSource {
    ConfigSource { path: Some(path.into()), ..source() }
}

/// A good file with `lines` at its top.
fn file_with(directory: &ringway_tests::temp::TempDir, lines: &str) -> PathBuf {
    directory.write(
        "ringway.yaml",
        format!(
            "{lines}\nlisteners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
             clusters: [{{ name: app, endpoints: [\"127.0.0.1:9\"] }}]\nroutes: [{{ name: all, to: app }}]\n"
        ),
    )
}

/// Compares with a file, or writes it when asked to.
fn expect_file(path: &Path, found: &str) {
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        std::fs::write(path, found).expect("the expected file");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{} (RINGWAY_BLESS=1 writes it)", path.display());
}
