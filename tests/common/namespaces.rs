//! Two network namespaces with a cable between them, as two hosts: each has a name, an address, and no other way to the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The addresses are of a network that nobody has; the first host starts the job.
pub(crate) const ADDRESSES: [&str; 2] = ["10.213.77.1", "10.213.77.2"];

/// They are removed when this is dropped.
pub(crate) struct Namespaces {
    names: [String; 2],
    scripts: TempDir,
}

impl Namespaces {
    /// # Errors
    /// If the system has no namespaces, no `ip`, or this program may not make them.
    pub(crate) fn new() -> Result<Namespaces> {
        let names = ["a", "b"].map(|host| format!("pb{host}{}", process::id()));
        let made = Namespaces { names, scripts: tempfile::tempdir()? };
        let [a, b] = &made.names;
        for name in [a, b] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])?;
        for (name, address) in [(a, ADDRESSES[0]), (b, ADDRESSES[1])] {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", name, "link", "set", "cable", "up"])?;
            // Both the network and the host's name are its own.
            let script = format!(
                "#!/bin/sh\nexec ip netns exec {name} unshare --uts sh -c 'hostname {name}; exec \"$@\"' sh \"$@\"\n"
            );
            made.script(name, &script)?;
        }
        // What the job's starter calls in place of ssh: the host, then a command line.
        made.script("agent", &format!("#!/bin/sh\nshift\nexec {} sh -c \"$*\"\n", made.path(b)))?;
        Ok(made)
    }

    fn path(&self, script: &str) -> String {
        self.scripts.path().join(script).display().to_string()
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(0o755))?)
    }

    /// Runs what follows on the first host.
    pub(crate) fn first(&self) -> Command {
        Command::new(self.path(&self.names[0]))
    }

    /// The command there that starts a job: rank 0 and a worker on the first host, all others on the second.
    pub(crate) fn launcher(&self) -> String {
        let [a, b] = ADDRESSES;
        format!(
            "mpirun -n {{ranks}} --host {a}:2,{b}:2 --mca plm_rsh_agent {} --mca oob_tcp_if_include cable --mca \
             btl_tcp_if_include cable",
            self.path("agent"),
        )
    }

    /// The names of the hosts, sorted.
    pub(crate) fn names(&self) -> [String; 2] {
        self.names.clone()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip`")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), error.trim());
    Ok(())
}
