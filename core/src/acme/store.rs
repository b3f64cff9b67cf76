//! The account's and the certificates' files: mode 0600, replaced as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use instant_acme::AccountCredentials;

use super::AcmeConfig;

/// The file of the account with this directory: accounts of several directories stand side by side.
pub(super) fn account_file(config: &AcmeConfig) -> PathBuf {
    let digest = digest::digest(&digest::SHA256, config.directory.as_bytes());
    let short: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    config.store.join(format!("account-{short}.json"))
}

/// The account, if there is one.
///
/// A file that is there and cannot be read is an error: a new account in its place would lose the old one.
pub(super) fn account(config: &AcmeConfig) -> Result<Option<AccountCredentials>, String> {
    let path = account_file(config);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    // What the parser says may quote the file, and the file is a key.
    serde_json::from_slice(&text).map(Some).map_err(|_| format!("{} is not an account", path.display()))
}

/// Keeps the account.
pub(super) fn keep_account(config: &AcmeConfig, account: &AccountCredentials) -> Result<(), String> {
    let path = account_file(config);
    let text = serde_json::to_vec(account).map_err(|_| "the account cannot be written down".to_owned())?;
    replace(&path, &text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Keeps a certificate with its key.
pub(super) fn keep_certificate(config: &AcmeConfig, key: &str, chain: &str) -> Result<(), String> {
    let path = &config.file;
    let text = format!("{key}{chain}");
    replace(path, text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Puts `bytes` in the place of a file. After a crash there is the old content or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("new");
    // What an earlier process left there may have other rights.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The name, too, is to survive.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_replaced_whole_and_readable_by_their_owner_only() {
        let directory = std::env::temp_dir().join(format!("ringway-acme-{}", std::process::id()));
        let path = directory.join("deeper/file.pem");
        for text in ["first, and longer", "second"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            // One that was interrupted.
            fs::write(path.with_extension("new"), "rest").unwrap();
        }
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(directory).unwrap();
    }
}
