//! Revisions of a repository, checked out and built one after the other in one work tree under the target folder.
//!
//! One tree for both: the compiler puts paths into symbols, so the same code in two folders is not the same program. What does
//! not differ between the revisions is built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::programs::Cargo;

/// A commit, and how it was named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Revision {
    /// As it was typed.
    pub(crate) name: String,
    /// The commit's hash.
    pub(crate) commit: String,
    /// The first line of its message.
    pub(crate) subject: String,
}

impl Revision {
    /// For a person: `main (a1b2c3d)`.
    pub(crate) fn title(&self) -> String {
        let short = &self.commit[..self.commit.len().min(10)];
        if self.name.starts_with(short) || short.starts_with(&self.name) {
            return short.into();
        }
        format!("{} ({short})", self.name)
    }
}

/// A repository that has the package.
pub(crate) struct Repository {
    root: PathBuf,
    /// The package's folder in it.
    package: PathBuf,
}

impl Repository {
    /// The repository that the package is in.
    ///
    /// # Errors
    /// If there is no git, or the package is in no repository.
    pub(crate) fn of(cargo: &Cargo) -> Result<Repository> {
        let manifest = cargo.manifest()?;
        let folder = manifest.parent().context("a manifest is in a folder")?.canonicalize()?;
        let root = git(&folder, &["rev-parse", "--show-toplevel"]).with_context(|| {
            format!(
                "{} is in no git repository, whose revisions could be compared; two run files can be: `--base \
                 A.json --head B.json`",
                folder.display()
            )
        })?;
        let root = PathBuf::from(root).canonicalize()?;
        let package = folder.strip_prefix(&root).context("the package is outside its repository")?.into();
        Ok(Repository { root, package })
    }

    /// The commit that a person has named.
    ///
    /// # Errors
    /// If there is none, with what helps in a shallow clone.
    pub(crate) fn find(&self, name: &str) -> Result<Revision> {
        // Not as an option.
        ensure!(!name.starts_with('-'), "`{name}` is no revision");
        let found = git(&self.root, &["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")]);
        let Ok(commit) = found else {
            let shallow = git(&self.root, &["rev-parse", "--is-shallow-repository"]);
            let help = match shallow.as_deref() {
                Ok("true") => {
                    ": the clone is shallow; `git fetch --unshallow` gets the rest (`fetch-depth: 0` of actions/checkout)"
                }
                _ => "; `git log` and `git branch --all` show what there is",
            };
            bail!("there is no revision `{name}` in {}{help}", self.root.display());
        };
        let subject = git(&self.root, &["log", "-1", "--format=%s", &commit])?;
        Ok(Revision { name: name.into(), commit, subject })
    }

    /// Whether files are changed that no commit has.
    pub(crate) fn is_dirty(&self) -> bool {
        git(&self.root, &["status", "--porcelain"]).is_ok_and(|changes| !changes.is_empty())
    }

    /// The files that differ between two commits, from the repository's root.
    pub(crate) fn changed(&self, base: &Revision, head: &Revision) -> Result<Vec<PathBuf>> {
        let names = git(&self.root, &["diff", "--name-only", "-z", &base.commit, &head.commit])?;
        Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
    }

    /// A work tree in a folder, with a commit checked out.
    ///
    /// # Errors
    /// If git cannot make it, or a submodule cannot be had.
    pub(crate) fn tree(&self, folder: PathBuf, revision: &Revision) -> Result<Tree> {
        // What a run that was killed has left.
        remove(&self.root, &folder);
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let path = folder.to_str().context("the target folder's name is not UTF-8")?;
        git(&self.root, &["worktree", "add", "--detach", "--force", path, &revision.commit])?;
        let tree = Tree { repository: self.root.clone(), package: folder.join(&self.package), folder };
        tree.update_submodules()?;
        Ok(tree)
    }
}

/// A work tree; it is removed with this.
pub(crate) struct Tree {
    repository: PathBuf,
    folder: PathBuf,
    /// The package's folder in it.
    package: PathBuf,
}

impl Tree {
    /// Checks out another commit.
    pub(crate) fn check_out(&self, revision: &Revision) -> Result<()> {
        git(&self.folder, &["checkout", "--quiet", "--force", "--detach", &revision.commit])?;
        // What was put over the other commit, and a lock file that it has not.
        git(&self.folder, &["clean", "--quiet", "--force", "-d", "-x"])?;
        self.update_submodules()
    }

    /// Puts the bench files of another commit over those that are checked out.
    pub(crate) fn take_benches_of(&self, revision: &Revision) -> Result<()> {
        git(&self.package, &["checkout", "--quiet", &revision.commit, "--", "benches"]).map(drop)
    }

    /// Uses a lock file of the other revision where this one has none of its own: the same versions for both.
    pub(crate) fn lock_with(&self, lock: Option<&[u8]>) -> Result<()> {
        let path = self.folder.join("Cargo.lock");
        match lock {
            Some(lock) if !path.exists() && self.folder.join("Cargo.toml").exists() => {
                std::fs::write(&path, lock).with_context(|| format!("cannot write {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The lock file, once cargo has made it.
    pub(crate) fn lock(&self) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join("Cargo.lock")).ok()
    }

    /// The package's manifest; it may have none at this commit.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.package.join("Cargo.toml")
    }

    fn update_submodules(&self) -> Result<()> {
        if !self.folder.join(".gitmodules").exists() {
            return Ok(());
        }
        git(&self.folder, &["submodule", "update", "--init", "--recursive"])
            .map(drop)
            .context("its submodules cannot be had")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        remove(&self.repository, &self.folder);
    }
}

/// Removes a work tree, whatever state it is in.
fn remove(repository: &Path, folder: &Path) {
    let path = folder.to_string_lossy();
    let _ = git(repository, &["worktree", "remove", "--force", "--force", &path]);
    let _ = std::fs::remove_dir_all(folder);
    let _ = git(repository, &["worktree", "prune"]);
}

/// What git prints, without the end of its line.
fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    // In a hook they would name another repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.output().context("cannot start git")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().last().unwrap_or("it does not say why").trim_start_matches("fatal: ");
        bail!("git {}: {line}", arguments.first().unwrap_or(&""));
    }
    let text = String::from_utf8(output.stdout).context("what git printed is not UTF-8")?;
    Ok(text.trim_end_matches('\n').to_string())
}
