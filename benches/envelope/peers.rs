//! The peers: controllers that are measured beside pod-registrar. One uses kube's reflector; one is written with
//! client-go and needs Go and its source.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    options::Options,
    report::Report,
    subject::Kind,
};

/// Bytes that a whole pod takes in the reflector's memory, at most.
const REFLECTOR_BYTES: u64 = 100_000;
/// The source of the client-go peer, unless the environment names another folder.
const FOLDER: &str = "../shared/peers";
const VARIABLE: &str = "POD_REGISTRAR_TEST_PEERS";

/// The peers to measure with this number of pods.
pub(crate) fn chosen(options: &Options, pods: u32, folder: &Path, report: &mut Report) -> Result<Vec<Kind>> {
    if options.no_peers {
        return Ok(Vec::new());
    }
    if pods > options.peers_up_to {
        report.note(format!("No peers: above {} pods they need gigabytes.", options.peers_up_to));
        return Ok(Vec::new());
    }
    let mut kinds = Vec::new();
    match informer(folder) {
        Ok(Some(binary)) => {
            kinds.push(Kind::Informer { binary: binary.clone(), flags: vec!["--transform"] });
            kinds.push(Kind::Informer { binary, flags: Vec::new() });
        }
        Ok(None) => report
            .note(format!("No client-go peer: it needs Go, and its source in {FOLDER} or the folder in {VARIABLE}.")),
        Err(error) => return Err(error),
    }
    let needed = u64::from(pods) * REFLECTOR_BYTES;
    match available() {
        Some(bytes) if bytes < needed => report.note(format!(
            "No reflector peer: it may need {} MB, and {} MB are free.",
            needed / 1_000_000,
            bytes / 1_000_000
        )),
        _ => kinds.push(Kind::Reflector),
    }
    Ok(kinds)
}

/// Builds the client-go peer. None without Go or without its source.
pub(crate) fn informer(folder: &Path) -> Result<Option<PathBuf>> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let source = std::env::var_os(VARIABLE).map_or_else(|| manifest.join(FOLDER), PathBuf::from);
    let has_go = Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    if !has_go || !source.join("go.mod").is_file() {
        return Ok(None);
    }
    let binary = folder.join("peers");
    if binary.is_file() {
        return Ok(Some(binary));
    }
    let output = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .args([binary.as_path(), Path::new(".")])
        .current_dir(&source)
        .output()
        .map_err(Error::in_step("go build"))?;
    if output.status.success() {
        return Ok(Some(binary));
    }
    Err(Error::in_step("go build")(String::from_utf8_lossy(&output.stderr)))
}

/// Free memory in bytes.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
