//! Files that list the endpoints of a cluster and are followed while the proxy runs.

use std::collections::HashMap;
use std::path::Path;

use super::EndpointConfig;
use super::discovery::Endpoints;
use super::error::{ConfigError, Findings, quote};
use super::file::{FileEndpoint, Walk};
use super::grammar;
use super::policy_file::read_tree;
use super::tree::SourceFile;

/// Reads a file: whole, or not at all. Relative paths begin at the working directory, as those of certificates do.
///
/// # Errors
/// Everything that is wrong with it, with lines and columns. One without endpoints is wrong too: it is more likely to be a
/// mistake than meant.
pub fn read(path: &Path) -> Result<Endpoints, Vec<ConfigError>> {
    let mut errors = Findings::default();
    let endpoints = read_into(path, &mut errors).unwrap_or_default();
    if errors.has_errors() { Err(errors.into_sorted()) } else { Ok(endpoints) }
}

fn read_into(path: &Path, errors: &mut Findings) -> Option<Endpoints> {
    let (file, root) = read_tree(path, || "endpoints".to_owned(), errors)?;
    let items = Walk { file: &file, errors }.endpoints_file(&root);
    for item in items.iter().filter(|item| item.address.value.contains("://")) {
        let key = format!("endpoints[{}]", item.index);
        let error = ConfigError::mismatch(
            file.place(item.address.at),
            key,
            "HOST:PORT or unix:/path",
            quote(&item.address.value),
        );
        let hint = "the cluster says with `tls` and `protocol` what is spoken".to_owned();
        errors.push(error.hint(hint));
        errors.mute(item.address.at);
    }
    if items.is_empty() && !errors.has_errors() {
        errors.push(ConfigError::mismatch(file.whole(), "endpoints", "at least one endpoint", "none"));
    }
    Some(build(&items, &file, "endpoints", errors))
}

/// The endpoints of a list at `path`.
pub(super) fn build(
    items: &[FileEndpoint],
    file: &SourceFile,
    path: &str,
    findings: &mut Findings,
) -> Endpoints {
    let mut first_lines: HashMap<EndpointConfig, usize> = HashMap::new();
    let mut endpoints = Endpoints::new();
    for FileEndpoint { index, address: text, traits } in items {
        let (place, key) = (file.place(text.at), format!("{path}[{index}]"));
        match grammar::endpoint(&text.value) {
            Err(mismatch) => {
                let error = ConfigError::mismatch(place, key, mismatch.expected, quote(&text.value));
                findings.push(error.hint(mismatch.hint));
            }
            Ok(endpoint) => {
                if let Some(line) = first_lines.insert(endpoint.clone(), text.at.line) {
                    let problem = format!("{} is here twice, first in line {line}", quote(&text.value));
                    findings.push(ConfigError::new(place, key, problem).warning());
                }
                endpoints.push((endpoint, traits.clone()));
            }
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::labels::endpoint_text;

    fn check(content: &str, expected: Result<&[&str], &[&str]>) {
        let path = std::env::temp_dir().join(format!("ringway-endpoints-{}.yaml", std::process::id()));
        std::fs::write(&path, content).expect("written");
        let show = |(endpoint, traits): &(EndpointConfig, crate::config::EndpointTraits)| {
            let zone = traits.zone.as_deref().unwrap_or("-");
            format!("{} {} {} {zone}", endpoint_text(endpoint), traits.weight, traits.priority)
        };
        let found = read(&path).map(|found| found.iter().map(show).collect::<Vec<_>>());
        let said = |errors: Vec<ConfigError>| errors.iter().map(ConfigError::one_line).collect::<Vec<_>>();
        let place = format!("{}:", path.display());
        let found = found
            .map_err(|errors| said(errors).iter().map(|line| line.replace(&place, "")).collect::<Vec<_>>());
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, expected.map(owned).map_err(owned), "{content}");
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        check(
            "endpoints:\n  - 10.0.0.1:80\n  - { address: \"app.test:81\", weight: 3, priority: 1, zone: west }\n",
            Ok(&["10.0.0.1:80 1 0 -", "app.test:81 3 1 west"]),
        );
        check("endpoints: unix:/run/app.sock\n", Ok(&["unix:/run/app.sock 1 0 -"]));
        check(
            "endpoints:\n  - 10.0.0.1:80\n  - ${HOME}\n  - { address: \"10.0.0.2:80\", weight: 0 }\n",
            Err(&[
                "3:5: endpoints[1]: expected HOST:PORT such as 10.0.0.1:9000, [::1]:9000 or app.internal:9000, \
                 https://HOST for TLS, or unix:/path; found `${HOME}`; add the port: `${HOME}:80`",
                "4:39: endpoints[2].weight: expected a whole number from 1 to 10000; found `0`",
            ]),
        );
        check("endpoints: []\n", Err(&[" endpoints: expected at least one endpoint; found none"]));
        check(
            "others: []\n",
            Err(&["1:1: others: unknown key `others`", "1:1: the key `endpoints` is missing"]),
        );
        check("", Err(&[" expected endpoints; found an empty file"]));
    }
}
