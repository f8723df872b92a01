//! Policies as files: the one place where `policy`, which takes texts, meets the disk.

use std::path::{Path, PathBuf};

use policy::{Diagnostic, Mode, PolicySnapshot, Source};

/// The largest policy text that is read.
const POLICY_BYTES_MAX: u64 = 4 << 20;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyFileError {
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the policy has {} problem(s)", diagnostics.len())]
    Invalid { diagnostics: Vec<Diagnostic> },
}

/// Reads and compiles a policy file with all that it includes; without a path, the policy that refuses nothing.
pub(crate) fn load(
    path: Option<&Path>,
    mode: Option<Mode>,
) -> Result<(PolicySnapshot, Vec<Diagnostic>), PolicyFileError> {
    let Some(path) = path else { return Ok((PolicySnapshot::observe_only(), Vec::new())) };
    let source = read(path)
        .map_err(|source| PolicyFileError::Unreadable { path: path.display().to_string(), source })?;
    compile(source, mode).map_err(|diagnostics| PolicyFileError::Invalid { diagnostics })
}

/// Compiles a policy whose includes are files beside the one that names them.
pub(crate) fn compile(
    source: Source,
    mode: Option<Mode>,
) -> Result<(PolicySnapshot, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut include = |wanted: &str, from: &str| {
        let beside: PathBuf = Path::new(from).parent().unwrap_or(Path::new("")).join(wanted);
        read(&beside).map_err(|error| format!("{}: {error}", beside.display()))
    };
    PolicySnapshot::compile(source, mode, &mut include)
}

/// Reads a text of bounded length.
pub(crate) fn read(path: &Path) -> std::io::Result<Source> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > POLICY_BYTES_MAX {
        let why = format!("{bytes} bytes are more than the {POLICY_BYTES_MAX} that a policy may have");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
    }
    Ok(Source { name: path.display().to_string(), text: std::fs::read_to_string(path)? })
}
