//! Flags: three that say what to proxy, and one for each row of the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::settings::{SETTINGS, Setting};
use crate::config::{ConfigSource, Given, LISTEN_DEFAULT, Origin, did_you_mean};

/// The whole command line.
pub(super) fn command() -> Command {
    Command::new("ringway")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A thread-per-core io_uring proxy")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .subcommand(run_command())
        .subcommand(check_command())
        .subcommand(reload_command())
        .subcommand(diff_command())
        .subcommand(super::explain::command())
        .subcommand(super::test::command())
        .subcommands(generate_commands())
        .subcommand(super::keys::command())
        .subcommand(
            Command::new("doctor")
                .about("Say what this machine offers and what holds Ringway back, each with what to do")
                .long_about(
                    "Say what this machine offers and what holds Ringway back, each with what to do.\n\
                     The exit status is 1 only when Ringway cannot run here.",
                )
                .arg(format_arg())
                .arg(
                    Arg::new("config")
                        .short('c')
                        .long("config")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("A file whose certificates are looked at too"),
                ),
        )
}

const EXAMPLES: &str = "\
Examples:
  ringway run                                            proxy 127.0.0.1:8080 to a demo origin inside
  ringway run --listen :8080 --upstream http://10.0.0.5:9000
  ringway run --config ringway.yaml
  ringway check --config ringway.yaml                    every error of the file at once
  ringway diff old.yaml new.yaml                         what a new file changes
  ringway explain GET http://shop.example.com/ -c ringway.yaml
                                                         where a request goes, and why
  ringway test shop.tests.yaml                           requests with what is expected of them
  ringway reload --config ringway.yaml                   the running proxy loads its file again
  ringway doctor                                         what this machine offers";

const PRECEDENCE: &str = "\
A flag wins over its environment variable, which wins over the file, which wins over the default.
Flags of listeners, upstreams and routes set defaults: what the file says for one listener, cluster or route wins.
Durations are written 500ms, 5s, 1m30s or 1h; sizes 512B, 64KiB or 1MiB; lists with commas.
`ringway check` takes the same flags and says what is wrong without starting.";

fn run_command() -> Command {
    let command =
        Command::new("run").about("Run the proxy").after_help(PRECEDENCE).arg_required_else_help(false);
    command.args(what_to_proxy()).args(setting_args(false))
}

fn check_command() -> Command {
    Command::new("check")
        .about("Check a configuration without starting: every error at once, exit status 1 if there is one")
        .after_help("It takes all flags of `ringway run` and reads the same environment variables.")
        .args(what_to_proxy())
        .arg(format_arg())
        .args(setting_args(true))
}

fn reload_command() -> Command {
    Command::new("reload")
        .about("Tell the running proxy to load its configuration again, and say what came of it")
        .long_about(
            "Tell the running proxy, over its admin socket, to load its configuration again. It answers when every \
             worker uses the new one.\nThe exit status is 1 when it was refused: nothing has changed then.",
        )
        .arg(path_arg("config", "FILE", "The file that says where the socket is (`admin.socket`). [env: RINGWAY_CONFIG]").short('c'))
        .arg(path_arg("admin-socket", "PATH", "The socket itself. [env: RINGWAY_ADMIN_SOCKET]"))
}

fn diff_command() -> Command {
    let file = |id: &'static str, help: &'static str| {
        Arg::new(id).value_name("FILE").value_parser(value_parser!(PathBuf)).required(true).help(help)
    };
    Command::new("diff")
        .about("Say what a new configuration changes: values in effect, and what needs a restart")
        .arg(file("old", "The file of now"))
        .arg(file("new", "The file to come"))
        .arg(format_arg())
}

/// What is made for other programs.
fn generate_commands() -> [Command; 3] {
    [
        Command::new("schema")
            .about("Print the JSON Schema of the configuration, for editors and checks")
            .arg(
                Arg::new("of")
                    .value_name("WHAT")
                    .value_parser(["config", "tests"])
                    .default_value("config")
                    .help("Of which kind of file: configurations, or expectations of `ringway test`"),
            ),
        Command::new("completion").about("Print completion for a shell").arg(
            Arg::new("shell")
                .value_name("SHELL")
                .value_parser(value_parser!(clap_complete::Shell))
                .required(true),
        ),
        Command::new("man")
            .about("Print the manual page of ringway, or of one of its commands")
            .arg(Arg::new("command").value_name("COMMAND").help("Such as `run`, which has all settings")),
    ]
}

fn path_arg(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
}

pub(super) fn what_to_proxy() -> [Arg; 3] {
    const HEADING: &str = "What to proxy";
    [
        Arg::new("config")
            .short('c')
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A file of listeners, clusters and routes. Not with --listen and --upstream. [env: RINGWAY_CONFIG]")
            .help_heading(HEADING),
        Arg::new("listen")
            .short('l')
            .long("listen")
            .value_name("ADDRESS")
            .action(ArgAction::Append)
            .help(format!(
                "Where to listen: 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path. May be repeated. \
                 [default: {LISTEN_DEFAULT}] [env: RINGWAY_LISTEN]"
            ))
            .help_heading(HEADING),
        Arg::new("upstream")
            .short('u')
            .long("upstream")
            .value_name("ORIGIN")
            .action(ArgAction::Append)
            .help(
                "Where to send requests: http://HOST:PORT or unix:/path. May be repeated. \
                 [default: a demo origin inside] [env: RINGWAY_UPSTREAM]",
            )
            .help_heading(HEADING),
    ]
}

pub(super) fn format_arg() -> Arg {
    Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("How to say it")
}

/// A flag for each setting. Values stay texts here: they are read with the file's, so that all errors come at once.
pub(super) fn setting_args(hide: bool) -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter(|setting| !setting.flag.is_empty()).map(move |setting| {
        Arg::new(setting.flag)
            .long(setting.flag)
            .value_name(setting.kind.placeholder())
            .help(help(setting))
            .help_heading(setting.heading())
            .hide(hide)
    })
}

/// Help with what the value may be, the default and the variable.
fn help(setting: &Setting) -> String {
    let words = match setting.words {
        [] => String::new(),
        words => format!(" [{}]", words.join("|")),
    };
    let zero = setting.kind.zero().map(|meaning| format!(" [0: {meaning}]")).unwrap_or_default();
    let default = if setting.default.is_empty() { "none" } else { setting.default };
    format!("{}{words}{zero} [default: {default}] [env: {}]", setting.help, setting.env())
}

pub(super) fn wants_json(given: &ArgMatches) -> bool {
    given.get_one::<String>("format").is_some_and(|format| format == "json")
}

/// What the flags say.
pub(super) fn source(given: &ArgMatches) -> ConfigSource {
    let list = |id: &str, name: &'static str| {
        let texts = given.get_many::<String>(id).unwrap_or_default();
        texts.map(|text| Given { text: text.clone(), origin: Origin::Flag, name }).collect()
    };
    let flags = SETTINGS.iter().filter(|setting| !setting.flag.is_empty()).filter_map(|setting| {
        let text = given.get_one::<String>(setting.flag)?;
        Some((setting.id, text.clone()))
    });
    ConfigSource {
        path: given.get_one::<PathBuf>("config").cloned(),
        listen: list("listen", "--listen"),
        upstream: list("upstream", "--upstream"),
        flags: flags.collect(),
        ..ConfigSource::default()
    }
}

/// A variable that is nearly one of ours is a slip. Others are left alone: Kubernetes sets some for each service.
pub(super) fn near_variable(name: &str) -> Option<String> {
    let known: Vec<String> = SETTINGS.iter().map(Setting::env).collect();
    let given = ["RINGWAY_CONFIG", "RINGWAY_LISTEN", "RINGWAY_UPSTREAM"];
    let short = |name: &'_ str| name.strip_prefix("RINGWAY_").unwrap_or_default().to_owned();
    let known: Vec<String> = known.iter().map(String::as_str).chain(given).map(short).collect();
    let hint = did_you_mean(&short(name), known.iter().map(String::as_str))?;
    Some(hint.replacen('`', "`RINGWAY_", 1))
}
