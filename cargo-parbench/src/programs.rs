//! Finds the bench programs of a package through cargo, and asks each what it has.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use parbench::bench::{Listed, ListedExecutor, Listing};
use serde_json::Value;

use crate::run_file::Way;

/// Which package, built how: options as cargo has them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Cargo {
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
    /// Only this bench target; may be repeated
    #[arg(long, value_name = "NAME")]
    bench: Vec<String>,
    /// Features to activate
    #[arg(long, value_name = "FEATURES")]
    features: Vec<String>,
    /// Directory for what is built
    #[arg(long, value_name = "DIRECTORY")]
    target_dir: Option<PathBuf>,
    /// Build with this profile in place of `bench`
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Cargo says nothing while it builds
    #[arg(short, long)]
    quiet: bool,
    /// Where cargo is started, if not here: which configuration it reads depends on that.
    #[arg(skip)]
    started_in: Option<PathBuf>,
    /// Only this package, as cargo names it.
    #[arg(skip)]
    only_package: Option<String>,
}

/// A bench program with parbench's main.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// The bench target's name: the family.
    pub(crate) bench: String,
    /// The package that it is of, as cargo names it.
    pub(crate) package: String,
    pub(crate) executable: PathBuf,
    /// The version of parbench that it has.
    pub(crate) version: String,
    /// Where the workers of each of its executors are.
    pub(crate) ways: BTreeMap<String, Way>,
    pub(crate) scenarios: Vec<Listed>,
}

/// The version of parbench that drives programs of the same.
pub(crate) const VERSION: &str = parbench::bench::VERSION;

/// How the variables begin in which cargo describes the package of the program that it runs.
const DESCRIBED: [&str; 5] =
    ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// How long a program may take to say what it has. One with another main may run its benchmarks instead.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cargo {
    /// The profile that is built.
    pub(crate) fn profile(&self) -> &str {
        self.profile.as_deref().unwrap_or("bench")
    }

    /// The folder of the package.
    pub(crate) fn package(&self) -> PathBuf {
        let folder = self.manifest_path.as_deref().and_then(Path::parent);
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).into()
    }

    /// The package's manifest, as cargo finds it from here.
    pub(crate) fn manifest(&self) -> Result<PathBuf> {
        if let Some(path) = &self.manifest_path {
            return path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
        }
        let mut command = cargo();
        command.args(["locate-project", "--message-format", "plain"]).stderr(Stdio::inherit());
        let output = command.output().context("cannot start cargo")?;
        ensure!(output.status.success(), "there is no package here ({})", output.status);
        Ok(String::from_utf8(output.stdout).context("the package's path is not UTF-8")?.trim_end().into())
    }

    /// `cargo add`, with these arguments.
    pub(crate) fn add(&self, arguments: &[&str]) -> Result<()> {
        let mut command = cargo();
        command.args(["add", "--quiet"]).args(arguments).arg("--manifest-path").arg(self.manifest()?);
        let status = command.stdin(Stdio::null()).status().context("cannot start cargo")?;
        ensure!(status.success(), "`cargo add {}` failed ({status})", arguments.join(" "));
        Ok(())
    }

    /// The same of a package elsewhere, built in this target folder.
    pub(crate) fn of(&self, manifest: PathBuf, target: &Path) -> Cargo {
        let started_in = manifest.parent().map(Path::to_path_buf);
        Cargo { manifest_path: Some(manifest), target_dir: Some(target.into()), started_in, ..self.clone() }
    }

    /// The same of one package alone.
    fn of_package(&self, package: &str) -> Cargo {
        Cargo { only_package: Some(package.into()), ..self.clone() }
    }

    /// The folder of what is built, where runs are kept too.
    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.target_dir {
            return Ok(folder.clone());
        }
        let folder = self.metadata()?["target_directory"].as_str().map(Into::into);
        folder.context("cargo's metadata has no target folder")
    }

    /// What cargo says of the workspace.
    fn metadata(&self) -> Result<Value> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if let Some(path) = &self.manifest_path {
            command.arg("--manifest-path").arg(path);
        }
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "cargo cannot describe the package ({})", output.status);
        serde_json::from_slice(&output.stdout).context("cargo's metadata")
    }

    /// The names of the examples, in the packages whose benchmarks are built, that begin so.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn examples(&self, prefix: &str) -> Result<Vec<String>> {
        let (metadata, manifest) = (self.metadata()?, self.manifest()?);
        let names = packages_in(&metadata, &manifest).flat_map(|package| targets_of(package, "example"));
        let names: Vec<_> = names.filter(|name| name.starts_with(prefix)).map(Into::into).collect();
        ensure!(!names.is_empty(), "there is no example here whose name begins with `{prefix}`");
        Ok(names)
    }

    /// Builds examples; optimised, unless a profile is named.
    pub(crate) fn build_examples(&self, names: &[String]) -> Result<Vec<(String, PathBuf)>> {
        let mut command = cargo();
        command.args(["build", "--profile", self.profile.as_deref().unwrap_or("release")]);
        for name in names {
            command.args(["--example", name]);
        }
        let built = self.executables(command, "example", &[])?;
        let mut built: Vec<_> = built.into_iter().map(|target| (target.name, target.executable)).collect();
        built.sort();
        Ok(built)
    }

    /// Builds the bench programs and lists those that are parbench's.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        let mut programs = Vec::new();
        for Target { name: bench, package, executable } in self.build()? {
            match ask(&executable).with_context(|| format!("cannot list the scenarios of `{bench}`"))? {
                Some((listing, scenarios)) => {
                    let way = |executor: ListedExecutor| Ok((executor.name, Way::of(executor.isolation)?));
                    let ways = listing.executors.into_iter().map(way).collect::<Result<_>>()?;
                    let version = listing.parbench;
                    programs.push(Program { bench, package, executable, version, ways, scenarios });
                }
                None if self.quiet => {}
                None => eprintln!("note: the bench program `{bench}` has a main of its own and is left out"),
            }
        }
        // Cargo names them in the order in which they were built.
        programs.sort_by(|a: &Program, b| a.bench.cmp(&b.bench));
        Ok(programs)
    }

    /// The same, each package built by itself, as [`Self::link`] builds it again: what the others of a workspace want of a
    /// common dependency would make it another one.
    pub(crate) fn programs_of_each_package(&self) -> Result<Vec<Program>> {
        let (metadata, manifest) = (self.metadata()?, self.manifest()?);
        let has_wanted = |package: &&Value| {
            targets_of(package, "bench")
                .any(|name| self.bench.is_empty() || self.bench.contains(&name.into()))
        };
        let mut programs = Vec::new();
        for package in packages_in(&metadata, &manifest).filter(has_wanted) {
            let name = package["id"].as_str().context("cargo names every package")?;
            programs.extend(self.of_package(name).programs()?);
        }
        programs.sort_by(|a, b| a.bench.cmp(&b.bench));
        Ok(programs)
    }

    /// The bench targets and their executables.
    fn build(&self) -> Result<Vec<Target>> {
        let mut command = cargo();
        command.args(["bench", "--no-run"]);
        for (option, value) in self.bench.iter().map(|name| ("--bench", name)) {
            command.args([option, value]);
        }
        if let Some(profile) = &self.profile {
            command.args(["--profile", profile]);
        }
        self.executables(command, "bench", &[])
    }

    /// Builds one bench program again, linked with these arguments.
    pub(crate) fn link(
        &self,
        Program { bench, package, .. }: &Program,
        arguments: &[&str],
    ) -> Result<PathBuf> {
        let mut command = cargo();
        command.args(["rustc", "--quiet", "--bench", bench, "--profile", self.profile()]);
        let built = self.of_package(package).executables(command, "bench", arguments)?;
        let found = built.into_iter().find(|target| target.name == *bench);
        found.map(|target| target.executable).with_context(|| format!("cargo built no `{bench}`"))
    }

    /// The targets of a kind that a command of cargo builds, with the options that all have in common.
    fn executables(&self, mut command: Command, kind: &str, rustc: &[&str]) -> Result<Vec<Target>> {
        command.arg("--message-format=json-render-diagnostics");
        if let Some(folder) = &self.started_in {
            command.current_dir(folder);
        }
        let options = [("--manifest-path", &self.manifest_path), ("--target-dir", &self.target_dir)];
        for (option, value) in
            options.into_iter().filter_map(|(option, value)| Some((option, value.as_ref()?)))
        {
            command.arg(option).arg(value);
        }
        if let Some(package) = &self.only_package {
            command.args(["--package", package]);
        }
        for features in &self.features {
            command.args(["--features", features]);
        }
        if self.quiet && rustc.is_empty() {
            command.arg("--quiet");
        }
        if !rustc.is_empty() {
            command.arg("--").args(rustc);
        }
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            let what = if kind == "bench" { "bench programs" } else { "examples" };
            bail!("cargo could not build the {what} ({})", output.status);
        }
        let lines = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
        Ok(lines.lines().filter_map(|line| target(line, kind)).collect())
    }
}

/// What cargo has built.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    name: String,
    package: String,
    executable: PathBuf,
}

/// The cargo that started us.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` has described this package to us. Build scripts look at some of that: with it, cargo would build again
    // what it has, and once more without it.
    let described = |name: &str| DESCRIBED.iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(described)) {
        command.env_remove(name);
    }
    command
}

/// The target of a kind, such as `bench`, in a line of cargo's messages, if it is about one.
fn target(line: &str, kind: &str) -> Option<Target> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = &message["target"];
    let is_wanted = target["kind"].as_array()?.iter().any(|known| known == kind);
    let [name, package, executable] = [&target["name"], &message["package_id"], &message["executable"]]
        .map(|value| value.as_str().map(String::from));
    let built = Target { name: name?, package: package?, executable: executable?.into() };
    is_wanted.then_some(built)
}

/// The packages that cargo builds where this manifest is: one, or a workspace's default ones.
fn packages_in<'a>(metadata: &'a Value, manifest: &Path) -> impl Iterator<Item = &'a Value> {
    let is_root = metadata["workspace_root"]
        .as_str()
        .is_some_and(|root| same(&Path::new(root).join("Cargo.toml"), manifest));
    let default = metadata["workspace_default_members"].as_array().filter(|_| is_root);
    metadata["packages"].as_array().into_iter().flatten().filter(move |package| match default {
        Some(members) => members.contains(&package["id"]),
        None => package["manifest_path"].as_str().is_some_and(|path| same(Path::new(path), manifest)),
    })
}

/// The names of a package's targets of a kind.
fn targets_of<'a>(package: &'a Value, kind: &str) -> impl Iterator<Item = &'a str> {
    let is_wanted =
        move |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()));
    package["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(is_wanted)
        .filter_map(|target| target["name"].as_str())
}

/// Whether two paths lead to one file, over links too.
fn same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// What a program lists; `None` if it is not one of parbench's.
fn ask(executable: &Path) -> Result<Option<(Listing, Vec<Listed>)>> {
    let mut command = Command::new(executable);
    command.args(["parbench", "list"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", executable.display()))?;
    let stdout = BufReader::new(child.stdout.take().context("it has no stdout")?);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));

    let first = lines.recv_timeout(PATIENCE).ok();
    let listing = first.and_then(|line| serde_json::from_str::<Listing>(&line).ok());
    let listed = listing.map(|listing| (listing, lines.iter().collect::<Vec<_>>()));
    // One of ours has ended by now; another may be in the middle of its benchmarks.
    child.kill()?;
    child.wait()?;
    let Some((listing, lines)) = listed else { return Ok(None) };
    let scenarios = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
    Ok(Some((listing, scenarios.context("it lists something else than scenarios")?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bench_target_is_found_among_cargos_messages() {
        let message = |kind: &str, executable: &str| {
            format!(
                r#"{{"package_id":"p#1","target":{{"kind":["{kind}"],"name":"x"}},"executable":{executable}}}"#
            )
        };
        let found = target(&message("bench", r#""/a/x-1""#), "bench").unwrap();
        assert_eq!(target(&message("example", r#""/a/x-1""#), "example"), Some(found.clone()));
        assert_eq!(found, Target { name: "x".into(), package: "p#1".into(), executable: "/a/x-1".into() });
        for line in [message("lib", "null"), message("bench", "null"), message("bin", "\"/b\""), "no".into()]
        {
            assert_eq!(target(&line, "bench"), None, "{line}");
        }
    }

    #[test]
    fn targets_are_those_of_the_packages_that_are_built() {
        let package = |id: &str, names: &[&str]| {
            let targets: Vec<_> =
                names.iter().map(|name| json!({"kind": ["example"], "name": name})).collect();
            json!({"id": id, "manifest_path": format!("/w/{id}/Cargo.toml"), "targets": targets})
        };
        let packages = [package("a", &["x", "other"]), package("b", &["y"])];
        let metadata =
            json!({"workspace_root": "/w", "workspace_default_members": ["a"], "packages": packages});
        let found = |manifest: &str| {
            let packages = packages_in(&metadata, Path::new(manifest));
            packages.flat_map(|package| targets_of(package, "example")).collect::<Vec<_>>()
        };
        assert_eq!(found("/w/Cargo.toml"), ["x", "other"]);
        assert_eq!(found("/w/b/Cargo.toml"), ["y"]);
        assert!(found("/w/c/Cargo.toml").is_empty());
        assert_eq!(
            packages_in(&metadata, Path::new("/w/Cargo.toml"))
                .flat_map(|package| targets_of(package, "bench"))
                .count(),
            0
        );
    }
}
