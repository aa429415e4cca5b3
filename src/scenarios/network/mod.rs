//! The family `network`: waiting for a network.

mod digest;
mod futures;
mod mail_download;
mod page_save;
mod url_download;

use crate::scenario::Scenario;

/// Waiting for a network.
pub static NETWORK: &[Scenario] = &[
    Scenario::of::<url_download::UrlDownload>(),
    Scenario::of::<page_save::PageSave>(),
    Scenario::of::<mail_download::MailDownload>(),
];
