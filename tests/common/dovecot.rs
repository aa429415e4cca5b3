//! Dovecot as a second IMAP server, run by whoever runs the tests, with the generated mails.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use parbench::fixtures::folder::Folder;
use parbench::fixtures::mail::mail;
use rcgen::{CertificateParams, KeyPair};

use crate::common::eventually;

/// Its settings, with words in capitals for what differs.
const SETTINGS: &str = "\
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/log
WITHOUT_ROOT
listen = 127.0.0.1
protocols = imap
ssl = required
ssl_cert = <FOLDER/certificate.pem
ssl_key = <FOLDER/key.pem
ssl_dh =
mail_location = maildir:FOLDER/mail
mail_max_userip_connections = 64
first_valid_uid = 1
auth_mechanisms = plain login
passdb {
  driver = static
  args = password=PASSWORD
}
userdb {
  driver = static
  args = uid=UID gid=GID home=FOLDER/mail
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = PORT
    ssl = yes
  }
}
namespace inbox {
  inbox = yes
}
";
/// Where it has to run without root.
const WITHOUT_ROOT: &str = "\
default_internal_user = USER
default_internal_group = GROUP
default_login_user = USER";
/// Root may not read mail itself, so somebody does who exists everywhere.
const NOBODY: &str = "65534";

pub(crate) struct Dovecot {
    /// A shell that ends Dovecot when its stdin closes: when this is dropped, or dies.
    leash: Child,
    folder: Folder,
    pub(crate) port: u16,
}

impl Dovecot {
    pub(crate) const PASSWORD: &str = "secret";

    pub(crate) fn start(mails: u32) -> Result<Dovecot> {
        let folder = Folder::new()?;
        let (path, text) = (folder.path(), folder.path().display().to_string());
        for name in ["run", "state", "mail/cur", "mail/new", "mail/tmp", "mail/.Entw&APw-rfe/cur"] {
            fs::create_dir_all(path.join(name))?;
        }
        for number in 1..=mails {
            // It numbers mails in the order of their names.
            fs::write(path.join(format!("mail/cur/17040{number:05}.M1.host:2,")), mail(1, number))?;
        }
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["localhost".to_string()])?.self_signed(&key)?;
        fs::write(path.join("certificate.pem"), certificate.pem())?;
        fs::write(path.join("key.pem"), key.serialize_pem())?;
        let (user, group, mut uid, mut gid) = (id("-un")?, id("-gn")?, id("-u")?, id("-g")?);
        let mut inner = WITHOUT_ROOT.replace("USER", &user).replace("GROUP", &group);
        if uid == "0" {
            (uid, gid, inner) = (NOBODY.into(), NOBODY.into(), String::new());
            let output = Command::new("chown").args(["-R", &format!("{uid}:{gid}"), &text]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // Somebody else may take it before Dovecot does: then it says so and the test fails.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = SETTINGS.replace("WITHOUT_ROOT", &inner).replace("FOLDER", &text);
        let settings = settings.replace("PORT", &port.to_string()).replace("PASSWORD", Dovecot::PASSWORD);
        let settings = settings.replace("UID", &uid).replace("GID", &gid);
        fs::write(path.join("dovecot.conf"), settings)?;
        let script = "dovecot -F -c \"$0\" & read _; kill $!; wait";
        let file = path.join("dovecot.conf");
        let leash = Command::new("sh").args(["-c", script]).arg(file).stdin(Stdio::piped()).spawn()?;
        let dovecot = Dovecot { leash, folder, port };
        let log = dovecot.folder.path().join("log");
        eventually("Dovecot listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(dovecot)
    }

    pub(crate) fn certificate(&self) -> String {
        self.folder.path().join("certificate.pem").display().to_string()
    }
}

/// Who we are.
fn id(what: &str) -> Result<String> {
    let output = Command::new("id").arg(what).output()?;
    ensure!(output.status.success(), "`id {what}` fails");
    Ok(String::from_utf8(output.stdout)?.trim().to_string())
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}
