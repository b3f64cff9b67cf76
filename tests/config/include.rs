//! A configuration in several files.

use ringway_core::config::{Config, ConfigError};
use ringway_tests::temp::TempDir;

use super::file_source;

const LISTENERS: &str = "listeners: [{ name: web, bind: \"127.0.0.1:0\" }]\n";

fn cluster(name: &str) -> String {
    format!("clusters: [{{ name: {name}, endpoints: [\"127.0.0.1:9\"] }}]\n")
}

fn route(name: &str, to: &str) -> String {
    format!("routes: [{{ name: {name}, hosts: [{name}.test], to: {to} }}]\n")
}

/// The configuration of `ringway.yaml`, beside these files.
fn load(main: &str, files: &[(&str, String)]) -> Result<Config, Vec<String>> {
    let directory = TempDir::new();
    for (name, text) in files {
        if let Some((parent, _)) = name.rsplit_once('/') {
            std::fs::create_dir_all(directory.path().join(parent)).expect("a directory");
        }
        directory.write(name, text);
    }
    let path = directory.write("ringway.yaml", main);
    let within = format!("{}/", directory.path().display());
    Config::load(&file_source(path)).map_err(|errors| {
        errors.iter().map(ConfigError::one_line).map(|line| line.replace(&within, "")).collect()
    })
}

#[test]
fn the_files_of_a_directory_are_a_part_of_the_configuration_in_the_order_of_their_names() {
    let main = format!("include: conf.d\n{LISTENERS}{}{}", cluster("one"), route("first", "two"));
    let files = [
        ("conf.d/20-b.yaml", route("third", "one")),
        (
            "conf.d/10-a.yml",
            cluster("two") + &route("second", "one") + "defaults: { routes: { timeout: 7s } }\n",
        ),
        ("conf.d/30-nothing.yaml", "# nothing in here\n".to_owned()),
        ("conf.d/.hidden.yaml", "not: read\n".to_owned()),
        ("conf.d/notes.txt", "not: read\n".to_owned()),
    ];
    let config = load(&main, &files).expect("a configuration");
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third"]);
    assert_eq!(config.clusters.len(), 2);
    assert!(config.routes.iter().all(|route| route.timeout.as_secs() == 7));
    let origin = &config.to_json()["routes"][0]["timeout"]["from"];
    assert!(origin.as_str().is_some_and(|origin| origin.ends_with("10-a.yml, line 3")), "{origin}");
}

#[test]
fn files_and_directories_can_be_named_one_by_one() {
    let main = format!("include: [clusters.yaml, more]\n{LISTENERS}");
    let files = [("clusters.yaml", cluster("one")), ("more/routes.yaml", route("all", "one"))];
    assert_eq!(load(&main, &files).expect("a configuration").routes.len(), 1);
}

#[test]
fn errors_of_every_file_come_at_once_and_name_it() {
    let main = format!("include: conf.d\n{LISTENERS}{}wrong: 1\n", cluster("one"));
    let files = [
        ("conf.d/a.yaml", "routes:\n  - { name: a, to: nowhere }\n".to_owned()),
        ("conf.d/b.yaml", format!("{}workers: many\n", cluster("one"))),
    ];
    let errors = load(&main, &files).expect_err("wrong files");
    let starts = [
        "ringway.yaml:4:1: wrong: unknown key `wrong`",
        "conf.d/a.yaml:2:20: routes[0].to: expected the name of a cluster; found `nowhere`",
        "conf.d/b.yaml:1:20: clusters[1].name: ",
        "conf.d/b.yaml:2:10: workers: expected a whole number",
    ];
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn what_cannot_be_put_together_is_an_error_with_both_places() {
    let main = |include: &str| format!("include: {include}\nworkers: 1\n{LISTENERS}");
    let rest = || cluster("one") + &route("all", "one");
    type Case<'a> = (&'a str, Vec<(&'a str, String)>, &'a str);
    let cases: &[Case<'_>] = &[
        (
            "a.yaml",
            vec![("a.yaml", rest() + "workers: 2\n")],
            "a.yaml:3:10: workers: is set already, in ringway.yaml:2",
        ),
        (
            "a.yaml",
            vec![("a.yaml", rest() + "listeners: { name: x }\n")],
            "a.yaml:3:12: listeners: is set already, in ringway.yaml:3",
        ),
        (
            "a.yaml",
            vec![("a.yaml", "include: b.yaml\n".to_owned())],
            "a.yaml:1:1: include: a file that is included includes nothing itself",
        ),
        (
            "a.yaml",
            vec![("a.yaml", "- x\n".to_owned())],
            "a.yaml:1:1: include: expected a mapping; found a list",
        ),
        ("nowhere", vec![], "ringway.yaml:1:10: include: nowhere cannot be read: No such file or directory"),
        ("{ a: b }", vec![], "ringway.yaml:1:10: include: expected the path of a directory of *.yaml files"),
        ("[a, [b]]", vec![], "ringway.yaml:1:14: include: expected the path of a directory of *.yaml files"),
        ("a.yaml", vec![("a.yaml", "routes: [\n".to_owned())], "a.yaml:1:9: not valid YAML"),
    ];
    for (include, files, want) in cases {
        let errors = load(&main(include), files).expect_err(want);
        assert!(errors.len() == 1 && errors[0].starts_with(want), "{include}: {errors:#?}, not {want}");
    }
}
