//! The command line: what a user types first, and what goes wrong first.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use ringway_tests::proxy::binary;
use ringway_tests::temp::TempDir;
use ringway_tests::{Origin, Ringway};

fn ringway(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("ringway-under-test"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_is_grouped_and_says_defaults_and_units() {
    let output = ringway(&["run", "--help"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for part in [
        "--listen",
        "--upstream",
        "--workers",
        "--io",
        "--header-timeout",
        "10s",
        "64KiB",
        "RINGWAY_HEADER_TIMEOUT",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let top = ringway(&["--help"]);
    assert!(top.status.success());
    for command in ["run", "check", "doctor"] {
        assert!(stdout(&top).contains(command), "{command}");
    }
}

#[test]
fn an_unknown_flag_is_an_error_with_a_hint() {
    let output = ringway(&["run", "--header-timout", "5s"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--header-timeout"), "{}", stderr(&output));
}

#[test]
fn check_names_every_error_at_once_with_its_place() {
    let directory = TempDir::new();
    let file = directory.write(
        "bad.yaml",
        "workers: lots\nlisteners:\n  - name: web\n    bind: nowhere\n    limits: { header_timeout: 10 }\nclusters:\n  \
         - name: a\n    endpoints: []\nroutes:\n  - name: r\n    to: b\nnonsense: 1\n",
    );
    let output = ringway(&["check", "--config", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output) + &stdout(&output);
    for part in [
        "bad.yaml:1:",
        "bad.yaml:4:",
        "bad.yaml:5:",
        "bad.yaml:11:",
        "bad.yaml:12:",
        "nonsense",
        "header_timeout",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn check_accepts_a_good_file_and_starts_nothing() {
    let origin = Origin::ok();
    let directory = TempDir::new();
    let file = directory.write("good.yaml", Ringway::to(&origin).yaml());
    let output = ringway(&["check", "--config", &file.display().to_string()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn hostile_files_are_errors_and_never_more() {
    let directory = TempDir::new();
    let deep = format!("listeners: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb: String = (1..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, number| {
        let previous = format!("*a{}", number - 1);
        let list = [previous.as_str(); 9].join(",");
        text + &format!("a{number}: &a{number} [{list}]\n")
    });
    let files: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("zeros", vec![0; 1000]),
        ("not-utf8", b"workers: \xff\xfe\n".to_vec()),
        ("deep", deep.into_bytes()),
        ("bomb", bomb.into_bytes()),
        ("scalar", b"just words".to_vec()),
        ("twice", b"workers: 1\nworkers: 2\n".to_vec()),
        ("huge-number", b"workers: 999999999999999999999999999999\n".to_vec()),
        ("tab", b"listeners:\n\t- name: x\n".to_vec()),
    ];
    for (name, bytes) in files {
        let file = directory.write(name, bytes);
        let start = std::time::Instant::now();
        let output = ringway(&["check", "--config", &file.display().to_string()]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
    for path in ["/nonexistent/file.yaml", "/", "/dev/null"] {
        let output = ringway(&["check", "--config", path]);
        assert_eq!(output.status.code(), Some(1), "{path}: {}", stderr(&output));
        assert!(stderr(&output).contains(path), "{path}: {}", stderr(&output));
    }
}

#[test]
fn doctor_names_what_it_looked_at() {
    let output = ringway(&["doctor"]);
    assert!(output.status.success(), "{}", stdout(&output));
    let text = stdout(&output);
    for part in ["kernel", "io_uring", "nofile", "memlock", "somaxconn", "CPU"] {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part} in {text}");
    }
}

#[test]
fn an_address_in_use_is_named_even_by_a_second_ringway() {
    let origin = Origin::ok();
    // SO_REUSEPORT must not hide the first process from the second.
    let first = Ringway::to(&origin).start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    for address in [first.address(), taken.local_addr().expect("an address")] {
        let yaml = Ringway::to(&origin).yaml().replace("127.0.0.1:0", &address.to_string());
        let (status, text) = Ringway::to(&origin).config(yaml).start_refused();
        assert!(!status.success());
        assert!(text.contains(&address.to_string()) && text.contains("in use"), "{text}");
    }
    assert_eq!(first.get("/").status, 200);
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let origin = Origin::ok();
    let base = || Ringway::to(&origin).top("drain_timeout: 1s");
    let shown = |ringway: Ringway| {
        let body = ringway.start().admin_get("/config").body.clone();
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        json["config"]["process"]["drain_timeout"]["value"].as_str().expect("a duration").to_owned()
    };
    assert_eq!(shown(base()), "1s");
    assert_eq!(shown(base().environment("RINGWAY_DRAIN_TIMEOUT", "2s")), "2s");
    assert_eq!(shown(base().environment("RINGWAY_DRAIN_TIMEOUT", "2s").set("drain-timeout", "3s")), "3s");
}
