//! Exchanges written for `varnishtest` (`tests/vtc/*.vtc`): its client and its server are an HTTP reader of their own.

use std::path::Path;
use std::process::Command;

use ringway_tests::peers::find;
use ringway_tests::proxy::binary;
use ringway_tests::temp::TempDir;
use ringway_tests::{Io, each_driver};

each_driver! {
    every_vtc_file_passes,
}

fn every_vtc_file_passes(io: Io) {
    let Some(program) = find("varnishtest") else { return };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vtc");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the vtc files")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "vtc"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let temporary = TempDir::new();
    for file in files {
        let output = Command::new(&program)
            .arg("-D")
            .arg(format!("ringway={}", binary("ringway-under-test").display()))
            .arg("-D")
            .arg(format!("io={}", io.name()))
            .args(["-t", "60"])
            .arg(&file)
            .env("TMPDIR", temporary.path())
            .output()
            .expect("varnishtest runs");
        let log =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{log}", file.display());
    }
}
