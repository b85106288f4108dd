//! The Helm chart, rendered by the tools that `tests/chart/build` builds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use super::poll::notice;

const VARIABLE: &str = "POD_REGISTRAR_TEST_CHART";
/// The release and its namespace, named as the manifests for kustomize are.
pub(crate) const RELEASE: &str = "pod-registrar";

/// The tools, with a home folder of their own: they never read the user's.
pub(crate) struct ChartTools {
    folder: PathBuf,
    pub(crate) home: TempDir,
}

impl ChartTools {
    /// The tools, or `None` and a notice if they are not built.
    pub(crate) fn find() -> Option<Self> {
        match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            Some(folder) => Some(Self { folder: folder.into(), home: tempfile::tempdir().unwrap() }),
            None => {
                notice(&format!("skipped: {VARIABLE} is not set; tests/chart/build prints its value"));
                None
            }
        }
    }

    /// The path of a tool.
    pub(crate) fn program(&self, tool: &str) -> PathBuf {
        let program = self.folder.join(tool);
        assert!(program.exists(), "{VARIABLE}: {} does not exist; run tests/chart/build", program.display());
        program
    }

    /// Runs a tool in the home folder, to its end.
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        self.command(tool, arguments).output().unwrap()
    }

    /// A tool that runs in the home folder.
    pub(crate) fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program(tool));
        command.args(arguments).env_clear().env("HOME", self.home.path()).current_dir(self.home.path());
        command
    }

    /// Writes a file to the home folder, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The text that `helm template` renders with these values and further arguments, or its error.
    pub(crate) fn template(&self, values: &str, more: &[&str]) -> Result<String, String> {
        let (chart, values) = (chart(), self.file("values.yaml", values));
        let arguments = ["template", RELEASE, &chart, "--namespace", RELEASE, "--values", &values];
        let output = self.run("helm", &[&arguments, more].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The objects that the chart has with these values.
    pub(crate) fn objects(&self, values: &str, more: &[&str]) -> Vec<Value> {
        let rendered = self.template(values, more).unwrap_or_else(|error| panic!("{values}\n{error}"));
        documents(&rendered)
    }

    /// The objects that kustomize builds from a folder.
    pub(crate) fn kustomize(&self, folder: &Path) -> Vec<Value> {
        let output = self.run("kustomize", &["build", folder.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        documents(std::str::from_utf8(&output.stdout).unwrap())
    }
}

/// The folder of the chart.
pub(crate) fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart").to_str().unwrap().to_owned()
}

/// The documents of a YAML text, read as Kubernetes' tools read it: 0444 is an octal number.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The only object of a kind with a name.
pub(crate) fn object<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found: Vec<&Value> = objects.iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}
