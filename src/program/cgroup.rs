//! The control groups that this process is in, of version 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// The control groups of this process for one controller.
pub(crate) struct Groups {
    /// Whether they are of version 2.
    pub(crate) unified: bool,
    /// Their folders, the innermost first.
    pub(crate) ancestors: Vec<PathBuf>,
}

/// Finds the control groups as `/proc/self/cgroup` names them; a version 1 controller wins over the unified hierarchy.
pub(crate) fn groups(root: &Path, controller: &str) -> Option<Groups> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let own = lines().find(|(controllers, _)| controllers.split(',').any(|name| name == controller));
    let (unified, mount, path) = match own {
        Some((_, path)) => (false, root.join("sys/fs/cgroup").join(controller), path),
        None => (true, root.join("sys/fs/cgroup"), lines().find(|(names, _)| names.is_empty())?.1),
    };
    // Inside a container the path may name folders that are only outside of it: the ones that there are count.
    let inner = mount.join(path.trim_start_matches('/'));
    let ancestors = inner.ancestors().take_while(|folder| folder.starts_with(&mount));
    Some(Groups { unified, ancestors: ancestors.filter(|folder| folder.is_dir()).map(Into::into).collect() })
}

/// How many processes of this process's control group the system has killed so far because the group's memory was used up.
pub(crate) fn out_of_memory_kills(root: &Path) -> Option<u64> {
    let groups = groups(root, "memory")?;
    let file = if groups.unified { "memory.events" } else { "memory.oom_control" };
    let text = fs::read_to_string(groups.ancestors.first()?.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// A made-up tree with these files.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_want_of_memory_are_counted_in_both_versions() {
        let two = [
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 0\n"),
        ];
        assert_eq!(out_of_memory_kills(tree(&two).path()), Some(3));
        let one = [
            ("proc/self/cgroup", "9:memory:/a\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ];
        assert_eq!(out_of_memory_kills(tree(&one).path()), Some(2));
        assert_eq!(out_of_memory_kills(tree(&two[..1]).path()), None);
    }
}
