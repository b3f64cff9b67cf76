//! `ringway explain`: which listener, route, policies and endpoints a request would meet, and why not others.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use ringway_policies::route::TimeWindow;

use super::{args, check};
use crate::config::{Config, ConfigSource};
use crate::explain::{self, OriginAnswer, Question, Url, parse_field};

/// Who asks where nothing is said: an address of documentation (RFC 5737), so that no list of clients has it by chance.
pub(super) const CLIENT_DEFAULT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

pub(super) fn command() -> Command {
    Command::new("explain")
        .about("Say what would become of a request: listener, route and why no other, policies, endpoints")
        .long_about(
            "Say what would become of a request, without sending it: which listener and route take it, why others do not, \
             which policies are asked and what they say, which endpoints it could go to, what the origin would get and what \
             the client.\nThe exit status is 1 when the configuration is wrong, whatever becomes of the request.",
        )
        .after_help(
            "It takes all flags of `ringway run` and reads the same environment variables.\n\n\
             Example:\n  ringway explain --config ringway.yaml GET https://shop.example.com/checkout -H 'x-user: 7'",
        )
        .args(args::what_to_proxy())
        .args([
            Arg::new("method").value_name("METHOD").required(true).help("The method, such as GET"),
            Arg::new("url").value_name("URL").required(true).help("Where the request goes, such as https://shop.example.com/"),
            Arg::new("header")
                .short('H')
                .long("header")
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .value_parser(parse_field)
                .help("A header of the request. May be repeated"),
            Arg::new("client-ip")
                .long("client-ip")
                .value_name("ADDRESS")
                .value_parser(clap::value_parser!(IpAddr))
                .help(format!("Who connects [default: {CLIENT_DEFAULT}]")),
            Arg::new("listener")
                .long("listener")
                .value_name("NAME")
                .help("Which listener the request comes to [default: the one that the URL's scheme and port are for]"),
            Arg::new("at")
                .long("at")
                .value_name("TIME")
                .value_parser(parse_time)
                .help("When, such as 2026-11-27T18:00:00Z [default: now]"),
            Arg::new("all").long("all").action(ArgAction::SetTrue).help("Show every match that does not hold"),
        ])
        .arg(args::format_arg())
        .args(args::setting_args(true))
}

fn parse_time(text: &str) -> Result<u64, String> {
    TimeWindow::parse_moment(text).ok_or_else(|| "expected a moment such as 2026-11-27T18:00:00Z".to_owned())
}

pub(super) fn main(source: &ConfigSource, given: &ArgMatches) -> ExitCode {
    let question = match question(given) {
        Ok(question) => question,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    let config = match Config::load(source) {
        Ok(config) => config,
        Err(errors) => {
            check::print_text(&errors);
            return ExitCode::FAILURE;
        }
    };
    match explain::explain(&config, &question, &OriginAnswer::default()) {
        Ok(told) => {
            // What the configuration refers to may have become a part of a header.
            let secrets = &config.sources.secrets;
            if args::wants_json(given) {
                let mut json = told.to_json(&config);
                secrets.hide_json(&mut json);
                return print(&format!("{json:#}\n"));
            }
            print(&secrets.hide(&told.to_text(&config, given.get_flag("all"))))
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn question(given: &ArgMatches) -> Result<Question, String> {
    let text = |id: &str| given.get_one::<String>(id).cloned();
    let fields = given.get_many::<(String, String)>("header").unwrap_or_default();
    Ok(Question {
        method: text("method").unwrap_or_default(),
        url: Url::parse(&text("url").unwrap_or_default())?,
        fields: fields.cloned().collect(),
        peer: Some(given.get_one::<IpAddr>("client-ip").copied().unwrap_or(CLIENT_DEFAULT)),
        listener: text("listener"),
        unix_secs: given.get_one::<u64>("at").copied().unwrap_or_else(now),
        repeat: 1,
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A pipe that was closed is not worth a panic.
pub(super) fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
