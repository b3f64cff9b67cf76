//! `ringway keys`: API keys and passwords of a file of credentials, as the policies `api_key` and `basic_auth` read it.
//!
//! A key is shown once, when it is made; the file has only its hash. The file is written anew as a whole and put in the
//! place of the old one, so that a proxy that follows it never sees half of it. Comments in it are not kept.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use ringway_policies::credentials::{
    self, Credentials, ITERATIONS_MAX, KEYS_OF_CONSUMER_MAX, PasswordHash, hash_api_key, hex, unhex,
};
use ringway_policies::date;
use ringway_policies::fields::Values;

use crate::config::policy_file;

/// What a password costs whoever has to try many.
const ITERATIONS_DEFAULT: &str = "10000";
/// A key that somebody brings along must not be one that can be guessed.
const OWN_KEY_CHARACTERS_MIN: usize = 20;

pub(super) fn command() -> Command {
    let file = || {
        Arg::new("file")
            .short('f')
            .long("file")
            .value_name("FILE")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("The file of credentials: `keys_file` or `users_file` of a policy")
    };
    let whose =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("NAME").help(help);
    Command::new("keys")
        .about("Add, list and revoke API keys and passwords of a file that the policies api_key and basic_auth read")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("add")
                .about("Make a key and print it, once; or read the password of a user from standard input")
                .after_help(
                    "A consumer has two keys at most, so that the next one can be handed out before the last one is \
                     revoked. Keys that have expired are left out of the file.",
                )
                .arg(file())
                .arg(whose("consumer", "Whose key it is"))
                .arg(whose("user", "Whose password it is: an existing one is replaced"))
                .group(ArgGroup::new("whose").args(["consumer", "user"]).required(true))
                .arg(
                    Arg::new("groups")
                        .long("groups")
                        .value_name("GROUPS")
                        .value_delimiter(',')
                        .action(ArgAction::Append)
                        .help("What it may be used for, separated by commas"),
                )
                .arg(
                    Arg::new("expires")
                        .long("expires")
                        .value_name("WHEN")
                        .conflicts_with("user")
                        .help("A date such as 2027-01-31 or 2027-01-31T12:00:00Z, or a number of days such as 90d"),
                )
                .arg(
                    Arg::new("stdin")
                        .long("stdin")
                        .action(ArgAction::SetTrue)
                        .conflicts_with("user")
                        .help("Take the key from standard input, as of a gateway before this one"),
                )
                .arg(
                    Arg::new("iterations")
                        .long("iterations")
                        .value_name("NUMBER")
                        .default_value(ITERATIONS_DEFAULT)
                        .value_parser(value_parser!(u32).range(1_000..=i64::from(ITERATIONS_MAX)))
                        .help("How slowly a password is hashed: 10000 take a worker some milliseconds"),
                ),
        )
        .subcommand(
            Command::new("list")
                .about("List keys by identifier, with consumer, groups and dates, and users")
                .arg(file())
                .arg(super::args::format_arg()),
        )
        .subcommand(
            Command::new("revoke")
                .about("Take keys or a user out of the file")
                .arg(file())
                .arg(Arg::new("id").value_name("ID").help("The key of this identifier, as `list` shows it"))
                .arg(whose("consumer", "All keys of a consumer"))
                .arg(whose("user", "A user"))
                .group(ArgGroup::new("what").args(["id", "consumer", "user"]).required(true)),
        )
}

/// Exit status 0, or 1 where nothing was changed.
pub(super) fn main(given: &ArgMatches) -> ExitCode {
    let result = match given.subcommand() {
        Some(("add", given)) => add(given, &mut io::stdin().lock()),
        Some(("list", given)) => list(given),
        Some(("revoke", given)) => revoke(given),
        // clap requires one of the subcommands above.
        _ => return ExitCode::from(2),
    };
    match result {
        Ok(said) => {
            // A closed pipe is not worth a panic.
            let _ = io::stdout().write_all(said.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// What a file says, in its order.
#[derive(Default)]
struct Contents {
    salt: Vec<u8>,
    keys: Vec<Key>,
    users: Vec<User>,
}

struct Key {
    consumer: String,
    hash: String,
    groups: Vec<String>,
    created: Option<String>,
    expires: Option<String>,
}

struct User {
    name: String,
    password: String,
    groups: Vec<String>,
}

impl Key {
    /// Enough of the hash to name it.
    fn id(&self) -> &str {
        self.hash.get(..8).unwrap_or(&self.hash)
    }

    fn has_expired(&self, now: u64) -> bool {
        self.expires.as_deref().and_then(date::parse).is_some_and(|expires| now >= expires)
    }
}

fn add(given: &ArgMatches, input: &mut dyn BufRead) -> Result<String, String> {
    let path = path(given);
    let _lock = lock(path)?;
    let mut contents =
        if path.exists() { read(path)? } else { Contents { salt: random(32)?, ..Contents::default() } };
    let groups: Vec<String> = given.get_many("groups").unwrap_or_default().cloned().collect();
    let said = match text(given, "user") {
        Some(user) => {
            let iterations = given.get_one::<u32>("iterations").copied().and_then(NonZeroU32::new);
            let iterations = iterations.ok_or("no number of iterations")?;
            let password = line(input)?;
            let hash = PasswordHash::new(password.as_bytes(), random(16)?, iterations).to_string();
            contents.users.retain(|known| known.name != user);
            contents.users.push(User { name: user.to_owned(), password: hash, groups });
            String::new()
        }
        None => {
            let consumer = text(given, "consumer").unwrap_or_default();
            let key =
                if given.get_flag("stdin") { own_key(input)? } else { format!("rw_{}", hex(&random(20)?)) };
            contents.add_key(consumer, groups, &key, text(given, "expires"))?;
            format!("{key}\n")
        }
    };
    contents.write(path)?;
    Ok(said)
}

impl Contents {
    fn add_key(
        &mut self,
        consumer: &str,
        groups: Vec<String>,
        key: &str,
        expires: Option<&str>,
    ) -> Result<(), String> {
        let now = now();
        let expires = expires.map(|text| expiry(text, now)).transpose()?;
        self.keys.retain(|known| known.consumer != consumer || !known.has_expired(now));
        let active: Vec<&str> =
            self.keys.iter().filter(|known| known.consumer == consumer).map(Key::id).collect();
        if active.len() >= KEYS_OF_CONSUMER_MAX {
            return Err(format!(
                "{consumer} has {} keys already, which is as many as there may be: revoke one of them first ({})",
                active.len(),
                active.join(", ")
            ));
        }
        self.keys.push(Key {
            consumer: consumer.to_owned(),
            hash: hash_api_key(&self.salt, key.as_bytes()),
            groups,
            created: Some(date::rfc3339(now)),
            expires: expires.map(date::rfc3339),
        });
        Ok(())
    }
}

fn list(given: &ArgMatches) -> Result<String, String> {
    let contents = read(path(given))?;
    let now = now();
    if super::args::wants_json(given) {
        let keys = contents.keys.iter().map(|key| {
            serde_json::json!({
                "id": key.id(), "consumer": key.consumer, "groups": key.groups, "created": key.created,
                "expires": key.expires, "expired": key.has_expired(now),
            })
        });
        let users =
            contents.users.iter().map(|user| serde_json::json!({ "name": user.name, "groups": user.groups }));
        let all = serde_json::json!({ "keys": keys.collect::<Vec<_>>(), "users": users.collect::<Vec<_>>() });
        return Ok(format!("{all:#}\n"));
    }
    let mut said = String::new();
    for key in &contents.keys {
        let expires = match (&key.expires, key.has_expired(now)) {
            (Some(at), true) => format!("expired {at}"),
            (Some(at), false) => format!("expires {at}"),
            (None, _) => "never expires".to_owned(),
        };
        let _ =
            writeln!(said, "{}  {}  groups [{}]  {expires}", key.id(), key.consumer, key.groups.join(", "));
    }
    for user in &contents.users {
        let _ = writeln!(said, "user      {}  groups [{}]", user.name, user.groups.join(", "));
    }
    Ok(said)
}

fn revoke(given: &ArgMatches) -> Result<String, String> {
    let path = path(given);
    let _lock = lock(path)?;
    let mut contents = read(path)?;
    let before = contents.keys.len() + contents.users.len();
    if let Some(user) = text(given, "user") {
        contents.users.retain(|known| known.name != user);
    } else if let Some(consumer) = text(given, "consumer") {
        contents.keys.retain(|key| key.consumer != consumer);
    } else if let Some(id) = text(given, "id") {
        if id.len() < 8 {
            return Err("an identifier has 8 characters or more: see `ringway keys list`".to_owned());
        }
        contents.keys.retain(|key| !key.hash.starts_with(id));
    }
    let gone = before - contents.keys.len() - contents.users.len();
    if gone == 0 {
        return Err(format!("there is nothing of that in {}: see `ringway keys list`", path.display()));
    }
    contents.write(path)?;
    Ok(format!("revoked: {gone}\n"))
}

fn path(given: &ArgMatches) -> &Path {
    given.get_one::<PathBuf>("file").map(PathBuf::as_path).unwrap_or(Path::new(""))
}

fn text<'a>(given: &'a ArgMatches, name: &str) -> Option<&'a str> {
    given.get_one::<String>(name).map(String::as_str)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `90d`, or a date.
fn expiry(text: &str, now: u64) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let at = days.map(|days| now + u64::from(days) * 86_400).or_else(|| date::parse(text));
    match at {
        Some(at) if at > now => Ok(at),
        Some(_) => Err(format!("{text} is over already")),
        None => {
            Err(format!("expected a date such as 2027-01-31 or a number of days such as 90d, found {text:?}"))
        }
    }
}

fn random(bytes: usize) -> Result<Vec<u8>, String> {
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system gives no randomness".to_owned())?;
    Ok(random)
}

/// The first line of standard input, without its end.
fn line(input: &mut dyn BufRead) -> Result<String, String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| format!("cannot read standard input: {error}"))?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    if line.is_empty() { Err("there is nothing on standard input".to_owned()) } else { Ok(line) }
}

fn own_key(input: &mut dyn BufRead) -> Result<String, String> {
    let key = line(input)?;
    let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || !(OWN_KEY_CHARACTERS_MIN..=credentials::KEY_BYTES_MAX).contains(&key.len()) {
        return Err(format!(
            "a key has {OWN_KEY_CHARACTERS_MIN} to {} characters, without spaces: it must not be one that can be guessed",
            credentials::KEY_BYTES_MAX
        ));
    }
    Ok(key)
}

/// Two of these commands at a time would undo what the other does.
fn lock(path: &Path) -> Result<File, String> {
    let directory = directory(path);
    let lock = File::open(directory).and_then(|file| file.lock().map(|()| file));
    lock.map_err(|error| format!("cannot use the directory {}: {error}", directory.display()))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> Result<Contents, String> {
    let values = policy_file::read(path, credentials::FIELDS).map_err(|errors| {
        errors
            .iter()
            .map(|error| error.to_string().trim_start_matches("error: ").to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    check(path, &values)?;
    let owned = |item: &Values, name: &str| item.opt_text(name).map(str::to_owned);
    let key = |item: &Values| Key {
        consumer: item.text("consumer").to_owned(),
        hash: item.text("hash").to_ascii_lowercase(),
        groups: item.texts("groups").to_vec(),
        created: owned(item, "created"),
        expires: owned(item, "expires"),
    };
    let user = |item: &Values| User {
        name: item.text("name").to_owned(),
        password: item.text("password").to_owned(),
        groups: item.texts("groups").to_vec(),
    };
    Ok(Contents {
        salt: unhex(values.text("salt")).unwrap_or_default(),
        keys: values.list("keys").iter().map(key).collect(),
        users: values.list("users").iter().map(user).collect(),
    })
}

/// What a proxy would say to this.
fn check(path: &Path, values: &Values) -> Result<(), String> {
    Credentials::build(values).map(drop).map_err(|problems| {
        let of = |problem: &ringway_policies::fields::Problem| {
            format!(
                "{}: {}: expected {}, found {}",
                path.display(),
                problem.named(),
                problem.expected,
                problem.found
            )
        };
        problems.iter().map(of).collect::<Vec<_>>().join("\n")
    })
}

impl Contents {
    fn render(&self) -> String {
        let mut out = String::from(
            "# Hashes of API keys and passwords, written by `ringway keys`. Comments are not kept.\n",
        );
        let _ = writeln!(out, "salt: {}", quoted(&hex(&self.salt)));
        let list =
            |groups: &[String]| groups.iter().map(|group| quoted(group)).collect::<Vec<_>>().join(", ");
        out.push_str(if self.keys.is_empty() { "keys: []\n" } else { "keys:\n" });
        for key in &self.keys {
            let _ = writeln!(out, "  - consumer: {}\n    hash: {}", quoted(&key.consumer), quoted(&key.hash));
            if !key.groups.is_empty() {
                let _ = writeln!(out, "    groups: [{}]", list(&key.groups));
            }
            for (name, date) in [("created", &key.created), ("expires", &key.expires)] {
                if let Some(date) = date {
                    let _ = writeln!(out, "    {name}: {}", quoted(date));
                }
            }
        }
        out.push_str(if self.users.is_empty() { "users: []\n" } else { "users:\n" });
        for user in &self.users {
            let _ =
                writeln!(out, "  - name: {}\n    password: {}", quoted(&user.name), quoted(&user.password));
            if !user.groups.is_empty() {
                let _ = writeln!(out, "    groups: [{}]", list(&user.groups));
            }
        }
        out
    }

    /// Puts a whole new file in the place of the old one, readable as that was, or by its owner only.
    fn write(&self, path: &Path) -> Result<(), String> {
        let wrong = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let before = std::fs::metadata(path).ok();
        let name = path.file_name().ok_or("the path names no file")?.to_string_lossy().into_owned();
        let new = directory(path).join(format!(".{name}.{}.new", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(self.render().as_bytes())?;
            if let Some(before) = &before {
                file.set_permissions(std::fs::Permissions::from_mode(before.mode() & 0o777))?;
                // Whose it was, it stays, where that is ours to say.
                let _ = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
            }
            file.sync_all()
        })();
        // What cannot be read back would lock everybody out.
        let checked = written.map_err(wrong).and_then(|()| read(&new).map(drop));
        let placed = checked.and_then(|()| std::fs::rename(&new, path).map_err(wrong));
        if placed.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        placed
    }
}

/// A text of plain characters in YAML. Names are checked before they are in force; what is wrong with them is then said.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
